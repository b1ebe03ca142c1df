"""Migrations: applied once each, nobody waits long behind them, and tables of an earlier version keep their rows."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from common import people_db as database
from common.errors import PeopleDbError, PeopleDbUnreachable
from common.people_db import migrations
from common.settings import VERSION

NUMBERS = sorted(int(path.name[:4]) for path in Path(migrations.__file__).parent.glob("[0-9]*.sql"))
BEFORE = Path(__file__).with_name("before_migrations.sql").read_text(encoding="utf-8")


def execute(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def test_they_are_numbered_without_gaps() -> None:
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS


def test_each_is_applied_once_and_recorded(people_db: str) -> None:
    assert database.is_empty()
    applied = execute(people_db, "SELECT number, version, applied_at FROM migrations ORDER BY number")
    assert [(number, version) for number, version, _ in applied] == [(number, VERSION) for number in NUMBERS]
    assert database.is_empty()
    assert execute(people_db, "SELECT number, version, applied_at FROM migrations ORDER BY number") == applied


def test_many_processes_may_migrate_at_once(people_db: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: database.is_empty(), range(8)))
    assert execute(people_db, "SELECT count(*) FROM migrations") == [(len(NUMBERS),)]


def test_an_older_checkout_refuses_a_newer_schema_in_one_line(people_db: str) -> None:
    assert database.is_empty()
    newer = NUMBERS[-1] + 1
    execute(people_db, "INSERT INTO migrations VALUES (%s, 'what is to come', '9.9')", newer)
    with pytest.raises(PeopleDbError, match=rf"by version 9\.9 .*migration {newer}.*update this checkout") as raised:
        database.is_empty()
    assert "\n" not in str(raised.value)


def test_a_migration_waits_for_nobody_long(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody reads the table in a transaction that is left open; what queues up behind the migration goes on."""
    monkeypatch.setattr("common.people_db.migrations.MIGRATION_LOCK_TIMEOUT", timedelta(seconds=0.3))
    execute(people_db, BEFORE)
    with psycopg.connect(people_db) as reader:
        reader.execute("SELECT FROM dedupe.people")
        with pytest.raises(PeopleDbUnreachable, match="lock timeout"):
            database.is_empty()
        assert execute(people_db, "SELECT to_regclass('migrations')") == [(None,)], "it was rolled back"
    assert not database.is_empty()


def test_one_process_migrates_while_others_wait_and_then_go_on(people_db: str) -> None:
    execute(people_db, BEFORE)
    barrier = threading.Barrier(4)

    def first_use(_: int) -> bool:
        barrier.wait()
        return database.is_empty()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(first_use, range(4))) == [False] * 4


def test_tables_of_the_version_before_migrate_with_their_rows(people_db: str) -> None:
    execute(people_db, BEFORE)
    tables = ("people", "batches", "decisions", "quarantine", "undone_batches", "judgements", "models", "canaries")
    query = "SELECT to_jsonb(t) FROM {} AS t ORDER BY to_jsonb(t)::text"
    before = {table: [row for (row,) in execute(people_db, query.format(table))] for table in tables}
    assert all(before[table] for table in tables if table not in {"canaries"}), "else there was nothing to keep"

    assert not database.is_empty()
    for table in tables:
        after = [row for (row,) in execute(people_db, query.format(table))]
        assert len(after) == len(before[table])
        for row, old in zip(sorted(after, key=_identity), sorted(before[table], key=_identity), strict=True):
            std_version = {"std_version": None} if table == "people" else {}  # they get a key of their content
            assert row.items() >= (old | std_version).items(), table


def _identity(row: dict[str, Any]) -> str:
    names = ("person_id", "batch_id", "record_key", "judgement_id", "version", "undone_at")
    return str([row.get(name) for name in names])


def test_a_schema_with_capitals_is_that_schema(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("connection", "migrations"):
        monkeypatch.setattr(f"common.people_db.{module}.PEOPLE_SCHEMA", "My People")
    assert database.is_empty()
    assert execute(people_db, "SELECT schemaname FROM pg_tables WHERE tablename = 'people'") == [("My People",)]
    assert database.read_people(database.plan_shards()[0]).num_rows == 0


def test_people_who_were_stored_under_a_folded_name_are_not_left_behind(
    people_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database.is_empty()
    for module in ("connection", "migrations"):
        monkeypatch.setattr(f"common.people_db.{module}.PEOPLE_SCHEMA", "Dedupe")
    with pytest.raises(PeopleDbError, match="set DEDUPE_SCHEMA=dedupe"):
        database.is_empty()


def test_a_server_whose_transactions_are_repeatable_read_loses_no_load(people_db: str) -> None:
    execute(people_db, "ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'repeatable read'")
    try:
        with database.writing() as connection:
            assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
    finally:
        execute(people_db, "ALTER ROLE CURRENT_USER RESET default_transaction_isolation")


def test_functions_with_the_rights_of_the_owner_see_no_temporary_tables_of_who_calls_them(people_db: str) -> None:
    assert database.is_empty()
    functions = execute(people_db, "SELECT proname, proconfig FROM pg_proc WHERE prosecdef ORDER BY 1")
    assert {"lock_people", "remove_fields"} < {name for name, _ in functions}
    assert {tuple(settings) for _, settings in functions} == {("search_path=dedupe, pg_temp",)}
    with database.transaction() as connection:
        connection.execute("CREATE TEMPORARY TABLE people ()")
        connection.execute("SELECT dedupe.lock_people()")
        locked = connection.execute(
            "SELECT mode FROM pg_locks WHERE relation = 'dedupe.people'::regclass AND mode LIKE 'ShareRow%'"
        ).fetchone()
    assert locked == ("ShareRowExclusiveLock",)
