"""Who is told what: retry, failure, SLA-miss and success mails, set as callbacks in DEFAULT_ARGS.

A mail names run, task, reason and log; never a person. It is written to an outbox folder first and deleted once a
server took it, so that an alert outlives a mail server that is down: the next alert delivers what waits.

A task that is killed runs no callback. So every try leaves a note when it begins, and whoever tells how it ended takes
the note: its own callbacks, else the next try, else the failure callback of the run. Only one of them can.

Imported when the DAG file is parsed: what costs time to import is imported by the functions.
"""

import fcntl
import html
import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk.definitions.deadline import BaseDeadlineReference

from common import settings
from common.errors import DedupePeopleError

if TYPE_CHECKING:
    from airflow.providers.smtp.hooks.smtp import SmtpHook
    from airflow.sdk import DAG
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

KILLED = "ended without a word: killed, or out of memory"


class RunQueued(BaseDeadlineReference):
    """SLA reference: when the run was queued.

    Airflow's own DAGRUN_QUEUED_AT would do, but a run that has such a deadline ahead cannot be cleared
    (apache/airflow#70368).
    """

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: "Session", dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from sqlalchemy import func, select

        query = select(func.coalesce(DagRun.queued_at, DagRun.run_after))
        return session.scalar(query.where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))


def without_deadline_in_tests(dag: "DAG") -> "DAG":
    """Take the run's SLA away while `dags test` runs: nobody would watch it there, and the command would fail.

    At the end of a run with a deadline it raises "'dict' object has no attribute 'hex'" (apache/airflow#73428).
    """
    test = dag.test

    def test_without_deadline(*args: Any, **kwargs: Any) -> Any:
        dag.deadline = None
        return test(*args, **kwargs)

    dag.test = test_without_deadline  # type: ignore[method-assign]
    return dag


def note_try(context: Mapping[str, Any]) -> None:
    """Task callback: a try begins. The note of an earlier try that is still there means that it was killed."""
    facts = _task_facts(context)
    for note, noted in _notes(facts["DAG"], facts["run"]):
        if noted["task"] == facts["task"]:
            _mail_about_try(note, noted | {"reason": KILLED}, "is retried")
    note = _note(context["ti"])
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _write_json(note, facts)


def forget_try(context: Mapping[str, Any]) -> None:
    """Task callback: a try has ended well."""
    _note(context["ti"]).unlink(missing_ok=True)


def mail_run_failure(context: Mapping[str, Any]) -> None:
    """DAG callback: the run has failed. Tells what none of its tasks has told."""
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    for note, facts in _notes(dag_id, run_id):
        _mail_about_try(note, facts | {"reason": KILLED}, "failed")
    if context.get("reason") != "task_failure":
        facts = {"DAG": dag_id, "run": run_id, "reason": context.get("reason") or "unknown"}
        _mail(f"[{dag_id}] failed: run {run_id}", facts)
    elif "ti" in context:  # the task that failed last; it may have died before it could leave a note
        _mail_about_try(_note(context["ti"]), _task_facts(context) | {"reason": KILLED}, "failed")


def mail_failure(context: Mapping[str, Any]) -> None:
    """Task callback: a task has failed for good."""
    _mail_about_task(context, "failed")


def mail_retry(context: Mapping[str, Any]) -> None:
    """Task callback: a try has failed, another follows."""
    _mail_about_task(context, "will be retried")


def mail_sla_miss(context: Mapping[str, Any]) -> None:
    """Deadline callback: a run is not done in time. Gets the run as the REST API shows it."""
    from airflow.configuration import conf

    run = context["dag_run"]
    dag_id, run_id = run["dag_id"], run["dag_run_id"]
    _mail(
        f"[{dag_id}] SLA missed: run {run_id}",
        {
            "DAG": dag_id,
            "run": run_id,
            "reason": f"not done by {context['deadline']['deadline_time']}, state {run.get('state')}",
            "log": f"{conf.get('api', 'base_url').rstrip('/')}/dags/{dag_id}/runs/{quote(run_id, safe='')}",
        },
    )


def watch_task_sla(context: Mapping[str, Any]) -> None:
    """Task callback: starts a timer that mails when the task overruns its SLA; it ends with the process."""
    facts = _task_facts(context) | {"reason": f"still running after {settings.TASK_SLA}"}
    arguments = (_task_subject(facts, "missed its SLA"), facts, (), _smtp_for_another_thread())
    timer = threading.Timer(settings.TASK_SLA.total_seconds(), _mail, arguments)
    timer.daemon = True
    timer.start()


def mail_report(context: Mapping[str, Any]) -> None:
    """Task callback of `report`: the run is done; the HTML report is attached."""
    from common.report import report_paths

    run_id = context["run_id"]
    paths = report_paths(run_id)
    text = paths.text.read_text(encoding="utf-8")
    facts = {"run": run_id, "report": text}
    _mail(f"[{context['dag'].dag_id}] done: {text.splitlines()[0]}", facts, attachments=[paths.html])


