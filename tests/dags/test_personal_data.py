"""Names and addresses stay in the people database and in the batch files: nowhere else, whatever goes wrong."""

import base64
import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import psycopg
import pytest
from airflow.configuration import conf

PLANTED = ("Xanthippe", "Quizzlebeck", "Wobbleton", "Brzeczyszcz", "Zzyzxroad")
"""Found in no log of a healthy program."""

ROWS = (
    "first_name,last_name,address\n"
    "Xanthippe,Quizzlebeck,12 Wobbleton Street\n"
    "Xantippe,Quizzlebeck,12 Wobbleton St\n"  # a twin
    "Brzeczyszcz,Quizzlebeck,12 Wobbleton Street\n"  # a household
    "Brzeczyszcz,Zzyzxroad\n"  # malformed
    ",,3 Zzyzxroad\n"  # without a name
)

SHORT = ("敏", "周", "7 Z*")
"""Names of one character, and a house number of one digit before a street that is masked."""

SHORT_ROWS = (
    "first_name,last_name,address\n"
    "敏,周,7 Zzyzxroad Street\n"
    "敏,周,7 Zzyzxroad St\n"  # a twin
    "Xu,周,7 Zzyzxroad Street\n"  # a household
    "敏,周\n"  # malformed
)

# In a process of its own, as a worker would: the logs of the tasks go to files, at the most talkative level.
RUN = """
import logging
import sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
from common import retraining
retraining.TRAINING_PEOPLE = 1_000
logging.getLogger("numba").setLevel(logging.WARNING)  # else it tells every step of its compiler
dags = Path(sys.argv[1])
dag = BundleDagBag(dag_folder=dags, bundle_path=dags, bundle_name="dags-folder").dags["dedupe_people"]
run = dag.test(run_conf={"source": sys.argv[2], "retrain_every": int(sys.argv[3])})
print("STATE", run.state)
"""


