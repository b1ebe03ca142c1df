"""The people database: what it promises whatever other clients, retries and crashes do."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from common import people_db as database
from common.errors import PeopleDbError, PeopleDbUnreachable
from common.linkage.batch import batch_pairs
from common.linkage.model import COMPARISON_VECTOR, STARTING_MODEL
from common.linkage.standardise import standardise
from common.linkage.validation import add_quarantine_reason
from common.people_db import Batch, is_empty, read_people
from common.pipeline import decide_batch, load_decided, plan_shards
from common.run_report import RunReport
from launch import people_db_connection
from postgres import Server

MODEL = STARTING_MODEL
TABLES = ("people", "batches", "decisions", "quarantine")

Row = tuple[str, str | None, str | None, str | None]
ANN: Row = ("ann", "Ann", "Smith", "12 Main Street, Springfield")
ANN_TYPO: Row = ("ann typo", "Anne", "Smith", "12 Main St, Springfeld")
BOB: Row = ("bob", "Bob", "Jones", "7 Oak Avenue, Dover")
EVE: Row = ("eve", "Evelyn", "Underwood", "3 Hill Rd, Troy")
NOBODY: Row = ("nobody", None, " ", "1 Nowhere Lane")


def records(*rows: Row) -> pa.Table:
    """A standardised batch of (record_key, first_name, last_name, address)."""
    keys, firsts, lasts, addresses = zip(*rows, strict=True) if rows else ([], [], [], [])
    text = pa.string()
    columns = {
        "record_key": pa.array(keys, text),
        "source_key": pa.array([f"source of {key}" for key in keys], text),
        "first_name": pa.array(firsts, text),
        "last_name": pa.array(lasts, text),
        "address": pa.array(addresses, text),
        "problem": pa.nulls(len(keys), text),
        "raw": pa.nulls(len(keys), text),
    }
    return add_quarantine_reason(standardise(pa.table(columns, metadata={"source": "s", "system": "s"})))


def load(
    *rows: Row, batch_id: str = "batch 1", run_id: str = "run 1", meanwhile: Callable[[], object] = lambda: None
) -> RunReport:
    """A batch from plan to load, as the tasks do it; `meanwhile` happens between comparing and loading."""
    batch = records(*rows)
    shards = plan_shards(batch)
    pairs = pa.concat_tables([batch_pairs(batch, read_people(s), MODEL, with_batch=s["with_batch"]) for s in shards])
    decisions = decide_batch(batch, MODEL.to_dict(), [pairs])
    meanwhile()
    return load_decided(Batch(batch_id, run_id, "s", "s", people_before=0), batch, MODEL, pairs, decisions, shards)


def execute(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, values)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def insert(dsn: str, *rows: Row) -> None:
    """People as any other client would insert them, knowing nothing of us."""
    for _, *fields in rows:
        execute(dsn, "INSERT INTO people (first_name, last_name, address) VALUES (%s, %s, %s)", *fields)


def everything(dsn: str) -> dict[str, list[Any]]:
    """All rows of all tables, but for the times."""
    times = "ARRAY['inserted_at', 'loaded_at', 'changed_xid', 'compared_with', 'compared_by']"
    query = f"SELECT to_jsonb(t) - {times} AS row FROM {{}} AS t ORDER BY row"  # noqa: S608 - fixed text
    return {table: [row for (row,) in execute(dsn, query.format(table))] for table in TABLES}


def decision_of(dsn: str, key: str) -> tuple[Any, ...]:
    return execute(dsn, "SELECT decision, reason, person_id FROM decisions WHERE record_key = %s", key)[0]


def one_line(text: str) -> bool:
    return "\n" not in text and len(text) < 300


@pytest.fixture
def as_role(people_db: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets connection `people_db` log in as another role, made for this test."""
    with psycopg.connect(people_db, autocommit=True) as connection:
        roles: list[str] = []
        host, database = connection.info.host, connection.info.dbname

        def become(role: str) -> None:
            connection.execute(f"CREATE ROLE {role} LOGIN")
            roles.append(role)
            monkeypatch.setenv(
                "AIRFLOW_CONN_PEOPLE_DB",
                json.dumps({"conn_type": "postgres", "host": host, "login": role, "schema": database}),
            )

        yield become
        for role in roles:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


