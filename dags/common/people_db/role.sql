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
GRANT USAGE ON SCHEMA dedupe TO dedupe_dag;
GRANT SELECT ON ALL TABLES IN SCHEMA dedupe TO dedupe_dag;
GRANT INSERT, UPDATE, DELETE ON dedupe.promotions TO dedupe_dag;
GRANT INSERT ON dedupe.people, dedupe.batches, dedupe.decisions, dedupe.spellings, dedupe.quarantine, dedupe.canaries,
    dedupe.models, dedupe.loaded_files TO dedupe_dag;
-- Standardised columns and marks of duplicates are written into people; it must be locked, too.
GRANT UPDATE ON dedupe.people, dedupe.spellings, dedupe.models TO dedupe_dag;
GRANT UPDATE (content_key, content_version) ON dedupe.decisions TO dedupe_dag;
GRANT SELECT, UPDATE ON SEQUENCE dedupe.people_person_id_seq TO dedupe_dag;

GRANT DELETE ON dedupe.people, dedupe.batches, dedupe.decisions, dedupe.spellings, dedupe.quarantine TO dedupe_upkeep;
GRANT UPDATE ON dedupe.batches, dedupe.decisions TO dedupe_upkeep;
GRANT INSERT ON dedupe.spellings, dedupe.apart, dedupe.undone_batches, dedupe.judgements TO dedupe_upkeep;
GRANT UPDATE, DELETE ON dedupe.judgements TO dedupe_upkeep;
GRANT DELETE ON dedupe.apart TO dedupe_upkeep;
-- Clerical review needs these too: the api-server, which serves its page, connects as this role.
GRANT INSERT, UPDATE, DELETE ON dedupe.claims, dedupe.skips TO dedupe_upkeep;
