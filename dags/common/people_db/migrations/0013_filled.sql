-- What a person lacked and a duplicate brought: which record has filled which field, and what stood there before, which
-- is null or blank. A field is filled once; whoever is filled with it goes when the person or the record's decision goes.
CREATE TABLE filled (
    person_id  bigint NOT NULL REFERENCES people ON DELETE CASCADE,
    field      text NOT NULL CHECK (field IN ('first_name', 'last_name', 'address')),
    batch_id   text NOT NULL,
    record_key text NOT NULL,
    before     text CHECK (btrim(before) = ''),
    PRIMARY KEY (person_id, field),
    FOREIGN KEY (batch_id, record_key) REFERENCES decisions ON DELETE CASCADE
);
CREATE INDEX filled_by ON filled (batch_id, record_key);
