"""Erasing people: every row that says something of somebody, wherever it stands, and whoever must not come back."""

import hmac
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import pyarrow as pa

from common.errors import PeopleDbError
from common.people_db.connection import RECORD, Transaction, value
from common.people_db.contents import content_keys
from common.people_db.judgements import count_again
from common.run_report import SWEEP

Fields = tuple[str | None, str | None, str | None]
"""First name, last name and address as they were written once."""


@dataclass(frozen=True)
class Whom:
    """Who is to be erased: people, and whatever came under a key of a system, decided or not."""

    people: tuple[int, ...]
    system: str | None = None
    source_key: str | None = None


@dataclass(frozen=True)
class Traces:
    """What is known of somebody: what their records said, and the runs of the batches that these came with."""

    said: frozenset[Fields]
    runs: frozenset[str]


@dataclass(frozen=True)
class Erased:
    """What was removed.

    Attributes:
        rows: how many rows of which tables.
        left: how many rows of which tables still hold what the people were known as. It should be empty: what is left
            belongs to somebody else who is called the same and lives at the same address.
    """

    rows: dict[str, int]
    left: dict[str, int]


def whom(connection: Transaction, person_id: int | None, system: str, source_key: str | None) -> Whom | None:
    """Who is meant by an id or by a key of a system; None: nobody, or nobody any more."""
    if source_key is None:
        found = connection.execute("SELECT FROM people WHERE person_id = %s", [person_id]).fetchone()
        return Whom((person_id,)) if found is not None and person_id is not None else None
    rows = connection.execute(
        """
        SELECT DISTINCT CASE WHEN d.decision <> 'REVIEW' THEN coalesce(p.duplicate_of, p.person_id) END
        FROM decisions AS d LEFT JOIN people AS p USING (person_id)
        WHERE d.source_key = %(key)s AND d.system = %(system)s
        UNION SELECT NULL FROM quarantine WHERE source_key = %(key)s AND system = %(system)s ORDER BY 1
        """,
        {"key": source_key, "system": system},
    ).fetchall()
    return Whom(tuple(person for (person,) in rows if person is not None), system, source_key) if rows else None


def traces(connection: Transaction, erased: Whom) -> Traces:
    """What is known of somebody, to search for it elsewhere too. Nothing is changed.

    Raises:
        PeopleDbError: one of these people is gone.
    """
    _gather(connection, erased)
    said = connection.execute("SELECT first_name, last_name, address FROM erased_values").fetchall()
    runs = connection.execute(
        """
        SELECT DISTINCT run_id FROM batches
        WHERE batch_id IN (SELECT batch_id FROM erased_records UNION SELECT batch_id FROM erased_quarantine)
        """
    ).fetchall()
    _drop(connection)
    return Traces(frozenset(said), frozenset(run_id for (run_id,) in runs))


def erase(connection: Transaction, erased: Whom, *, keep_out: bool = False) -> Erased:
    """Remove people from people, spellings, decisions, quarantine and judgements.

    Rows that a sweep marked as duplicates of a person are that person too. A batch counts what was removed from it as
    erased. Questions that were asked about a person stay open for their records, which are somebody else's.

    Args:
        connection: within `writing`; everything is standardised.
        erased: who is to be erased.
        keep_out: remember keyed hashes of what they were known as, by which `kept_out` knows them again.

    Raises:
        PeopleDbError: one of these people is gone.
    """
    _gather(connection, erased)
    if keep_out:
        _keep_out(connection)
    statements: Mapping[str, str] = {
        "removed_people": """
            DELETE FROM removed_people AS r USING erased_people AS e WHERE e.person_id IN (r.survivor_id, r.person_id)
            """,
        "decisions": """
            DELETE FROM decisions AS d USING erased_records AS e
            WHERE (d.batch_id, d.record_key) = (e.batch_id, e.record_key)
            """,
        "quarantine": """
            DELETE FROM quarantine AS q USING erased_quarantine AS e
            WHERE (q.batch_id, q.record_key) = (e.batch_id, e.record_key)
            """,
        "judgements": """
            DELETE FROM judgements AS j USING erased_values AS e
            WHERE (j.left_first_name, j.left_last_name, j.left_address)
                  IS NOT DISTINCT FROM (e.first_name, e.last_name, e.address)
               OR (j.right_first_name, j.right_last_name, j.right_address)
                  IS NOT DISTINCT FROM (e.first_name, e.last_name, e.address)
            """,
        "people": "DELETE FROM people WHERE person_id IN (SELECT person_id FROM erased_people)",
    }
    rows = {table: connection.execute(statement.encode()).rowcount for table, statement in statements.items()}
    batches = connection.execute(
        "SELECT batch_id FROM erased_records UNION SELECT batch_id FROM erased_quarantine"
    ).fetchall()
    count_again(connection, [batch_id for (batch_id,) in batches])
    left = _left(connection)
    _drop(connection)
    return Erased(rows, left)


