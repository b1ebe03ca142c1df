-- What every machine that runs tasks or their callbacks must know of alerts: mails that wait, and tries that have begun.

-- Mails wait here until a server has taken them. Nobody is named in them: what they say of records is masked.
CREATE TABLE mails (
    mail_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,            -- by which receivers know it again, should they get it twice
    subject     text NOT NULL,
    message     text NOT NULL,                   -- as it is sent
    put_at      timestamptz NOT NULL DEFAULT now(),
    tries       integer NOT NULL DEFAULT 0,      -- by how many tries it was refused
    not_before  timestamptz NOT NULL DEFAULT now(),
    last_error  text,
    given_up_at timestamptz                      -- null: it is still to be sent
);

-- A try of a task that has begun and not ended, or of which somebody was told how it ended.
CREATE TABLE tries (
    note     text PRIMARY KEY,                   -- names the try
    dag_id   text,
    run_id   text,
    task     text,
    facts    jsonb,                              -- what is told of it
    told     boolean NOT NULL DEFAULT false,
    begun_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX tries_of_a_run ON tries (run_id) WHERE NOT told;
