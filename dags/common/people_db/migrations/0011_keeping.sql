-- How long things are kept, who must not come back, and which files of erased people are still to be deleted.

ALTER TABLE quarantine
    ALTER COLUMN raw DROP NOT NULL,              -- null: removed after its time, or of somebody who is kept out
    ADD COLUMN system text;                      -- which system the row came from; null: before this column
CREATE INDEX quarantine_raw ON quarantine (batch_id) WHERE raw IS NOT NULL;

-- Batches whose decided records have no raw fields any more, and no record that waits.
CREATE TABLE fields_removed (
    batch_id   text PRIMARY KEY REFERENCES batches ON DELETE CASCADE,
    removed_at timestamptz NOT NULL DEFAULT now()
);

-- How a record was written, to be shown: its fields, and where these were removed the standardised spelling, if there is
-- one. A record without either said what the row of its person says.
CREATE VIEW fields_or_spelling AS
SELECT batch_id, record_key, first_name, last_name, address FROM decisions
WHERE num_nonnulls(first_name, last_name, address) > 0
UNION ALL
SELECT batch_id, record_key, s.first_name_std, s.last_name_std, s.address_std
FROM decisions AS d JOIN spellings AS s USING (batch_id, record_key)
WHERE num_nonnulls(d.first_name, d.last_name, d.address) = 0;

-- Keyed hashes of what people were known as who were erased and must not come back: of the standardised content, of
-- the fields as they were written, and of the key that a system gave them.
CREATE TABLE kept_out (
    key         text PRIMARY KEY,
    kept_out_at timestamptz NOT NULL DEFAULT now()
);

-- Files that say something of an erased person, until they are deleted.
CREATE TABLE erased_files (
    path      text PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT now()
);

-- The rights of who calls these functions go no further than what they do: temporary tables of the caller's making, and
-- their triggers, are not what these names mean.
SELECT set_config('search_path', current_setting('search_path') || ', pg_temp', true);

-- Removes what arrived in quarantined rows; the rows stay, with their reasons, and the batch adds up.
CREATE FUNCTION remove_raw_rows(loaded_before timestamptz) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    removed bigint;
BEGIN
    UPDATE quarantine AS q SET raw = NULL FROM batches AS b
    WHERE b.batch_id = q.batch_id AND b.loaded_at < loaded_before AND q.raw IS NOT NULL;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END $$;

-- Removes the raw fields of the records of a batch. Those that wait for an answer keep theirs: they are shown. Of a sweep,
-- these are the ones that no later sweep has found again.
CREATE FUNCTION remove_fields(of_batch text) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    removed bigint;
BEGIN
    UPDATE decisions AS d SET first_name = NULL, last_name = NULL, address = NULL FROM batches AS b
    WHERE b.batch_id = d.batch_id AND d.batch_id = of_batch
      AND (d.decision <> 'REVIEW' OR b.source = 'people' AND NOT EXISTS (
              SELECT FROM open_pairs AS o WHERE (o.batch_id, o.record_key) = (d.batch_id, d.record_key)))
      AND num_nonnulls(d.first_name, d.last_name, d.address) > 0;
    GET DIAGNOSTICS removed = ROW_COUNT;
    INSERT INTO fields_removed (batch_id)
    SELECT batch_id FROM batches AS b
    WHERE batch_id = of_batch
      AND NOT EXISTS (SELECT FROM decisions AS d
                      WHERE d.batch_id = b.batch_id AND num_nonnulls(d.first_name, d.last_name, d.address) > 0)
    ON CONFLICT DO NOTHING;
    RETURN removed;
END $$;

-- Writers to people, and promotions of models, take turns; nobody needs the right to change a whole table for that.
CREATE FUNCTION lock_people() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    LOCK TABLE people IN SHARE ROW EXCLUSIVE MODE;
END $$;
CREATE FUNCTION lock_models() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    LOCK TABLE models IN SHARE ROW EXCLUSIVE MODE;
END $$;
REVOKE EXECUTE ON FUNCTION remove_raw_rows(timestamptz), remove_fields(text), lock_people(), lock_models() FROM PUBLIC;
