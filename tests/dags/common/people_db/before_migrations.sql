-- Made by pg_dump of the last version whose schema had no numbers: people nobody has met, in every state.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA dedupe;
COMMENT ON SCHEMA dedupe IS '83c119c7609c';
CREATE FUNCTION dedupe.batch_adds_up() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    found bigint[];
BEGIN
    SELECT array[count(*) FILTER (WHERE decision = 'DUPLICATE'), count(*) FILTER (WHERE decision = 'REVIEW'),
                 count(*) FILTER (WHERE decision = 'NEW')]
      INTO found FROM decisions WHERE batch_id = NEW.batch_id;
    found := found || (SELECT count(*) FROM quarantine WHERE batch_id = NEW.batch_id)
                   || CASE TG_OP WHEN 'INSERT' THEN (SELECT count(*) FROM people WHERE batch_id = NEW.batch_id)
                                 ELSE NEW.inserted END;
    IF found IS DISTINCT FROM array[NEW.duplicates, NEW.review, NEW.inserted, NEW.quarantined, NEW.inserted] THEN
        RAISE EXCEPTION 'batch % does not add up: its rows count % as duplicates, review, new, quarantined, people',
            NEW.batch_id, found USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION dedupe.people_changed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.changed_xid := pg_current_xact_id();
    IF (NEW.first_name, NEW.last_name, NEW.address) IS DISTINCT FROM (OLD.first_name, OLD.last_name, OLD.address) THEN
        NEW.std_version := NULL;
    END IF;
    RETURN NEW;
