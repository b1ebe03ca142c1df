"""How the people database is reached: transactions, the schema, and rows as Arrow tables.

Tables and columns are those of `schema.sql`. SQL is fixed text, values are bound, and the schema's name is bound too,
as the search path.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import psycopg
import pyarrow as pa
from airflow.providers.postgres.hooks.postgres import PostgresHook
from psycopg import sql
from psycopg.conninfo import make_conninfo

from common.errors import PeopleDbError, PeopleDbUnreachable
from common.settings import LOCK_TIMEOUT, PEOPLE_CONN_ID, PEOPLE_SCHEMA

Transaction = psycopg.Connection[Any]
"""A connection within `transaction` or `writing`: what is done by it is done as a whole or not at all."""

RECORD = ("source_key", "first_name", "last_name", "address")
"""The columns of a record as it arrived."""

_SCHEMA_SQL = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
_SCHEMA_VERSION = hashlib.sha256(_SCHEMA_SQL.encode()).hexdigest()[:12]
_SCHEMA_LOCK = 0x6465_6475_7065  # any number of ours: the advisory lock under which the schema is applied


@contextmanager
def transaction() -> Iterator[Transaction]:
    """One transaction with the search path set and the schema applied.

    Raises:
        PeopleDbUnreachable: no connection, or it was lost.
        PeopleDbError: the role may not do what is needed, or the database refused for another reason.
    """
    try:
        connection = cast("Transaction", PostgresHook(PEOPLE_CONN_ID).get_conn())
    except psycopg.OperationalError as error:
        raise PeopleDbUnreachable(f"no connection to {PEOPLE_CONN_ID}: {_one_line(error)}") from None
    try:
        with connection:
            connection.execute("SELECT set_config('search_path', %s, false)", [PEOPLE_SCHEMA])
            _apply_schema(connection)
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise PeopleDbError(
            f"the role of {PEOPLE_CONN_ID} lacks rights in schema {PEOPLE_SCHEMA}: {_one_line(error)}"
        ) from None
    except psycopg.OperationalError as error:
        raise PeopleDbUnreachable(f"connection to {PEOPLE_CONN_ID} failed: {_one_line(error)}") from None
    except psycopg.IntegrityError as error:
        raise PeopleDbError(f"{PEOPLE_CONN_ID} refused: {_one_line(error)}") from None
    except psycopg.Error as error:
        # Such messages may quote values.
        raise PeopleDbError(f"{PEOPLE_CONN_ID} raised {type(error).__name__}, SQLSTATE {error.sqlstate}") from None


@contextmanager
def writing() -> Iterator[Transaction]:
    """A transaction during which other writers to people wait; readers go on.

    Raises:
        PeopleDbUnreachable: no connection, it was lost, or others have been writing for longer than `LOCK_TIMEOUT`.
        PeopleDbError: as `transaction`.
    """
    with transaction() as connection:
        milliseconds = str(int(LOCK_TIMEOUT.total_seconds() * 1000))
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [milliseconds])
        connection.execute("LOCK TABLE people IN SHARE ROW EXCLUSIVE MODE")
        yield connection


def _one_line(error: psycopg.Error) -> str:
    """The primary message only: the detail of an error may quote a row."""
    message = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(message.split())


def _apply_schema(connection: Transaction) -> None:
    applied = "SELECT obj_description(to_regnamespace(quote_ident(%s)), 'pg_namespace')"
    if connection.execute(applied, [PEOPLE_SCHEMA]).fetchone() == (_SCHEMA_VERSION,):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
    schema = sql.Identifier(PEOPLE_SCHEMA)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    connection.execute(_SCHEMA_SQL)
    connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, _SCHEMA_VERSION))
    connection.commit()  # applied for good, whatever becomes of the transaction that needed it


def read_arrow(query: str, values: list[Any]) -> pa.Table:
    """The rows of a query as Arrow, without a detour through Python objects."""
    import adbc_driver_postgresql.dbapi

    with transaction() as connection:
        uri = make_conninfo(connection.info.dsn, password=connection.info.password or None)
    with adbc_driver_postgresql.dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('search_path', $1, false)", [PEOPLE_SCHEMA])
        cursor.execute(query, values or None)
        return cursor.fetch_arrow_table()


def value(cursor: psycopg.Cursor[Any]) -> Any:
    """The one value that a query has selected."""
    (row,) = cursor.fetchall()
    return row[0]


def as_table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows of a query as a table of `schema`."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table, as COPY takes them."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
