"""How the people database is reached: transactions, and rows as Arrow tables.

SQL is fixed text, values are bound, and the schema's name is bound too, as the search path.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast

import psycopg
import pyarrow as pa
from psycopg.conninfo import make_conninfo

from common.errors import PeopleDbError, PeopleDbUnreachable
from common.people_db.migrations import migrate
from common.settings import LOCK_TIMEOUT, PEOPLE_CONN_ID, PEOPLE_SCHEMA

Transaction = psycopg.Connection[Any]
"""A connection within `transaction` or `writing`: what is done by it is done as a whole or not at all."""

_PAGE = 50_000  # rows

RECORD = ("source_key", "first_name", "last_name", "address")
"""The columns of a record as it arrived."""

# libpq tells no SQLSTATE about a connection that fails. In another language than English these come to be retried.
_WRONG_SETTINGS = re.compile(
    r'authentication failed|no password supplied|(role|database) ".*" does not exist|no pg_hba\.conf entry'
)


Connect = Callable[[], Transaction]
"""Opens a connection to the people database."""


def connector() -> Connect:
    """Opens connections to where ``people_db`` leads now, for another thread too: it asks Airflow for nothing any more.

    Raises:
        PeopleDbUnreachable, PeopleDbError: as `transaction`.
    """
    with transaction() as connection:
        uri = make_conninfo(connection.info.dsn, password=connection.info.password or None)
    return partial(psycopg.connect, uri)


@contextmanager
def transaction(patience: timedelta | None = None, connect: Connect | None = None) -> Iterator[Transaction]:
    """One transaction with the search path set and all migrations applied.

    Args:
        patience: how long to wait for those who hold a lock, such as a migration that goes on; as long as it takes
            unless given.
        connect: opens the connection, where Airflow must not be asked for it.

    Raises:
        PeopleDbUnreachable: no connection, it was lost, or somebody has held a lock for longer than that.
        PeopleDbError: the password, role or name of the database is wrong, its encoding is none, the role may not do
            what is needed, or the database refused for another reason.
    """
    try:
        connection = (connect or _connect)()
    except psycopg.OperationalError as error:
        reason = _one_line(error)
        kind = PeopleDbError if _WRONG_SETTINGS.search(reason) else PeopleDbUnreachable
        raise kind(f"no connection to {PEOPLE_CONN_ID}: {reason}") from None
    try:
        # Each statement sees what others have committed: what was compared is compared again under the lock.
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        with connection:
            if connection.info.parameter_status("server_encoding") == "SQL_ASCII":  # bytes that may be anything
                raise PeopleDbError(f"the database of {PEOPLE_CONN_ID} is in SQL_ASCII: make one with ENCODING 'UTF8'")
            connection.execute("SELECT set_config('search_path', quote_ident(%s), false)", [PEOPLE_SCHEMA])
            if patience:
                connection.execute("SELECT set_config('lock_timeout', %s, false)", [_milliseconds(patience)])
            migrate(connection)
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


def _connect() -> Transaction:
    """A connection by Airflow's ``people_db``; without Airflow, which takes seconds to import, where that is simple."""
    # Seconds. A host that does not answer would hold every task for minutes, and each of its callbacks as well.
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
    given = os.environ.get(f"AIRFLOW_CONN_{PEOPLE_CONN_ID.upper()}", "")
    if given.startswith("{") and "AIRFLOW__SECRETS__BACKEND" not in os.environ:
        fields = json.loads(given)
        if fields.keys() <= _PLAIN.keys():
            known = {_PLAIN[name]: text for name, text in fields.items() if text not in (None, "") and _PLAIN[name]}
            return psycopg.connect(**known)
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    return cast("Transaction", PostgresHook(PEOPLE_CONN_ID).get_conn())


_PLAIN = {
    "conn_type": "",
    **{"host": "host", "port": "port", "login": "user", "password": "password", "schema": "dbname"},
}
"""What the fields of a connection in the environment, as JSON, are called by the driver: those without extras."""


@contextmanager
def writing(patience: timedelta | None = None) -> Iterator[Transaction]:
    """A transaction during which other writers to people wait; readers go on.

    Args:
        patience: how long to wait for other writers; `LOCK_TIMEOUT` unless given.

    Raises:
        PeopleDbUnreachable: no connection, it was lost, or others have been writing for longer than that.
        PeopleDbError: as `transaction`.
    """
    with transaction(patience) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [_milliseconds(patience or LOCK_TIMEOUT)])
        connection.execute("SELECT lock_people()")
        yield connection


def _milliseconds(time: timedelta) -> str:
    return str(int(time.total_seconds() * 1000))


def _one_line(error: psycopg.Error) -> str:
    """The primary message only: the detail of an error may quote a row."""
    message = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(message.split())


def read_arrow(query: str, values: list[Any]) -> pa.Table:
    """The rows of a query as Arrow, without a detour through Python objects."""
    with reading() as read:
        return read(query, values)


@contextmanager
def reading() -> Iterator[Callable[[str, list[Any]], pa.Table]]:
    """Queries as `read_arrow` answers them, all as of the moment of the first one."""
    import adbc_driver_postgresql.dbapi

    with transaction() as connection:
        uri = make_conninfo(connection.info.dsn, password=connection.info.password or None)
    with adbc_driver_postgresql.dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT set_config('search_path', quote_ident($1), false)", [PEOPLE_SCHEMA])

        def read(query: str, values: list[Any]) -> pa.Table:
            cursor.execute(query, values or None)
            return cursor.fetch_arrow_table()

        yield read


def value(cursor: psycopg.Cursor[Any]) -> Any:
    """The one value that a query has selected."""
    (row,) = cursor.fetchall()
    return row[0]


def as_table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows of a query as a table of `schema`."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def as_tables(cursor: psycopg.Cursor[Any], schema: pa.Schema) -> pa.Table:
    """The rows of a query as a table of `schema`, page by page, so that they are not all in Python at once."""
    pages = [schema.empty_table()]
    while rows := cursor.fetchmany(_PAGE):
        pages.append(as_table(rows, schema))
    return pa.concat_tables(pages)


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table, as COPY takes them; a page at a time in Python."""
    for page in table.to_batches(max_chunksize=_PAGE):
        yield from zip(*(column.to_pylist() for column in page.columns), strict=True)


def named_rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The same as dictionaries."""
    for page in table.to_batches(max_chunksize=_PAGE):
        yield from page.to_pylist()
