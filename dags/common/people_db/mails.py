"""Mails that wait for a mail server, and those that were given up. Each is handled by one process at a time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from common.people_db.connection import Transaction


@dataclass(frozen=True)
class StoredMail:
    """A mail that has not been delivered.

    Attributes:
        mail_id: in the order in which they were put.
        subject: of the mail.
        message: as it is sent.
        tries: how often it was refused.
        not_before: when it is due.
        last_error: why it was not taken, in one line; None: nobody has refused it yet.
        given_up: it is not tried any more.
    """

    mail_id: int
    subject: str
    message: str
    tries: int
    not_before: datetime
    last_error: str | None
    given_up: bool


def put_mail(connection: Transaction, name: str, subject: str, message: str, error: str | None = None) -> None:
    """Store a mail that is to be sent; with an error, one that nobody can send. One of that name is left as it is."""
    connection.execute(
        """
        INSERT INTO mails (name, subject, message, last_error, given_up_at)
        VALUES (%(name)s, %(subject)s, %(message)s, %(error)s, CASE WHEN %(error)s::text IS NOT NULL THEN now() END)
        ON CONFLICT DO NOTHING
        """,
        {"name": name, "subject": subject, "message": message, "error": error},
    )


def next_mail(connection: Transaction, after: int) -> StoredMail | None:
    """The first mail behind another one that is due and that nobody else is sending; it is ours until the end."""
    with connection.cursor(row_factory=class_row(StoredMail)) as cursor:
        return cursor.execute(
            """
            SELECT mail_id, subject, message, tries, not_before, last_error, false AS given_up FROM mails
            WHERE given_up_at IS NULL AND not_before <= now() AND mail_id > %s
            ORDER BY mail_id LIMIT 1 FOR UPDATE SKIP LOCKED
            """,
            [after],
        ).fetchone()


def delete_mail(connection: Transaction, mail_id: int) -> None:
    """A mail was sent."""
    connection.execute("DELETE FROM mails WHERE mail_id = %s", [mail_id])


def refuse_mail(connection: Transaction, mail_id: int, error: str, pause: timedelta | None) -> None:
    """A mail was refused: it is tried again after a pause, or given up if there is none."""
    connection.execute(
        """
        UPDATE mails SET tries = tries + 1, last_error = %(error)s,
                         not_before = now() + coalesce(%(pause)s::interval, interval '0'),
                         given_up_at = CASE WHEN %(pause)s::interval IS NULL THEN now() END
        WHERE mail_id = %(mail)s
        """,
        {"error": error, "pause": pause, "mail": mail_id},
    )


def give_up_mails(connection: Transaction, kept: timedelta, error: str) -> int:
    """Give up what has waited longer than `kept`, unless somebody is sending it; returns how many."""
    return connection.execute(
        """
        UPDATE mails SET given_up_at = now(), last_error = %s
        WHERE mail_id IN (SELECT mail_id FROM mails WHERE given_up_at IS NULL AND put_at < now() - %s::interval
                          FOR UPDATE SKIP LOCKED)
        """,
        [error, kept],
    ).rowcount


def stored_mails(connection: Transaction) -> list[StoredMail]:
    """All mails that have not been delivered, the latest first."""
    with connection.cursor(row_factory=class_row(StoredMail)) as cursor:
        return cursor.execute(
            """
            SELECT mail_id, subject, message, tries, not_before, last_error, given_up_at IS NOT NULL AS given_up
            FROM mails ORDER BY mail_id DESC
            """
        ).fetchall()


def send_again(connection: Transaction, mail_ids: list[int]) -> int:
    """Make mails due at once, given up or not, as if nobody had refused them yet; returns how many there are."""
    return connection.execute(
        """
        UPDATE mails SET tries = 0, not_before = now(), put_at = now(), given_up_at = NULL WHERE mail_id = ANY(%s)
        """,
        [mail_ids],
    ).rowcount


def forget_mails(connection: Transaction, given_up_before: datetime) -> int:
    """Delete mails that were given up before a time; returns how many."""
    return connection.execute("DELETE FROM mails WHERE given_up_at < %s", [given_up_before]).rowcount
