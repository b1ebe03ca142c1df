"""Contents: what records and people say once they are standardised, and who said the same before."""

import hmac
from hashlib import sha256

import pyarrow as pa

from common.linkage.standardise import STANDARDISED, STANDARDISER_VERSION
from common.linkage.tables import PAIR_ENDS, SEEN
from common.people_db.connection import RECORD, Transaction, as_table, rows_of, value

RAW_PEOPLE = pa.schema([("person_id", pa.int64()), *((name, pa.string()) for name in RECORD[1:])])
RAW_DECISIONS = pa.schema([(name, pa.string()) for name in ("batch_id", "record_key", *RECORD[1:])])

_PAGE = 50_000  # rows that are standardised at a time


def content_keys(connection: Transaction, standardised: pa.Table) -> list[str | None]:
    """The key of each row's content: 32 hex characters, which mean nothing to whoever does not know the salt.

    Args:
        connection: of the database that has the salt.
        standardised: with the columns `STANDARDISED`. A row of which nothing is known has no key.
    """
    salt = str(value(connection.execute("SELECT salt FROM installation"))).encode()
    return [
        hmac.new(salt, "\0".join(text or "" for text in row).encode(), sha256).hexdigest()[:32] if any(row) else None
        for row in rows_of(standardised.select(STANDARDISED))
    ]


def unstandardised_people(connection: Transaction) -> pa.Table:
    """A page of rows that other clients wrote, or that an older standardiser made: `person_id` and the raw fields.

    They are locked: nobody changes them before `store_standardised` has stored what was made of them.
    """
    rows = connection.execute(
        """
        SELECT person_id, first_name, last_name, address FROM people
        WHERE std_version IS NULL OR std_version < %(version)s OR std_version > %(version)s -- by an index, unlike <>
        LIMIT %(page)s FOR UPDATE
        """,
        {"version": STANDARDISER_VERSION, "page": _PAGE},
    ).fetchall()
    return as_table(rows, RAW_PEOPLE)


def store_standardised(connection: Transaction, people: pa.Table) -> None:
    """Store the standardised columns of people: `person_id` and the columns `STANDARDISED`."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMPORARY TABLE fresh_std (person_id bigint PRIMARY KEY, first_name_std text, last_name_std text,
                                              address_std text, generation_std text, content_key text) ON COMMIT DROP
            """
        )
        keys = content_keys(connection, people)
        with cursor.copy("COPY fresh_std FROM STDIN") as copy:
            for row, key in zip(rows_of(people.select(["person_id", *STANDARDISED])), keys, strict=True):
                copy.write_row((*row, key))
        cursor.execute(
            """
            UPDATE people SET first_name_std = f.first_name_std, last_name_std = f.last_name_std,
                              address_std = f.address_std, generation_std = f.generation_std,
                              content_key = f.content_key, std_version = %s
            FROM fresh_std AS f WHERE f.person_id = people.person_id
            """,
            [STANDARDISER_VERSION],
        )
        cursor.execute("DROP TABLE fresh_std")


def unstandardised_decisions(connection: Transaction) -> pa.Table:
    """A page of decisions about records that this standardiser has not seen, schema `RAW_DECISIONS`."""
    rows = connection.execute(
        """
        SELECT batch_id, record_key, first_name, last_name, address FROM decisions
        WHERE (content_version IS NULL OR content_version < %(version)s OR content_version > %(version)s)
          AND num_nonnulls(first_name, last_name, address) > 0 -- else they were removed; what was made of them stays
        LIMIT %(page)s FOR UPDATE
        """,
        {"version": STANDARDISER_VERSION, "page": _PAGE},
    ).fetchall()
    return as_table(rows, RAW_DECISIONS)


