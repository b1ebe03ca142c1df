"""Who is told what: retry, failure, SLA-miss and success mails, set as callbacks in DEFAULT_ARGS.

A mail names run, task, reason and log; never a person. It goes through the `outbox`, so that it outlives a mail server
that is down. A task that is killed runs no callback: what it cannot tell follows from the notes of its `tries`.

The callbacks stand in this very module because serialised DAGs name them by it. It is imported when the DAG file is
parsed: what costs time to import is imported by the functions.
"""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common import settings
from common.alerts import outbox
from common.alerts.tries import forget_note, leave_note, note_of, take_note, untaken_notes
from common.errors import DedupePeopleError
from common.mail import Mail
from common.pages.links import base_url, report_page, review_page, run_page
from common.report.paths import report_paths
from common.storage import SharedPath

if TYPE_CHECKING:
    from airflow.sdk import DAG

KILLED = "ended without a word: killed, out of memory, or cut off from the people database"


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
    _tell_of_killed_tries(context)
    leave_note(context["ti"], _task_facts(context))


def forget_try(context: Mapping[str, Any]) -> None:
    """Task callback: a try has ended well. Of an earlier one nobody could be told, perhaps, when this one began."""
    forget_note(context["ti"])
    _tell_of_killed_tries(context)


def tell_the_rest(context: Mapping[str, Any]) -> None:
    """Task callback of the last task: all others have ended, so whatever note is left is of a try that was killed."""
    facts = _task_facts(context)
    for note, noted in untaken_notes(facts["DAG"], facts["run"]):
        if noted["task"] != facts["task"]:
            _tell_of_try(note, noted | {"reason": KILLED}, "is retried")


def _tell_of_killed_tries(context: Mapping[str, Any]) -> None:
    facts = _task_facts(context)
    for note, noted in untaken_notes(facts["DAG"], facts["run"]):
        if noted["task"] == facts["task"] and note != note_of(context["ti"]):
            _tell_of_try(note, noted | {"reason": KILLED}, "is retried")


def mail_failure(context: Mapping[str, Any]) -> None:
    """Task callback: a task has failed for good."""
    _tell_of_task(context, "failed")


def mail_retry(context: Mapping[str, Any]) -> None:
    """Task callback: a try has failed, another follows."""
    _tell_of_task(context, "will be retried")


def mail_run_failure(context: Mapping[str, Any]) -> None:
    """DAG callback: the run has failed. Tells what none of its tasks has told."""
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    for note, facts in untaken_notes(dag_id, run_id):
        _tell_of_try(note, facts | {"reason": KILLED}, "failed")
    if context.get("reason") != "task_failure":
        facts = {"DAG": dag_id, "run": run_id, "reason": context.get("reason") or "unknown"}
        facts["log"] = base_url() + run_page(dag_id, run_id)
        outbox.put(replace(_alert("failed", facts), headline="the run failed"))
    elif "ti" in context:  # the task that failed last; it may have died before it could leave a note
        _tell_of_try(note_of(context["ti"]), _task_facts(context) | {"reason": KILLED}, "failed")


def mail_sla_miss(context: Mapping[str, Any]) -> None:
    """Deadline callback: a run is not done in time. Gets the run as the REST API shows it."""
    run = context["dag_run"]
    dag_id, run_id = run["dag_id"], run["dag_run_id"]
    facts = {
        "DAG": dag_id,
        "run": run_id,
        "reason": f"not done by {context['deadline']['deadline_time']}, state {run.get('state')}",
        "log": base_url() + run_page(dag_id, run_id),
    }
    outbox.put(_alert("SLA missed", facts))


def watch_task_sla(context: Mapping[str, Any]) -> None:
    """Task callback: starts a timer that mails when the task overruns its SLA; it ends with the process."""
    facts = _task_facts(context) | {"reason": f"still running after {settings.TASK_SLA}"}
    alert = _alert(f"{facts['task']} missed its SLA", facts)
    servers = outbox.servers_for_another_thread()
    timer = threading.Timer(settings.TASK_SLA.total_seconds(), outbox.put, (alert, servers))
    timer.daemon = True
    timer.start()


def mail_report(context: Mapping[str, Any]) -> None:
    """Task callback of `report`: the run is done; the page of the report is attached, and linked to."""
    dag_id, run_id = context["dag"].dag_id, context["run_id"]
    paths = report_paths(run_id)
    mail = Mail.from_dict(json.loads(paths.mail.read_bytes()))
    mail = replace(mail, subject=f"[{dag_id}] {mail.subject}")
    mail = replace(mail, link=_link("Open the report", base_url() + report_page(dag_id, run_id)))
    mail = replace(mail, facts={**(mail.facts or {}), "review": base_url() + review_page(dag_id, run_id)})
    page = _read(paths.html)
    if page is not None and len(page) <= settings.MAX_ATTACHED:
        mail = replace(mail, attachments={paths.html.name: page.decode()})
    outbox.put(mail)


def _read(path: SharedPath) -> bytes | None:
    try:
        content: bytes = path.read_bytes()
        return content
    except FileNotFoundError:
        return None


def _tell_of_task(context: Mapping[str, Any], event: str) -> None:
    _tell_of_try(note_of(context["ti"]), _task_facts(context) | {"reason": _reason(context.get("exception"))}, event)


def _tell_of_try(note: str, facts: Mapping[str, str], event: str) -> None:
    """Mail, unless somebody else has told of this try."""
    if take_note(note):
        outbox.put(_alert(f"{facts['task']} {event}", facts))


def _task_facts(context: Mapping[str, Any]) -> dict[str, str]:
    ti = context["ti"]
    return {
        "DAG": ti.dag_id,
        "run": ti.run_id,
        "task": ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]",
        "try": str(ti.try_number),
        "log": ti.log_url,
    }


def _alert(event: str, facts: Mapping[str, str]) -> Mail:
    """A mail about a task or a run: what happened, why, and where to read on."""
    others = {name: value for name, value in facts.items() if name not in {"reason", "log"}}
    return Mail(
        subject=f"[{facts['DAG']}] {event}: run {facts['run']}",
        headline=event,
        lead=[facts["reason"]],
        link=_link("Open the log" if "task" in facts else "Open the run", facts["log"]),
        facts=others,
    )


def _link(label: str, url: str) -> tuple[str, str] | None:
    """A link for a mail; None where Airflow does not know its own address, so that it would lead nowhere."""
    return (label, url) if url.startswith("http") else None


def _reason(exception: BaseException | str | None) -> str:
    """The kind of an error and, for our own errors, what it says: others may quote a row of data."""
    if exception is None:
        return "unknown, see the log"
    if isinstance(exception, DedupePeopleError):
        return f"{type(exception).__name__}: {exception}"
    return f"{type(exception).__name__}, see the log"