# The schema ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("INSERT INTO batches VALUES ('b', 'r', 's', 3, 0, 1, 1, 0, 'm', 0)", "nothing_lost"),
        ("INSERT INTO batches VALUES ('b', 'r', 's', 1, -1, 1, 1, 0, 'm', 0)", "counts_not_negative"),
        ("INSERT INTO batches VALUES ('b', 'r', 's', 1, 0, 1, 0, 0, 'm', 0)", "does not add up"),
        ("INSERT INTO batches VALUES ('batch 1', 'r', 's', 0, 0, 0, 0, 0, 'm', 0)", "batches_pkey"),
        ("INSERT INTO people (batch_id, record_key) VALUES ('batch 1', 'ann')", "a_record_is_inserted_once"),
        ("INSERT INTO people (first_name, batch_id) VALUES ('Ann', 'none')", "people_batch_id_fkey"),
        ("INSERT INTO people (person_id) VALUES (1)", "people_pkey"),
        ("INSERT INTO decisions SELECT * FROM decisions", "decisions_pkey"),
        ("UPDATE decisions SET decision = 'MAYBE'", "decisions_decision_check"),
        ("UPDATE decisions SET score = 1.1", "decisions_score_check"),
        ("UPDATE decisions SET margin = -1", "decisions_margin_check"),
        ("UPDATE decisions SET person_id = 99", "decisions_person_id_fkey"),
        ("UPDATE decisions SET decision = 'REVIEW'", "matches_have_a_score"),
        ("INSERT INTO quarantine SELECT * FROM quarantine", "quarantine_pkey"),
    ],
)
def test_the_database_refuses_what_would_break_a_promise(people_db: str, statement: str, constraint: str) -> None:
    load(ANN, NOBODY)
    with pytest.raises(psycopg.IntegrityError, match=constraint):
        execute(people_db, statement)


# Loading ---------------------------------------------------------------------------------------------------------


def test_a_load_writes_people_decisions_and_quarantine(people_db: str) -> None:
    report = load(ANN, BOB, ANN_TYPO, NOBODY)
    assert str(report) == "received=4 quarantined=1 duplicates=1 review=0 inserted=2"
    stored = everything(people_db)
    assert [(p["person_id"], p["record_key"], p["first_name"]) for p in stored["people"]] == [
        (1, "ann", "Ann"),
        (2, "bob", "Bob"),
    ]
    assert {p["batch_id"] for p in stored["people"]} == {"batch 1"}
    twins = {"ann", "ann typo"}
    inserted = next(p for p in stored["people"] if p["record_key"] in twins)
    spare = next(d for d in stored["decisions"] if d["decision"] == "DUPLICATE")
    assert spare["person_id"] == inserted["person_id"]
    assert {spare["record_key"], spare["matched_record_key"]} == twins
    assert spare["score"] >= MODEL.accept_at
    assert set(spare["vector"]) == set(COMPARISON_VECTOR)
    assert (spare["model_version"], spare["run_id"]) == (MODEL.version, "run 1")
    assert stored["quarantine"] == [
        {
            "batch_id": "batch 1",
            "record_key": "nobody",
            "source_key": "source of nobody",
            "reason": "NO_NAME",
            "system": "s",
            "raw": {"source_key": "source of nobody", "first_name": None, "last_name": " ", "address": NOBODY[3]},
        }
    ]


def test_an_empty_batch_is_loaded_too(people_db: str) -> None:
    assert str(load()) == "received=0 quarantined=0 duplicates=0 review=0 inserted=0"
    assert len(everything(people_db)["batches"]) == 1


def test_loading_the_same_batch_again_changes_nothing(people_db: str) -> None:
    first = load(ANN, BOB, NOBODY)
    before = everything(people_db)
    assert load(ANN, BOB, NOBODY, run_id="run 2") == first
    assert everything(people_db) == before


def test_a_known_record_in_another_batch_is_not_inserted_again(people_db: str) -> None:
    load(ANN)
    execute(people_db, "UPDATE people SET first_name = 'Zoe', last_name = 'Quux', address = 'elsewhere'")
    assert load(ANN, BOB, batch_id="batch 2").inserted == 1
    assert execute(
        people_db, "SELECT reason, person_id FROM decisions WHERE batch_id = 'batch 2' AND record_key = 'ann'"
    ) == [("KNOWN_RECORD", 1)]