END $$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE dedupe.batches (
    batch_id text NOT NULL,
    run_id text NOT NULL,
    source text NOT NULL,
    received bigint NOT NULL,
    quarantined bigint NOT NULL,
    duplicates bigint NOT NULL,
    review bigint NOT NULL,
    inserted bigint NOT NULL,
    model_version text NOT NULL,
    people_before bigint NOT NULL,
    loaded_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT counts_not_negative CHECK ((LEAST(quarantined, duplicates, review, inserted) >= 0)),
    CONSTRAINT nothing_lost CHECK ((received = (((quarantined + duplicates) + review) + inserted)))
);
CREATE TABLE dedupe.canaries (
    batch_id text NOT NULL,
    returned bigint NOT NULL,
    reinserted bigint NOT NULL,
    strangers bigint NOT NULL,
    dropped bigint NOT NULL,
    CONSTRAINT canaries_check CHECK (((reinserted >= 0) AND (reinserted <= returned))),
    CONSTRAINT canaries_check1 CHECK (((dropped >= 0) AND (dropped <= strangers)))
);
CREATE TABLE dedupe.decisions (
    batch_id text NOT NULL,
    record_key text NOT NULL,
    source_key text,
    first_name text,
    last_name text,
    address text,
    decision text NOT NULL,
    reason text NOT NULL,
    person_id bigint,
    matched_record_key text,
    score double precision,
    vector jsonb,
    contributions jsonb,
    runner_up_person_id bigint,
    runner_up_score double precision,
    margin double precision,
    model_version text NOT NULL,
    run_id text NOT NULL,
    CONSTRAINT decisions_decision_check CHECK ((decision = ANY (ARRAY['NEW'::text, 'DUPLICATE'::text, 'REVIEW'::text]))),
    CONSTRAINT decisions_margin_check CHECK ((margin >= (0)::double precision)),
    CONSTRAINT decisions_runner_up_score_check CHECK (((runner_up_score >= (0)::double precision) AND (runner_up_score <= (1)::double precision))),
    CONSTRAINT decisions_score_check CHECK (((score >= (0)::double precision) AND (score <= (1)::double precision))),
    CONSTRAINT matches_have_a_score CHECK (((decision = 'NEW'::text) OR (score IS NOT NULL) OR (reason = ANY (ARRAY['KNOWN_RECORD'::text, 'JUDGED'::text]))))
);
CREATE TABLE dedupe.judgements (
    judgement_id bigint NOT NULL,
    left_first_name text,
    left_last_name text,
    left_address text,
    right_first_name text,
    right_last_name text,
    right_address text,
    is_match boolean NOT NULL,
    batch_id text,
    record_key text,
    judged_by text DEFAULT CURRENT_USER NOT NULL,
    judged_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE dedupe.judgements ALTER COLUMN judgement_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME dedupe.judgements_judgement_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE dedupe.models (
    version text NOT NULL,
    formula text NOT NULL,
    content jsonb NOT NULL,
    results jsonb NOT NULL,
    lineage jsonb NOT NULL,
    trained_by text NOT NULL,
    promoted_by text,
    champion boolean DEFAULT false NOT NULL,
    CONSTRAINT champions_were_promoted CHECK (((NOT champion) OR (promoted_by IS NOT NULL)))
);
CREATE TABLE dedupe.people (
    person_id bigint NOT NULL,
    first_name text,
    last_name text,
    address text,
    source_key text,
    first_name_std text,
    last_name_std text,
    address_std text,
    generation_std text,
    std_version text,
    record_key text,
    batch_id text,
    duplicate_of bigint,
    inserted_at timestamp with time zone DEFAULT now() NOT NULL,
    changed_xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    CONSTRAINT people_check CHECK ((duplicate_of <> person_id))
);
ALTER TABLE dedupe.people ALTER COLUMN person_id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME dedupe.people_person_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE dedupe.quarantine (
    batch_id text NOT NULL,
    record_key text NOT NULL,
    source_key text,
    reason text NOT NULL,
    raw jsonb NOT NULL
);
CREATE TABLE dedupe.undone_batches (
    batch_id text CONSTRAINT batches_batch_id_not_null NOT NULL,
    run_id text CONSTRAINT batches_run_id_not_null NOT NULL,
    source text CONSTRAINT batches_source_not_null NOT NULL,
    received bigint CONSTRAINT batches_received_not_null NOT NULL,
    quarantined bigint CONSTRAINT batches_quarantined_not_null NOT NULL,
    duplicates bigint CONSTRAINT batches_duplicates_not_null NOT NULL,
    review bigint CONSTRAINT batches_review_not_null NOT NULL,
    inserted bigint CONSTRAINT batches_inserted_not_null NOT NULL,
    model_version text CONSTRAINT batches_model_version_not_null NOT NULL,
    people_before bigint CONSTRAINT batches_people_before_not_null NOT NULL,
    loaded_at timestamp with time zone CONSTRAINT batches_loaded_at_not_null NOT NULL,
    lost_their_person jsonb NOT NULL,
    undone_by text DEFAULT CURRENT_USER NOT NULL,
    undone_at timestamp with time zone DEFAULT now() NOT NULL
);
INSERT INTO dedupe.batches VALUES ('040b3f6187c6fc22468e791d7ba32e29', 'run 1', 'people', 1, 0, 1, 0, 0, '67052198d231', 2, '2026-11-24 16:48:39.894765+00');
INSERT INTO dedupe.batches VALUES ('1886f5b9b9673242bc01d2a4bf131168', 'run 2', 'incoming/one.csv', 4, 1, 0, 0, 3, '67052198d231', 0, '2026-11-24 16:48:40.348129+00');
INSERT INTO dedupe.batches VALUES ('da5bb1edd048a1a9c19e8fea8b280a24', 'run 5', 'incoming/four.csv', 2, 0, 2, 0, 0, '67052198d231', 0, '2026-11-24 16:48:41.582088+00');
INSERT INTO dedupe.batches VALUES ('7ab34cf6761c1d50ba4feee66e099c36', 'run 3', 'incoming/two.csv', 3, 0, 0, 1, 2, '67052198d231', 0, '2026-11-24 16:48:40.930809+00');
INSERT INTO dedupe.decisions VALUES ('040b3f6187c6fc22468e791d7ba32e29', 'db2ffd7722ecfa762e1ae030db860efd', '2', 'Ida', 'Quimby', '4 Wharf Ln, Salem OR 97301', 'DUPLICATE', 'WITHIN_BATCH', 1, '0585d36c882b9bce510fb528d3a44194', 0.9974274967267219, '{"address": 1.0, "swapped": false, "last_name": 1.0, "first_name": 1.0, "address_words": 1.0, "address_numbers": 1.0}', '{"address": 3.5421, "swapped": 0.0, "intercept": -9.5949, "last_name": 4.1648, "first_name": 2.7539, "address_words": 3.2285, "address_numbers": 1.8659}', NULL, NULL, NULL, '67052198d231', 'run 1');
INSERT INTO dedupe.decisions VALUES ('1886f5b9b9673242bc01d2a4bf131168', '2ac1532f0c1aaaba6098a67216a7bc87', 'a1', 'Ann', 'Smith', '12 Main Street, Springfield', 'NEW', 'NO_CANDIDATE', 3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '67052198d231', 'run 2');
INSERT INTO dedupe.decisions VALUES ('1886f5b9b9673242bc01d2a4bf131168', '2c1f94083ec0ac61e37ba9028febe3bc', 'a2', 'Bob', 'Jones', '7 Oak Avenue, Dover', 'NEW', 'NO_CANDIDATE', 4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '67052198d231', 'run 2');
INSERT INTO dedupe.decisions VALUES ('1886f5b9b9673242bc01d2a4bf131168', '89e1092664846290708e7f9551cb3405', NULL, 'Cy', NULL, NULL, 'NEW', 'NO_CANDIDATE', 5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '67052198d231', 'run 2');
INSERT INTO dedupe.decisions VALUES ('7ab34cf6761c1d50ba4feee66e099c36', '72493a6ad089b6e1f7f906d7c26082a4', 'b2', 'Vera', 'Smith', '12 Main Street, Springfield', 'REVIEW', 'HOUSEHOLD', 3, NULL, 0.9610744114674465, '{"address": 1.0, "swapped": false, "last_name": 1.0, "first_name": 0.0, "address_words": 1.0, "address_numbers": 1.0}', '{"address": 3.5421, "swapped": 0.0, "intercept": -9.5949, "last_name": 4.1648, "first_name": 0.0, "address_words": 3.2285, "address_numbers": 1.8659}', NULL, NULL, NULL, '67052198d231', 'run 3');
INSERT INTO dedupe.decisions VALUES ('7ab34cf6761c1d50ba4feee66e099c36', '21b71739957fd5648e0e1e9bfb3acfd2', 'b3', 'Evelyn', 'Underwood', '3 Hill Rd, Troy', 'NEW', 'NO_CANDIDATE', 6, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '67052198d231', 'run 3');
INSERT INTO dedupe.decisions VALUES ('da5bb1edd048a1a9c19e8fea8b280a24', '146ae27fd556e9b34b683097d67720a2', 'd1', 'Robert', 'Jones', '7 Oak Avenue, Dover', 'DUPLICATE', 'MATCH', 4, NULL, 0.9610744114674465, '{"address": 1.0, "swapped": false, "last_name": 1.0, "first_name": 0.5, "address_words": 1.0, "address_numbers": 1.0}', '{"address": 3.5421, "swapped": 0.0, "intercept": -9.5949, "last_name": 4.1648, "first_name": 0.0, "address_words": 3.2285, "address_numbers": 1.8659}', NULL, NULL, NULL, '67052198d231', 'run 5');
INSERT INTO dedupe.decisions VALUES ('da5bb1edd048a1a9c19e8fea8b280a24', '9d470f64746741991818e297ac2a7b0e', 'd2', 'Bobby', 'Jones', '7 Oak Ave', 'DUPLICATE', 'MATCH', 4, NULL, 0.986016568586432, '{"address": 0.92, "swapped": false, "last_name": 1.0, "first_name": 0.9066666666666667, "address_words": 1.0, "address_numbers": 1.0}', '{"address": 3.5421, "swapped": 0.0, "intercept": -9.5949, "last_name": 4.1648, "first_name": 1.0494000000000012, "address_words": 3.2285, "address_numbers": 1.8659}', NULL, NULL, NULL, '67052198d231', 'run 5');
INSERT INTO dedupe.decisions VALUES ('7ab34cf6761c1d50ba4feee66e099c36', '8bc9aa8dc78ac215b97333eaaa82181d', 'b1', 'Anne', 'Smith', '12 Main St, Springfeld', 'NEW', 'JUDGED', 7, NULL, 0.9939183760744923, '{"address": 0.990909090909091, "swapped": false, "last_name": 1.0, "first_name": 0.9416666666666667, "address_words": 0.9886363636363636, "address_numbers": 1.0}', '{"address": 3.5421, "swapped": 0.0, "intercept": -9.5949, "last_name": 4.1648, "first_name": 1.8899833333333325, "address_words": 3.2285, "address_numbers": 1.8659}', NULL, NULL, NULL, '67052198d231', 'run 3');
INSERT INTO dedupe.judgements OVERRIDING SYSTEM VALUE VALUES (1, 'Anne', 'Smith', '12 Main St, Springfeld', 'Ann', 'Smith', '12 Main Street, Springfield', false, '7ab34cf6761c1d50ba4feee66e099c36', '8bc9aa8dc78ac215b97333eaaa82181d', 'postgres', '2026-11-24 16:48:41.674103+00');
INSERT INTO dedupe.models VALUES ('67052198d231', 'shipped', '{"curves": {"address": {"missing": 1.2842, "log_odds": [0.0, 0.0, 0.8154, 3.5421, 3.5421], "similarities": [0.6, 0.7, 0.8, 0.9, 1.0]}, "last_name": {"missing": 1.9412, "log_odds": [0.0, 2.1035, 3.1942, 4.1648], "similarities": [0.8, 0.87, 0.93, 1.0]}, "first_name": {"missing": 0.0921, "log_odds": [0.0, 0.0, 1.7172, 2.7539], "similarities": [0.8, 0.87, 0.93, 1.0]}, "address_words": {"missing": 1.2842, "log_odds": [0.0, 0.5203, 0.5659, 3.2285, 3.2285], "similarities": [0.2, 0.4, 0.6, 0.8, 1.0]}, "address_numbers": {"missing": 1.2842, "log_odds": [0.0, 1.6716, 1.8659], "similarities": [0.0, 0.5, 1.0]}}, "margin": 0.5, "swapped": 0.0, "accept_at": 0.8694, "intercept": -9.5949, "review_at": 0.2977}', '{}', '{"from": "shipped"}', 'run 1', 'run 1', true);
INSERT INTO dedupe.people VALUES (1, 'Ida', 'Quimby', '4 Wharf Lane, Salem, OR 97301', NULL, 'ida', 'quimby', '4 wharf ln salem or 97301', NULL, '2-c7aa3714', NULL, NULL, NULL, '2026-11-24 16:47:27.153365+00', '756');
INSERT INTO dedupe.people VALUES (2, 'Ida', 'Quimby', '4 Wharf Ln, Salem OR 97301', NULL, 'ida', 'quimby', '4 wharf ln salem or 97301', NULL, '2-c7aa3714', NULL, NULL, 1, '2026-11-24 16:47:27.153365+00', '756');
INSERT INTO dedupe.people VALUES (3, 'Ann', 'Smith', '12 Main Street, Springfield', 'a1', 'ann', 'smith', '12 main st springfield', NULL, '2-c7aa3714', '2ac1532f0c1aaaba6098a67216a7bc87', '1886f5b9b9673242bc01d2a4bf131168', NULL, '2026-11-24 16:48:40.348129+00', '758');
INSERT INTO dedupe.people VALUES (4, 'Bob', 'Jones', '7 Oak Avenue, Dover', 'a2', 'bob', 'jones', '7 oak ave dover', NULL, '2-c7aa3714', '2c1f94083ec0ac61e37ba9028febe3bc', '1886f5b9b9673242bc01d2a4bf131168', NULL, '2026-11-24 16:48:40.348129+00', '758');
INSERT INTO dedupe.people VALUES (5, 'Cy', NULL, NULL, NULL, 'cy', NULL, NULL, NULL, '2-c7aa3714', '89e1092664846290708e7f9551cb3405', '1886f5b9b9673242bc01d2a4bf131168', NULL, '2026-11-24 16:48:40.348129+00', '758');
INSERT INTO dedupe.people VALUES (6, 'Evelyn', 'Underwood', '3 Hill Rd, Troy', 'b3', 'evelyn', 'underwood', '3 hl rd troy', NULL, '2-c7aa3714', '21b71739957fd5648e0e1e9bfb3acfd2', '7ab34cf6761c1d50ba4feee66e099c36', NULL, '2026-11-24 16:48:40.930809+00', '759');
INSERT INTO dedupe.people VALUES (7, 'Anne', 'Smith', '12 Main St, Springfeld', 'b1', 'anne', 'smith', '12 main st springfeld', NULL, '2-c7aa3714', '8bc9aa8dc78ac215b97333eaaa82181d', '7ab34cf6761c1d50ba4feee66e099c36', NULL, '2026-11-24 16:48:41.674103+00', '763');
INSERT INTO dedupe.quarantine VALUES ('1886f5b9b9673242bc01d2a4bf131168', 'b2dd40e63ceb9e01bd3689d74d01f79c', NULL, 'NO_NAME', '{"address": "1 Nowhere Lane", "last_name": " ", "first_name": null, "source_key": null}');
INSERT INTO dedupe.undone_batches VALUES ('b29758e3650c6b1c70cf5070c92a0834', 'run 4', 'incoming/three.csv', 1, 0, 0, 0, 1, '67052198d231', 0, '2026-11-24 16:48:41.272355+00', '{}', 'postgres', '2026-11-24 16:48:41.644928+00');
SELECT pg_catalog.setval('dedupe.judgements_judgement_id_seq', 1, true);
SELECT pg_catalog.setval('dedupe.people_person_id_seq', 7, true);
ALTER TABLE ONLY dedupe.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (batch_id);
ALTER TABLE ONLY dedupe.canaries
    ADD CONSTRAINT canaries_pkey PRIMARY KEY (batch_id);
ALTER TABLE ONLY dedupe.decisions
    ADD CONSTRAINT decisions_pkey PRIMARY KEY (batch_id, record_key);
ALTER TABLE ONLY dedupe.judgements
    ADD CONSTRAINT judgements_pkey PRIMARY KEY (judgement_id);
ALTER TABLE ONLY dedupe.models
    ADD CONSTRAINT models_pkey PRIMARY KEY (version);
ALTER TABLE ONLY dedupe.people
    ADD CONSTRAINT people_pkey PRIMARY KEY (person_id);
ALTER TABLE ONLY dedupe.people
    ADD CONSTRAINT people_record_key_key UNIQUE (record_key);
ALTER TABLE ONLY dedupe.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (batch_id, record_key);
CREATE INDEX decisions_person_id ON dedupe.decisions USING btree (person_id);
CREATE UNIQUE INDEX one_champion ON dedupe.models USING btree (champion) WHERE champion;
CREATE INDEX people_batch_id ON dedupe.people USING btree (batch_id);
CREATE INDEX people_changed_xid ON dedupe.people USING btree (changed_xid);
CREATE INDEX people_duplicate_of ON dedupe.people USING btree (duplicate_of);
CREATE INDEX people_not_standardised ON dedupe.people USING btree (person_id) WHERE (std_version IS NULL);
CREATE CONSTRAINT TRIGGER batch_adds_up AFTER INSERT OR UPDATE ON dedupe.batches DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dedupe.batch_adds_up();
CREATE TRIGGER people_changed BEFORE UPDATE OF first_name, last_name, address, first_name_std, last_name_std, address_std, generation_std ON dedupe.people FOR EACH ROW EXECUTE FUNCTION dedupe.people_changed();
ALTER TABLE ONLY dedupe.canaries
    ADD CONSTRAINT canaries_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES dedupe.batches(batch_id) ON DELETE CASCADE;
ALTER TABLE ONLY dedupe.decisions
    ADD CONSTRAINT decisions_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES dedupe.batches(batch_id);
ALTER TABLE ONLY dedupe.decisions
    ADD CONSTRAINT decisions_person_id_fkey FOREIGN KEY (person_id) REFERENCES dedupe.people(person_id) ON DELETE SET NULL;
ALTER TABLE ONLY dedupe.people
    ADD CONSTRAINT people_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES dedupe.batches(batch_id);
ALTER TABLE ONLY dedupe.people
    ADD CONSTRAINT people_duplicate_of_fkey FOREIGN KEY (duplicate_of) REFERENCES dedupe.people(person_id) ON DELETE SET NULL;
ALTER TABLE ONLY dedupe.quarantine
    ADD CONSTRAINT quarantine_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES dedupe.batches(batch_id);
