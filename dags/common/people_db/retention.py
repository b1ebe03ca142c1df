"""Retention: what arrived is removed after its time; what was decided about it stays."""

from datetime import datetime

from common.people_db.connection import Transaction, transaction, value


def remove_raw_rows(loaded_before: datetime) -> int:
    """Remove what arrived in quarantined rows of older batches, but not the rows; returns of how many."""
    with transaction() as connection:
        return int(value(connection.execute("SELECT remove_raw_rows(%s)", [loaded_before])))


def remove_fields(loaded_before: datetime) -> int:
    """Remove the raw fields of decided records of older batches, a transaction each; returns of how many.

    Records that wait for an answer keep theirs. What is compared with later records, and recognises them, stays.
    """
    with transaction() as connection:
        batches = connection.execute(
            """
            SELECT batch_id FROM batches LEFT JOIN fields_removed USING (batch_id)
            WHERE loaded_at < %s AND removed_at IS NULL ORDER BY loaded_at, batch_id
            """,
            [loaded_before],
        ).fetchall()
    removed = 0
    for batch in batches:
        with transaction() as connection:
            removed += value(connection.execute("SELECT remove_fields(%s)", batch))
    return removed


def erased_files(connection: Transaction) -> list[str]:
    """The files that say something of erased people and have not been deleted yet."""
    return [path for (path,) in connection.execute("SELECT path FROM erased_files ORDER BY path").fetchall()]


def note_erased_files(connection: Transaction, paths: list[str]) -> None:
    """Note files that are to be deleted, so that this is not forgotten if it fails."""
    connection.execute("INSERT INTO erased_files (path) SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING", [paths])


def forget_erased_files(connection: Transaction, paths: list[str]) -> None:
    """Files are gone."""
    connection.execute("DELETE FROM erased_files WHERE path = ANY(%s)", [paths])
