-- One memory of everybody: what a record was, in which spellings people are known, and which questions are open.

-- One row: what makes hashes of this installation differ from those of any other.
CREATE TABLE installation (
    salt text NOT NULL DEFAULT gen_random_uuid()::text || gen_random_uuid()::text
);
CREATE UNIQUE INDEX one_installation ON installation ((true));
INSERT INTO installation DEFAULT VALUES;

-- content_key is the salted hash of the standardised content, content_version the standardiser that it was made by.
ALTER TABLE people ADD COLUMN content_key text;
CREATE INDEX people_content_key ON people (content_key);
-- The same record may come again with another batch, and may be judged to be somebody new there.
ALTER TABLE people
    DROP CONSTRAINT people_record_key_key,
    ADD CONSTRAINT a_record_is_inserted_once UNIQUE (batch_id, record_key);
UPDATE people SET std_version = NULL; -- so that the next run adds the key

ALTER TABLE decisions
    ADD COLUMN system          text,             -- which system the record came from; null: before systems had names
    ADD COLUMN content_key     text,
    ADD COLUMN content_version text,             -- null: the content has not been standardised yet
    ADD COLUMN via_batch_id    text,             -- the record whose spelling of the person decided,
    ADD COLUMN via_record_key  text,             -- null: the first spelling, which stands in people
    DROP CONSTRAINT matches_have_a_score,
    ADD CONSTRAINT matches_have_a_score
        CHECK (decision = 'NEW' OR score IS NOT NULL OR reason IN ('KNOWN_RECORD', 'SAME_KEY', 'JUDGED'));
CREATE INDEX decisions_content_key ON decisions (content_key);
CREATE INDEX decisions_source_key ON decisions (system, source_key) WHERE source_key IS NOT NULL;
CREATE INDEX decisions_not_standardised ON decisions (batch_id, record_key) WHERE content_version IS NULL;

-- Every record that was taken for somebody known, or waits for somebody to say: compared like the people themselves.
-- A row a record, not a spelling, so that undoing a batch takes away only what that batch alone has brought.
CREATE TABLE spellings (
    batch_id        text NOT NULL,
    record_key      text NOT NULL,
    person_id       bigint REFERENCES people ON DELETE CASCADE,
    question_id     bigint,                      -- the open question that the record waits in
    first_name_std  text,
    last_name_std   text,
    address_std     text,
    generation_std  text,
    changed_xid     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    PRIMARY KEY (batch_id, record_key),
    FOREIGN KEY (batch_id, record_key) REFERENCES decisions ON DELETE CASCADE,
    CONSTRAINT of_a_person_or_a_question CHECK (num_nonnulls(person_id, question_id) = 1)
);
CREATE INDEX spellings_person_id ON spellings (person_id);
CREATE INDEX spellings_question_id ON spellings (question_id) WHERE question_id IS NOT NULL;
CREATE INDEX spellings_changed_xid ON spellings (changed_xid);

CREATE FUNCTION spellings_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE TRIGGER spellings_changed BEFORE UPDATE ON spellings FOR EACH ROW EXECUTE FUNCTION spellings_changed();

-- Whoever stands for somebody else, or does no longer, has changed too: what was compared with them is compared again.
DROP TRIGGER people_changed ON people;
CREATE TRIGGER people_changed
    BEFORE UPDATE OF first_name, last_name, address, first_name_std, last_name_std, address_std, generation_std,
                     duplicate_of
    ON people
    FOR EACH ROW EXECUTE FUNCTION people_changed();

INSERT INTO spellings (batch_id, record_key, person_id)
SELECT d.batch_id, d.record_key, d.person_id FROM decisions AS d JOIN batches AS b USING (batch_id)
WHERE b.source <> 'people' AND d.decision = 'DUPLICATE' AND d.person_id IS NOT NULL;
INSERT INTO spellings (batch_id, record_key, question_id)
SELECT d.batch_id, d.record_key, row_number() OVER (ORDER BY b.loaded_at, d.record_key)
FROM decisions AS d JOIN batches AS b USING (batch_id)
WHERE b.source <> 'people' AND d.decision = 'REVIEW';

-- Whom a record is compared with: everybody's first spelling, the others, and the records that wait.
CREATE VIEW candidates AS
SELECT coalesce(duplicate_of, person_id) AS person_id, NULL::bigint AS question_id,
       duplicate_of IS NULL AS first_spelling, NULL::text AS via_batch_id, NULL::text AS via_record_key,
       first_name_std, last_name_std, address_std, generation_std, person_id AS row_id
FROM people
UNION ALL
SELECT coalesce(p.duplicate_of, p.person_id), s.question_id, false, s.batch_id, s.record_key,
       s.first_name_std, s.last_name_std, s.address_std, s.generation_std, p.person_id
FROM spellings AS s LEFT JOIN people AS p USING (person_id)
WHERE (s.first_name_std, s.last_name_std, s.address_std, s.generation_std)
      IS DISTINCT FROM (p.first_name_std, p.last_name_std, p.address_std, p.generation_std);

ALTER TABLE judgements ADD COLUMN question_id bigint;   -- the question that was answered
