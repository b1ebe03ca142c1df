"""Erasing a person: every row that says something of somebody, wherever it stands."""

from dataclasses import dataclass

from common.errors import PeopleDbError
from common.people_db.connection import Transaction
from common.people_db.judgements import count_again
from common.run_report import SWEEP


@dataclass(frozen=True)
class Erased:
    """What was removed.

    Attributes:
        rows: how many rows of which tables.
        batches: the batches and runs that had something of the person; their files are to follow.
        left: how many rows of which tables still hold what the person was known as. It should be empty: what is left
            belongs to somebody else who is called the same and lives at the same address.
    """

    rows: dict[str, int]
    batches: tuple[tuple[str, str], ...]
    left: dict[str, int]


def people_of_key(connection: Transaction, system: str, source_key: str) -> list[int]:
    """Who came under a key of a system."""
    rows = connection.execute(
        """
        SELECT DISTINCT coalesce(p.duplicate_of, p.person_id) FROM decisions AS d JOIN people AS p USING (person_id)
        WHERE d.source_key = %s AND d.system = %s AND d.decision <> 'REVIEW' ORDER BY 1
        """,
        [source_key, system],
    ).fetchall()
    return [person_id for (person_id,) in rows]


def erase_person(connection: Transaction, person_id: int) -> Erased:
    """Remove a person from people, spellings, decisions, quarantine and judgements.

    Rows that a sweep marked as the person's duplicates are the person too. A batch counts what was removed from it as
    erased. Questions that were asked about the person stay open for their records, which are somebody else's.

    Args:
        connection: within `writing`.
        person_id: the person.

    Raises:
        PeopleDbError: there is no such person.
    """
    _gather(connection, person_id)
    rows = {
        "decisions": connection.execute(
            """
            DELETE FROM decisions AS d USING erased_records AS e
            WHERE (d.batch_id, d.record_key) = (e.batch_id, e.record_key)
            """
        ).rowcount,
        "quarantine": connection.execute(
            """
            DELETE FROM quarantine AS q USING erased_quarantine AS e
            WHERE (q.batch_id, q.record_key) = (e.batch_id, e.record_key)
            """
        ).rowcount,
        "judgements": connection.execute(
            """
            DELETE FROM judgements AS j USING erased_values AS e
            WHERE (j.left_first_name, j.left_last_name, j.left_address)
                  IS NOT DISTINCT FROM (e.first_name, e.last_name, e.address)
               OR (j.right_first_name, j.right_last_name, j.right_address)
                  IS NOT DISTINCT FROM (e.first_name, e.last_name, e.address)
            """
        ).rowcount,
        "people": connection.execute(
            "DELETE FROM people WHERE person_id IN (SELECT person_id FROM erased_people)"
        ).rowcount,
    }
    batches = connection.execute(
        """
        SELECT DISTINCT batch_id, run_id FROM batches
        WHERE batch_id IN (SELECT batch_id FROM erased_records UNION SELECT batch_id FROM erased_quarantine)
        ORDER BY batch_id
        """
    ).fetchall()
    count_again(connection, [batch_id for batch_id, _ in batches])
    left = _left(connection)
    connection.execute("DROP TABLE erased_people, erased_records, erased_values, erased_quarantine")
    return Erased(rows, tuple(batches), left)


def _gather(connection: Transaction, person_id: int) -> None:
    """Who is to be erased, which records were theirs, and what these said, as temporary tables."""
    people = connection.execute(
        """
        CREATE TEMPORARY TABLE erased_people ON COMMIT DROP AS
        SELECT person_id, first_name, last_name, address FROM people
        WHERE person_id = %(person)s OR duplicate_of = %(person)s
        """,
        {"person": person_id},
    )
    if not people.rowcount:
        raise PeopleDbError(f"there is no person {person_id}")
    # What a sweep wrote down about somebody names the person as its source key.
    connection.execute(
        """
        CREATE TEMPORARY TABLE erased_records ON COMMIT DROP AS
        SELECT d.batch_id, d.record_key, CASE WHEN b.source <> %(sweep)s THEN d.source_key END AS source_key, d.system,
               d.first_name, d.last_name, d.address
        FROM decisions AS d JOIN batches AS b USING (batch_id)
        WHERE (d.decision <> 'REVIEW' AND d.person_id IN (SELECT person_id FROM erased_people))
           OR (b.source = %(sweep)s AND d.source_key IN (SELECT person_id::text FROM erased_people))
        """,
        {"sweep": SWEEP},
    )
    connection.execute(
        """
        CREATE TEMPORARY TABLE erased_values ON COMMIT DROP AS
        SELECT first_name, last_name, address FROM erased_people
        UNION SELECT first_name, last_name, address FROM erased_records
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
        """
    )


def _left(connection: Transaction) -> dict[str, int]:
    """How many rows of which tables still say what the person's records said."""
    rows = connection.execute(
        """
        WITH said AS (
            SELECT 'people' AS place, first_name, last_name, address FROM people
            UNION ALL SELECT 'decisions', first_name, last_name, address FROM decisions
            UNION ALL SELECT 'quarantine', raw->>'first_name', raw->>'last_name', raw->>'address' FROM quarantine
            UNION ALL SELECT 'judgements', left_first_name, left_last_name, left_address FROM judgements
            UNION ALL SELECT 'judgements', right_first_name, right_last_name, right_address FROM judgements
        )
        SELECT place, count(*) FROM said JOIN erased_values AS e
        ON (said.first_name, said.last_name, said.address) IS NOT DISTINCT FROM (e.first_name, e.last_name, e.address)
        GROUP BY place ORDER BY place
        """
    ).fetchall()
    return dict(rows)