def test_ids_follow_the_highest_one_and_other_clients_go_on_from_there(people_db: str) -> None:
    assert is_empty()
    execute(people_db, "INSERT INTO people (person_id, first_name) VALUES (41, 'Zed')")
    load(BOB, ANN)
    insert(people_db, EVE)
    ids = execute(people_db, "SELECT first_name, person_id FROM people ORDER BY person_id")
    assert ids == [("Zed", 41), ("Ann", 42), ("Bob", 43), ("Evelyn", 44)]


@pytest.mark.parametrize("person_id", [-5, 0, 2**53 + 1, 2**63 - 100])
def test_any_bigint_is_an_id(people_db: str, person_id: int) -> None:
    assert is_empty()
    execute(
        people_db,
        "INSERT INTO people (person_id, first_name, last_name, address) VALUES (%s, %s, %s, %s)",
        person_id,
        *ANN[1:],
    )
    load(ANN_TYPO, BOB)
    assert decision_of(people_db, "ann typo") == ("DUPLICATE", "MATCH", person_id)
    assert decision_of(people_db, "bob")[2] == person_id + 1


@pytest.mark.parametrize(
    ("accident", "error"),
    [
        ("RAISE EXCEPTION USING MESSAGE = 'refused: ' || NEW", PeopleDbError),
        ("RAISE EXCEPTION 'no' USING ERRCODE = 'not_null_violation', DETAIL = NEW", PeopleDbError),
        ("RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full', DETAIL = NEW", PeopleDbUnreachable),
        ("PERFORM pg_terminate_backend(pg_backend_pid())", PeopleDbUnreachable),
    ],
    ids=["refused", "integrity", "disk full", "connection lost"],
)
def test_a_load_that_breaks_off_leaves_nothing_and_names_nobody(
    people_db: str, accident: str, error: type[Exception]
) -> None:
    rows = (ANN, BOB, ANN_TYPO, NOBODY)
    load(*rows)
    undisturbed = everything(people_db)
    execute(people_db, "TRUNCATE people, batches, decisions, quarantine RESTART IDENTITY CASCADE")

    body = f"BEGIN {accident}; RETURN NULL; END"
    execute(
        people_db,
        f"CREATE FUNCTION accident() RETURNS trigger LANGUAGE plpgsql AS '{body.replace(chr(39), chr(39) * 2)}'",
    )
    for table in TABLES:
        execute(people_db, f"CREATE TRIGGER accident AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION accident()")
        with pytest.raises(error) as raised:
            load(*rows)
        assert one_line(str(raised.value))
        assert not re.search("Ann|Smith|Springf|Nowhere|Jones", str(raised.value))
        assert raised.value.__suppress_context__, "Airflow would log the cause, with its detail"
        assert everything(people_db) == {table: [] for table in TABLES}
        execute(people_db, f"DROP TRIGGER accident ON {table}")

    load(*rows)
    assert everything(people_db) == undisturbed


# Other writers ---------------------------------------------------------------------------------------------------


def test_a_duplicate_that_another_client_inserts_after_the_comparison_is_found(people_db: str) -> None:
    report = load(ANN_TYPO, BOB, meanwhile=lambda: insert(people_db, ANN))
    assert decision_of(people_db, "ann typo") == ("DUPLICATE", "MATCH", 1)
    assert (report.duplicates, report.inserted) == (1, 1)


def test_a_duplicate_of_a_batch_that_another_run_loads_after_the_comparison_is_found(people_db: str) -> None:
    report = load(ANN_TYPO, BOB, batch_id="batch 2", meanwhile=lambda: load(ANN, BOB))
    assert (report.duplicates, report.inserted) == (2, 0)
    assert decision_of(people_db, "ann typo") == ("DUPLICATE", "MATCH", 1)


def test_a_person_who_becomes_similar_after_the_comparison_is_found(people_db: str) -> None:
    load(EVE)
    change = "UPDATE people SET first_name = %s, last_name = %s, address = %s"
    load(ANN_TYPO, batch_id="batch 2", meanwhile=lambda: execute(people_db, change, *ANN[1:]))
    assert decision_of(people_db, "ann typo") == ("DUPLICATE", "MATCH", 1)


