"""The people database: the only module that talks SQL to Postgres.

Each public function is one transaction on connection `people_db`. Tables and columns are those of `schema.sql`; SQL
is fixed text, values are bound, and the schema's name is bound too, as the search path.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypedDict, cast

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from airflow.providers.postgres.hooks.postgres import PostgresHook
from psycopg import sql
from psycopg.conninfo import make_conninfo

from common.errors import PeopleDbError, PeopleDbUnreachable
from common.linkage.batch import batch_pairs, usable
from common.linkage.canary import Canaries
from common.linkage.decision import Decision, decide
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES, STARTING_MODEL, LinkageModel
from common.linkage.standardise import STANDARDISED, STANDARDISER_VERSION, standardise
from common.linkage.validation import quarantined
from common.run_report import RunReport
from common.settings import LOCK_TIMEOUT, PEOPLE_CONN_ID, PEOPLE_SCHEMA, SHARD_PEOPLE

_SCHEMA_SQL = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
_SCHEMA_VERSION = hashlib.sha256(_SCHEMA_SQL.encode()).hexdigest()[:12]
_SCHEMA_LOCK = 0x6465_6475_7065  # any number of ours: the advisory lock under which the schema is applied

_RECORD = ("source_key", "first_name", "last_name", "address")

FIRST_PEOPLE = "first people"
"""Stands for the run id where no run loaded a batch but a new table was filled."""

SWEEP = "people"
"""Stands for the source where the batch is the table itself."""

KNOWN = pa.schema([("record_key", pa.string()), ("person_id", pa.int64())])
PEOPLE = pa.schema([("person_id", pa.int64()), *((name, pa.string()) for name in STANDARDISED)])

STORED_DECISIONS = pa.schema(
    [
        *((name, pa.string()) for name in ("record_key", "first_name", "last_name", "address", "decision", "reason")),
        ("person_id", pa.int64()),
        ("matched_record_key", pa.string()),
        ("score", pa.float64()),
        *((f"{name}_similarity", pa.float64()) for name in SIMILARITIES),
        ("swapped", pa.bool_()),
        ("runner_up_person_id", pa.int64()),
        ("runner_up_score", pa.float64()),
        ("contributions", pa.string()),
    ]
)


class Shard(TypedDict):
    """A range of people that one mapped `compare` reads, both ends included.

    `snapshot` is what the table held when the shards were planned (a Postgres snapshot as text): `load` compares
    again with whatever is not visible in it. The first shard also takes the batch itself (`with_batch`).
    """

    first_person: int
    last_person: int
    with_batch: bool
    snapshot: str


@contextmanager
def _transaction() -> Iterator[psycopg.Connection[Any]]:
    """One transaction with the search path set and the schema applied.

    Raises:
        PeopleDbUnreachable: no connection, or it was lost.
        PeopleDbError: the role may not do what is needed, or the database refused for another reason.
    """
    try:
        connection = cast("psycopg.Connection[Any]", PostgresHook(PEOPLE_CONN_ID).get_conn())
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


def _one_line(error: psycopg.Error) -> str:
    """The primary message only: the detail of an error may quote a row."""
    message = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(message.split())


def _apply_schema(connection: psycopg.Connection[Any]) -> None:
    applied = "SELECT obj_description(to_regnamespace(quote_ident(%s)), 'pg_namespace')"
    if connection.execute(applied, [PEOPLE_SCHEMA]).fetchone() == (_SCHEMA_VERSION,):
        return
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
    schema = sql.Identifier(PEOPLE_SCHEMA)
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
    connection.execute(_SCHEMA_SQL)
    connection.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, _SCHEMA_VERSION))
    connection.commit()  # applied for good, whatever becomes of the transaction that needed it


def is_empty() -> bool:
    """Whether nobody is stored yet."""
    with _transaction() as connection:
        return connection.execute("SELECT FROM people LIMIT 1").fetchone() is None


def sample_people(count: int, seed: int, run_id: str) -> tuple[pa.Table, int]:
    """Draw stored people, the same ones whenever the same run asks.

    People who came after the run first asked are left out, once that is on record with the run's batch.

    Returns:
        `person_id` and the raw `first_name`, `last_name`, `address`; and the highest person_id drawn from.
    """
    with _transaction() as connection:
        before = _people_before(connection, run_id)
        rows = connection.execute(
            """
            SELECT person_id, first_name, last_name, address FROM people WHERE person_id <= %s
            ORDER BY hashint8extended(person_id, %s), person_id LIMIT %s
            """,
            [before, seed, count],
        ).fetchall()
    raw = [(name, pa.string()) for name in _RECORD[1:]]
    return _table(rows, pa.schema([("person_id", pa.int64()), *raw])), before


def count_people(run_id: str) -> int:
    """How many people `sample_people` draws from."""
    with _transaction() as connection:
        before = _people_before(connection, run_id)
        return int(_value(connection.execute("SELECT count(*) FROM people WHERE person_id <= %s", [before])))


def _people_before(connection: psycopg.Connection[Any], run_id: str) -> int:
    """The highest person_id when this run made its batch, or now if it has not loaded one yet."""
    before = connection.execute(
        """
        SELECT coalesce((SELECT min(people_before) FROM (SELECT run_id, people_before FROM batches UNION ALL
                                                         SELECT run_id, people_before FROM undone_batches) AS loaded
                         WHERE run_id = %s),
                        (SELECT max(person_id) FROM people), 0)
        """,
        [run_id],
    )
    return int(_value(before))


def plan_shards() -> list[Shard]:
    """Split the table into ranges of at most `SHARD_PEOPLE`; at least one, also when it is empty.

    Rows that other clients wrote, or that an older standardiser made, are standardised first.
    """
    with _transaction() as connection:
        _standardise_pending(connection)
    with _transaction() as connection:
        snapshot = _value(connection.execute("SELECT pg_current_snapshot()::text"))
        firsts = connection.execute(
            """
            SELECT person_id FROM (SELECT person_id, row_number() OVER (ORDER BY person_id) AS place FROM people) AS p
            WHERE (place - 1) %% %s = 0 ORDER BY place
            """,
            [SHARD_PEOPLE],
        ).fetchall()
        last = _value(connection.execute("SELECT coalesce(max(person_id), 0) FROM people"))
    bounds = [first for (first,) in firsts] or [0]
    lasts = [*(first - 1 for first in bounds[1:]), last]
    return [
        Shard(first_person=first, last_person=last, with_batch=place == 0, snapshot=snapshot)
        for place, (first, last) in enumerate(zip(bounds, lasts, strict=True))
    ]


def _standardise_pending(connection: psycopg.Connection[Any]) -> None:
    """Bring *_std up to date where this standardiser has not seen the row."""
    with connection.cursor() as cursor:
        rows = cursor.execute(
            """
            SELECT person_id, first_name, last_name, address FROM people
            WHERE std_version IS NULL OR std_version <> %s FOR UPDATE
            """,
            [STANDARDISER_VERSION],
        ).fetchall()
        if not rows:
            return
        raw = pa.schema([("person_id", pa.int64()), *((name, pa.string()) for name in _RECORD[1:])])
        standardised = standardise(_table(rows, raw))
        cursor.execute(
            """
            CREATE TEMPORARY TABLE fresh_std (person_id bigint PRIMARY KEY, first_name_std text, last_name_std text,
                                              address_std text, generation_std text) ON COMMIT DROP
            """
        )
        with cursor.copy("COPY fresh_std FROM STDIN") as copy:
            for row in _rows(standardised.select(["person_id", *STANDARDISED])):
                copy.write_row(row)
        cursor.execute(
            """
            UPDATE people SET first_name_std = f.first_name_std, last_name_std = f.last_name_std,
                              address_std = f.address_std, generation_std = f.generation_std,
                              std_version = %s
            FROM fresh_std AS f WHERE f.person_id = people.person_id
            """,
            [STANDARDISER_VERSION],
        )
        cursor.execute("DROP TABLE fresh_std")


def read_people(shard: Shard) -> pa.Table:
    """The people of a shard, schema `PEOPLE`: a million rows in about half a second.

    A row that a sweep marked as a duplicate has the `person_id` of the person it stands for.
    """
    return _read(
        """
        SELECT coalesce(duplicate_of, person_id) AS person_id, first_name_std, last_name_std, address_std,
               generation_std
        FROM people WHERE person_id BETWEEN $1 AND $2
        """,
        [shard["first_person"], shard["last_person"]],
    ).cast(PEOPLE)


def people_as_records() -> pa.Table:
    """Everybody who is not marked as a duplicate, as incoming records (strings): `source_key` is the person's id."""
    return _read(
        """
        SELECT md5(ROW(person_id, first_name, last_name, address)::text) AS record_key, person_id::text AS source_key,
               first_name, last_name, address, NULL::text AS problem, NULL::text AS raw
        FROM people WHERE duplicate_of IS NULL ORDER BY person_id
        """,
        [],
    )