class Traces:
    """Everything that a run leaves behind outside of the people database and the batch files."""

    def __init__(self, home: Path, mails: list[EmailMessage]) -> None:
        self.home = home
        self.mails = mails
        self.output = ""
        self.state = ""

    def run(self, source: Path, retrain_every: int = 0, **environment: str) -> None:
        code = [sys.executable, "-c", RUN, str(Path(conf.get("core", "dags_folder"))), str(source), str(retrain_every)]
        done = subprocess.run(
            code,
            env={
                **os.environ,
                "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
                "DEDUPE_RETRY_DELAY_SECONDS": "0",
                # else mails that other tests could not deliver would arrive here
                "DEDUPE_REPORTS_DIR": str(self.home / "reports" / uuid.uuid4().hex),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output += done.stdout
        states = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("STATE")]
        assert states, done.stdout[-3000:]
        self.state = states[0]

    def told(self) -> str:
        """The end of the output, without the lines of the mail server."""
        return "\n".join(line for line in self.output.splitlines() if "mail.log" not in line and "[debug" not in line)[
            -8000:
        ]

    def texts(self) -> Iterator[tuple[str, bytes]]:
        yield "output", self.output.encode()
        for number, mail in enumerate(self.mails):
            yield f"mail {number}", str(mail["subject"]).encode()
            for part in mail.walk():
                yield f"mail {number}", part.get_payload(decode=True) or b""  # type: ignore[misc]
        for path in self.home.rglob("*"):
            if path.is_file() and path.suffix not in {".arrow", ".db"} and "incoming" not in path.parts:
                yield str(path), path.read_bytes()
        connection = sqlite3.connect(self.home / "airflow.db")
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608
                yield f"table {table}", repr(row).encode()
        connection.close()

    def assert_clean(self) -> None:
        forms = {name.encode() for name in PLANTED} | {name.lower().encode() for name in PLANTED}
        forms |= {base64.b64encode(name.encode())[:8] for name in PLANTED}
        forms |= {name.encode().hex().encode() for name in PLANTED}
        # No other forms of the short ones: three bytes in hex or base64 are in any long text by chance.
        forms |= {name.encode() for name in SHORT} | {json.dumps(name).strip('"').encode() for name in SHORT}
        found = {(where, form) for where, text in self.texts() for form in forms if form in text}
        assert not found


@pytest.fixture
def traces(airflow_home: Path, people_db: str, smtp_server: list[EmailMessage]) -> Traces:
    return Traces(airflow_home, smtp_server)


@pytest.fixture
def source(incoming: Path) -> Path:
    path = incoming / "planted.csv"
    path.write_text(ROWS)
    return path


def test_a_good_run_leaves_no_name_behind(traces: Traces, source: Path, people_db: str) -> None:
    traces.run(source, retrain_every=1)
    assert traces.state == "success", traces.told()
    with psycopg.connect(people_db) as connection:
        stored = connection.execute("SELECT first_name FROM dedupe.people").fetchall()
    assert {name for (name,) in stored} & set(PLANTED), "the search would find nothing where nothing was"
    assert any(b"Xanthippe" in path.read_bytes() for path in (traces.home / "xcom").rglob("*.arrow"))
    assert len(traces.mails) == 1
    where = {name for name, _ in traces.texts()}
    assert {"output", "mail 0", "table xcom", "table rendered_task_instance_fields"} <= where
    assert any(name.endswith(".html") for name in where)
    traces.assert_clean()


def test_a_good_run_leaves_no_name_of_one_character_and_no_digit_behind(
    traces: Traces, incoming: Path, people_db: str
) -> None:
    path = incoming / "short.csv"
    path.write_text(SHORT_ROWS, encoding="utf-8")
    traces.run(path)
    assert traces.state == "success", traces.told()
    with psycopg.connect(people_db) as connection:
        assert ("敏", "周") in connection.execute("SELECT first_name, last_name FROM dedupe.people").fetchall()
    assert b"*, *, * Z********" in b"".join(text for _, text in traces.texts()), "it is shown, and shown masked"
    traces.assert_clean()


def test_a_load_that_the_database_refuses_leaves_no_name_behind(traces: Traces, source: Path, people_db: str) -> None:
    """A trigger, a constraint or a full disk: Postgres quotes the row in its message, detail and context."""
    from common.people_db import is_empty

    assert is_empty()
    with psycopg.connect(people_db) as connection:
        connection.execute(
            "CREATE FUNCTION accident() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION USING "
            "MESSAGE = 'refused ' || NEW, DETAIL = NEW, HINT = NEW; END$$"
        )
        connection.execute(
            "CREATE TRIGGER accident BEFORE INSERT ON dedupe.people FOR EACH ROW EXECUTE FUNCTION accident()"
        )
    traces.run(source)
    assert traces.state == "failed"
    (mail,) = traces.mails
    assert mail["subject"].startswith("[dedupe_people] load failed: run ")
    assert "PeopleDbError" in traces.output
    traces.assert_clean()


def test_a_task_that_misses_its_sla_leaves_no_name_behind(traces: Traces, source: Path) -> None:
    traces.run(source, DEDUPE_TASK_SLA_SECONDS="0.001")
    assert traces.state == "success", traces.told()
    subjects = [mail["subject"] for mail in traces.mails]
    assert any("load missed its SLA" in subject for subject in subjects)
    traces.assert_clean()


def test_a_file_whose_header_is_a_record_leaves_no_name_behind(traces: Traces, incoming: Path) -> None:
    path = incoming / "no_header.csv"
    path.write_text("Xanthippe,Quizzlebeck,12 Wobbleton Street\nBrzeczyszcz,Zzyzxroad,1 Wobbleton Rd\n")
    traces.run(path)
    assert traces.state == "failed"
    assert len(traces.mails) == 1
    traces.assert_clean()


def test_the_search_finds_what_is_there(traces: Traces) -> None:
    for written in ("Xanthippe", "敏", "\\u5468", "*, *, 7 Z********"):
        traces.output = json.dumps({"name": "Xanthippe"}).replace("Xanthippe", written)
        with pytest.raises(AssertionError):
            traces.assert_clean()