def test_a_person_who_becomes_different_after_the_comparison_is_no_candidate_any_more(people_db: str) -> None:
    load(ANN)
    change = "UPDATE people SET first_name = %s, last_name = %s, address = %s"
    load(ANN_TYPO, batch_id="batch 2", meanwhile=lambda: execute(people_db, change, *EVE[1:]))
    assert decision_of(people_db, "ann typo")[0] == "NEW"


def test_a_person_who_is_deleted_after_the_comparison_is_no_candidate_any_more(people_db: str) -> None:
    insert(people_db, *([ANN, EVE] if is_empty() else []))
    load(ANN_TYPO, meanwhile=lambda: execute(people_db, "DELETE FROM people WHERE last_name = 'Smith'"))
    assert decision_of(people_db, "ann typo")[0] == "NEW"


def test_a_deleted_person_stays_in_the_decisions_as_null(people_db: str) -> None:
    insert(people_db, *([ANN] if is_empty() else []))
    load(ANN_TYPO)
    execute(people_db, "DELETE FROM people")
    assert decision_of(people_db, "ann typo") == ("DUPLICATE", "MATCH", None)


@contextmanager
def running(task: Callable[[], object]) -> Iterator[list[Any]]:
    """A task in a thread of its own; its result or exception is in the list afterwards."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(task())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield result
    thread.join(30)
    assert not thread.is_alive()


def wait_until_blocked(dsn: str) -> None:
    """Until some connection waits for a lock on people."""
    query = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'dedupe.people'::regclass"
    for _ in range(200):
        if execute(dsn, query):
            return
        time.sleep(0.05)
    pytest.fail("nobody waits")


def test_a_load_waits_for_a_writer_and_sees_what_it_wrote(people_db: str) -> None:
    """The writer began before the shards were planned, so its transaction is older than the snapshot."""
    assert is_empty()
    with psycopg.connect(people_db) as writer:
        writer.execute("INSERT INTO dedupe.people (first_name, last_name, address) VALUES (%s, %s, %s)", ANN[1:])
        with running(lambda: load(ANN_TYPO)) as result:
            wait_until_blocked(people_db)
            assert result == []
            writer.commit()
    assert result[0].duplicates == 1
    assert decision_of(people_db, "ann typo") == ("DUPLICATE", "MATCH", 1)


def test_two_loads_at_once_insert_nobody_twice(people_db: str) -> None:
    barrier = threading.Barrier(2, timeout=30)
    assert is_empty()

    def one(number: int, *rows: Row) -> RunReport:
        return load(*rows, batch_id=f"batch {number}", run_id=f"run {number}", meanwhile=barrier.wait)

    with ThreadPoolExecutor(2) as pool:
        reports = [f.result() for f in [pool.submit(one, 1, ANN, BOB), pool.submit(one, 2, BOB, ANN_TYPO, EVE)]]
    assert sum(report.inserted for report in reports) == 3
    assert execute(people_db, "SELECT count(*) FROM people") == [(3,)]


def test_a_lock_that_never_comes_free_is_one_clear_line(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.people_db.connection.LOCK_TIMEOUT", timedelta(seconds=0.2))
    assert is_empty()
    with psycopg.connect(people_db) as writer:
        writer.execute("LOCK TABLE dedupe.people IN ROW EXCLUSIVE MODE")
        with pytest.raises(PeopleDbUnreachable, match="lock timeout") as raised:
            load(ANN)
    assert one_line(str(raised.value))


# Standardised columns and shards ---------------------------------------------------------------------------------


def standardised_people(dsn: str) -> list[tuple[Any, ...]]:
    return execute(dsn, "SELECT first_name_std, last_name_std, address_std FROM people ORDER BY person_id")


def test_rows_of_other_clients_are_standardised(people_db: str) -> None:
    assert is_empty()
    insert(people_db, ("", "ÅSA", "O'Neil", ""), ("", "", "Jones", "7 Oak Avenue"))
    plan_shards(records())
    assert standardised_people(people_db) == [("asa", "oneil", None), (None, "jones", "7 oak ave")]

    execute(people_db, "UPDATE people SET last_name = 'Ek', inserted_at = now() WHERE last_name = 'Jones'")
    plan_shards(records())
    assert standardised_people(people_db)[1] == (None, "ek", "7 oak ave")


def test_rows_of_an_older_standardiser_are_standardised_again(people_db: str) -> None:
    load(ANN, BOB)
    expected = standardised_people(people_db)
    execute(people_db, "UPDATE people SET std_version = 'older', first_name_std = 'x'")
    plan_shards(records())
    assert standardised_people(people_db) == expected


def test_planning_again_touches_no_row(people_db: str) -> None:
    load(ANN, BOB)
    plan_shards(records())
    versions = execute(people_db, "SELECT xmin::text FROM people")
    plan_shards(records())
    assert execute(people_db, "SELECT xmin::text FROM people") == versions


@pytest.mark.parametrize("shards", [1, 2, 7])
@pytest.mark.parametrize("people", [1, 7, 20])
def test_shards_hold_everybody_once(people_db: str, monkeypatch: pytest.MonkeyPatch, shards: int, people: int) -> None:
    assert is_empty()
    execute(
        people_db,
        "INSERT INTO people (person_id, first_name) SELECT n * n - 3, 'p' || n FROM generate_series(1, %s) AS n",
        people,
    )
    per_shard = -(-people // shards)
    monkeypatch.setattr("common.people_db.people.SHARD_PEOPLE", per_shard)
    plan = plan_shards(records())
    parts = [read_people(shard) for shard in plan]
    assert len(plan) == -(-people // per_shard)
    assert all(0 < part.num_rows <= per_shard for part in parts)
    ids = [person_id for part in parts for person_id in part["person_id"].to_pylist()]
    assert sorted(ids) == [n * n - 3 for n in range(1, people + 1)]
    assert [shard["with_batch"] for shard in plan] == [True] + [False] * (len(plan) - 1)
    assert json.loads(json.dumps(plan)) == plan, "travels through XCom"


def test_an_empty_table_is_one_empty_shard(people_db: str) -> None:
    (shard,) = plan_shards(records())
    assert read_people(shard).num_rows == 0
    assert shard["with_batch"]


def test_sharded_and_whole_tables_lead_to_the_same_decisions(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load(ANN, BOB, EVE)
    monkeypatch.setattr("common.people_db.people.SHARD_PEOPLE", 1)
    report = load(
        ANN_TYPO, ("b", *BOB[1:]), ("n", "Nia", "New", "5 Elm St"), ("o", "Nia", "New", "5 Elm St"), batch_id="2"
    )
    assert str(report) == "received=4 quarantined=0 duplicates=3 review=0 inserted=1"


# Rights and connections ------------------------------------------------------------------------------------------


def test_a_role_without_rights_gets_one_clear_line(people_db: str, as_role: Callable[[str], None]) -> None:
    as_role("stranger")
    with pytest.raises(PeopleDbError, match="lacks rights in schema dedupe: permission denied") as raised:
        is_empty()
    assert one_line(str(raised.value))


def test_a_role_that_may_only_read_gets_one_clear_line(people_db: str, as_role: Callable[[str], None]) -> None:
    load(ANN)
    as_role("reader")
    execute(people_db, "GRANT USAGE ON SCHEMA dedupe TO reader")
    execute(people_db, "GRANT SELECT ON ALL TABLES IN SCHEMA dedupe TO reader")
    with pytest.raises(PeopleDbError, match="permission denied for table people") as raised:
        load(BOB, batch_id="batch 2")
    assert one_line(str(raised.value))


def test_a_database_without_an_encoding_gets_one_clear_line(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE any_bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
        monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", people_db_connection(postgres.socket_folder, "any_bytes"))
        with pytest.raises(PeopleDbError, match="is in SQL_ASCII: make one with ENCODING 'UTF8'"):
            is_empty()
        connection.execute("DROP DATABASE any_bytes")


def test_few_rights_are_enough(people_db: str, as_role: Callable[[str], None]) -> None:
    load(ANN)
    as_role("worker")
    for statement in LEAST_RIGHTS:
        execute(people_db, statement)
    insert(people_db, EVE)
    assert load(ANN_TYPO, BOB, NOBODY, batch_id="batch 2").inserted == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(re.sub(r"user=\S+", "user=worker", people_db), "DELETE FROM people")


LEAST_RIGHTS = (
    "GRANT USAGE ON SCHEMA dedupe TO worker",
    "GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA dedupe TO worker",
    "GRANT UPDATE ON ALL SEQUENCES IN SCHEMA dedupe TO worker",
    "GRANT EXECUTE ON FUNCTION dedupe.lock_people() TO worker",
)


def test_a_server_that_does_not_answer_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "postgres", "host": "/nonexistent", "login": "u", "password": "hush", "schema": "d"}
    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", json.dumps(connection))
    with pytest.raises(PeopleDbUnreachable, match=r"no connection to people_db: .*/nonexistent") as raised:
        is_empty()
    assert one_line(str(raised.value))
    assert "hush" not in str(raised.value)


# A table that was there before -----------------------------------------------------------------------------------

ADOPT = """
BEGIN;
CREATE SCHEMA dedupe;
ALTER TABLE customers SET SCHEMA dedupe;
ALTER TABLE dedupe.customers RENAME TO people;
ALTER TABLE dedupe.people RENAME COLUMN id TO person_id;
ALTER TABLE dedupe.people RENAME COLUMN given_name TO first_name;
ALTER TABLE dedupe.people RENAME COLUMN family_name TO last_name;
ALTER TABLE dedupe.people RENAME COLUMN street TO address;
CREATE VIEW customers AS
    SELECT person_id AS id, first_name AS given_name, last_name AS family_name, address AS street, vip
    FROM dedupe.people;
