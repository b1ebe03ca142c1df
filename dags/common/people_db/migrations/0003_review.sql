-- Clerical review: who has which question on the screen, what was skipped, and what an answer has turned round.

-- A question that stands on one screen is offered on no other one until `claimed_until`.
CREATE TABLE claims (
    batch_id      text NOT NULL,
    record_key    text NOT NULL,
    screen        text NOT NULL,                 -- a tab of a browser or a terminal
    claimed_by    text NOT NULL,                 -- name of the user
    claimed_until timestamptz NOT NULL,
    PRIMARY KEY (batch_id, record_key),
    FOREIGN KEY (batch_id, record_key) REFERENCES decisions ON DELETE CASCADE
);

CREATE INDEX claims_screen ON claims (screen);

-- A question that a user has skipped comes last for that user.
CREATE TABLE skips (
    batch_id   text NOT NULL,
    record_key text NOT NULL,
    skipped_by text NOT NULL,                    -- name of the user
    skipped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (batch_id, record_key, skipped_by),
    FOREIGN KEY (batch_id, record_key) REFERENCES decisions ON DELETE CASCADE
);

-- The columns of the decision that a judgement has turned round, as they were before; names are not among them.
-- Null: the judgement is from before answers could be taken back.
ALTER TABLE judgements ADD COLUMN decision_before jsonb;
CREATE INDEX judgements_of_a_decision ON judgements (batch_id, record_key);
CREATE INDEX judgements_judged_by ON judgements (judged_by, judgement_id);

CREATE INDEX decisions_in_review ON decisions (batch_id, record_key) WHERE decision = 'REVIEW';

CREATE FUNCTION log_odds(score double precision) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
    SELECT ln(greatest(score, 1e-12) / greatest(1 - score, 1e-12))
$$;

-- What people are asked: a row a question. Records of a sweep are people already, and are not asked about here.
CREATE VIEW open_questions AS
SELECT d.batch_id, d.record_key, b.run_id, b.source, b.loaded_at, d.reason, d.score, d.person_id,
       count(*) OVER (PARTITION BY coalesce(d.person_id::text, d.record_key)) AS waiting, -- next to the same person
       concat_ws(' ', d.first_name, d.last_name, d.address, p.first_name, p.last_name, p.address) AS names
FROM decisions AS d JOIN batches AS b USING (batch_id) LEFT JOIN people AS p ON p.person_id = d.person_id
WHERE d.decision = 'REVIEW' AND b.source <> 'people';

-- Those that are wanted: of the batch of a run, of a batch, for a reason, with a text (a pattern of LIKE); null: all.
CREATE FUNCTION asked_questions(of_run text, of_batch text, for_reason text, with_text text)
RETURNS SETOF open_questions LANGUAGE sql STABLE AS $$
    SELECT * FROM open_questions
    WHERE (of_run IS NULL OR run_id = of_run) AND (of_batch IS NULL OR batch_id = of_batch)
      AND (for_reason IS NULL OR reason = for_reason) AND (with_text IS NULL OR names ILIKE with_text)
$$;

-- Several judgements in one transaction change a batch several times: what counts is what it is at the end.
CREATE OR REPLACE FUNCTION batch_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    batch batches%ROWTYPE;
    counted bigint[];
BEGIN
    SELECT * INTO batch FROM batches WHERE batch_id = NEW.batch_id;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT array[count(*) FILTER (WHERE decision = 'DUPLICATE'), count(*) FILTER (WHERE decision = 'REVIEW'),
                 count(*) FILTER (WHERE decision = 'NEW')]
      INTO counted FROM decisions WHERE batch_id = batch.batch_id;
    counted := counted || (SELECT count(*) FROM quarantine WHERE batch_id = batch.batch_id)
                   || CASE TG_OP WHEN 'INSERT' THEN (SELECT count(*) FROM people WHERE batch_id = batch.batch_id)
                                 ELSE batch.inserted END;
    IF counted IS DISTINCT FROM array[batch.duplicates, batch.review, batch.inserted, batch.quarantined, batch.inserted]
    THEN
        RAISE EXCEPTION 'batch % does not add up: its rows count % as duplicates, review, new, quarantined, people',
            batch.batch_id, counted USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
