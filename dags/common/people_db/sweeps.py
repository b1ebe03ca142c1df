"""Sweeps: when one is due, and what it does to the people whom it found to be somebody's duplicates."""

from collections.abc import Mapping

from psycopg import sql

from common.errors import PeopleDbError
from common.linkage.model import STARTING_MODEL
from common.people_db.connection import Transaction
from common.run_report import SWEEP


def why_sweep(connection: Transaction, every: int) -> str | None:
    """Why the table should be swept now; None if there is no reason.

    Args:
        connection: a transaction.
        every: a sweep is due after so many batches.
    """
    last = connection.execute(
        "SELECT loaded_at, model_version FROM batches WHERE source = %s ORDER BY loaded_at DESC LIMIT 1", [SWEEP]
    ).fetchone()
    swept_at, swept_by = last or (None, STARTING_MODEL.version)
    champion = connection.execute("SELECT version FROM models WHERE champion").fetchone()
    if champion is not None and champion[0] != swept_by:
        return f"model {champion[0]} was promoted"
    adopted = connection.execute("SELECT FROM people WHERE batch_id IS NULL LIMIT 1").fetchone()
    if last is None and adopted is not None:
        return "people in the table came with no batch and were never compared with each other"
    ((batches,),) = connection.execute(
        "SELECT count(*) FROM batches WHERE source <> %s AND (loaded_at > %s) IS NOT FALSE", [SWEEP, swept_at]
    ).fetchall()
    return f"{batches} batches were loaded since the last sweep" if batches >= every else None


def mark(connection: Transaction, survivor_of: Mapping[int, int]) -> None:
    """Mark people as duplicates of others; whoever a marked person stood for follows to the survivor.

    Args:
        connection: within `writing`.
        survivor_of: ids of survivors by ids of people.
    """
    connection.execute(
        """
        UPDATE people SET duplicate_of = m.survivor
        FROM unnest(%s::bigint[], %s::bigint[]) AS m (person, survivor)
        WHERE people.person_id = m.person OR people.duplicate_of = m.person
        """,
        [list(survivor_of), list(survivor_of.values())],
    )


def remove_marked(connection: Transaction, batch_id: str) -> None:
    """Take the people whom a sweep has marked out of the table; their rows are kept in `removed_people`.

    What they were known as are spellings of the survivor from now on, and decisions about them are about the survivor.

    Args:
        connection: within `writing`.
        batch_id: the sweep, which is written.
    """
    gone = {"batch": batch_id}
    connection.execute(
        """
        INSERT INTO removed_people (batch_id, record_key, person_id, survivor_id, content, decided, spelt, apart)
        SELECT d.batch_id, d.record_key, p.person_id, d.person_id, to_jsonb(p),
               (SELECT coalesce(jsonb_agg(jsonb_build_array(o.batch_id, o.record_key)), '[]')
                FROM decisions AS o WHERE o.person_id = p.person_id),
               (SELECT coalesce(jsonb_agg(jsonb_build_array(s.batch_id, s.record_key)), '[]')
                FROM spellings AS s WHERE s.person_id = p.person_id),
               ARRAY(SELECT a.person_id + a.other_id - p.person_id FROM apart AS a
                     WHERE p.person_id IN (a.person_id, a.other_id))
        FROM decisions AS d JOIN people AS p ON p.person_id = d.source_key::bigint
        WHERE d.batch_id = %(batch)s AND d.decision = 'DUPLICATE'
        """,
        gone,
    )
    connection.execute(
        """
        INSERT INTO apart (person_id, other_id)
        SELECT least(r.survivor_id, other), greatest(r.survivor_id, other)
        FROM removed_people AS r, unnest(r.apart) AS other
        WHERE r.batch_id = %(batch)s AND r.survivor_id <> other ON CONFLICT DO NOTHING
        """,
        gone,
    )
    connection.execute(
        """
        UPDATE decisions AS d SET person_id = r.survivor_id
        FROM removed_people AS r WHERE r.batch_id = %(batch)s AND d.person_id = r.person_id
        """,
        gone,
    )
    connection.execute(
        """
        UPDATE spellings AS s SET person_id = r.survivor_id
        FROM removed_people AS r WHERE r.batch_id = %(batch)s AND s.person_id = r.person_id
        """,
        gone,
    )
    # What the row itself said: the survivor is known so by the record of the sweep.
    connection.execute(
        """
        INSERT INTO spellings (batch_id, record_key, person_id, first_name_std, last_name_std, address_std,
                               generation_std)
        SELECT r.batch_id, r.record_key, r.survivor_id, p.first_name_std, p.last_name_std, p.address_std,
               p.generation_std
        FROM removed_people AS r JOIN people AS p USING (person_id)
        WHERE r.batch_id = %(batch)s ORDER BY r.person_id
        """,
        gone,
    )
    connection.execute(
        """
        DELETE FROM people AS p USING removed_people AS r
        WHERE r.batch_id = %(batch)s AND p.person_id = r.person_id
        """,
        gone,
    )


