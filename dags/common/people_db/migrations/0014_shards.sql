-- Shards of the table that stay the same from run to run, so that what was encoded of one can be kept.

-- Where shards end: of people the highest person_id, of spellings the highest spelling_id. What comes after the last
-- end is the shard that grows.
CREATE TABLE shards (
    kind    text NOT NULL CHECK (kind IN ('people', 'spellings')),
    last_id bigint NOT NULL,
    PRIMARY KEY (kind, last_id)
);

-- A spelling's place among all: newcomers come last. Not from a sequence, which would leave gaps where a try was killed.
ALTER TABLE spellings ADD COLUMN spelling_id bigint;
UPDATE spellings AS s SET spelling_id = placed.place
FROM (SELECT batch_id, record_key, row_number() OVER (ORDER BY loaded_at, batch_id, record_key) AS place
      FROM spellings JOIN batches USING (batch_id)) AS placed
WHERE (s.batch_id, s.record_key) = (placed.batch_id, placed.record_key);
ALTER TABLE spellings ALTER COLUMN spelling_id SET NOT NULL;
CREATE INDEX spellings_spelling_id ON spellings (spelling_id);

CREATE FUNCTION spelling_placed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.spelling_id := coalesce(NEW.spelling_id, (SELECT max(spelling_id) FROM spellings) + 1, 1);
    RETURN NEW;
END $$;
CREATE TRIGGER spelling_placed BEFORE INSERT ON spellings FOR EACH ROW EXECUTE FUNCTION spelling_placed();

CREATE OR REPLACE VIEW candidates AS
SELECT coalesce(duplicate_of, person_id) AS person_id, NULL::bigint AS question_id,
       duplicate_of IS NULL AS first_spelling, NULL::text AS via_batch_id, NULL::text AS via_record_key,
       first_name_std, last_name_std, address_std, generation_std, person_id AS row_id, NULL::bigint AS spelling_id
FROM people
UNION ALL
SELECT coalesce(p.duplicate_of, p.person_id), s.question_id, false, s.batch_id, s.record_key,
       s.first_name_std, s.last_name_std, s.address_std, s.generation_std, p.person_id, s.spelling_id
FROM spellings AS s LEFT JOIN people AS p USING (person_id)
WHERE (s.first_name_std, s.last_name_std, s.address_std, s.generation_std)
      IS DISTINCT FROM (p.first_name_std, p.last_name_std, p.address_std, p.generation_std);

-- People whom a sweep has taken out of the table, instead of marking them: the whole row, whatever columns it has.
CREATE TABLE removed_people (
    batch_id    text NOT NULL,                   -- the sweep, and the record that the person was in it
    record_key  text NOT NULL,
    person_id   bigint NOT NULL,
    survivor_id bigint NOT NULL,
    content     jsonb NOT NULL,
    decided     jsonb NOT NULL,                  -- decisions that were about the person: [[batch_id, record_key], ...]
    spelt       jsonb NOT NULL,                  -- spellings likewise
    apart       bigint[] NOT NULL,               -- whom somebody called another person
    removed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (batch_id, record_key),
    FOREIGN KEY (batch_id, record_key) REFERENCES decisions ON DELETE CASCADE
);
CREATE INDEX removed_people_person_id ON removed_people (person_id);
CREATE INDEX removed_people_survivor_id ON removed_people (survivor_id);
CREATE INDEX removed_people_batch ON removed_people ((content ->> 'batch_id'));
