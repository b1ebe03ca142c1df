"""Under the real scheduler: who is told what, and how often, whatever happens to runs, tasks and the mail server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MailHandler
from launch import DAG
from live import Live, free_port
from postgres import Server

ROWS = "first_name,last_name,address\nAnn,Smith,12 Main St\nAnne,Smith,12 Main Street\nBob,Jones,7 Oak Ave\n,,nowhere\n"
NAMES = ("Ann", "Smith", "Main", "Jones", "Oak")
SLA = 8.0  # seconds, in the tests that miss it
PATIENCE = 300  # seconds; a busy machine may need ten for one task


class Post(MailHandler):
    """A mail server that can be taken down and made to hang."""

    def __init__(self) -> None:
        super().__init__(message_class=EmailMessage)
        self.port = free_port()
        self.received: list[EmailMessage] = []
        self._up()

    def handle_message(self, message: Message) -> None:
        assert isinstance(message, EmailMessage)
        self.received.append(message)

    def _up(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    @contextmanager
    def down(self) -> Iterator[None]:
        self._controller.stop()
        try:
            yield
        finally:
            self._up()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Takes connections and says nothing."""
        with self.down(), socket.create_server(("127.0.0.1", self.port)):
            yield

    def close(self) -> None:
        self._controller.stop()

    def about(self, run_id: str) -> list[str]:
        """What the mails about a run say, in order."""
        return [event(mail) for mail in self.mails(run_id)]

    def mails(self, run_id: str) -> list[EmailMessage]:
        # A report may also name an earlier run that brought the same file.
        return [mail for mail in self.received if f"<pre>{run_id}</pre>" in text_of(mail)]


def event(mail: EmailMessage) -> str:
    """The subject without what differs between runs: "load failed", "done"."""
    return str(mail["subject"]).removeprefix(f"[{DAG}] ").split(":")[0]


