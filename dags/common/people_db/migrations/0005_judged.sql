-- What people say about people: who is never the same, and who is to be forgotten.

-- Pairs of people whom somebody called two. It holds whatever later models and sweeps find.
CREATE TABLE apart (
    person_id bigint NOT NULL REFERENCES people ON DELETE CASCADE,
    other_id  bigint NOT NULL REFERENCES people ON DELETE CASCADE,
    judged_by text NOT NULL DEFAULT current_user,
    judged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (person_id, other_id),
    CONSTRAINT each_pair_once CHECK (person_id < other_id)
);
CREATE INDEX apart_other_id ON apart (other_id);

-- Records whose rows were erased. They are counted still: they were received, and the batch has to add up.
ALTER TABLE batches
    ADD COLUMN erased bigint NOT NULL DEFAULT 0 CHECK (erased >= 0),
    DROP CONSTRAINT nothing_lost,
    ADD CONSTRAINT nothing_lost CHECK (received = quarantined + duplicates + review + inserted + erased);
ALTER TABLE undone_batches ADD COLUMN erased bigint NOT NULL DEFAULT 0;

-- Everybody once: whom a sweep has marked as somebody's duplicate is left out.
CREATE VIEW unique_people AS
SELECT person_id, source_key, first_name, last_name, address, batch_id, inserted_at
FROM people WHERE duplicate_of IS NULL;
