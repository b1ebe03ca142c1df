"""Notes of tries, so that a task that was killed is told of too.

A task that is killed runs no callback. So every try leaves a note when it begins, and whoever tells how it ended takes
the note: its own callbacks, else the next try, else the failure callback of the run. Only one of them can take it.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import settings
from common.alerts.files import make_folder, write_json

log = logging.getLogger(__name__)


def note_of(ti: Any) -> Path:
    """Where the note of a try lies: Airflow gives every try an id of its own, `dags test` every run."""
    return settings.TRIES_DIR / f"{ti.id}-{ti.try_number}.json"


def leave_note(ti: Any, facts: Mapping[str, str]) -> None:
    """A try begins: note what is to be told if it never ends."""
    write_json(note_of(ti), facts)


def forget_note(ti: Any) -> None:
    """A try has ended well: there is nothing to tell."""
    note_of(ti).unlink(missing_ok=True)


def take_note(note: Path) -> bool:
    """Whether the caller is the first to tell of a try; if the folder cannot be written it may be told twice."""
    try:
        make_folder(note.parent)
        note.with_suffix(".told").touch(exist_ok=False)
        note.unlink(missing_ok=True)
    except FileExistsError:
        return False
    except OSError as error:
        log.error("this may be told twice: %s (%s)", note, type(error).__name__)
    return True


def untaken_notes(dag_id: str, run_id: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """The notes of a run that nobody has taken yet, with their facts."""
    for note in sorted(settings.TRIES_DIR.glob("*.json")):
        facts = _read(note)
        if facts and (facts["DAG"], facts["run"]) == (dag_id, run_id):
            yield note, facts


def _read(note: Path) -> dict[str, str] | None:
    """The facts of a note; None if it has just been taken, or cannot be read: then it is put aside."""
    try:
        facts = json.loads(note.read_text(encoding="utf-8"))
        if isinstance(facts, dict) and {"DAG", "run", "task"} <= set(facts):
            return facts
        reason = "it holds something else"
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = type(error).__name__
    log.error("a note of a try cannot be read and is put aside: %s (%s)", note, reason)
    with suppress(OSError):
        note.rename(note.with_suffix(".unreadable"))
    return None