def _read(query: str, values: list[Any]) -> pa.Table:
    """The rows of a query as Arrow, without a detour through Python objects."""
    import adbc_driver_postgresql.dbapi

    with _transaction() as connection:
        uri = make_conninfo(connection.info.dsn, password=connection.info.password or None)
    with adbc_driver_postgresql.dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('search_path', $1, false)", [PEOPLE_SCHEMA])
        cursor.execute(query, values or None)
        return cursor.fetch_arrow_table()


def known_records(records: pa.Table) -> pa.Table:
    """Which records of a batch are people already: schema `KNOWN`."""
    with _transaction() as connection:
        return _known(connection, records)


def _known(connection: psycopg.Connection[Any], records: pa.Table) -> pa.Table:
    query = "SELECT record_key, person_id FROM people WHERE record_key = ANY(%s)"
    return _table(connection.execute(query, [records["record_key"].to_pylist()]).fetchall(), KNOWN)


def load(
    records: pa.Table,
    pairs: pa.Table,
    decisions: pa.Table,
    shards: list[Shard],
    model: LinkageModel,
    *,
    run_id: str,
    source: str,
    batch_id: str,
    people_before: int,
) -> RunReport:
    """Write a decided batch, all of it or nothing; a batch that is there already is left as it is.

    Other writers to `people` wait meanwhile. People who came, changed or went since the shards were planned are
    compared again, and the batch decided again if there are any.

    Args:
        records: the standardised batch.
        pairs: all its candidate pairs, as `batch_pairs` returns them.
        decisions: what `decide` made of them.
        shards: as planned before the comparison.
        model: what scored the pairs.
        run_id: the run that loads.
        source: where the batch came from.
        batch_id: the batch's key, from its content.
        people_before: highest person_id when the batch was made.
    """
    with _transaction() as connection, connection.cursor() as cursor:
        _lock_people(cursor)
        if stored := _stored_report(connection, batch_id):
            return stored
        _standardise_pending(connection)
        current = _current_pairs(connection, records, pairs, shards[0]["snapshot"], model)
        known = _known(connection, records)
        if current is not pairs or known.num_rows:
            decisions = decide(records, current, known, model)
        _write_batch(cursor, records, decisions, model, run_id, source, batch_id, people_before)
        return cast(RunReport, _stored_report(connection, batch_id))


