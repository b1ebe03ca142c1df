"""People: who is stored, in shards for comparing, and their standardised columns."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TypedDict

import pyarrow as pa

from common.linkage.standardise import STANDARDISED, STANDARDISER_VERSION
from common.people_db.connection import RECORD, Transaction, as_table, read_arrow, rows_of, transaction, value
from common.settings import SHARD_PEOPLE

KNOWN = pa.schema([("record_key", pa.string()), ("person_id", pa.int64())])
RAW_PEOPLE = pa.schema([("person_id", pa.int64()), *((name, pa.string()) for name in RECORD[1:])])
PEOPLE = pa.schema([("person_id", pa.int64()), *((name, pa.string()) for name in STANDARDISED)])


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


def plan_shards() -> list[Shard]:
    """Split the table into ranges of at most `SHARD_PEOPLE`; at least one, also when it is empty."""
    with transaction() as connection:
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


def unstandardised_people(connection: Transaction) -> pa.Table:
    """Rows that other clients wrote, or that an older standardiser made: `person_id` and the raw fields.

    They are locked: nobody changes them before `store_standardised` has stored what was made of them.
    """
    rows = connection.execute(
        """
        SELECT person_id, first_name, last_name, address FROM people
        WHERE std_version IS NULL OR std_version <> %s FOR UPDATE
        """,
        [STANDARDISER_VERSION],
    ).fetchall()
    return as_table(rows, RAW_PEOPLE)


def store_standardised(connection: Transaction, people: pa.Table) -> None:
    """Store the standardised columns of people: `person_id` and the columns `STANDARDISED`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMPORARY TABLE fresh_std (person_id bigint PRIMARY KEY, first_name_std text, last_name_std text,
                                              address_std text, generation_std text) ON COMMIT DROP
            """
        )
        with cursor.copy("COPY fresh_std FROM STDIN") as copy:
            for row in rows_of(people.select(["person_id", *STANDARDISED])):
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
    return read_arrow(
        """
        SELECT coalesce(duplicate_of, person_id) AS person_id, first_name_std, last_name_std, address_std,
               generation_std
        FROM people WHERE person_id BETWEEN $1 AND $2
        """,
        [shard["first_person"], shard["last_person"]],
    ).cast(PEOPLE)


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


def known_records(connection: Transaction, records: pa.Table) -> pa.Table:
    """Which records of a batch are people already: schema `KNOWN`."""
    query = "SELECT record_key, person_id FROM people WHERE record_key = ANY(%s)"
    return as_table(connection.execute(query, [records["record_key"].to_pylist()]).fetchall(), KNOWN)


def changed_people(connection: Transaction, snapshot: str, compared: Sequence[int]) -> tuple[pa.Table, pa.Array]:
    """What happened to people since a snapshot was taken.

    Args:
        connection: within `writing`, so that nothing more happens.
        snapshot: of `plan_shards`.
        compared: ids of people who were compared, to find those that are gone.

    Returns:
        Those that came or changed, as they are now, schema `PEOPLE`; and the ids of all whose comparison is stale,
        those that are gone included.
    """
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
        [list(compared)],
    ).fetchall()
    return as_table(changed, PEOPLE), pa.array([row[0] for row in (*changed, *gone)], pa.int64())


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
    first = value(connection.execute("SELECT coalesce(max(person_id), 0) + 1 FROM people"))
    person_of = {key: first + place for place, key in enumerate(people["record_key"].to_pylist())}
    with (
        connection.cursor() as cursor,
        cursor.copy(
            """
        COPY people (record_key, source_key, first_name, last_name, address, first_name_std, last_name_std,
                     address_std, generation_std, person_id, std_version, batch_id) FROM STDIN
        """
        ) as copy,
    ):
        for row in rows_of(people.select(["record_key", *RECORD, *STANDARDISED])):
            copy.write_row((*row, person_of[row[0]], version, batch_id))
    # Other clients take their ids from the sequence, if the table has one.
    connection.execute(
        """
        SELECT setval(pg_get_serial_sequence('people', 'person_id'), max(person_id)) FROM people
        HAVING max(person_id) > 0
        """
    )
    return person_of
