"""Who is told what: each mail once, with what is needed to act, and never with a person in it."""

import json
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from aiosmtpd.controller import Controller
from common import alerts, upkeep
from common.errors import PeopleDbError
from common.mail import Mail, Number
from common.people_db import is_empty
from common.report.paths import ReportPaths, report_paths

LOG_URL = "http://127.0.0.1:8080/dags/dedupe_people/runs/run%201/tasks/load?try_number=2"


class Outbox:
    """What is stored of mails and tries, and what may be changed there."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def __call__(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn, options="-c search_path=dedupe") as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def waiting(self) -> int:
        return int(self("SELECT count(*) FROM mails WHERE given_up_at IS NULL")[0][0])

    def given_up(self) -> list[str]:
        return [message for (message,) in self("SELECT message FROM mails WHERE given_up_at IS NOT NULL")]


@pytest.fixture(autouse=True)
def outbox(people_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    monkeypatch.setattr("common.settings.REPORTS_DIR", str(tmp_path / "reports"))
    assert is_empty()  # the tables are made
    return Outbox(people_db)


@pytest.fixture
def no_people_db(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers where the people database should be."""
    connection = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "x", "schema": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", json.dumps(connection))


def context(exception: BaseException | None = None, **changes: Any) -> dict[str, Any]:
    ti = {"dag_id": "dedupe_people", "run_id": "run 1", "task_id": "load", "map_index": -1, "try_number": 2}
    changes.setdefault("id", uuid.uuid4())
    return {"ti": SimpleNamespace(**{**ti, "log_url": LOG_URL, **changes}), "exception": exception}


def text_of(mail: EmailMessage) -> str:
    return b"".join(part.get_payload(decode=True) or b"" for part in mail.walk()).decode()  # type: ignore[misc]