def batch_decisions(batch_id: str) -> pa.Table:
    """What was decided about a loaded batch, schema `STORED_DECISIONS`, in the order of the record keys."""
    with _transaction() as connection:
        rows = connection.execute(
            """
            SELECT record_key, first_name, last_name, address, decision, reason, person_id, matched_record_key, score,
                   (vector->>'first_name')::float8, (vector->>'last_name')::float8, (vector->>'address')::float8,
                   (vector->>'address_words')::float8, (vector->>'address_numbers')::float8,
                   (vector->>'swapped')::boolean, runner_up_person_id, runner_up_score, contributions::text
            FROM decisions WHERE batch_id = %s ORDER BY record_key
            """,
            [batch_id],
        ).fetchall()
    return _table(rows, STORED_DECISIONS)


def store_canaries(batch_id: str, canaries: Canaries) -> None:
    """Keep how the canaries of the run fared that loaded a batch."""
    with _transaction() as connection:
        statement = "INSERT INTO canaries VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
        connection.execute(statement, [batch_id, *astuple(canaries)])


def last_canaries(batch_id: str, limit: int) -> list[Canaries]:
    """How the canaries fared when a batch was loaded and in the runs before that, latest first."""
    with _transaction() as connection:
        rows = connection.execute(
            """
            SELECT returned, reinserted, strangers, dropped FROM canaries JOIN batches USING (batch_id)
            WHERE loaded_at <= (SELECT loaded_at FROM batches WHERE batch_id = %s) AND run_id <> %s
            ORDER BY loaded_at DESC LIMIT %s
            """,
            [batch_id, FIRST_PEOPLE, limit],
        ).fetchall()
    return [Canaries(*row) for row in rows]


def quarantine_counts(batch_id: str) -> dict[str, int]:
    """How many records of a loaded batch are in quarantine, by reason code."""
    with _transaction() as connection:
        query = "SELECT reason, count(*) FROM quarantine WHERE batch_id = %s GROUP BY reason ORDER BY reason"
        return dict(connection.execute(query, [batch_id]).fetchall())


def _lock_people(cursor: psycopg.Cursor[Any]) -> None:
    """Let other writers to people wait until this transaction ends; readers go on."""
    cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(int(LOCK_TIMEOUT.total_seconds() * 1000))])
    cursor.execute("LOCK TABLE people IN SHARE ROW EXCLUSIVE MODE")


