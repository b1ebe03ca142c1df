"""People: who is stored, in shards for comparing, and their standardised columns."""

from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
import psycopg
import pyarrow as pa

from common.linkage.standardise import STANDARDISED, STANDARDISER_VERSION
from common.linkage.tables import PAIR_ENDS
from common.people_db.connection import (
    RECORD,
    Transaction,
    as_table,
    as_tables,
    read_arrow,
    rows_of,
    transaction,
    value,
)
from common.people_db.contents import RAW_PEOPLE, content_keys
from common.settings import SHARD_PEOPLE

CANDIDATES = pa.schema([*PAIR_ENDS, *((name, pa.string()) for name in STANDARDISED)])
"""The spellings that records are compared with: those of people, and those of records in open questions."""


class Shard(TypedDict):
    """A range of people that one mapped `compare` reads, both ends included.

    `snapshot` is what the table held when the shards were planned (a Postgres snapshot as text): `load` compares
    again with whatever is not visible in it. The first shard also takes the batch itself (`with_batch`).
    """

    first_person: int
    last_person: int
    with_batch: bool
    snapshot: str


def is_empty() -> bool:
    """Whether nobody is stored yet."""
    with transaction() as connection:
        return connection.execute("SELECT FROM people LIMIT 1").fetchone() is None


def anybody_not_from(sources: Sequence[str], connection: Transaction | None = None) -> bool:
    """Whether somebody is stored who did not come with a batch of these sources.

    Args:
        sources: as batches have them.
        connection: within a transaction, if there is one.
    """
    with nullcontext(connection) if connection else transaction() as connection:
        found = connection.execute(
            """
            SELECT FROM people LEFT JOIN batches USING (batch_id)
            WHERE batches.source IS NULL OR batches.source <> ALL(%s) LIMIT 1
            """,
            [list(sources)],
        )
        return found.fetchone() is not None


def sample_people(count: int, seed: int, run_id: str) -> tuple[pa.Table, int]:
    """Draw stored people, the same ones whenever the same run asks.

    People who came after the run first asked are left out, once that is on record with the run's batch.

    Returns:
        `person_id` and the raw `first_name`, `last_name`, `address`; and the highest person_id drawn from.
    """
    with transaction() as connection:
        before = _people_before(connection, run_id)
        rows = connection.execute(
            """
            SELECT person_id, first_name, last_name, address FROM people WHERE person_id <= %s
            ORDER BY hashint8extended(person_id, %s), person_id LIMIT %s
            """,
            [before, seed, count],
        ).fetchall()
    return as_table(rows, RAW_PEOPLE), before


def count_people(run_id: str) -> int:
    """How many people `sample_people` draws from."""
    with transaction() as connection:
        before = _people_before(connection, run_id)
        return int(value(connection.execute("SELECT count(*) FROM people WHERE person_id <= %s", [before])))


def count_relatives(run_id: str) -> int:
    """How many of those have a namesake by last name at the very same address, with another first name."""
    with transaction() as connection:
        counted = connection.execute(
            """
            SELECT coalesce(sum(people), 0) FROM (
                SELECT count(*) AS people FROM people
                WHERE person_id <= %s AND first_name <> '' AND last_name <> '' AND address <> ''
                GROUP BY lower(last_name), lower(address)
                HAVING count(DISTINCT lower(first_name)) > 1
            ) AS households
            """,
            [_people_before(connection, run_id)],
        )
        return int(value(counted))


def _people_before(connection: Transaction, run_id: str) -> int:
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
    return int(value(before))


def plan_shards(patience: timedelta | None = None) -> list[Shard]:
    """Split the table into ranges of at most `SHARD_PEOPLE`; at least one, also when it is empty.

    Args:
        patience: see `transaction`.
    """
    with transaction(patience) as connection:
        snapshot = value(connection.execute("SELECT pg_current_snapshot()::text"))
        firsts = connection.execute(
            """
            SELECT person_id FROM (SELECT person_id, row_number() OVER (ORDER BY person_id) AS place FROM people) AS p
            WHERE (place - 1) %% %s = 0 ORDER BY place
            """,
            [SHARD_PEOPLE],
        ).fetchall()
        last = value(connection.execute("SELECT coalesce(max(person_id), 0) FROM people"))
    bounds = [first for (first,) in firsts] or [0]
    lasts = [*(first - 1 for first in bounds[1:]), last]
    return [
        Shard(first_person=first, last_person=last, with_batch=place == 0, snapshot=snapshot)
        for place, (first, last) in enumerate(zip(bounds, lasts, strict=True))
    ]


def snapshot(connection: Transaction) -> str:
    """What the table holds now, see `Shard`."""
    return str(value(connection.execute("SELECT pg_current_snapshot()::text")))