def connection(port: int, timeout: float) -> str:
    extra = {"disable_ssl": True, "disable_tls": True, "timeout": timeout, "retry_limit": 0}
    return json.dumps({"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra})


@pytest.fixture
def dead_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection(port, 1))


@pytest.mark.parametrize(
    ("callback", "subject"),
    [
        (alerts.mail_failure, "[dedupe_people] load failed: run run 1"),
        (alerts.mail_retry, "[dedupe_people] load will be retried: run run 1"),
    ],
)
def test_a_failure_is_one_mail_with_run_task_reason_and_log(
    smtp_server: list[EmailMessage], outbox: Outbox, callback: Any, subject: str
) -> None:
    callback(context(PeopleDbError("the role lacks rights")))
    (mail,) = smtp_server
    assert mail["subject"] == subject
    assert mail["to"] == "data-team@localhost"
    for fact in ("run 1", "load", "PeopleDbError: the role lacks rights", "try_number=2"):
        assert fact in text_of(mail)
    assert outbox("SELECT subject FROM mails") == []


def test_the_index_of_a_mapped_task_is_named(smtp_server: list[EmailMessage]) -> None:
    alerts.mail_failure(context(task_id="compare", map_index=3))
    assert smtp_server[0]["subject"] == "[dedupe_people] compare[3] failed: run run 1"


def test_other_errors_are_not_quoted(smtp_server: list[EmailMessage]) -> None:
    """They may hold a row of data."""
    alerts.mail_failure(context(ValueError("cannot convert Xanthippe")))
    assert "ValueError, see the log" in text_of(smtp_server[0])
    assert "Xanthippe" not in text_of(smtp_server[0])


@pytest.mark.parametrize("exception", [None, "cannot convert Xanthippe"])
def test_an_unknown_or_serialised_reason_is_not_quoted_either(smtp_server: list[EmailMessage], exception: Any) -> None:
    alerts.mail_failure(context(exception))
    assert "see the log" in text_of(smtp_server[0])
    assert "Xanthippe" not in text_of(smtp_server[0])


def test_html_in_a_fact_does_not_run(smtp_server: list[EmailMessage]) -> None:
    alerts.mail_failure(context(PeopleDbError("<script>alert(1)</script>"), run_id="<b>\nBcc: x@y"))
    text = smtp_server[0].get_body(["html"]).get_content()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<b>" not in text
    assert smtp_server[0]["bcc"] is None
    assert "\n" not in smtp_server[0]["subject"]


def test_an_sla_miss_of_the_run_is_one_mail(smtp_server: list[EmailMessage]) -> None:
    run = {"dag_id": "dedupe_people", "dag_run_id": "run 1", "state": "running"}
    alerts.mail_sla_miss({"dag_run": run, "deadline": {"id": 1, "deadline_time": "2026-11-08T01:00:00Z"}})
    (mail,) = smtp_server
    assert mail["subject"] == "[dedupe_people] SLA missed: run run 1"
    for fact in ("not done by 2026-11-08T01:00:00Z", "running", "/dags/dedupe_people/runs/run%201"):
        assert fact in text_of(mail)


def test_a_task_that_overruns_its_sla_is_mailed_while_it_runs(
    smtp_server: list[EmailMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.settings.TASK_SLA", timedelta(seconds=0.1))
    before = set(threading.enumerate())
    alerts.watch_task_sla(context())
    (timer,) = set(threading.enumerate()) - before
    assert timer.daemon, "else the task's process would wait for it"
    assert smtp_server == []
    timer.join(10)
    (mail,) = smtp_server
    assert mail["subject"] == "[dedupe_people] load missed its SLA: run run 1"
    assert "still running after 0:00:00.1" in text_of(mail)


REPORT = Mail("2 new people", "2 new people", numbers=[Number("New, inserted", 2, "#0072b2")], lead=["Tuesday."])
CONTEXT = {"run_id": "run 1", "dag": SimpleNamespace(dag_id="dedupe_people")}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReportPaths:
    """The files of a report of run 1."""
    monkeypatch.setattr("common.settings.REPORTS_DIR", str(tmp_path / "reports"))
    (tmp_path / "reports").mkdir(exist_ok=True)
    paths = report_paths("run 1")
    paths.mail.write_text(json.dumps(REPORT.to_dict()))
    paths.html.write_text("<p>the page of 敏</p>")
    return paths


def test_a_report_is_mailed_with_its_page_and_a_link_to_it(
    smtp_server: list[EmailMessage], report: ReportPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/team/")
    alerts.mail_report(CONTEXT)
    (mail,) = smtp_server
    assert mail["subject"] == "[dedupe_people] 2 new people"
    (page,) = [part for part in mail.walk() if part.get_filename()]
    assert page.get_filename() == report.html.name
    assert page.get_content_type() == "text/html"
    assert page.get_content() == "<p>the page of 敏</p>\n"
    link = "https://airflow.example/team/dags/dedupe_people/runs/run%201/plugin/report"
    for kind in ("plain", "html"):
        assert link in mail.get_body([kind]).get_content()


def test_without_an_address_of_the_ui_there_is_no_link_that_leads_nowhere(
    smtp_server: list[EmailMessage], report: ReportPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "/")
    alerts.mail_report(CONTEXT)
    alerts.mail_failure(context(log_url="/dags/dedupe_people"))
    for mail in smtp_server:
        assert "<a " not in mail.get_body(["html"]).get_content()


# Tries that were killed ------------------------------------------------------------------------------------------


def run_context(**changes: Any) -> dict[str, Any]:
    return {"dag": SimpleNamespace(dag_id="dedupe_people"), "run_id": "run 1", "reason": "task_failure", **changes}


def subjects(mails: list[EmailMessage]) -> list[str]:
    return [str(mail["subject"]).removeprefix("[dedupe_people] ") for mail in mails]


@pytest.mark.parametrize("callback", [alerts.mail_failure, alerts.mail_retry])
def test_what_a_task_has_told_the_run_does_not_tell_again(smtp_server: list[EmailMessage], callback: Any) -> None:
    failed = context(PeopleDbError("no"))
    alerts.note_try(failed)
    callback(failed)
    alerts.mail_run_failure(run_context(ti=failed["ti"]))
    alerts.note_try(context(try_number=3))
    assert len(smtp_server) == 1


def test_a_killed_task_is_told_by_the_run_once(smtp_server: list[EmailMessage]) -> None:
    killed = context()
    alerts.note_try(killed)
    for _ in range(2):
        alerts.mail_run_failure(run_context(ti=killed["ti"]))
    alerts.mail_failure(killed)
    assert subjects(smtp_server) == ["load failed: run run 1"]
    assert alerts.KILLED in text_of(smtp_server[0])
    assert LOG_URL in text_of(smtp_server[0])


def test_every_killed_mapped_task_is_told_of_and_no_other(smtp_server: list[EmailMessage]) -> None:
    tries = [context(task_id="compare", map_index=index) for index in range(4)]
    for each in tries:
        alerts.note_try(each)
    alerts.note_try(context(run_id="run 2"))
    alerts.forget_try(tries[0])
    alerts.mail_failure(tries[1])
    alerts.mail_run_failure(run_context(ti=tries[1]["ti"]))
    assert sorted(subjects(smtp_server)) == [f"compare[{index}] failed: run run 1" for index in (1, 2, 3)]


def test_a_killed_try_is_told_by_the_next_one(smtp_server: list[EmailMessage]) -> None:
    alerts.note_try(context(try_number=1))
    alerts.note_try(context(try_number=1, task_id="report"))
    alerts.note_try(context(try_number=2))
    assert subjects(smtp_server) == ["load is retried: run run 1"]
    alerts.mail_run_failure(run_context())
    assert len(smtp_server) == 3


def test_a_task_that_died_before_its_first_callback_is_told_of(smtp_server: list[EmailMessage]) -> None:
    alerts.mail_run_failure(run_context(ti=context()["ti"]))
    assert subjects(smtp_server) == ["load failed: run run 1"]


def test_a_run_that_fails_without_a_task_is_told_of(smtp_server: list[EmailMessage]) -> None:
    alerts.mail_run_failure(run_context(reason="all_tasks_deadlocked"))
    assert subjects(smtp_server) == ["failed: run run 1"]
    assert "all_tasks_deadlocked" in text_of(smtp_server[0])


def test_a_tasks_and_a_runs_callback_at_once_send_one_mail(smtp_server: list[EmailMessage]) -> None:
    failed = context()
    alerts.note_try(failed)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(alerts.mail_failure, failed) for _ in range(4)]
        calls += [pool.submit(alerts.mail_run_failure, run_context(ti=failed["ti"])) for _ in range(4)]
        for call in calls:
            call.result()
    assert len(smtp_server) == 1


def test_what_could_not_be_told_when_a_try_began_is_told_when_it_ends(
    smtp_server: list[EmailMessage], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    alerts.note_try(context(try_number=1))
    with monkeypatch.context() as down:
        down.setenv("AIRFLOW_CONN_PEOPLE_DB", json.dumps({"host": "127.0.0.1", "port": 1}))
        alerts.note_try(context(try_number=2))
    assert smtp_server == []
    alerts.forget_try(context(try_number=2))
    assert subjects(smtp_server) == ["load is retried: run run 1"]


def test_what_nobody_could_tell_the_last_task_tells(smtp_server: list[EmailMessage]) -> None:
    alerts.note_try(context(try_number=1))
    alerts.note_try(context(run_id="run 2"))
    last = context(task_id="tidy")
    alerts.note_try(last)
    for _ in range(2):
        alerts.tell_the_rest(last)
    assert subjects(smtp_server) == ["load is retried: run run 1"]


@pytest.mark.usefixtures("no_people_db")
@pytest.mark.parametrize("callback", [alerts.mail_failure, alerts.mail_retry])
def test_without_the_people_database_a_mail_goes_out_directly(smtp_server: list[EmailMessage], callback: Any) -> None:
    alerts.note_try(context())
    callback(context(PeopleDbError("down")))
    alerts.forget_try(context())
    assert len(smtp_server) == 1
    assert "PeopleDbError: down" in text_of(smtp_server[0])


@pytest.mark.usefixtures("no_people_db")
def test_without_the_people_database_an_sla_miss_is_mailed_directly(
    smtp_server: list[EmailMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.settings.TASK_SLA", timedelta(seconds=0.1))
    before = set(threading.enumerate())
    alerts.watch_task_sla(context())
    (timer,) = set(threading.enumerate()) - before
    timer.join(10)
    assert len(smtp_server) == 1


@pytest.mark.usefixtures("no_people_db", "dead_server")
def test_without_any_server_the_task_goes_on_and_the_log_says_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    alerts.mail_failure(context(run_id="run 7"))
    assert "mail lost: [dedupe_people] load failed: run run 7" in caplog.text


# A mail server that is down --------------------------------------------------------------------------------------


def test_what_could_not_be_sent_is_kept_and_goes_out_with_the_next_mail(
    smtp_server: list[EmailMessage],
    outbox: Outbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with monkeypatch.context() as broken:
        broken.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection(1, 1))
        alerts.mail_failure(context(task_id="first"))
        alerts.mail_retry(context(task_id="second"))
    assert outbox.waiting() == 2
    assert "no mail server, mails wait for one" in caplog.text, "the operator is told"
    assert smtp_server == []

    alerts.mail_failure(context(task_id="third"))
    tasks = [mail["subject"].split()[1] for mail in smtp_server]
    assert tasks == ["first", "second", "third"]
    assert len({mail["message-id"] for mail in smtp_server}) == 3
    assert outbox("SELECT subject FROM mails") == []


@pytest.mark.usefixtures("dead_server")
def test_a_mail_that_cannot_be_sent_never_fails_the_task(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    alerts.mail_failure(context())
    monkeypatch.delenv("AIRFLOW_CONN_SMTP_DEFAULT")
    alerts.mail_failure(context())
    assert outbox.waiting() == 2


def test_a_mail_whose_attachment_is_gone_does_not_hold_up_the_others(
    smtp_server: list[EmailMessage], outbox: Outbox, report: ReportPaths
) -> None:
    report.html.unlink()
    alerts.mail_report(CONTEXT)
    alerts.mail_failure(context())
    assert len(smtp_server) == 2
    assert outbox("SELECT subject FROM mails") == []


def test_many_processes_at_once_send_each_mail_once(smtp_server: list[EmailMessage], outbox: Outbox) -> None:
    count = 20
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(lambda number: alerts.mail_failure(context(run_id=f"run {number}")), range(count)))
    assert sorted(mail["subject"] for mail in smtp_server) == sorted(
        f"[dedupe_people] load failed: run run {number}" for number in range(count)
    )
    assert outbox("SELECT subject FROM mails") == []


# A server that hangs ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["nothing", "a greeting", "a connection without our timeouts"])
def hanging_server(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Takes connections and then says nothing, or nothing more than its greeting."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        extra = {"timeout": 1, "retry_limit": 0} if request.param != "a connection without our timeouts" else {}
        made = json.loads(connection(server.getsockname()[1], 1))
        made["extra"] = {"disable_ssl": True, "disable_tls": True, **extra}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(made))
        taken: list[socket.socket] = []

        def greet() -> None:
            taken.append(server.accept()[0])
            if request.param == "a greeting":
                taken[0].sendall(b"220 hello\r\n")

        pool.submit(greet)
        yield
        for each in taken:
            each.close()


@pytest.mark.usefixtures("hanging_server")
def test_a_server_that_hangs_holds_the_task_for_its_timeout_only(outbox: Outbox) -> None:
    start = time.monotonic()
    alerts.mail_failure(context())
    assert time.monotonic() - start < 15, "Airflow alone would wait for 180 s"
    assert outbox.waiting() == 1


# A server that refuses a mail ------------------------------------------------------------------------------------


class Picky:
    """Refuses every mail that speaks of run 13."""

    def __init__(self) -> None:
        self.refuses = b"run 13"
        self.taken: list[str] = []
        self.refused = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuses in envelope.content:
            self.refused += 1
            return "552 too big"
        self.taken.append(message_from_bytes(envelope.content, policy=default)["subject"])
        return "250 OK"


@pytest.fixture
def picky_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Picky]:
    picky = Picky()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    controller = Controller(picky, hostname="127.0.0.1", port=port)
    controller.start()
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", connection(port, 5))
    yield picky
    controller.stop()


def test_a_mail_that_is_refused_holds_up_no_other(picky_server: Picky, outbox: Outbox) -> None:
    alerts.mail_failure(context(run_id="run 13"))
    alerts.mail_failure(context(run_id="run 14"))
    assert picky_server.taken == ["[dedupe_people] load failed: run run 14"]
    assert picky_server.refused == 1, "it is not due again so soon"
    ((tries, error, pause),) = outbox("SELECT tries, last_error, extract(epoch FROM not_before - now()) FROM mails")
    assert (tries, error) == (1, "SMTPDataError: (552, b'too big')")
    assert 50 < pause <= 60
    (told,) = alerts.outbox.undelivered()
    assert told == (
        "[dedupe_people] load failed: run run 13: waiting, tries: 1, last error: SMTPDataError: (552, b'too big')"
    )


def test_the_pauses_grow_and_come_to_an_end(picky_server: Picky, outbox: Outbox) -> None:
    alerts.mail_failure(context(run_id="run 13"))
    pauses = []
    while outbox.waiting():
        ((pause,),) = outbox("SELECT extract(epoch FROM not_before - now()) FROM mails")
        pauses.append(round(pause))
        outbox("UPDATE mails SET not_before = now()")
        alerts.mail_failure(context(run_id="run 14"))
    assert pauses == pytest.approx([60, 240, 960, 3840], abs=5)
    assert picky_server.refused == 5
    assert len(picky_server.taken) == 4
    (message,) = outbox.given_up()
    assert "run 13" in message, "nothing is lost"
    (told,) = alerts.outbox.undelivered()
    assert "run run 13: given up, tries: 5, last error: SMTPDataError: (552, b'too big')" in told


def test_a_mail_that_no_server_takes_in_a_week_is_given_up(outbox: Outbox, dead_server: None) -> None:
    alerts.mail_failure(context(run_id="run 1"))
    assert alerts.outbox.undelivered() == [], "it waits for a server, as the log says"
    outbox("UPDATE mails SET put_at = put_at - interval '8 days'")
    alerts.mail_failure(context(run_id="run 2"))
    assert len(outbox.given_up()) == 1
    assert (
        "run run 1: given up, tries: 0, last error: no mail server in all of 7 days" in alerts.outbox.undelivered()[0]
    )
    assert outbox.waiting() == 1


# By hand ----------------------------------------------------------------------------------------------------------


def mail_command(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    capsys.readouterr()
    code = upkeep.main(["mail", *args])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_what_was_given_up_is_shown_and_sent_again(
    outbox: Outbox, picky_server: Picky, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mail_command(capsys) == (0, "no mail waits\n")
    monkeypatch.setattr("common.settings.MAIL_TRIES", 1)
    for run_id in ("run 13", "run 13 b"):
        alerts.mail_failure(context(run_id=run_id))
    code, said = mail_command(capsys)
    assert code == 0
    lines = said.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["2", "1"]
    assert "run run 13 b: given up, tries: 1, last error: SMTPDataError" in lines[0]

    assert mail_command(capsys, "--send", "7") == (1, "there is no mail 7\n")
    assert mail_command(capsys, "--send", "1")[1].startswith("0 mails sent\n2  ")
    assert picky_server.refused == 3
    picky_server.refuses = b"nothing any more"
    assert mail_command(capsys, "--send", "1")[1].startswith("1 mails sent\n2  ")
    assert mail_command(capsys, "--send") == (0, "1 mails sent\nno mail waits\n")
    assert len(picky_server.taken) == 2


@pytest.mark.usefixtures("dead_server")
def test_without_a_mail_server_the_command_says_so(outbox: Outbox, capsys: pytest.CaptureFixture[str]) -> None:
    alerts.mail_failure(context())
    code, said = mail_command(capsys, "--send")
    assert code == 0
    assert said.startswith("no mail server: ")
    assert "due at" in said


# What an earlier version has left ---------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Where an earlier version kept mails and notes of tries: `outbox`, `outbox/dead` and `tries`."""
    for name in ("outbox/dead", "tries"):
        (tmp_path / "reports" / name).mkdir(parents=True)
    return tmp_path / "reports"


MESSAGE = "Subject: old\nTo: data-team@localhost\nFrom: us@localhost\nMessage-ID: <old>\n\nabout run 0\n"


def test_mails_that_an_earlier_version_has_left_are_delivered(
    smtp_server: list[EmailMessage], outbox: Outbox, folders: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>the page</p>")
    older = {"subject": "older", "facts": {"run": "run 0"}, "attachments": [str(page), str(tmp_path / "gone.html")]}
    (folders / "outbox" / "1-a.json").write_text(json.dumps(older))
    old = {"subject": "old", "since": 0, "tries": 2, "not_before": 9e9, "message": MESSAGE, "last_error": "full"}
    (folders / "outbox" / "2-b.json").write_text(json.dumps(old))
    (folders / "outbox" / "dead" / "0-c.json").write_text(json.dumps(old | {"subject": "dead", "last_error": "552"}))
    alerts.mail_failure(context())
    sent = [mail["subject"] for mail in smtp_server]
    assert sent == ["older", "old", "[dedupe_people] load failed: run run 1"]
    assert "run 0" in text_of(smtp_server[0])
    assert "<p>the page</p>" in text_of(smtp_server[0])
    assert alerts.outbox.undelivered() == ["dead: given up, tries: 0, last error: 552"]
    assert list(folders.iterdir()) == [], "no folder is left"


def test_many_processes_take_over_each_mail_once(
    smtp_server: list[EmailMessage], outbox: Outbox, folders: Path
) -> None:
    for number in range(10):
        kept = {"subject": f"old {number}", "message": MESSAGE.replace("old", f"old {number}")}
        (folders / "outbox" / f"{number}.json").write_text(json.dumps(kept))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: alerts.mail_failure(context(run_id=f"run {number}")), range(8)))
    alerts.mail_failure(context(run_id="last"))
    assert sorted(mail["subject"] for mail in smtp_server if mail["subject"].startswith("old")) == [
        f"old {number}" for number in range(10)
    ]
    assert outbox("SELECT subject FROM mails") == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"message": 3}', "{}", '{"message": "x"}', "\udcff", "\0"])
def test_a_file_that_is_no_mail_silences_nobody(
    smtp_server: list[EmailMessage], outbox: Outbox, folders: Path, content: str
) -> None:
    (folders / "outbox" / "1-a.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    alerts.mail_failure(context())
    assert len(smtp_server) == 1
    assert "1-a.json: given up, tries: 0, last error: it cannot be read" in alerts.outbox.undelivered()[0]
    assert not (folders / "outbox").exists()


def test_tries_that_began_under_an_earlier_version_are_told_of(smtp_server: list[EmailMessage], folders: Path) -> None:
    killed, told = context(try_number=1), context(try_number=1, task_id="report")
    facts = {"DAG": "dedupe_people", "run": "run 1", "try": "1", "log": LOG_URL}
    for tried in (killed, told):
        name = f"{tried['ti'].id}-1"
        (folders / "tries" / f"{name}.json").write_text(json.dumps(facts | {"task": tried["ti"].task_id}))
    (folders / "tries" / f"{told['ti'].id}-1.told").touch()
    (folders / "tries" / "empty-1.json").touch()
    alerts.mail_run_failure(run_context())
    assert subjects(smtp_server) == ["load failed: run run 1"]
    assert not (folders / "tries").exists()


@pytest.mark.usefixtures("no_people_db")
def test_what_cannot_be_taken_over_now_stays(smtp_server: list[EmailMessage], folders: Path) -> None:
    left = folders / "outbox" / "1-a.json"
    left.write_text(json.dumps({"subject": "old", "message": MESSAGE}))
    alerts.mail_failure(context())
    assert len(smtp_server) == 1
    assert left.exists()