def kept_out(connection: Transaction, records: pa.Table, system: str) -> dict[str, str]:
    """Which records of a batch are of people who were erased and are kept out.

    Args:
        connection: a transaction.
        records: a standardised batch, its quarantined rows included.
        system: which system the batch comes from.

    Returns:
        By record key, another key that says nothing of the record to whoever does not know the salt.
    """
    if connection.execute("SELECT FROM kept_out LIMIT 1").fetchone() is None:
        return {}
    salt = _salt(connection)
    keys_of: dict[str, set[str]] = {}
    written = records.select(["record_key", *RECORD]).to_pylist()
    for row, content_key in zip(written, content_keys(connection, records), strict=True):
        said = (row["first_name"], row["last_name"], row["address"])
        keys = {content_key, _as_written(salt, said), _of_system(salt, system, row["source_key"])}
        keys_of[row["record_key"]] = {key for key in keys if key}
    everything = sorted(set().union(*keys_of.values()))
    found = connection.execute("SELECT key FROM kept_out WHERE key = ANY(%s)", [everything]).fetchall()
    known = {key for (key,) in found}
    return {key: _hashed(salt, "record", key) for key, keys in keys_of.items() if keys & known}


def _keep_out(connection: Transaction) -> None:
    """Remember who was gathered."""
    salt = _salt(connection)
    said = connection.execute("SELECT first_name, last_name, address FROM erased_values").fetchall()
    named = connection.execute(
        "SELECT DISTINCT system, source_key FROM erased_records WHERE system IS NOT NULL AND source_key IS NOT NULL"
    ).fetchall()
    contents = connection.execute(
        """
        SELECT content_key FROM decisions JOIN erased_records USING (batch_id, record_key)
        UNION SELECT content_key FROM people JOIN erased_people USING (person_id)
        """
    ).fetchall()
    keys = {key for (key,) in contents} | {_as_written(salt, row) for row in said}
    keys |= {_of_system(salt, system, source_key) for system, source_key in named}
    connection.execute(
        "INSERT INTO kept_out (key) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
        [sorted(key for key in keys if key)],
    )


def _salt(connection: Transaction) -> bytes:
    return str(value(connection.execute("SELECT salt FROM installation"))).encode()


def _hashed(salt: bytes, kind: str, *texts: str) -> str:
    return hmac.new(
        salt, "\0".join((f"kept out, {kind}", *texts)).encode("utf-8", "surrogatepass"), sha256
    ).hexdigest()[:32]


def _as_written(salt: bytes, said: Fields) -> str | None:
    """The keyed hash of fields as they were written: it holds when a later standardiser makes something else of them.

    Capitals, the form of accents and the number of spaces do not count.
    """
    fields = [" ".join(unicodedata.normalize("NFKC", text or "").casefold().split()) for text in said]
    return _hashed(salt, "as written", *fields) if any(fields) else None


def _of_system(salt: bytes, system: str, source_key: str | None) -> str | None:
    return _hashed(salt, "source key", system, source_key) if source_key else None