def read_people(shard: Shard) -> pa.Table:
    """What a batch is compared with in a shard, schema `CANDIDATES`: a million people in about half a second.

    All spellings of the people of the shard, each once. A row that a sweep marked as a duplicate is a later spelling
    of the person it stands for. The first shard also has the records that wait in open questions.
    """
    # Whatever came first of several equal spellings, so that the same one is named whenever a task is tried again.
    return read_arrow(
        """
        SELECT person_id, NULL::bigint AS question_id, duplicate_of IS NULL AS first_spelling,
               NULL::text AS via_batch_id, NULL::text AS via_record_key,
               first_name_std, last_name_std, address_std, generation_std
        FROM (SELECT coalesce(duplicate_of, person_id) AS person_id, duplicate_of, first_name_std, last_name_std,
                     address_std, generation_std
              FROM people WHERE person_id BETWEEN $1 AND $2) AS people
        UNION ALL
        (SELECT DISTINCT ON (person_id, question_id, first_name_std, last_name_std, address_std, generation_std)
                person_id, question_id, first_spelling, via_batch_id, via_record_key,
                first_name_std, last_name_std, address_std, generation_std
         FROM candidates
         WHERE via_record_key IS NOT NULL AND (row_id BETWEEN $1 AND $2 OR ($3 AND question_id IS NOT NULL))
         ORDER BY person_id, question_id, first_name_std, last_name_std, address_std, generation_std,
                  via_batch_id, via_record_key)
        """,
        [shard["first_person"], shard["last_person"], shard["with_batch"]],
    ).cast(CANDIDATES)


def people_as_records() -> pa.Table:
    """Everybody who is not marked as a duplicate, as incoming records (strings): `source_key` is the person's id."""
    return read_arrow(
        """
        SELECT md5(ROW(person_id, first_name, last_name, address)::text) AS record_key, person_id::text AS source_key,
               first_name, last_name, address, NULL::text AS problem, NULL::text AS raw
        FROM people WHERE duplicate_of IS NULL ORDER BY person_id
        """,
        [],
    )