COMMIT;
"""
"""The README's recipe."""


@pytest.mark.parametrize("id_type", ["serial", "integer GENERATED ALWAYS AS IDENTITY", "bigint"])
def test_a_table_with_other_column_names_is_adopted(people_db: str, id_type: str) -> None:
    with psycopg.connect(people_db, autocommit=True) as client:
        client.execute(
            f"CREATE TABLE customers (id {id_type} PRIMARY KEY, given_name varchar(40), family_name varchar(40), "
            "street varchar(80), vip boolean NOT NULL DEFAULT false)"
        )
        client.execute("CREATE TABLE orders (customer integer REFERENCES customers)")
        client.execute(
            "INSERT INTO customers OVERRIDING SYSTEM VALUE "
            "VALUES (1, %s, %s, %s, true), (2, 'O''Neil', NULL, NULL, false)",
            ANN[1:],
        )
        client.execute("INSERT INTO orders VALUES (1)")
        client.execute(ADOPT)

        report = load(ANN_TYPO, BOB)
        assert str(report) == "received=2 quarantined=0 duplicates=1 review=0 inserted=1"
        assert decision_of(people_db, "ann typo") == ("DUPLICATE", "MATCH", 1)
        assert client.execute("SELECT * FROM customers ORDER BY id").fetchall() == [
            (1, *ANN[1:], True),
            (2, "O'Neil", None, None, False),
            (3, *BOB[1:], False),
        ]
        assert client.execute("SELECT vip FROM orders JOIN customers ON customer = id").fetchall() == [(True,)]

        if id_type == "bigint":  # without a default; a new one is the client's affair
            client.execute("ALTER VIEW customers ALTER COLUMN id SET DEFAULT 4")
        client.execute("INSERT INTO customers (given_name, family_name, street) VALUES (%s, %s, %s)", EVE[1:])
        client.execute("UPDATE customers SET street = %s WHERE id = 2", ["1 Elm St"])
    assert load(("e", *EVE[1:]), batch_id="batch 2").duplicates == 1
    assert execute(people_db, "SELECT address_std FROM people WHERE person_id = 2") == [("1 elm st",)]


def test_a_batch_knows_how_large_the_table_was_and_is(people_db: str) -> None:
    """Also where others insert before and after, and where somebody was judged to be new later."""
    with database.transaction():
        pass  # makes the tables
    insert(people_db, ANN)
    load(BOB, EVE)
    insert(people_db, ("", "Zoe", "Last", "9 Pine Rd"))
    first = database.loaded_batch("batch 1")
    assert (first.people_before, first.people_after) == (1, 3)
    load(("d", "Dan", "Fourth", "12 Elm St"), batch_id="batch 2", run_id="run 2")
    second = database.loaded_batch("batch 2")
    assert (second.people_before, second.people_after) == (4, 5)
    assert second.loaded_at > first.loaded_at
    assert database.loaded_batch("batch 1") == first
    with pytest.raises(PeopleDbError, match="there is no batch nobody"):
        database.loaded_batch("nobody")