def bring_back(connection: Transaction, batch_id: str) -> None:
    """Put the people whom a sweep removed back into the table, with all that was known of them; nobody is marked.

    Args:
        connection: within `writing`.
        batch_id: the sweep, which is undone afterwards.

    Raises:
        PeopleDbError: a later sweep has removed somebody for whom they were taken: undo that one first.
    """
    later = connection.execute(
        """
        SELECT later.batch_id FROM removed_people AS r JOIN removed_people AS later ON later.person_id = r.survivor_id
        WHERE r.batch_id = %s AND later.batch_id <> r.batch_id ORDER BY 1 LIMIT 1
        """,
        [batch_id],
    ).fetchone()
    if later:
        raise PeopleDbError(f"sweep {batch_id} stays: undo sweep {later[0]} first, which came after it")
    back = {"batch": batch_id}
    _insert_removed(connection, batch_id)
    connection.execute(
        """
        UPDATE decisions AS d SET person_id = r.person_id
        FROM removed_people AS r, jsonb_array_elements(r.decided) AS k
        WHERE r.batch_id = %(batch)s AND (d.batch_id, d.record_key) = (k ->> 0, k ->> 1)
          AND d.person_id = r.survivor_id
        """,
        back,
    )
    connection.execute(
        """
        UPDATE spellings AS s SET person_id = r.person_id
        FROM removed_people AS r, jsonb_array_elements(r.spelt) AS k
        WHERE r.batch_id = %(batch)s AND (s.batch_id, s.record_key) = (k ->> 0, k ->> 1)
          AND s.person_id = r.survivor_id
        """,
        back,
    )
    connection.execute(
        """
        INSERT INTO apart (person_id, other_id)
        SELECT least(r.person_id, other), greatest(r.person_id, other)
        FROM removed_people AS r, unnest(r.apart) AS other JOIN people AS p ON p.person_id = other
        WHERE r.batch_id = %(batch)s ON CONFLICT DO NOTHING
        """,
        back,
    )


def _insert_removed(connection: Transaction, batch_id: str) -> None:
    """Insert the rows as they were, but for marks, with all columns that can be written."""
    columns = connection.execute(
        """
        SELECT attname FROM pg_attribute
        WHERE attrelid = 'people'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum
        """
    ).fetchall()
    statement = sql.SQL(
        """
        INSERT INTO people ({names}) OVERRIDING SYSTEM VALUE
        SELECT {rows} FROM removed_people AS r, jsonb_populate_record(NULL::people, r.content || jsonb_build_object(
            'duplicate_of', NULL, 'changed_xid', pg_current_xact_id()::text)) AS p
        WHERE r.batch_id = %s ORDER BY r.person_id
        """
    ).format(
        names=sql.SQL(", ").join(sql.Identifier(name) for (name,) in columns),
        rows=sql.SQL(", ").join(sql.Identifier("p", name) for (name,) in columns),
    )
    connection.execute(statement, [batch_id])