def changed_candidates(
    connection: Transaction, snapshot: str, pairs: pa.Table, own: str | None = None
) -> tuple[pa.Table, pa.Array]:
    """What happened since a snapshot was taken to those with whom a batch was compared.

    Args:
        connection: within `writing`, so that nothing more happens.
        snapshot: of `plan_shards`.
        pairs: of the batch, to find people, spellings and questions that are gone.
        own: transaction that has written the batch, if it is written already: what it wrote is no change.

    Returns:
        Everybody who came or changed, with all spellings, as they are now, schema `CANDIDATES`; and the rows of
        `pairs` that are stale.
    """
    ends, end_of_pair = _ends(pairs)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMPORARY TABLE compared (place bigint, person_id bigint, question_id bigint, via_batch_id text,
                                             via_record_key text) ON COMMIT DROP
            """
        )
        with cursor.copy("COPY compared FROM STDIN") as copy:
            for row in rows_of(ends):
                copy.write_row(row)
        if not _note_changed(cursor, snapshot, own):
            cursor.execute("DROP TABLE compared, changed")
            return CANDIDATES.empty_table(), pa.array([], pa.int64())
        stale = cursor.execute(
            """
            SELECT place FROM compared WHERE person_id IN (SELECT person_id FROM changed WHERE person_id IS NOT NULL)
               OR question_id IN (SELECT question_id FROM changed WHERE question_id IS NOT NULL)
            """
        ).fetchall()
        cursor.execute(
            """
            SELECT c.person_id, c.question_id, first_spelling, via_batch_id, via_record_key, first_name_std,
                   last_name_std, address_std, generation_std
            FROM candidates AS c
            WHERE row_id IN (SELECT p.person_id FROM people AS p JOIN changed AS x ON x.person_id = p.person_id
                             UNION
                             SELECT p.person_id FROM people AS p JOIN changed AS x ON x.person_id = p.duplicate_of)
            UNION ALL
            SELECT c.person_id, c.question_id, first_spelling, via_batch_id, via_record_key, first_name_std,
                   last_name_std, address_std, generation_std
            FROM candidates AS c
            WHERE c.question_id IS NOT NULL -- so that the people, who have none, are not even read
              AND c.question_id IN (SELECT question_id FROM changed)
            """
        )
        current = as_tables(cursor, CANDIDATES)
        cursor.execute("DROP TABLE compared, changed")
    is_stale = np.isin(end_of_pair, [place for (place,) in stale])
    return current, pa.array(np.flatnonzero(is_stale))


def _note_changed(cursor: psycopg.Cursor[Any], snapshot: str, own: str | None) -> int:
    """Make a temporary table `changed` of people and questions that are not, or not all, as they were compared.

    Returns how many there are.
    """
    # A mark from the future is of another counter: it came with a restored backup, and the row was there before.
    cursor.execute(
        """
        CREATE TEMPORARY TABLE changed ON COMMIT DROP AS
        WITH marked_people AS (
            SELECT person_id, duplicate_of FROM people
            WHERE changed_xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
              AND changed_xid <= greatest(pg_current_xact_id(), pg_snapshot_xmax(pg_current_snapshot()))
              AND NOT pg_visible_in_snapshot(changed_xid, %(snapshot)s::pg_snapshot)
              AND changed_xid IS DISTINCT FROM %(own)s::xid8
        ), marked_spellings AS (
            SELECT person_id, question_id FROM spellings
            WHERE changed_xid >= pg_snapshot_xmin(%(snapshot)s::pg_snapshot)
              AND changed_xid <= greatest(pg_current_xact_id(), pg_snapshot_xmax(pg_current_snapshot()))
              AND NOT pg_visible_in_snapshot(changed_xid, %(snapshot)s::pg_snapshot)
              AND changed_xid IS DISTINCT FROM %(own)s::xid8
        )
        SELECT person_id, NULL::bigint AS question_id FROM marked_people
        UNION
        SELECT duplicate_of, NULL::bigint FROM marked_people WHERE duplicate_of IS NOT NULL
        UNION
        SELECT coalesce(p.duplicate_of, p.person_id), s.question_id
        FROM marked_spellings AS s LEFT JOIN people AS p USING (person_id)
        UNION
        SELECT c.person_id, c.question_id FROM compared AS c
        LEFT JOIN people AS p ON p.person_id = c.person_id
        LEFT JOIN spellings AS s ON s.batch_id = c.via_batch_id AND s.record_key = c.via_record_key
        LEFT JOIN people AS q ON q.person_id = s.person_id
        WHERE (c.person_id IS NOT NULL AND (p.person_id IS NULL OR p.duplicate_of IS NOT NULL))
           OR (c.via_record_key IS NOT NULL
               AND (coalesce(q.duplicate_of, q.person_id), s.question_id)
                   IS DISTINCT FROM (c.person_id, c.question_id))
        """,
        {"snapshot": snapshot, "own": own},
    )
    changed = cursor.rowcount
    cursor.execute("ANALYZE changed")  # else the whole table is read for a few people
    return changed


def _ends(pairs: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The spellings that records were compared with, each once with its place, and the place for each pair.

    Pairs of two records of the batch have the place -1.
    """
    import pandas as pd

    names = ["person_id", "question_id", "via_batch_id", "via_record_key"]
    frame = pairs.select(names).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    # Int64, since ids above 2**53 are not floats.
    places = frame.groupby(names, dropna=False, sort=False).ngroup()
    of_batch = frame["person_id"].isna() & frame["question_id"].isna()
    frame.insert(0, "place", places.mask(of_batch, -1))
    ends = pa.Table.from_pandas(frame[~of_batch].drop_duplicates("place"), preserve_index=False)
    return ends, frame["place"].to_numpy(np.int64)


def insert_people(connection: Transaction, people: pa.Table, batch_id: str) -> dict[str, int]:
    """Insert new people and return their ids by record key.

    Args:
        connection: within `writing`.
        people: `record_key`, the columns `RECORD` and, if they are standardised already, the columns `STANDARDISED`.
        batch_id: the batch that brought them.

    The ids follow the highest one in the table, in the order of the keys, rather than a sequence: a sequence leaves
    gaps where a try was killed, and would give the same people other ids.
    """
    people = people.sort_by("record_key")
    version: str | None = STANDARDISER_VERSION
    if not set(STANDARDISED) <= set(people.column_names):
        version = None
        for name in STANDARDISED:
            people = people.append_column(name, pa.nulls(len(people), pa.string()))
    keys = content_keys(connection, people)
    first = value(connection.execute("SELECT coalesce(max(person_id), 0) + 1 FROM people"))
    person_of = {key: first + place for place, key in enumerate(people["record_key"].to_pylist())}
    with (
        connection.cursor() as cursor,
        cursor.copy(
            """
        COPY people (record_key, source_key, first_name, last_name, address, first_name_std, last_name_std,
                     address_std, generation_std, person_id, content_key, std_version, batch_id) FROM STDIN
        """
        ) as copy,
    ):
        columns = ["record_key", *RECORD, *STANDARDISED]
        for row, content_key in zip(rows_of(people.select(columns)), keys, strict=True):
            copy.write_row((*row, person_of[row[0]], content_key, version, batch_id))
    # Other clients take their ids from the sequence, if the table has one.
    connection.execute(
        """
        SELECT setval(pg_get_serial_sequence('people', 'person_id'), max(person_id)) FROM people
        HAVING max(person_id) > 0
        """
    )
    return person_of