def mark_duplicates(
    records: pa.Table, decisions: pa.Table, model: LinkageModel, *, run_id: str, source: str, batch_id: str
) -> RunReport:
    """Write a decided sweep of the table, all of it or nothing: duplicates are marked, nobody is deleted.

    Args:
        records: everybody, as `people_as_records` gave them, standardised.
        decisions: what `decide` made of them; new ones stay as they are and are not written down.
        model: what scored the pairs.
        run_id: the run that loads.
        source: stands in the batch.
        batch_id: the sweep's key, from its content.

    Raises:
        PeopleDbError: somebody involved has changed or gone meanwhile; the sweep must be run again.
    """
    person_of = dict(zip(records["record_key"].to_pylist(), map(int, records["source_key"].to_pylist()), strict=True))
    marks = [
        (person_of[row["record_key"]], person_of[row["survivor_key"]])
        for row in decisions.filter(pc.equal(decisions["decision"], Decision.DUPLICATE)).to_pylist()
    ]
    known = pc.is_in(records["record_key"], decisions.filter(_is_doubled(decisions))["record_key"].combine_chunks())
    doubled, decided = records.filter(known), decisions.filter(_is_doubled(decisions))
    with _transaction() as connection, connection.cursor() as cursor:
        _lock_people(cursor)
        if stored := _stored_report(connection, batch_id):
            return stored
        keys = pc.unique(pa.concat_arrays([decided[name].combine_chunks() for name in ("record_key", "survivor_key")]))
        unchanged = connection.execute(
            """
            SELECT count(*) FROM people
            WHERE duplicate_of IS NULL AND md5(ROW(person_id, first_name, last_name, address)::text) = ANY(%s)
            """,
            [keys.drop_null().to_pylist()],
        ).fetchone()
        if unchanged != (len(keys.drop_null()),):
            raise PeopleDbError("people changed while the table was swept: run the sweep again")
        people_before = _value(connection.execute("SELECT coalesce(max(person_id), 0) FROM people"))
        _write_batch(cursor, doubled, decided, model, run_id, source, batch_id, people_before, person_of)
        # Whoever a marked person stood for follows to the survivor.
        cursor.execute(
            """
            UPDATE people SET duplicate_of = m.survivor
            FROM unnest(%s::bigint[], %s::bigint[]) AS m (person, survivor)
            WHERE people.person_id = m.person OR people.duplicate_of = m.person
            """,
            [[person for person, _ in marks], [survivor for _, survivor in marks]],
        )
        return cast(RunReport, _stored_report(connection, batch_id))


def _is_doubled(decisions: pa.Table) -> pa.ChunkedArray:
    return pc.not_equal(decisions["decision"], Decision.NEW)


def _stored_report(connection: psycopg.Connection[Any], batch_id: str) -> RunReport | None:
    row = connection.execute(
        """
        SELECT batch_id, run_id, source, model_version, received, quarantined, duplicates, review, inserted
        FROM batches WHERE batch_id = %s
        """,
        [batch_id],
    ).fetchone()
    return RunReport(*row) if row else None


def _current_pairs(
    connection: psycopg.Connection[Any],
    records: pa.Table,
    pairs: pa.Table,
    snapshot: str,
    model: LinkageModel,
) -> pa.Table:
    """The pairs as the table is now; the very same object if nothing in it has changed since the snapshot."""
    changed = connection.execute(
        """
        WITH changed AS (
            SELECT coalesce(duplicate_of, person_id) AS person_id FROM people
            WHERE changed_xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
              AND NOT pg_visible_in_snapshot(changed_xid, %(snapshot)s::pg_snapshot)
        )
        SELECT coalesce(duplicate_of, person_id), first_name_std, last_name_std, address_std, generation_std
        FROM people WHERE person_id IN (TABLE changed) OR duplicate_of IN (TABLE changed)
        """,
        {"snapshot": snapshot},
    ).fetchall()
    gone = connection.execute(
        "SELECT c FROM unnest(%s::bigint[]) AS c WHERE NOT EXISTS (SELECT FROM people WHERE person_id = c)",
        [pc.unique(pairs["person_id"].drop_null()).to_pylist()],
    ).fetchall()
    if not changed and not gone:
        return pairs
    stale = pa.array([row[0] for row in (*changed, *gone)], pa.int64())
    fresh = batch_pairs(records, _table(changed, PEOPLE), model, with_batch=False)
    return pa.concat_tables([pairs.filter(pc.invert(pc.is_in(pairs["person_id"], stale))), fresh.cast(pairs.schema)])


