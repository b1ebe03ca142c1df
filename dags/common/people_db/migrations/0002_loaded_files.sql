-- The files that batches were made of, by their content: a folder of files is read for what is not here yet.
CREATE TABLE loaded_files (
    sha256   text NOT NULL,                      -- of the bytes of the file
    batch_id text NOT NULL REFERENCES batches ON DELETE CASCADE,
    run_id   text NOT NULL,
    name     text NOT NULL,
    PRIMARY KEY (sha256, batch_id)
);
CREATE INDEX loaded_files_batch_id ON loaded_files (batch_id);