def _gather(connection: Transaction, erased: Whom) -> None:
    """Who is to be erased, which records were theirs, and what these said, as temporary tables."""
    connection.execute(
        """
        CREATE TEMPORARY TABLE erased_people ON COMMIT DROP AS
        SELECT person_id, first_name, last_name, address FROM people
        WHERE person_id = ANY(%(people)s) OR duplicate_of = ANY(%(people)s)
        """,
        {"people": list(erased.people)},
    )
    _check_all_there(connection, erased.people)
    # What a sweep wrote down about somebody names the person as its source key.
    connection.execute(
        """
        CREATE TEMPORARY TABLE erased_records ON COMMIT DROP AS
        SELECT d.batch_id, d.record_key, CASE WHEN b.source <> %(sweep)s THEN d.source_key END AS source_key, d.system,
               d.first_name, d.last_name, d.address
        FROM decisions AS d JOIN batches AS b USING (batch_id)
        WHERE (d.decision <> 'REVIEW' AND d.person_id IN (SELECT person_id FROM erased_people))
           OR (b.source = %(sweep)s AND d.source_key IN (SELECT person_id::text FROM erased_people))
           OR (b.source <> %(sweep)s AND d.system = %(system)s AND d.source_key = %(key)s)
        """,
        {"sweep": SWEEP, "system": erased.system, "key": erased.source_key},
    )
    # Of records whose fields were removed after their time nothing can be searched for.
    connection.execute(
        """
        CREATE TEMPORARY TABLE erased_values ON COMMIT DROP AS
        SELECT first_name, last_name, address FROM erased_people
        WHERE num_nonnulls(first_name, last_name, address) > 0
        UNION SELECT first_name, last_name, address FROM erased_records
        WHERE num_nonnulls(first_name, last_name, address) > 0
        """
    )
    connection.execute(
        """
        CREATE TEMPORARY TABLE erased_quarantine ON COMMIT DROP AS
        SELECT DISTINCT q.batch_id, q.record_key FROM quarantine AS q, erased_values AS e
        WHERE (q.raw->>'first_name', q.raw->>'last_name', q.raw->>'address')
              IS NOT DISTINCT FROM (e.first_name, e.last_name, e.address)
        UNION
        SELECT q.batch_id, q.record_key FROM quarantine AS q JOIN erased_records AS e USING (source_key)
        WHERE q.system IS NULL OR q.system = e.system
        UNION
        SELECT batch_id, record_key FROM quarantine WHERE source_key = %(key)s AND system = %(system)s
        """,
        {"system": erased.system, "key": erased.source_key},
    )


def _check_all_there(connection: Transaction, people: Sequence[int]) -> None:
    found = {person_id for (person_id,) in connection.execute("SELECT person_id FROM erased_people").fetchall()}
    if gone := set(people) - found:
        raise PeopleDbError(f"there is no person {', '.join(map(str, sorted(gone)))}")


def _drop(connection: Transaction) -> None:
    connection.execute("DROP TABLE erased_people, erased_records, erased_values, erased_quarantine")


def _left(connection: Transaction) -> dict[str, int]:
    """How many rows of which tables still say what the erased records said."""
    rows = connection.execute(
        """
        WITH said AS (
            SELECT 'people' AS place, first_name, last_name, address FROM people
            UNION ALL SELECT 'decisions', first_name, last_name, address FROM decisions
            UNION ALL SELECT 'quarantine', raw->>'first_name', raw->>'last_name', raw->>'address' FROM quarantine
            UNION ALL SELECT 'judgements', left_first_name, left_last_name, left_address FROM judgements
            UNION ALL SELECT 'removed_people', content->>'first_name', content->>'last_name', content->>'address'
                      FROM removed_people
            UNION ALL SELECT 'judgements', right_first_name, right_last_name, right_address FROM judgements
        )
        SELECT place, count(*) FROM said JOIN erased_values AS e
        ON (said.first_name, said.last_name, said.address) IS NOT DISTINCT FROM (e.first_name, e.last_name, e.address)
        GROUP BY place ORDER BY place
        """
    ).fetchall()
    return dict(rows)