def _write_batch(
    cursor: psycopg.Cursor[Any],
    records: pa.Table,
    decisions: pa.Table,
    model: LinkageModel,
    run_id: str,
    source: str,
    batch_id: str,
    people_before: int,
    person_of: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Write the batch, its new people, decisions and quarantine; `person_of` are records that are people already."""
    good, bad = usable(records), quarantined(records)
    count = {value.value: 0 for value in Decision} | {
        row["values"]: row["counts"] for row in pc.value_counts(decisions["decision"]).to_pylist()
    }
    cursor.execute(
        """
        INSERT INTO batches (batch_id, run_id, source, model_version, received, quarantined, duplicates, review,
                             inserted, people_before)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        [
            *(batch_id, run_id, source, model.version, records.num_rows, bad.num_rows),
            *(count[Decision.DUPLICATE], count[Decision.REVIEW], count[Decision.NEW], people_before),
        ],
    )
    person_of = {**person_of} | _insert_people(
        cursor, good.filter(pc.equal(decisions["decision"], Decision.NEW)), batch_id
    )
    with cursor.copy(
        """
        COPY decisions (batch_id, record_key, source_key, first_name, last_name, address, decision, reason, person_id,
                        matched_record_key, score, vector, contributions, runner_up_person_id, runner_up_score,
                        margin, model_version, run_id) FROM STDIN
        """
    ) as copy:
        rows = zip(_rows(good.select(_RECORD)), decisions.to_pylist(), _contributions(decisions, model), strict=True)
        for record, row, contributions in rows:
            key = row["record_key"]
            person_id = row["person_id"]
            if person_id is None:
                person_id = person_of[row["survivor_key"] or key]
            vector = {name: row[name] for name in COMPARISON_VECTOR} if row["score"] is not None else None
            copy.write_row(
                (
                    *(
                        batch_id,
                        key,
                        *record,
                        row["decision"],
                        row["reason"],
                        person_id,
                        row["matched_record_key"],
                    ),
                    *(row["score"], vector and json.dumps(vector), contributions, row["runner_up_person_id"]),
                    *(row["runner_up_score"], row["margin"], model.version, run_id),
                )
            )
    with cursor.copy("COPY quarantine (batch_id, record_key, source_key, reason, raw) FROM STDIN") as copy:
        for row in _rows(bad):
            copy.write_row((batch_id, *row))


def _contributions(decisions: pa.Table, model: LinkageModel) -> list[str | None]:
    """What each term of the model adds to the log-odds of each decision, as JSON; null where no pair decided it."""
    terms = model.contributions({name: pc.cast(decisions[name], pa.float64()).to_numpy() for name in COMPARISON_VECTOR})
    rows = zip(*(term.tolist() for term in terms.values()), strict=True)
    return [
        None if score is None else json.dumps({"intercept": model.intercept, **dict(zip(terms, row, strict=True))})
        for score, row in zip(decisions["score"].to_pylist(), rows, strict=True)
    ]


def _insert_people(cursor: psycopg.Cursor[Any], people: pa.Table, batch_id: str) -> dict[str, int]:
    """Insert new people and return their ids by record key.

    The ids follow the highest one in the table, in the order of the keys, rather than a sequence: a sequence leaves
    gaps where a try was killed, and would give the same people other ids.
    """
    people = people.sort_by("record_key")
    first = _value(cursor.execute("SELECT coalesce(max(person_id), 0) + 1 FROM people"))
    person_of = {key: first + place for place, key in enumerate(people["record_key"].to_pylist())}
    with cursor.copy(
        """
        COPY people (record_key, source_key, first_name, last_name, address, first_name_std, last_name_std,
                     address_std, generation_std, person_id, std_version, batch_id) FROM STDIN
        """
    ) as copy:
        for row in _rows(people.select(["record_key", *_RECORD, *STANDARDISED])):
            copy.write_row((*row, person_of[row[0]], STANDARDISER_VERSION, batch_id))
    # Other clients take their ids from the sequence, if the table has one.
    cursor.execute(
        """
        SELECT setval(pg_get_serial_sequence('people', 'person_id'), max(person_id)) FROM people
        HAVING max(person_id) > 0
        """
    )
    return person_of


def _value(cursor: psycopg.Cursor[Any]) -> Any:
    """The one value that a query has selected."""
    (row,) = cursor.fetchall()
    return row[0]


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