def text_of(mail: EmailMessage) -> str:
    return b"".join(part.get_payload(decode=True) or b"" for part in mail.walk()).decode()  # type: ignore[misc]


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    post = Post()
    yield post
    post.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, postgres: Server, post: Post) -> Iterator[Live]:
    extra = {"disable_ssl": True, "disable_tls": True, "timeout": 1, "retry_limit": 0}
    smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": post.port, "extra": extra}
    env = {"AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(smtp)}
    live = Live(tmp_path_factory.mktemp("live") / "home", postgres, env)
    live.edit("dedupe_people.py", ("datetime(2026, 11, 1", "datetime(2020, 1, 1"))
    # The scheduler begins with yesterday's run: a small one.
    small = (
        ("        1_000,\n", "        20,\n"),
        ("        10_000,\n", "        30,\n"),
        ("        7,\n", "        0,\n"),
    )
    live.edit("common/settings.py", *small)
    (live.incoming / "new.csv").write_text(ROWS)
    with live.running():
        yield live


@pytest.fixture(scope="module")
def yesterday(live: Live) -> str:
    """The run that the schedule has made."""
    (run_id,) = live.wait(lambda: [run for (run,) in live.metadata("SELECT run_id FROM dag_run")], PATIENCE)
    live.wait_for(run_id)
    return str(run_id)


def stored(live: Live) -> list[Any]:
    """All rows of all tables, but for the times."""
    query = "SELECT to_jsonb(t) - 'inserted_at' - 'loaded_at' - 'changed_xid' AS row FROM {} AS t ORDER BY row"
    return [live.people(query.format(table)) for table in ("people", "batches", "decisions", "quarantine")]


@contextmanager
def locked(live: Live) -> Iterator[Callable[[], None]]:
    """Another client keeps the table: `load` waits, until the block ends or the lock is given back."""
    with psycopg.connect(live.people_dsn) as connection:
        connection.execute("LOCK TABLE dedupe.people IN ROW EXCLUSIVE MODE")
        yield connection.commit


def settled(live: Live, post: Post, run_id: str, *events: str) -> None:
    """The mails about a run are these, in any order, and no other comes."""
    live.wait(lambda: len(post.about(run_id)) >= len(events), PATIENCE)
    time.sleep(2)
    assert sorted(post.about(run_id)) == sorted(events)


def test_a_run_that_ends_well_is_one_mail(live: Live, post: Post, yesterday: str) -> None:
    settled(live, post, yesterday, "done")
    assert list((live.reports / "outbox").iterdir()) == []
    assert list((live.reports / "tries").iterdir()) == []


def test_other_dags_are_told_the_numbers(live: Live, yesterday: str) -> None:
    ((extra,),) = live.metadata("SELECT extra FROM asset_event WHERE source_run_id = %s", yesterday)
    ((report,),) = live.people("SELECT to_jsonb(b) FROM batches AS b WHERE run_id = %s", yesterday)
    assert extra["received"] == 20
    assert extra == {name: report[name] for name in extra}
    assert {"batch_id", "quarantined", "duplicates", "review", "inserted"} < extra.keys()


def test_what_the_run_left_on_disk_is_for_its_owner_only(live: Live, yesterday: str) -> None:
    files = [path for folder in ("xcom", "reports", "logs") for path in (live.home / folder).rglob("*")]
    assert {path.suffix for path in files} >= {".arrow", ".html", ".txt", ".log"}
    entered = [live.home / "xcom", live.reports, *files]
    assert [path for path in entered if path.is_file() and path.stat().st_mode & 0o077] == []
    assert [path for path in entered if path.suffix == ".arrow" and path.parent.stat().st_mode & 0o077] == []


def test_a_failed_run_is_one_mail_and_can_be_cleared_before_its_deadline(
    live: Live, post: Post, yesterday: str
) -> None:
    run_id = live.trigger("no_file_yet", source=str(live.incoming / "late.csv"))
    live.wait_for(run_id, "failed")
    settled(live, post, run_id, "ingest failed")
    (mail,) = post.mails(run_id)
    for fact in (run_id, "ingest", "SourceError", "there is no such file", f"/dags/{DAG}/runs/"):
        assert fact in text_of(mail), fact

    (live.incoming / "late.csv").write_text(ROWS)
    assert live.metadata("SELECT count(*) FROM deadline")[0][0] > 0
    with post.hanging():
        live.api(f"/api/v2/dags/{DAG}/dagRuns/{run_id}/clear", {"dry_run": False})
        live.wait(lambda: live.state(run_id) == "success", PATIENCE)
        (kept,) = live.wait(lambda: list((live.reports / "outbox").glob("*.json")), PATIENCE)
        assert run_id in kept.read_text()


def test_what_a_mail_server_did_not_take_goes_out_with_the_next_mail(live: Live, post: Post, yesterday: str) -> None:
    """After a server that hung, above, one that is down."""
    with post.down():
        live.wait_for(live.trigger("while_down", source=str(live.incoming / "missing.csv")), "failed")
        live.wait(lambda: len(list((live.reports / "outbox").glob("*.json"))) == 2, PATIENCE)
    live.wait_for(live.trigger("when_up", source=str(live.incoming / "missing.csv")), "failed")
    settled(live, post, "when_up", "ingest failed")
    settled(live, post, "while_down", "ingest failed")
    settled(live, post, "no_file_yet", "ingest failed", "done")
    assert list((live.reports / "outbox").iterdir()) == []


def test_a_retry_is_one_mail_also_where_the_try_was_killed(live: Live, post: Post, yesterday: str) -> None:
    """The people database takes no connections for a while; later `load` is killed."""
    before = stored(live)
    with psycopg.connect(live.metadata_dsn, autocommit=True) as admin:
        admin.execute("ALTER DATABASE live_people ALLOW_CONNECTIONS false")
        try:
            run_id = live.trigger("no_connection", source=str(live.incoming / "late.csv"))
            live.wait(lambda: post.about(run_id), PATIENCE)
        finally:
            admin.execute("ALTER DATABASE live_people ALLOW_CONNECTIONS true")
    with locked(live):
        os.kill(live.wait_for_task(run_id, "load"), signal.SIGKILL)
        live.wait(lambda: any(event.startswith("load") for event in post.about(run_id)), PATIENCE)
    live.wait_for(run_id)
    retries = [event for event in post.about(run_id) if event != "done"]
    settled(live, post, run_id, *retries, "done")
    # Airflow itself notices some killed tasks and runs their callback elsewhere; of the others the next try tells.
    assert {event.split(" ", 1)[1] for event in retries} <= {"will be retried", "is retried"}
    assert [event.split()[0] for event in retries].count("load") == 1
    tries = live.metadata("SELECT sum(try_number - 1) FROM task_instance WHERE run_id = %s AND try_number > 0", run_id)
    assert len(retries) == tries[0][0] >= 2, "one for each"
    assert "PeopleDbUnreachable" in text_of(post.mails(run_id)[0])
    assert stored(live) == before, "the same file again"


def test_a_sweep_takes_no_file_that_a_run_may_need(live: Live, yesterday: str) -> None:
    batches = list((live.home / "xcom").rglob("*.arrow"))
    orphan = batches[0].with_name("orphan.arrow")
    orphan.touch()
    for path in (*batches, orphan):
        os.utime(path, (0, 0))
    swept = subprocess.run(
        [sys.executable, "-m", "common.upkeep", "sweep"], env=live.env, capture_output=True, text=True
    )
    assert swept.returncode == 0, swept.stderr[-1000:]
    assert not orphan.exists()
    left = set((live.home / "xcom").rglob("*.arrow"))
    assert {path for path in batches if yesterday[:9] in str(path)} <= left, "nothing of it was run again"
    assert left <= set(batches)


def tighten(live: Live, sla: float) -> None:
    """Edit the DAG while Airflow runs: short SLAs and no retries; the second time just another tag."""
    settings = (live.dags / "common" / "settings.py").read_text()
    if "_SLA_SECONDS" in settings:
        live.edit(
            "common/settings.py",
            ('os.environ.get("DEDUPE_RUN_SLA_SECONDS", 3600)', str(sla)),
            ('os.environ.get("DEDUPE_TASK_SLA_SECONDS", 1800)', str(sla)),
            ('"retries": 3', '"retries": 0'),
        )
    versions = live.metadata("SELECT count(*) FROM dag_version")
    live.edit("dedupe_people.py", ("tags=[", f'tags=["edited {time.time()}", '))
    live.wait(lambda: live.metadata("SELECT count(*) FROM dag_version") != versions, PATIENCE)


def test_a_missed_sla_is_one_mail_also_after_the_dag_was_edited(live: Live, post: Post, yesterday: str) -> None:
    """Also when the run fails then, when it still waits for its turn, and when the DAG is edited once more."""
    tighten(live, SLA)
    with locked(live) as unlock:
        killed = live.trigger("late_and_killed", source=str(live.incoming / "new.csv"))
        waiting = live.trigger("late_and_waiting", source=str(live.incoming / "new.csv"))
        load = live.wait_for_task(killed, "load")
        missed = ("SLA missed", "load missed its SLA")
        live.wait(lambda: all(event in post.about(killed) for event in missed), PATIENCE)
        live.wait(lambda: "SLA missed" in post.about(waiting), PATIENCE)
        os.kill(load, signal.SIGKILL)
        live.wait_for(killed, "failed")
        unlock()
    live.wait(lambda: "load failed" in post.about(killed), PATIENCE)
    time.sleep(2)
    # Other tasks may have been slower than their SLA too: the machine's affair.
    events = [event for event in post.about(killed) if event in missed or not event.endswith("missed its SLA")]
    assert sorted(events) == sorted([*missed, "load failed"])
    miss = next(mail for mail in post.mails(killed) if event(mail) == "SLA missed")
    assert all(fact in text_of(miss) for fact in ("not done by", f"/dags/{DAG}/runs/{killed}"))

    tighten(live, SLA)
    live.wait_for(waiting)
    with locked(live) as unlock:
        edited = live.trigger("late_after_another_edit", source=str(live.incoming / "new.csv"))
        live.wait(lambda: "SLA missed" in post.about(edited), PATIENCE)
        unlock()
    live.wait_for(edited)
    for run_id in (waiting, edited):
        live.wait(lambda run_id=run_id: "done" in post.about(run_id), PATIENCE)  # type: ignore[misc]
        assert [event for event in post.about(run_id) if not event.endswith("missed its SLA")] == ["SLA missed", "done"]


def test_nothing_personal_stands_in_a_mail_or_a_log(live: Live, post: Post, yesterday: str) -> None:
    texts = [*map(text_of, post.received), *(log.read_text() for log in Path(live.home).rglob("*.log"))]
    assert len(texts) > 50
    assert not [name for name in ("Smith", "Jones", "Oak Ave") for text in texts if name in text]