def store_contents(connection: Transaction, decided: pa.Table) -> None:
    """Store what records say of which decisions are kept: keys of their contents, and the spellings among them.

    Args:
        connection: a transaction.
        decided: `batch_id`, `record_key` and the columns `STANDARDISED`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TEMPORARY TABLE fresh_std (batch_id text, record_key text, first_name_std text, last_name_std text,
                                              address_std text, generation_std text, content_key text) ON COMMIT DROP
            """
        )
        keys = content_keys(connection, decided)
        with cursor.copy("COPY fresh_std FROM STDIN") as copy:
            for row, key in zip(rows_of(decided.select(["batch_id", "record_key", *STANDARDISED])), keys, strict=True):
                copy.write_row((*row, key))
        cursor.execute(
            """
            UPDATE decisions AS d SET content_key = f.content_key, content_version = %s
            FROM fresh_std AS f WHERE (d.batch_id, d.record_key) = (f.batch_id, f.record_key)
            """,
            [STANDARDISER_VERSION],
        )
        cursor.execute(
            """
            UPDATE spellings AS s SET first_name_std = f.first_name_std, last_name_std = f.last_name_std,
                                      address_std = f.address_std, generation_std = f.generation_std
            FROM fresh_std AS f WHERE (s.batch_id, s.record_key) = (f.batch_id, f.record_key)
            """
        )
        cursor.execute("DROP TABLE fresh_std")


def seen_contents(connection: Transaction, records: pa.Table) -> pa.Table:
    """Who said before what records of a batch say, and which open questions do: schema `SEEN`.

    Args:
        connection: a transaction.
        records: standardised.
    """
    rows = connection.execute(
        """
        WITH given AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS g (record_key, content_key))
        SELECT g.record_key, coalesce(p.duplicate_of, p.person_id), NULL::bigint
        FROM given AS g JOIN people AS p USING (content_key)
        UNION
        SELECT g.record_key, coalesce(p.duplicate_of, p.person_id), NULL::bigint
        FROM given AS g JOIN decisions AS d USING (content_key) JOIN people AS p ON p.person_id = d.person_id
        WHERE d.decision <> 'REVIEW'
        UNION
        SELECT g.record_key, NULL::bigint, s.question_id
        FROM given AS g JOIN decisions AS d USING (content_key)
        JOIN spellings AS s ON (s.batch_id, s.record_key) = (d.batch_id, d.record_key)
        WHERE s.question_id IS NOT NULL
        """,
        [records["record_key"].to_pylist(), content_keys(connection, records)],
    ).fetchall()
    return as_table(rows, SEEN)


def seen_keys(connection: Transaction, records: pa.Table, system: str) -> pa.Table:
    """Who came before under a key that a system gave to records of a batch: schema `SEEN`.

    Args:
        connection: a transaction.
        records: with `source_key`; those without one have none.
        system: which system the batch comes from.
    """
    rows = connection.execute(
        """
        WITH given AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS g (record_key, source_key))
        SELECT g.record_key, coalesce(p.duplicate_of, p.person_id), NULL::bigint
        FROM given AS g JOIN decisions AS d ON d.system = %s AND d.source_key = g.source_key
        JOIN people AS p ON p.person_id = d.person_id
        WHERE d.decision <> 'REVIEW'
        UNION
        SELECT g.record_key, NULL::bigint, s.question_id
        FROM given AS g JOIN decisions AS d ON d.system = %s AND d.source_key = g.source_key
        JOIN spellings AS s ON (s.batch_id, s.record_key) = (d.batch_id, d.record_key)
        WHERE s.question_id IS NOT NULL
        """,
        [records["record_key"].to_pylist(), records["source_key"].to_pylist(), system, system],
    ).fetchall()
    return as_table(rows, SEEN)


def spellings_of(connection: Transaction, people: pa.Array) -> pa.Table:
    """All spellings of people: `person_id` and the columns `STANDARDISED`."""
    rows = connection.execute(
        """
        SELECT person_id, first_name_std, last_name_std, address_std, generation_std
        FROM candidates
        WHERE row_id IN (SELECT person_id FROM people WHERE person_id = ANY(%(people)s)
                         UNION SELECT person_id FROM people WHERE duplicate_of = ANY(%(people)s))
        """,
        {"people": people.to_pylist()},
    ).fetchall()
    return as_table(rows, pa.schema([PAIR_ENDS.field("person_id"), *((name, pa.string()) for name in STANDARDISED)]))
