-- The least that the DAG needs in the people database, and what dev/upkeep needs besides. Run it as the owner of the
-- tables, after the schema was made (by any first run as the owner), with other names if you like:
--     psql -d people -f dags/common/people_db/role.sql
-- Then give the roles passwords and put `dedupe_dag` into connection people_db. Neither can change the schema: after
-- an update of this project that brings a migration, let the owner run `dev/airflow tasks test dedupe_people
-- plan_shards 2026-11-08` once, and this file again.

DO $$
BEGIN
    IF to_regrole('dedupe_dag') IS NULL THEN
        CREATE ROLE dedupe_dag LOGIN;
    END IF;
    IF to_regrole('dedupe_upkeep') IS NULL THEN
        CREATE ROLE dedupe_upkeep LOGIN IN ROLE dedupe_dag;
    END IF;
END $$;
-- What an earlier version of this file has granted and is not needed.
REVOKE UPDATE ON dedupe.people, dedupe.spellings, dedupe.models FROM dedupe_dag;
GRANT USAGE ON SCHEMA dedupe TO dedupe_dag;
GRANT SELECT ON ALL TABLES IN SCHEMA dedupe TO dedupe_dag;
GRANT INSERT, UPDATE, DELETE ON dedupe.promotions TO dedupe_dag;
GRANT INSERT ON dedupe.filled TO dedupe_dag;
GRANT INSERT ON dedupe.people, dedupe.batches, dedupe.decisions, dedupe.spellings, dedupe.quarantine, dedupe.canaries,
    dedupe.models, dedupe.loaded_files, dedupe.shards TO dedupe_dag;
-- Nobody's name, and no model. What is made of names, and the marks of duplicates, are columns of ours.
GRANT UPDATE (first_name_std, last_name_std, address_std, generation_std, content_key, std_version, duplicate_of)
    ON dedupe.people TO dedupe_dag;
GRANT UPDATE (first_name_std, last_name_std, address_std, generation_std) ON dedupe.spellings TO dedupe_dag;
GRANT UPDATE (lineage, champion, promoted_by) ON dedupe.models TO dedupe_dag;
GRANT UPDATE (content_key, content_version) ON dedupe.decisions TO dedupe_dag;
GRANT DELETE ON dedupe.erased_files TO dedupe_dag;
GRANT INSERT, UPDATE, DELETE ON dedupe.mails, dedupe.tries TO dedupe_dag;
GRANT EXECUTE ON FUNCTION dedupe.lock_people(), dedupe.lock_models(), dedupe.remove_fields(text),
    dedupe.remove_raw_rows(timestamptz) TO dedupe_dag;
GRANT SELECT, UPDATE ON SEQUENCE dedupe.people_person_id_seq TO dedupe_dag;

-- Where sweeps remove duplicates (DEDUPE_SWEEP_REMOVES=1) the DAG needs these too:
-- GRANT INSERT ON dedupe.removed_people, dedupe.apart TO dedupe_dag;
-- GRANT UPDATE (person_id) ON dedupe.decisions, dedupe.spellings TO dedupe_dag;
-- GRANT DELETE ON dedupe.people TO dedupe_dag;

GRANT DELETE ON dedupe.people, dedupe.batches, dedupe.decisions, dedupe.spellings, dedupe.quarantine,
    dedupe.removed_people TO dedupe_upkeep;
GRANT UPDATE ON dedupe.batches, dedupe.decisions, dedupe.spellings TO dedupe_upkeep;
GRANT INSERT ON dedupe.spellings, dedupe.apart, dedupe.undone_batches, dedupe.judgements, dedupe.kept_out,
    dedupe.erased_files TO dedupe_upkeep;
GRANT UPDATE, DELETE ON dedupe.judgements TO dedupe_upkeep;
GRANT DELETE ON dedupe.apart, dedupe.filled TO dedupe_upkeep;
-- Undoing empties what a batch has filled in. Where DEDUPE_FILL_FROM is set, grant the same to dedupe_dag.
GRANT UPDATE (first_name, last_name, address) ON dedupe.people TO dedupe_upkeep;
-- Clerical review needs these too: the api-server, which serves its page, connects as this role.
GRANT INSERT, UPDATE, DELETE ON dedupe.claims, dedupe.skips TO dedupe_upkeep;
