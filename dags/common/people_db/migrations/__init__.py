"""Numbered migrations of the schema: `0001_tables.sql` and so on, applied once each, in order, never back."""

from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from common.errors import PeopleDbError
from common.settings import MIGRATION_LOCK_TIMEOUT, PEOPLE_SCHEMA, VERSION

_MIGRATIONS = {int(path.name[:4]): path for path in sorted(Path(__file__).parent.glob("[0-9]*.sql"))}
_LATEST = max(_MIGRATIONS)
_MIGRATION_LOCK = 0x6465_6475_7065  # any number of ours: the advisory lock under which one process migrates


def migrate(connection: psycopg.Connection[Any]) -> None:
    """Bring the schema up to date; each migration that is missing is a transaction of its own.

    Args:
        connection: with the search path set to our schema. Nothing has been done in its transaction yet.

    Raises:
        PeopleDbError: a newer version of this project has migrated the schema.
        psycopg.errors.LockNotAvailable: somebody holds a table that a migration changes. Nobody is kept waiting
            behind it for longer than `MIGRATION_LOCK_TIMEOUT`; the migration comes with the next try.
    """
    if _applied(connection) == _LATEST:
        return
    connection.commit()  # keeps the search path when a migration is rolled back
    connection.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
    connection.commit()  # the next transaction sees what others have migrated while this one waited
    try:
        for number in range(_applied(connection) + 1, _LATEST + 1):
            _apply(connection, number)
    finally:
        connection.rollback()
        connection.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])
        connection.commit()


def _applied(connection: psycopg.Connection[Any]) -> int:
    """The number of the last migration that the schema has seen, 0 if none."""
    if connection.execute("SELECT to_regclass('migrations')").fetchone() == (None,):
        _check_name(connection)
        return 0
    row = connection.execute("SELECT number, version FROM migrations ORDER BY number DESC LIMIT 1").fetchone()
    number, version = row or (0, "")
    if number > _LATEST:
        raise PeopleDbError(
            f"schema {PEOPLE_SCHEMA} was migrated by version {version} of this project (migration {number}); "
            f"this is version {VERSION} (migration {_LATEST}): update this checkout"
        )
    return int(number)


def _check_name(connection: psycopg.Connection[Any]) -> None:
    """Earlier versions folded the schema's name to lower case: refuse to begin an empty table beside the full one."""
    folded = PEOPLE_SCHEMA.lower()
    people = connection.execute("SELECT to_regclass(quote_ident(%s) || '.people')", [folded]).fetchone()
    if folded != PEOPLE_SCHEMA and people != (None,):
        raise PeopleDbError(f"the people are in schema {folded}, not in {PEOPLE_SCHEMA}: set DEDUPE_SCHEMA={folded}")


def _apply(connection: psycopg.Connection[Any], number: int) -> None:
    path = _MIGRATIONS[number]
    milliseconds = str(int(MIGRATION_LOCK_TIMEOUT.total_seconds() * 1000))
    connection.execute("SELECT set_config('lock_timeout', %s, true)", [milliseconds])
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(PEOPLE_SCHEMA)))
    connection.execute(path.read_text(encoding="utf-8").encode())
    connection.execute(
        "INSERT INTO migrations (number, name, version) VALUES (%s, %s, %s)", [number, path.stem[5:], VERSION]
    )
    connection.commit()
