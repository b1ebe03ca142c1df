"""Notes of tries of tasks: which have begun and not ended, and of which somebody was told how they ended."""

import json
from collections.abc import Mapping
from datetime import datetime

from common.people_db.connection import Transaction


def leave_note(connection: Transaction, note: str, facts: Mapping[str, str]) -> None:
    """A try begins.

    Args:
        connection: a transaction.
        note: names the try.
        facts: what is to be told of it; `DAG`, `run` and `task` among them.
    """
    connection.execute(
        """
        INSERT INTO tries (note, dag_id, run_id, task, facts) VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
        """,
        [note, facts["DAG"], facts["run"], facts["task"], json.dumps(dict(facts))],
    )


def forget_note(connection: Transaction, note: str) -> None:
    """A try has ended well."""
    connection.execute("DELETE FROM tries WHERE note = %s", [note])


def take_note(connection: Transaction, note: str) -> bool:
    """Whether nobody has told of a try yet; whoever asks first tells."""
    first = connection.execute(
        """
        INSERT INTO tries (note, told) VALUES (%s, true)
        ON CONFLICT (note) DO UPDATE SET told = true WHERE NOT tries.told RETURNING note
        """,
        [note],
    )
    return first.fetchone() is not None


def untaken_notes(connection: Transaction, dag_id: str, run_id: str) -> list[tuple[str, dict[str, str]]]:
    """The tries of a run that have neither ended nor been told of, with their facts."""
    return connection.execute(
        "SELECT note, facts FROM tries WHERE run_id = %s AND dag_id = %s AND NOT told ORDER BY begun_at, note",
        [run_id, dag_id],
    ).fetchall()


def forget_notes(connection: Transaction, begun_before: datetime) -> int:
    """Delete notes of tries that began before a time; returns how many."""
    return connection.execute("DELETE FROM tries WHERE begun_at < %s", [begun_before]).rowcount
