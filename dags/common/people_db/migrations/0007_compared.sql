-- What the table held when a batch was compared and loaded: whoever came or changed later has not been compared with its
-- records. Without it, and where the rows were restored into another cluster, which counts otherwise, that is everybody.
ALTER TABLE batches
    ADD COLUMN compared_with pg_snapshot,        -- null: loaded before this migration
    ADD COLUMN compared_on   bigint,             -- the cluster whose counter that is
    ADD COLUMN compared_by   xid8;               -- what the batch itself has written was compared, though it is not in it
ALTER TABLE batches
    ALTER COLUMN compared_with SET DEFAULT pg_current_snapshot(),
    ALTER COLUMN compared_on SET DEFAULT (pg_control_system()).system_identifier,
    ALTER COLUMN compared_by SET DEFAULT pg_current_xact_id();

-- Whether everybody is standardised is asked with every answer of a reviewer: it must not read the whole table.
CREATE INDEX people_std_version ON people (std_version);
DROP INDEX people_not_standardised;
CREATE INDEX decisions_content_version ON decisions (content_version);
DROP INDEX decisions_not_standardised;