def undo_batch(batch_id: str, *, force: bool = False) -> tuple[RunReport, dict[str, int]]:
    """Take a batch back: its people, decisions and quarantine go, its numbers are kept in `undone_batches`.

    The same input can be loaded again afterwards. A batch that was taken back before is left as it is. Undoing a
    sweep takes its marks away, and the marks of earlier sweeps are again as they were before it.

    Args:
        batch_id: the batch.
        force: also where decisions of other batches point at its people; they stay, without a person.

    Returns:
        The numbers of the batch, and how many decisions of which other batches have lost their person.

    Raises:
        PeopleDbError: there is no such batch, or others lean on it and `force` is not given.
    """
    with _transaction() as connection, connection.cursor() as cursor:
        _lock_people(cursor)
        report = _stored_report(connection, batch_id)
        if report is None:
            return _undone(connection, batch_id)
        leaning = dict(
            cursor.execute(
                """
                SELECT d.batch_id, count(*) FROM decisions AS d JOIN people AS p USING (person_id)
                WHERE p.batch_id = %(batch)s AND d.batch_id <> %(batch)s GROUP BY d.batch_id ORDER BY d.batch_id
                """,
                {"batch": batch_id},
            ).fetchall()
        )
        if leaning and not force:
            raise PeopleDbError(
                f"batch {batch_id} stays: decisions of other batches point at its people: {_each(leaning)}"
            )
        cursor.execute(
            """
            INSERT INTO undone_batches (batch_id, run_id, source, model_version, received, quarantined, duplicates,
                                        review, inserted, people_before, loaded_at, lost_their_person)
            SELECT batch_id, run_id, source, model_version, received, quarantined, duplicates, review, inserted,
                   people_before, loaded_at, %s
            FROM batches WHERE batch_id = %s
            """,
            [json.dumps(leaning), batch_id],
        )
        _take_marks_away(cursor, batch_id)
        cursor.execute("DELETE FROM decisions WHERE batch_id = %s", [batch_id])
        cursor.execute("DELETE FROM quarantine WHERE batch_id = %s", [batch_id])
        cursor.execute("DELETE FROM people WHERE batch_id = %s", [batch_id])
        cursor.execute("DELETE FROM batches WHERE batch_id = %s", [batch_id])
        return report, leaning


def _take_marks_away(cursor: psycopg.Cursor[Any], batch_id: str) -> None:
    """Unmark whom a sweep marked; whoever had been marked as one of those before is that person's duplicate again."""
    cursor.execute(
        """
        WITH RECURSIVE marked AS (
            SELECT d.batch_id, d.source_key::bigint AS person_id, d.person_id AS survivor
            FROM decisions AS d JOIN batches AS b USING (batch_id)
            WHERE b.source = %(sweep)s AND d.decision = 'DUPLICATE'
        ), freed (person_id, stands_for) AS (
            SELECT person_id, person_id FROM marked WHERE batch_id = %(batch)s
            UNION
            SELECT marked.person_id, freed.stands_for
            FROM marked JOIN freed ON marked.survivor = freed.person_id WHERE marked.batch_id <> %(batch)s
        )
        UPDATE people SET duplicate_of = nullif(freed.stands_for, freed.person_id) FROM freed
        WHERE people.person_id = freed.person_id AND people.duplicate_of IS NOT NULL
        """,
        {"sweep": SWEEP, "batch": batch_id},
    )


def _undone(connection: psycopg.Connection[Any], batch_id: str) -> tuple[RunReport, dict[str, int]]:
    row = connection.execute(
        """
        SELECT batch_id, run_id, source, model_version, received, quarantined, duplicates, review, inserted,
               lost_their_person
        FROM undone_batches WHERE batch_id = %s ORDER BY undone_at DESC LIMIT 1
        """,
        [batch_id],
    ).fetchone()
    if row is None:
        raise PeopleDbError(f"there is no batch {batch_id}")
    return RunReport(*row[:-1]), row[-1]


