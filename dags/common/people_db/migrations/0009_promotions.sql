-- Promotions that ask first: the champion stands until somebody says yes.
CREATE TABLE promotions (
    version     text PRIMARY KEY REFERENCES models,
    champion    text NOT NULL REFERENCES models,  -- the model that it was measured against
    changes     jsonb NOT NULL,                   -- what it would change; no names
    asked_by    text NOT NULL,                    -- run id
    asked_at    timestamptz NOT NULL DEFAULT now(),
    approved    boolean,                          -- null: nobody has answered yet
    answered_by text,                             -- name of the user
    answered_at timestamptz,
    CONSTRAINT answered_by_somebody CHECK (num_nulls(approved, answered_by, answered_at) IN (0, 3))
);
CREATE UNIQUE INDEX one_open_promotion ON promotions ((approved IS NULL)) WHERE approved IS NULL;
