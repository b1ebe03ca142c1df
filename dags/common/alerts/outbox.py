"""The outbox: a mail is stored first and deleted once a server took it, so it outlives a server that is down.

It is a table of the people database, since callbacks run on several machines. Whoever puts a mail into it delivers
whatever is due. Three things can go wrong:

- No mail server can be reached. Every mail waits, and goes out with the next one. What has waited for `MAIL_KEPT` is
  given up.
- The server refuses one mail, or breaks off while it is sent. That mail alone is tried again later, after a pause that
  grows fourfold with each of its `MAIL_TRIES` tries, and then given up.
- The people database cannot be reached. The mail is sent at once, and lost if that fails too.

What was given up stays, with its last error: the next reports name it, and `dev/upkeep mail` sends it again.
"""

import email
import logging
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any, cast

from common import settings
from common.alerts import left_behind
from common.alerts.one_line import one_line
from common.alerts.smtp import addressed, mail_server
from common.errors import PeopleDbUnreachable
from common.mail import SEVEN_BIT, Mail

if TYPE_CHECKING:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    from common.people_db import Connect, Transaction

log = logging.getLogger(__name__)

PATIENCE = 20.0
"""Seconds after which a callback begins to deliver no further mail: what is left goes out with the next one."""

SHOWN = 20
"""Mails that a report names at most."""


class _NoServerError(Exception):
    """No connection to a mail server: no mail can be delivered now."""


@dataclass(frozen=True)
class Servers:
    """How to reach the mail server and the people database; None: as Airflow says when it is asked."""

    mail: "SmtpHook"
    people_db: "Connect | None" = None


def servers_for_another_thread() -> Servers:
    """Both servers, asked for now: a task's talk with Airflow is not made for two threads."""
    from common import people_db

    try:
        return Servers(mail_server(), people_db.connector())
    except Exception as error:
        log.error("if this has to be told, it will be by mail alone: %s", one_line(error))
        return Servers(mail_server(), _unreachable)


def _unreachable() -> "Transaction":
    raise PeopleDbUnreachable("it did not answer when the task began")


def put(mail: Mail, servers: Servers | None = None) -> None:
    """Put a mail into the outbox and deliver what is due there. A mail that cannot be sent never fails a task.

    Args:
        mail: what to send.
        servers: where they have to be asked for by another thread.
    """
    from common import people_db

    servers = servers or Servers(mail_server())
    name = f"{time.time_ns()}-{uuid.uuid4()}"
    message = addressed(mail, name)
    try:
        if servers.people_db is None:
            left_behind.take_over()
        with people_db.transaction(connect=servers.people_db) as connection:
            people_db.put_mail(connection, name, message["Subject"], message.as_string())
    except Exception as error:
        log.error("this mail is sent at once, without the people database: %s", one_line(error))
        try:
            _send(message, servers.mail)
        except Exception as refusal:
            log.error("mail lost: %s (%s)", message["Subject"], _said(refusal))
        return
    try:
        deliver(servers)
    except _NoServerError as error:
        log.warning("no mail server, mails wait for one: %s", error)
    except Exception as error:
        log.error("mails could not be delivered: %s", one_line(error))


def deliver(servers: Servers) -> int:
    """Send every mail that is due, oldest first, each by one process at a time; returns how many were taken.

    Raises:
        _NoServerError: no connection; every mail stays, but for those that have waited too long.
        PeopleDbUnreachable, PeopleDbError: the people database does not say what is due.
    """
    from common import people_db

    give_up, last, taken = time.monotonic() + PATIENCE, 0, 0
    while time.monotonic() < give_up:
        missing: _NoServerError | None = None
        with people_db.transaction(connect=servers.people_db) as connection:
            waiting = people_db.next_mail(connection, last)
            if waiting is None:
                break
            last = waiting.mail_id
            try:
                _send(email.message_from_string(waiting.message, policy=SEVEN_BIT), servers.mail)
                people_db.delete_mail(connection, waiting.mail_id)
                taken += 1
            except _NoServerError as error:
                missing = error
                kept = settings.MAIL_KEPT
                people_db.give_up_mails(connection, kept, f"no mail server in all of {kept.days} days: {error}")
            except Exception as error:
                pause = settings.MAIL_PAUSE * 4**waiting.tries if waiting.tries + 1 < settings.MAIL_TRIES else None
                people_db.refuse_mail(connection, waiting.mail_id, _said(error), pause)
                log.warning("mail %s not delivered: %s", waiting.subject, _said(error))
        if missing:
            raise missing
    return taken


def undelivered() -> list[str]:
    """The latest mails that a server refused or nobody took in time, in one line each."""
    from common import people_db

    with people_db.transaction() as connection:
        mails = [mail for mail in people_db.stored_mails(connection) if mail.last_error]
    return [
        f"{mail.subject}: {'given up' if mail.given_up else 'waiting'}, tries: {mail.tries}, "
        f"last error: {mail.last_error}"
        for mail in mails[:SHOWN]
    ]


def listed() -> str:
    """All mails that have not been delivered, in a line each, for whoever looks after them."""
    from common import people_db

    left_behind.take_over()
    with people_db.transaction() as connection:
        mails = people_db.stored_mails(connection)
    if not mails:
        return "no mail waits"
    return "\n".join(
        f"{mail.mail_id}  {mail.subject}: "
        + ("given up" if mail.given_up else f"due at {mail.not_before:%Y-%m-%d %H:%M %Z}")
        + f", tries: {mail.tries}"
        + (f", last error: {mail.last_error}" if mail.last_error else "")
        for mail in mails
    )


def send_again(mail_ids: list[int]) -> str:
    """Send mails now, given up or not; all of them if none are named. Returns what became of it.

    Raises:
        PeopleDbUnreachable, PeopleDbError: the people database does not answer, or there is no such mail.
    """
    from common import people_db
    from common.errors import PeopleDbError

    left_behind.take_over()
    with people_db.transaction() as connection:
        known = {mail.mail_id for mail in people_db.stored_mails(connection)}
        if unknown := sorted(set(mail_ids) - known):
            raise PeopleDbError(f"there is no mail {', '.join(map(str, unknown))}")
        people_db.send_again(connection, mail_ids or sorted(known))
    try:
        taken = f"{deliver(Servers(mail_server()))} mails sent"
    except _NoServerError as error:
        taken = f"no mail server: {error}"
    return f"{taken}\n{listed()}"


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
        raise _NoServerError(_said(error)) from None
    with smtp:
        # The hook's own method makes mails of a single part, and tries again for minutes.
        refused = cast(Any, smtp)._smtp_client.send_message(message)
    if refused:
        log.warning("mail %s was taken, but not for everybody: %s", message["Subject"], refused)


def _said(error: BaseException) -> str:
    """What a mail server said."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