def _each(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def judge(batch_id: str, record_key: str, person_id: int | None) -> None:
    """Turn a decision round, and store that as a judgement; a decision that says so already is left as it is.

    Args:
        batch_id: the batch of the decision.
        record_key: the record that was decided.
        person_id: who it is a duplicate of, or None: it is somebody new, and inserted.

    Raises:
        PeopleDbError: there is no such decision or person, the record is a person already, or decisions about other
            records point at the person that was inserted for it.
    """
    with _transaction() as connection, connection.cursor() as cursor:
        _lock_people(cursor)
        row = cursor.execute(
            """
            SELECT d.decision, d.person_id, d.reason FROM decisions AS d JOIN batches AS b USING (batch_id)
            WHERE d.batch_id = %s AND d.record_key = %s AND b.source <> %s
            """,
            [batch_id, record_key, SWEEP],
        ).fetchone()
        if row is None:
            raise PeopleDbError(f"no decision of a loaded batch {batch_id} about a record {record_key}")
        before, matched, _ = row
        after = Decision.NEW if person_id is None else Decision.DUPLICATE
        if before == after and person_id in (None, matched):
            return
        if person_id is None:
            _store_judgement(cursor, batch_id, record_key, matched, is_match=False)
            new_person = _insert_judged(cursor, batch_id, record_key)
        else:
            _store_judgement(cursor, batch_id, record_key, person_id, is_match=True)
            new_person = person_id
        # The evidence stays where it is about this very person.
        cursor.execute(
            """
            UPDATE decisions
            SET decision = %(after)s, reason = 'JUDGED', person_id = %(person)s,
                score = CASE WHEN keep THEN score END, vector = CASE WHEN keep THEN vector END,
                contributions = CASE WHEN keep THEN contributions END,
                matched_record_key = CASE WHEN keep THEN matched_record_key END,
                runner_up_person_id = CASE WHEN keep THEN runner_up_person_id END,
                runner_up_score = CASE WHEN keep THEN runner_up_score END, margin = CASE WHEN keep THEN margin END
            FROM (SELECT %(keep)s::boolean AS keep) AS evidence
            WHERE batch_id = %(batch)s AND record_key = %(key)s
            """,
            {
                "after": after,
                "person": new_person,
                "keep": person_id in (None, matched),
                "batch": batch_id,
                "key": record_key,
            },
        )
        if before == Decision.NEW:
            _remove_judged(cursor, batch_id, record_key, new_person)
        cursor.execute(
            """
            UPDATE batches
            SET (duplicates, review, inserted) = (
                SELECT count(*) FILTER (WHERE decision = 'DUPLICATE'), count(*) FILTER (WHERE decision = 'REVIEW'),
                       count(*) FILTER (WHERE decision = 'NEW')
                FROM decisions WHERE decisions.batch_id = batches.batch_id)
            WHERE batch_id = %s
            """,
            [batch_id],
        )


def _store_judgement(
    cursor: psycopg.Cursor[Any], batch_id: str, record_key: str, person_id: int | None, *, is_match: bool
) -> None:
    stored = cursor.execute(
        """
        INSERT INTO judgements (left_first_name, left_last_name, left_address, right_first_name, right_last_name,
                                right_address, is_match, batch_id, record_key)
        SELECT d.first_name, d.last_name, d.address, p.first_name, p.last_name, p.address, %(match)s, d.batch_id,
               d.record_key
        FROM decisions AS d LEFT JOIN people AS p ON p.person_id = %(person)s
        WHERE d.batch_id = %(batch)s AND d.record_key = %(key)s AND (p.person_id IS NOT NULL OR NOT %(match)s)
        """,
        {"match": is_match, "person": person_id, "batch": batch_id, "key": record_key},
    )
    if not stored.rowcount:
        raise PeopleDbError(f"there is no person {person_id}")


def _insert_judged(cursor: psycopg.Cursor[Any], batch_id: str, record_key: str) -> int:
    """Insert the record of a decision; returns its person_id."""
    rows = cursor.execute(
        """
        SELECT record_key, source_key, first_name, last_name, address FROM decisions AS d
        WHERE batch_id = %s AND record_key = %s
          AND NOT EXISTS (SELECT FROM people WHERE people.record_key = d.record_key)
        """,
        [batch_id, record_key],
    ).fetchall()
    if not rows:
        raise PeopleDbError(f"record {record_key} is a person already")
    record = _table(rows, pa.schema([(name, pa.string()) for name in ("record_key", *_RECORD)]))
    return _insert_people(cursor, standardise(record), batch_id)[record_key]


def _remove_judged(cursor: psycopg.Cursor[Any], batch_id: str, record_key: str, person_id: int) -> None:
    """Remove the person that was inserted for a record which turned out to be `person_id`."""
    leaning = dict(
        cursor.execute(
            """
            SELECT d.batch_id, count(*) FROM decisions AS d JOIN people AS p USING (person_id)
            WHERE p.record_key = %(key)s AND (d.batch_id, d.record_key) <> (%(batch)s, %(key)s)
            GROUP BY d.batch_id ORDER BY d.batch_id
            """,
            {"batch": batch_id, "key": record_key},
        ).fetchall()
    )
    if leaning:
        raise PeopleDbError(f"other records were decided to be the person of {record_key}: {_each(leaning)}")
    removed = cursor.execute(
        "DELETE FROM people WHERE record_key = %s AND person_id <> %s RETURNING person_id", [record_key, person_id]
    )
    if not removed.rowcount:
        raise PeopleDbError(f"record {record_key} is person {person_id} itself, or its person is gone")


def champion(run_id: str) -> LinkageModel:
    """The model that decides; the shipped one is made champion if there is none."""
    with _transaction() as connection:
        return _champion(connection, run_id)


def _champion(connection: psycopg.Connection[Any], run_id: str) -> LinkageModel:
    row = connection.execute("SELECT content FROM models WHERE champion").fetchone()
    if row:
        return LinkageModel.from_dict(row[0])
    _store_model(connection, STARTING_MODEL, "shipped", results={}, lineage={"from": "shipped"}, run_id=run_id)
    _promote(connection, STARTING_MODEL.version, run_id)
    return STARTING_MODEL


def _store_model(
    connection: psycopg.Connection[Any],
    model: LinkageModel,
    formula: str,
    results: Mapping[str, Any],
    lineage: Mapping[str, Any],
    run_id: str,
) -> None:
    connection.execute(
        """
        INSERT INTO models (version, formula, content, results, lineage, trained_by) VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT (version) DO NOTHING
        """,
        [model.version, formula, *(json.dumps(part) for part in (model.to_dict(), results, lineage)), run_id],
    )


def _promote(connection: psycopg.Connection[Any], version: str, run_id: str) -> None:
    connection.execute("UPDATE models SET champion = false WHERE champion AND version <> %s", [version])
    connection.execute("UPDATE models SET champion = true, promoted_by = %s WHERE version = %s", [run_id, version])


def promote_challenger(
    model: LinkageModel, formula: str, results: Mapping[str, Any], lineage: Mapping[str, Any], run_id: str
) -> None:
    """Store a model with its results and what it was trained on, and make it the champion."""
    with _transaction() as connection:
        _store_model(connection, model, formula, results, lineage, run_id)
        _promote(connection, model.version, run_id)


def promote_stored(version: str, run_id: str) -> LinkageModel:
    """Make a model of the `models` table champion again.

    Raises:
        PeopleDbError: there is no such model.
    """
    with _transaction() as connection:
        row = connection.execute("SELECT content FROM models WHERE version = %s", [version]).fetchone()
        if row is None:
            raise PeopleDbError(f"no model of version {version} in table models")
        _promote(connection, version, run_id)
        return LinkageModel.from_dict(row[0])


def model_results(version: str) -> dict[str, Any]:
    """The train and test results with which a model was stored; empty for the shipped one."""
    with _transaction() as connection:
        row = connection.execute("SELECT results FROM models WHERE version = %s", [version]).fetchone()
        return row[0] if row else {}


def batches_before(run_id: str) -> int:
    """How many batches runs have loaded, this run and the filling of a new table left out."""
    with _transaction() as connection:
        query = "SELECT count(*) FROM batches WHERE run_id <> ALL(%s)"
        return int(_value(connection.execute(query, [[run_id, FIRST_PEOPLE]])))


def recent_decisions(limit: int) -> pa.Table:
    """The latest decisions that had a candidate, schema `STORED_DECISIONS`, for comparing models."""
    with _transaction() as connection:
        rows = connection.execute(
            """
            SELECT record_key, first_name, last_name, address, decision, reason, person_id, matched_record_key, score,
                   (vector->>'first_name')::float8, (vector->>'last_name')::float8, (vector->>'address')::float8,
                   (vector->>'address_words')::float8, (vector->>'address_numbers')::float8,
                   (vector->>'swapped')::boolean, runner_up_person_id, runner_up_score, contributions::text
            FROM decisions JOIN batches USING (batch_id)
            WHERE vector IS NOT NULL ORDER BY loaded_at DESC, record_key LIMIT %s
            """,
            [limit],
        ).fetchall()
    return _table(rows, STORED_DECISIONS)


def judged_pairs() -> pa.Table:
    """What people judged: the raw fields of both records, and `is_match`."""
    names = [f"{side}_{name}" for side in ("left", "right") for name in _RECORD[1:]]
    with _transaction() as connection:
        rows = connection.execute(
            """
            SELECT left_first_name, left_last_name, left_address, right_first_name, right_last_name, right_address,
                   is_match
            FROM judgements
            WHERE coalesce(right_first_name, right_last_name, right_address) IS NOT NULL  -- else the person was gone
            ORDER BY judgement_id
            """
        ).fetchall()
    return _table(rows, pa.schema([*((name, pa.string()) for name in names), ("is_match", pa.bool_())]))
