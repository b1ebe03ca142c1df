"""People: who is stored, in shards for comparing, and their standardised columns."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, NamedTuple, TypedDict

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
    reading,
    rows_of,
    transaction,
    value,
)
from common.people_db.contents import RAW_PEOPLE, content_keys
from common.settings import MAX_SWEPT_SHARDS, SHARD_PEOPLE

CANDIDATES = pa.schema([*PAIR_ENDS, *((name, pa.string()) for name in STANDARDISED)])
"""The spellings that records are compared with: those of people, and those of records in open questions."""


class Shard(TypedDict):
    """A range of people and one of spellings that are compared as one, all ends included; either may be empty.

    Shards stay the same from run to run, but for the one that holds the newcomers: what was encoded of them can be
    kept. `snapshot` is what the table held when they were planned (a Postgres snapshot as text): `load` compares again
    with whatever is not visible in it. The batch itself is compared beside the first shard (`with_batch`). For a sweep
    (`originals`) a shard is the people in it alone, by their first spellings.
    """

    first_person: int
    last_person: int
    first_spelling: int
    last_spelling: int
    with_batch: bool
    snapshot: str
    originals: bool


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


def plan_shards(patience: timedelta | None = None, *, originals: bool = False) -> list[Shard]:
    """Split people and spellings into ranges of about `SHARD_PEOPLE`; at least one, also when there are none.

    A range ends for good when somebody comes after it; the last one of people and of spellings are one shard.

    Args:
        patience: see `transaction`.
        originals: for a sweep.
    """
    with transaction(patience) as connection:
        snapshot = value(connection.execute("SELECT pg_current_snapshot()::text"))
        people = _ranges(connection, _PEOPLE_ENDS)
        spellings = [(0, -1)] if originals else _ranges(connection, _SPELLING_ENDS)
    if originals:
        size = -(-len(people) // MAX_SWEPT_SHARDS)
        joined = [people[place : place + size] for place in range(0, len(people), size)]
        people = [(some[0][0], some[-1][1]) for some in joined]
    ranges = [
        *((people_range, (0, -1)) for people_range in people[:-1]),
        *(((0, -1), spellings_range) for spellings_range in spellings[:-1]),
        (people[-1], spellings[-1]),
    ]
    return [
        Shard(
            first_person=first_person,
            last_person=last_person,
            first_spelling=first_spelling,
            last_spelling=last_spelling,
            with_batch=place == 0,
            snapshot=snapshot,
            originals=originals,
        )
        for place, ((first_person, last_person), (first_spelling, last_spelling)) in enumerate(ranges)
    ]


class _Ends(NamedTuple):
    """How ranges of a kind are found: where they end, where one that is full ends, and the highest and lowest id."""

    known: str
    full: str
    store: str
    bounds: str


_PEOPLE_ENDS = _Ends(
    known="SELECT last_id FROM shards WHERE kind = 'people' ORDER BY last_id",
    full="SELECT person_id FROM people WHERE person_id > %s ORDER BY person_id OFFSET %s LIMIT 2",
    store="INSERT INTO shards VALUES ('people', %s) ON CONFLICT DO NOTHING",
    bounds="SELECT coalesce(min(person_id), 0), coalesce(max(person_id), -1) FROM people",
)
_SPELLING_ENDS = _Ends(
    known="SELECT last_id FROM shards WHERE kind = 'spellings' ORDER BY last_id",
    full="SELECT spelling_id FROM spellings WHERE spelling_id > %s ORDER BY spelling_id OFFSET %s LIMIT 2",
    store="INSERT INTO shards VALUES ('spellings', %s) ON CONFLICT DO NOTHING",
    bounds="SELECT coalesce(min(spelling_id), 0), coalesce(max(spelling_id), -1) FROM spellings",
)
_BEFORE_ALL = -(2**63)


def _ranges(connection: Transaction, ends: _Ends) -> list[tuple[int, int]]:
    """The ranges of a kind, ascending; those that have become full since the last time are closed."""
    lasts = [last for (last,) in connection.execute(ends.known.encode())]
    while (
        len(
            rest := connection.execute(
                ends.full.encode(), [max(lasts, default=_BEFORE_ALL), SHARD_PEOPLE - 1]
            ).fetchall()
        )
        == 2
    ):
        lasts.append(rest[0][0])
        connection.execute(ends.store.encode(), [lasts[-1]])
    ((lowest, highest),) = connection.execute(ends.bounds.encode()).fetchall()
    firsts = [min(lowest, *lasts), *(last + 1 for last in lasts)] if lasts else [lowest]
    return list(zip(firsts, [*lasts, max(highest, firsts[-1] - 1)], strict=True))


def snapshot(connection: Transaction) -> str:
    """What the table holds now, see `Shard`."""
    return str(value(connection.execute("SELECT pg_current_snapshot()::text")))


def read_people(shard: Shard) -> pa.Table:
    """What a batch is compared with in a shard, schema `CANDIDATES`: a million people in about half a second.

    All spellings, each once. A row that a sweep marked as a duplicate is a later spelling of the person it stands for.
    Among the spellings are records that wait in open questions.
    """
    return read_arrow(_READ_SHARD, _bounds(shard)).cast(CANDIDATES)


def read_shard(shard: Shard, is_known: Callable[[str], bool]) -> tuple[str, pa.Table | None]:
    """The state of a shard and, unless that is known, the rows that it stands for.

    Args:
        shard: as planned.
        is_known: whether the rows of a state are not needed.

    Returns:
        A text that is another one whenever the rows are others; and the rows: `read_people`, or for a sweep everybody
        who is not marked as a duplicate, in the order of `person_id`, of those who say the same only the first one.
    """
    state, rows = (_ORIGINALS_STATE, _READ_ORIGINALS) if shard["originals"] else (_SHARD_STATE, _READ_SHARD)
    bounds = _bounds(shard)[: 2 if shard["originals"] else None]
    with reading() as read:
        told = str(read(state, bounds)["state"][0])
        return told, None if is_known(told) else read(rows, bounds).cast(CANDIDATES)


def _bounds(shard: Shard) -> list[int]:
    return [shard["first_person"], shard["last_person"], shard["first_spelling"], shard["last_spelling"]]


# Of several equal spellings the same one is named whenever a task is tried again.
_READ_SHARD = """
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
     FROM candidates WHERE spelling_id BETWEEN $3 AND $4
     ORDER BY person_id, question_id, first_name_std, last_name_std, address_std, generation_std,
              via_batch_id, via_record_key)
    """
# A sum of hashes, since it can be had in any order. The key of its content stands for what a person's row says.
_SHARD_STATE = """
    SELECT concat_ws(' ', (SELECT concat_ws(' ', count(*), sum(hashtextextended(
                                      concat_ws('|', person_id, duplicate_of, content_key), 0)))
                           FROM people WHERE person_id BETWEEN $1 AND $2),
                          (SELECT concat_ws(' ', count(*), sum(hashtextextended(
                                      ROW(person_id, question_id, via_batch_id, via_record_key, first_name_std,
                                          last_name_std, address_std, generation_std)::text, 0)))
                           FROM candidates WHERE spelling_id BETWEEN $3 AND $4)) AS state
    """
_READ_ORIGINALS = """
    SELECT person_id, NULL::bigint AS question_id, true AS first_spelling, NULL::text AS via_batch_id,
           NULL::text AS via_record_key, first_name_std, last_name_std, address_std, generation_std
    FROM people AS p
    WHERE person_id BETWEEN $1 AND $2 AND duplicate_of IS NULL
      AND num_nonnulls(first_name_std, last_name_std) > 0 AND content_key IS NOT NULL
      AND NOT EXISTS (SELECT FROM people AS other WHERE other.content_key = p.content_key
                        AND other.person_id < p.person_id AND other.duplicate_of IS NULL)
    ORDER BY person_id
    """
_ORIGINALS_STATE = """
    SELECT concat_ws(' ', 'originals', count(*),
                     sum(hashtextextended(concat_ws('|', person_id, content_key), 0))) AS state
    FROM people AS p
    WHERE person_id BETWEEN $1 AND $2 AND duplicate_of IS NULL
      AND num_nonnulls(first_name_std, last_name_std) > 0 AND content_key IS NOT NULL
      AND NOT EXISTS (SELECT FROM people AS other WHERE other.content_key = p.content_key
                        AND other.person_id < p.person_id AND other.duplicate_of IS NULL)
    """


def copies_of_people(connection: Transaction) -> pa.Table:
    """People who say the same word for word: `person_id`, the first one of them, and `other_id`, each other one.

    Whoever is marked as a duplicate, or has no name, is left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
        SELECT first_id AS person_id, person_id AS other_id
        FROM (SELECT person_id, min(person_id) OVER (PARTITION BY content_key) AS first_id FROM people
              WHERE duplicate_of IS NULL AND content_key IN (
                  SELECT content_key FROM people
                  WHERE duplicate_of IS NULL AND num_nonnulls(first_name_std, last_name_std) > 0
                  GROUP BY content_key HAVING count(*) > 1)
             ) AS same
        WHERE person_id <> first_id ORDER BY person_id
        """
        )
        return as_tables(cursor, pa.schema([("person_id", pa.int64()), ("other_id", pa.int64())]))


def rows_of_person(connection: Transaction, person_id: int) -> list[int]:
    """The ids of the rows that are a person: their own, and those that a sweep marked as theirs."""
    query = "SELECT person_id FROM people WHERE person_id = %(person)s OR duplicate_of = %(person)s"
    return [row_id for (row_id,) in connection.execute(query, {"person": person_id})]


def people_as_records(connection: Transaction, people: Sequence[int], snapshot: str) -> pa.Table:
    """Those of some people who have not changed since a snapshot, as incoming records, schema `PEOPLE_RECORDS`.

    `source_key` is the person's id, and `record_key` another one when the row changes. Whoever is marked as a duplicate
    is left out.

    Args:
        connection: a transaction.
        people: ids.
        snapshot: of `plan_shards`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT md5(ROW(person_id, first_name, last_name, address)::text), person_id::text, first_name, last_name,
                   address, NULL::text, NULL::text
            FROM people WHERE person_id = ANY(%s) AND duplicate_of IS NULL
              AND (pg_visible_in_snapshot(changed_xid, %s::pg_snapshot)
                   OR changed_xid > greatest(pg_current_xact_id(), pg_snapshot_xmax(pg_current_snapshot())))
            ORDER BY person_id
            """,
            [list(people), snapshot],
        )
        return as_tables(cursor, PEOPLE_RECORDS)


PEOPLE_RECORDS = pa.schema([(name, pa.string()) for name in ("record_key", *RECORD, "problem", "raw")])
"""People as if they were incoming."""


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
