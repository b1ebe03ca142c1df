"""The mail server behind connection `smtp_default`, and mails as it gets them."""

from concurrent.futures import Future
from email.message import EmailMessage
from email.utils import formatdate
from types import SimpleNamespace
from typing import TYPE_CHECKING

from common import settings
from common.mail import Mail

if TYPE_CHECKING:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

TIMEOUTS = {"timeout": 5, "retry_limit": 0}
"""Seconds to wait for each answer of the server, and further attempts to reach it: extras of the connection.

They hold where the connection has none of its own. With Airflow's, 30 and 5, a server that hangs would hold a task for
minutes.
"""


def mail_server() -> "SmtpHook":
    """The server, not yet connected to; it asks Airflow for nothing any more and may be used by another thread.

    A task's talk with Airflow is not made for two threads, and even reading the extra of a connection talks, to mask
    what may be secret in it. A connection that is missing or wrong is an error only when it is used.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    smtp = SmtpHook()
    copy: Future[SimpleNamespace] = Future()
    try:
        connection = smtp.get_connection(smtp.smtp_conn_id)
        parts = {name: getattr(connection, name) for name in ("host", "port", "login", "password")}
        copy.set_result(SimpleNamespace(**parts, extra_dejson=TIMEOUTS | connection.extra_dejson))
    except Exception as error:
        copy.set_exception(error)
    smtp.get_connection = lambda conn_id: copy.result()  # type: ignore[assignment,method-assign,return-value]
    return smtp


def addressed(mail: Mail, name: str) -> EmailMessage:
    """The mail as it is sent; `name` tells it from all others."""
    message = mail.message()
    message["From"] = settings.MAIL_FROM
    message["To"] = ", ".join(settings.MAIL_TO)
    message["Date"] = formatdate(localtime=True)
    message["Message-ID"] = f"<{name}@dedupe-people>"
    return message
