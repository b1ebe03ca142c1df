"""Filling in what a person lacks from records that were taken for that person, and taking it back."""

from common.people_db.connection import Transaction


def fill_in(connection: Transaction, batch_id: str, least: float) -> int:
    """Fill empty fields of people from the duplicates of a batch; nothing that is there is overwritten.

    A record counts if a pair with a spelling of the person scored so well, or if its own key names the person. Of
    several that could fill a field, the one with the highest score does, then the one with the smallest key.

    Args:
        connection: within `writing`, in which the batch was written. What is filled is standardised afterwards.
        batch_id: the batch.
        least: match score from which on a duplicate may fill, in (0, 1].

    Returns:
        How many fields were filled.
    """
    filled = connection.execute(
        """
        INSERT INTO filled (person_id, field, batch_id, record_key, before)
        SELECT DISTINCT ON (p.person_id, f.field) p.person_id, f.field, d.batch_id, d.record_key, f.stored
        FROM decisions AS d JOIN spellings AS s USING (batch_id, record_key)
        JOIN people AS p ON p.person_id = d.person_id
        CROSS JOIN LATERAL (VALUES ('first_name', p.first_name, s.first_name_std),
                                   ('last_name', p.last_name, s.last_name_std),
                                   ('address', p.address, s.address_std)) AS f (field, stored, standardised)
        WHERE d.batch_id = %s AND d.decision = 'DUPLICATE' AND d.matched_record_key IS NULL
          AND (d.score >= %s OR d.reason = 'SAME_KEY')
          AND btrim(coalesce(f.stored, '')) = '' AND f.standardised IS NOT NULL
        ORDER BY p.person_id, f.field, d.score DESC NULLS FIRST, d.record_key
        ON CONFLICT DO NOTHING
        """,
        [batch_id, least],
    )
    connection.execute(
        """
        UPDATE people AS p
        SET first_name = CASE WHEN 'first_name' = ANY(f.fields) THEN f.first_name ELSE p.first_name END,
            last_name = CASE WHEN 'last_name' = ANY(f.fields) THEN f.last_name ELSE p.last_name END,
            address = CASE WHEN 'address' = ANY(f.fields) THEN f.address ELSE p.address END
        FROM (SELECT f.person_id, array_agg(f.field) AS fields,
                     max(d.first_name) FILTER (WHERE f.field = 'first_name') AS first_name,
                     max(d.last_name) FILTER (WHERE f.field = 'last_name') AS last_name,
                     max(d.address) FILTER (WHERE f.field = 'address') AS address
              FROM filled AS f JOIN decisions AS d USING (batch_id, record_key)
              WHERE f.batch_id = %s GROUP BY f.person_id) AS f
        WHERE p.person_id = f.person_id
        """,
        [batch_id],
    )
    return filled.rowcount


def take_filled_back(connection: Transaction, batch_id: str, record_key: str | None = None) -> None:
    """Empty the fields again that a batch has filled, or one record of it; those that somebody has changed since stay.

    Args:
        connection: within `writing`. The people are standardised afterwards.
        batch_id: the batch.
        record_key: the record; None: all of them.
    """
    connection.execute(
        """
        WITH gone AS (
            DELETE FROM filled WHERE batch_id = %(batch)s AND (record_key = %(key)s OR %(key)s::text IS NULL)
            RETURNING person_id, field, batch_id, record_key, before
        ), back AS (
            SELECT g.person_id, g.field, g.before, CASE g.field WHEN 'first_name' THEN d.first_name
                                                                WHEN 'last_name' THEN d.last_name
                                                                ELSE d.address END AS brought
            FROM gone AS g JOIN decisions AS d USING (batch_id, record_key)
        ), fields AS (
            SELECT person_id,
                   max(brought) FILTER (WHERE field = 'first_name') AS first_name,
                   max(brought) FILTER (WHERE field = 'last_name') AS last_name,
                   max(brought) FILTER (WHERE field = 'address') AS address,
                   max(before) FILTER (WHERE field = 'first_name') AS no_first_name,
                   max(before) FILTER (WHERE field = 'last_name') AS no_last_name,
                   max(before) FILTER (WHERE field = 'address') AS no_address
            FROM back GROUP BY person_id
        )
        UPDATE people AS p
        SET first_name = CASE WHEN p.first_name = f.first_name THEN f.no_first_name ELSE p.first_name END,
            last_name = CASE WHEN p.last_name = f.last_name THEN f.no_last_name ELSE p.last_name END,
            address = CASE WHEN p.address = f.address THEN f.no_address ELSE p.address END
        FROM fields AS f WHERE p.person_id = f.person_id
        """,
        {"batch": batch_id, "key": record_key},
    )
