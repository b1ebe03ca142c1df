"""Notes of tries, so that a task that was killed is told of too.

A task that is killed runs no callback. So every try leaves a note when it begins, and whoever tells how it ended takes
the note: its own callbacks, else the next try, else the failure callback of the run. Only one of them can take it. The
notes lie in the people database, since these callbacks run on several machines; while it is down, nobody can know
whether somebody else has told, and a try may be told of twice.
"""

import logging
from collections.abc import Mapping
from typing import Any

from common.alerts import left_behind
from common.alerts.one_line import one_line

log = logging.getLogger(__name__)


def note_of(ti: Any) -> str:
    """Names a try: Airflow gives every try an id of its own, `dags test` every run."""
    return f"{ti.id}-{ti.try_number}"


def leave_note(ti: Any, facts: Mapping[str, str]) -> None:
    """A try begins: note what is to be told if it never ends."""
    from common import people_db

    try:
        with people_db.transaction() as connection:
            people_db.leave_note(connection, note_of(ti), facts)
    except Exception as error:
        log.error("if this try is killed, nobody will be told: %s", one_line(error))


def forget_note(ti: Any) -> None:
    """A try has ended well: there is nothing to tell."""
    from common import people_db

    try:
        with people_db.transaction() as connection:
            people_db.forget_note(connection, note_of(ti))
    except Exception as error:
        log.error("this try may be told of as if it had not ended: %s", one_line(error))


def take_note(note: str) -> bool:
    """Whether the caller is the first to tell of a try; if nobody can know, it may be told twice."""
    from common import people_db

    try:
        with people_db.transaction() as connection:
            return people_db.take_note(connection, note)
    except Exception as error:
        log.error("this may be told twice: %s", one_line(error))
    return True


def untaken_notes(dag_id: str, run_id: str) -> list[tuple[str, dict[str, str]]]:
    """The notes of a run that nobody has taken yet, with their facts."""
    from common import people_db

    try:
        left_behind.take_over()
        with people_db.transaction() as connection:
            return people_db.untaken_notes(connection, dag_id, run_id)
    except Exception as error:
        log.error("tries that were killed cannot be told of now: %s", one_line(error))
    return []