def _mail_about_task(context: Mapping[str, Any], event: str) -> None:
    facts = _task_facts(context) | {"reason": _reason(context.get("exception"))}
    _mail_about_try(_note(context["ti"]), facts, event)


def _mail_about_try(note: Path, facts: Mapping[str, Any], event: str) -> None:
    """Mail, unless somebody else has told of this try."""
    try:
        note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        note.with_suffix(".told").touch(exist_ok=False)
        note.unlink(missing_ok=True)
    except FileExistsError:
        return
    except OSError as error:
        log.error("this may be told twice: %s (%s)", note, type(error).__name__)
    _mail(_task_subject(facts, event), facts)


def _note(ti: Any) -> Path:
    """Where the note of a try lies; Airflow gives every try an id of its own, `dags test` every run."""
    return settings.TRIES_DIR / f"{ti.id}-{ti.try_number}.json"


def _notes(dag_id: str, run_id: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The notes of a run that nobody has taken yet."""
    for note in sorted(settings.TRIES_DIR.glob("*.json")):
        with suppress(FileNotFoundError):  # just taken
            facts = json.loads(note.read_text(encoding="utf-8"))
            if (facts["DAG"], facts["run"]) == (dag_id, run_id):
                yield note, facts


def _task_facts(context: Mapping[str, Any]) -> dict[str, Any]:
    ti = context["ti"]
    return {
        "DAG": ti.dag_id,
        "run": ti.run_id,
        "task": ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]",
        "try": ti.try_number,
        "log": ti.log_url,
    }


def _task_subject(facts: Mapping[str, Any], event: str) -> str:
    return f"[{facts['DAG']}] {facts['task']} {event}: run {facts['run']}"


def _reason(exception: BaseException | str | None) -> str:
    """The kind of an error and, for our own errors, what it says: others may quote a row of data."""
    if exception is None:
        return "unknown, see the log"
    if isinstance(exception, DedupePeopleError):
        return f"{type(exception).__name__}: {exception}"
    return f"{type(exception).__name__}, see the log"


def _smtp_for_another_thread() -> "SmtpHook":
    """A mail connection that asks Airflow for nothing any more: its talk with a task is not made for two threads.

    Even reading the extra of a connection talks, to mask what may be secret in it.
    """
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    smtp = SmtpHook()
    copy: Future[SimpleNamespace] = Future()
    try:
        connection = smtp.get_connection(smtp.smtp_conn_id)
        parts = ("host", "port", "login", "password", "extra_dejson")
        copy.set_result(SimpleNamespace(**{part: getattr(connection, part) for part in parts}))
    except Exception as error:  # shown by the mail that cannot be sent, if there is one
        copy.set_exception(error)
    smtp.get_connection = lambda conn_id: copy.result()  # type: ignore[assignment,method-assign,return-value]
    return smtp


def _mail(
    subject: str, facts: Mapping[str, Any], attachments: Sequence[Path] = (), smtp: "SmtpHook | None" = None
) -> None:
    """Put a mail into the outbox and deliver what is there. A mail that cannot be sent never fails a task."""
    mail = {
        "subject": " ".join(subject.split()),
        "facts": {name: str(value) for name, value in facts.items()},
        "attachments": [str(path) for path in attachments],
    }
    try:
        settings.OUTBOX_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_json(settings.OUTBOX_DIR / f"{time.time_ns()}-{uuid.uuid4()}.json", mail)
        _deliver(settings.OUTBOX_DIR, smtp)
    except Exception as error:
        log.error("mail not sent, kept in %s: %s (%s: %s)", settings.OUTBOX_DIR, subject, type(error).__name__, error)


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write by rename, so that nobody reads half a file."""
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(value, indent=1), encoding="utf-8")
    unfinished.rename(path)


def _deliver(outbox: Path, smtp: "SmtpHook | None") -> None:
    """Send every mail of the outbox, oldest first, each by one process at a time."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    with smtp or SmtpHook() as smtp:
        for path in sorted(outbox.glob("*.json")):  # names begin with the time
            # Gone: another process has just sent it.
            with suppress(FileNotFoundError), path.open(encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                path.stat()
                mail = json.load(file)
                smtp.send_email_smtp(
                    to=settings.MAIL_TO,
                    from_email=settings.MAIL_FROM,
                    subject=mail["subject"],
                    html_content=_as_html(mail["facts"]),
                    files=[attachment for attachment in mail["attachments"] if Path(attachment).exists()],
                    custom_headers={"Message-ID": f"<{path.stem}@dedupe-people>"},
                )
                path.unlink()


def _as_html(facts: Mapping[str, str]) -> str:
    rows = (
        f"<tr><th align=left valign=top>{html.escape(name)}</th><td><pre>{html.escape(value)}</pre></td></tr>"
        for name, value in facts.items()
    )
    return f"<table>{''.join(rows)}</table>"
