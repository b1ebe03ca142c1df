"""Mails and notes of tries that earlier versions left in folders beside the reports; they move to the database."""

import email
import fcntl
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import settings
from common.alerts.smtp import addressed
from common.mail import SEVEN_BIT, Mail


def take_over() -> None:
    """Move what is there, one file by one process at a time, and delete the folders; quick where there is nothing.

    Raises:
        PeopleDbUnreachable, PeopleDbError: the people database does not take it; what is left stays where it is.
    """
    if "://" in settings.REPORTS_DIR:
        return
    outbox, tries = (Path(settings.REPORTS_DIR) / name for name in ("outbox", "tries"))
    if not outbox.is_dir() and not tries.is_dir():
        return
    for path in (*sorted(outbox.glob("*.json")), *sorted((outbox / "dead").glob("*.json"))):
        _move(path, _store_mail)
    for path in (*sorted(tries.glob("*.told")), *sorted(tries.glob("*.json"))):
        _move(path, _store_note)
    for folder in (outbox / "dead", outbox, tries):
        with suppress(OSError):  # it is not there, or something else lies in it
            folder.rmdir()


def _move(path: Path, store: Callable[[Path, str], None]) -> None:
    with suppress(FileNotFoundError, BlockingIOError), path.open(encoding="utf-8", errors="backslashreplace") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):
            store(path, file.read().replace("\0", "\\0"))
            path.unlink()


def _store_mail(path: Path, text: str) -> None:
    from common import people_db

    subject, message, error = path.name, text, None
    try:
        kept = json.loads(text)
        if "facts" in kept:
            kept = _of_an_even_earlier_version(kept)
        subject, message = str(kept["subject"]), kept["message"]
        email.message_from_string(message, policy=SEVEN_BIT)
        if path.parent.name == "dead":
            error = str(kept.get("last_error") or "given up by an earlier version")
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        # Nobody can send what cannot be read; it is kept as it is.
        message, error = text, f"it cannot be read: {type(problem).__name__}"
    with people_db.transaction() as connection:
        people_db.put_mail(connection, path.stem, subject, message, error)


def _of_an_even_earlier_version(content: dict[str, Any]) -> dict[str, Any]:
    pages = {Path(page).name: Path(page).read_text("utf-8") for page in content["attachments"] if Path(page).exists()}
    mail = Mail(content["subject"], headline=content["subject"], facts=content["facts"], attachments=pages)
    return {"subject": content["subject"], "message": addressed(mail, content["subject"]).as_string()}


def _store_note(path: Path, text: str) -> None:
    from common import people_db

    with people_db.transaction() as connection:
        if path.suffix == ".told":
            people_db.take_note(connection, path.stem)
            return
        with suppress(ValueError, KeyError, TypeError):  # nothing can be told of what cannot be read
            people_db.leave_note(connection, path.stem, json.loads(text))
