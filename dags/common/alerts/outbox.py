"""The outbox: a mail is written down first and deleted once a server took it, so it outlives a server that is down.

Whoever puts a mail into the outbox delivers whatever is due in it. Two things can go wrong:

- No server can be reached. Every mail waits, and goes out with the next one. Those that have waited for `MAIL_KEPT` are
  given up, one with each new mail.
- The server refuses one mail, or breaks off while it is sent. That mail alone is tried again later, after a pause that
  grows fourfold with each of its `MAIL_TRIES` tries.

A mail that has come to its end moves to the folder `dead/` with the last error, and the next reports name it.
"""

import email
import fcntl
import json
import logging
import os
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from email.message import EmailMessage, Message
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from common import settings
from common.alerts.files import write_json
from common.alerts.smtp import mail_server
from common.mail import SEVEN_BIT, Mail

if TYPE_CHECKING:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

log = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds after which a callback begins to deliver no further mail: what is left goes out with the next one."""

SHOWN = 20
"""Mails that a report names at most."""


class _NoServerError(Exception):
    """No connection to a mail server: no mail can be delivered now."""


def put(mail: Mail, smtp: "SmtpHook | None" = None) -> None:
    """Put a mail into the outbox and deliver what is due there. A mail that cannot be sent never fails a task.

    Args:
        mail: what to send.
        smtp: the server, where it has to be asked for on another thread.
    """
    name = f"{time.time_ns()}-{uuid.uuid4()}"  # mails are delivered in the order of their names
    message = _addressed(mail, name)
    smtp = smtp or mail_server()
    try:
        write_json(settings.OUTBOX_DIR / f"{name}.json", _kept(message))
    except OSError as error:
        log.error("the outbox %s cannot be written, so this mail is sent at once: %s", settings.OUTBOX_DIR, error)
        try:
            _send(message, smtp)
        except Exception as refusal:
            log.error("mail lost: %s (%s)", message["Subject"], _one_line(refusal))
        return
    try:
        deliver(smtp)
    except _NoServerError as error:
        waiting = len(list(settings.OUTBOX_DIR.glob("*.json")))
        log.warning("no mail server: %d mails wait in %s (%s)", waiting, settings.OUTBOX_DIR, error)
    except Exception as error:
        log.error("mails in %s could not be delivered: %s", settings.OUTBOX_DIR, _one_line(error))


def deliver(smtp: "SmtpHook") -> None:
    """Send every mail that is due, oldest first, each by one process at a time.

    Raises:
        _NoServerError: no connection; every mail stays, but for those that have waited too long.
    """
    give_up = time.monotonic() + PATIENCE
    for path in sorted(settings.OUTBOX_DIR.glob("*.json")):
        if time.monotonic() > give_up:
            return
        try:
            with path.open(encoding="utf-8", errors="surrogateescape") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    _deliver_one(path, file.read(), smtp)
        except (FileNotFoundError, BlockingIOError):
            continue  # another process has just sent it, or is sending it
        except OSError as error:
            log.error("mail %s cannot be handled and stays where it is: %s", path, error)


def undelivered() -> list[str]:
    """The latest mails that a server refused or nobody took in time, in one line each."""
    lines = []
    for path in sorted(settings.OUTBOX_DIR.glob("**/*.json"), reverse=True):
        with suppress(OSError, ValueError, KeyError):
            kept = json.loads(path.read_text(encoding="utf-8"))
            if error := kept.get("last_error"):
                fate = "given up" if path.parent.name == "dead" else "waiting"
                lines.append(f"{kept['subject']}: {fate}, tries: {kept['tries']}, last error: {error}")
    return lines[:SHOWN]


def _deliver_one(path: Path, text: str, smtp: "SmtpHook") -> None:
    try:
        kept = json.loads(text)
        if "facts" in kept:
            kept = _of_earlier_version(kept, path)
        message = email.message_from_string(kept["message"], policy=SEVEN_BIT)
        tries, since, not_before = (float(kept[name]) for name in ("tries", "since", "not_before"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Nobody can send what cannot be read; it is kept as it is, under the note of what is wrong with it.
        kept = {"subject": path.name, "tries": 0, "unreadable": text}
        _end(path, kept, f"it cannot be read: {_one_line(error)}")
        return
    now = time.time()
    if not_before > now:
        return
    try:
        _send(message, smtp)
        path.unlink()
    except _NoServerError as error:
        if since < now - settings.MAIL_KEPT.total_seconds():
            _end(path, kept, f"no mail server in all of {settings.MAIL_KEPT.days} days: {error}")
        raise
    except Exception as error:
        pause = settings.MAIL_PAUSE.total_seconds() * 4**tries
        kept |= {"tries": int(tries) + 1, "not_before": now + pause}
        if kept["tries"] >= settings.MAIL_TRIES:
            _end(path, kept, _one_line(error))
            return
        log.warning("mail %s not delivered, to be tried again: %s", message["Subject"], _one_line(error))
        write_json(path, kept | {"last_error": _one_line(error)})


def _send(message: Message, smtp: "SmtpHook") -> None:
    """Send one mail over a connection of its own.

    Raises:
        _NoServerError: there is no connection.
        smtplib.SMTPException: the server has refused the mail, or all of its recipients.
        OSError: the connection was lost.
    """
    try:
        smtp.get_conn()
    except Exception as error:
        with suppress(Exception):  # there may be a connection that could not be logged in to
            cast(Any, smtp)._smtp_client.close()
        raise _NoServerError(_one_line(error)) from None
    with smtp:
        # The hook's own method makes mails of a single part, and tries again for minutes.
        refused = cast(Any, smtp)._smtp_client.send_message(message)
    if refused:
        log.warning("mail %s was taken, but not for everybody: %s", message["Subject"], refused)


def _end(path: Path, kept: Mapping[str, Any], error: str) -> None:
    """Move a mail to the dead ones."""
    log.error("mail given up, kept in %s: %s", path.parent / "dead", error)
    write_json(path.parent / "dead" / path.name, {**kept, "last_error": error})
    path.unlink()


def _addressed(mail: Mail, name: str) -> EmailMessage:
    message = mail.message()
    message["From"] = settings.MAIL_FROM
    message["To"] = ", ".join(settings.MAIL_TO)
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = f"<{name}@dedupe-people>"
    return message


def _kept(message: EmailMessage) -> dict[str, Any]:
    """What the file of a mail holds; times are seconds since 1970."""
    text = message.as_string()
    return {"subject": message["Subject"], "since": time.time(), "tries": 0, "not_before": 0.0, "message": text}


def _of_earlier_version(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What the file of a mail holds, where an earlier version of this project has left one there."""
    pages = {Path(page).name: Path(page).read_text("utf-8") for page in content["attachments"] if Path(page).exists()}
    mail = Mail(content["subject"], headline=content["subject"], facts=content["facts"], attachments=pages)
    return _kept(_addressed(mail, path.stem))


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
