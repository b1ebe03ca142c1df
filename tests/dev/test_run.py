"""What `make run` shows, and a run on a server of the user's own, as commands in a copy of the checkout."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from launch import server_of
from postgres import Server
from run import Steps, shown

LOG = """\
2026-11-24T17:06:11.2Z [info ] [DAG TEST] starting task_id=ingest map_index=-1 [airflow.sdk]
common.errors.PeopleDbUnreachable: no connection to people_db: the database system is starting up
2026-11-24T17:06:14.9Z [info ] Task instance state updated new_state=up_for_retry rows_affected=1
2026-11-24T17:06:14.9Z [info ] [DAG TEST] end task task_id=ingest map_index=-1 [airflow.sdk]
2026-11-24T17:06:44.0Z [info ] [DAG TEST] starting task_id=ingest map_index=-1 [airflow.sdk]
2026-11-24T17:06:46.5Z [info ] [DAG TEST] end task task_id=ingest map_index=-1 [airflow.sdk]
2026-11-24T17:06:47.0Z [info ] [DAG TEST] starting task_id=compare map_index=1 [airflow.sdk]
2026-11-24T17:08:57.0Z [info ] [DAG TEST] end task task_id=compare map_index=1 [airflow.sdk]
"""


def test_each_step_with_its_seconds_and_why_it_is_tried_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    Steps().read(LOG.splitlines())
    assert capsys.readouterr().err.splitlines() == [
        "  ingest              3.7 s",
        "  is tried again: PeopleDbUnreachable: no connection to people_db: the database system is starting up",
        "  ingest              2.5 s",
        "  compare 1         130.0 s",
    ]


@pytest.mark.parametrize("columns", [60, 100])
def test_the_report_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = shown("received=3\ncertificate: " + "5 records " * 30 + "\n\n  12  NEW\ncanaries: " + "x " * 90 + "\n")
    assert max(map(len, text.splitlines())) <= columns
    assert "    12  NEW".strip() in text
    assert " ".join(text.split()).count("as a proof that no pair is missed") == 1
    assert "never loaded" in " ".join(text.split())


# With a server of the user's own -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def customers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Postgres beside the embedded one, with a table of three customers that was adopted as the README says."""
    server = Server(tmp_path_factory.mktemp("own"))
    with server.use():
        server.create_database("shop")
        with psycopg.connect(server.dsn("shop")) as connection:
            connection.execute(
                """
                CREATE TABLE customers (id integer PRIMARY KEY, given_name text, family_name text, street text);
                INSERT INTO customers VALUES (1, 'Ann', 'Lee', '1 Elm Road'), (2, 'Bob', 'Roe', '2 Oak Lane'),
                                             (3, 'Cy', 'Poe', '3 Ash Way');
                CREATE SCHEMA dedupe;
                ALTER TABLE customers SET SCHEMA dedupe;
                ALTER TABLE dedupe.customers RENAME TO people;
                ALTER TABLE dedupe.people RENAME COLUMN id TO person_id;
                ALTER TABLE dedupe.people RENAME COLUMN given_name TO first_name;
                ALTER TABLE dedupe.people RENAME COLUMN family_name TO last_name;
                ALTER TABLE dedupe.people RENAME COLUMN street TO address;
                """
            )
        yield server
    server.remove()


def connection_of(server: Server, login: str = "postgres", database: str = "shop") -> str:
    parts = {"conn_type": "postgres", "host": str(server.socket_folder), "login": login, "schema": database}
    return json.dumps(parts)


def make_run(checkout: Path, connection: str, *args: str) -> "subprocess.CompletedProcess[str]":
    ours = {name: value for name, value in os.environ.items() if not name.startswith("DEDUPE_")}
    return subprocess.run(
        [sys.executable, checkout / "dev/run.py", *args],
        env=ours | {"AIRFLOW_CONN_PEOPLE_DB": connection, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def names(server: Server) -> list[str]:
    with psycopg.connect(server.dsn("shop")) as connection:
        return [name for (name,) in connection.execute("SELECT first_name FROM dedupe.people ORDER BY person_id")]


def test_make_run_invents_nobody_in_a_table_of_the_users_own(checkout: Path, customers: Server) -> None:
    nothing = make_run(checkout, connection_of(customers))
    assert nothing.returncode == 0, nothing.stderr
    assert "There is nothing new in incoming/" in nothing.stderr
    refused = make_run(checkout, connection_of(customers), "--conf", '{"source": "faker"}')
    assert refused.returncode == 1
    assert re.search(r"^SourceError: source faker is refused", refused.stderr, re.MULTILINE)
    assert names(customers) == ["Ann", "Bob", "Cy"]


def test_make_run_takes_what_is_dropped(checkout: Path, customers: Server) -> None:
    (checkout / "incoming").mkdir(exist_ok=True)
    (checkout / "incoming" / "new.csv").write_text(
        "Vorname;Nachname;Anschrift\nAnn;Lee;1 Elm Road\nDee;Zorn;9 Fir Court\n"
    )
    try:
        done = make_run(checkout, connection_of(customers), "--conf", '{"retrain_every": 0}')
    finally:
        (checkout / "incoming" / "new.csv").unlink()
    assert done.returncode == 0, done.stderr
    assert "received=2 quarantined=0 duplicates=1 review=0 inserted=1" in done.stdout
    assert names(customers) == ["Ann", "Bob", "Cy", "Dee"]
    assert "certificate: some records were compared with everybody as well" in " ".join(done.stdout.split())
    assert re.search(r"^  load +\d+\.\d s$", done.stderr, re.MULTILINE)
    assert max(map(len, (done.stdout + done.stderr).splitlines())) <= 80
    assert (done.stdout + done.stderr).count("No mail server answers") == 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"login": "nobody_here"}, 'role "nobody_here" does not exist'),
        ({"database": "chop"}, 'database "chop" does not exist'),
    ],
)
def test_wrong_settings_are_told_within_ten_seconds(
    checkout: Path, customers: Server, wrong: dict[str, str], reason: str
) -> None:
    assert_refused_soon(checkout, connection_of(customers, **wrong), reason, tries=1)


def test_a_server_that_is_down_is_tried_again_for_some_seconds(checkout: Path) -> None:
    assert_refused_soon(checkout, "postgresql://me:hunter2@127.0.0.1:1/shop", "Connection refused", tries=5)


def test_a_connection_that_cannot_be_read_shows_no_password(checkout: Path) -> None:
    assert_refused_soon(checkout, "postgresql://me:hunter2/@127.0.0.1:x/shop", "people_db cannot be read", tries=1)


def assert_refused_soon(checkout: Path, connection: str, reason: str, tries: int) -> None:
    done = make_run(checkout, connection)
    assert done.returncode == 1
    assert 1 <= done.stderr.count(reason) <= tries
    assert "Nothing was run" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert len(done.stderr.splitlines()) <= 8


def test_the_dag_is_paused_when_the_people_move_to_a_server_of_the_users_own(checkout: Path, customers: Server) -> None:
    def paused() -> list[bool]:
        with psycopg.connect(server_of(checkout / ".airflow").dsn("airflow")) as connection:
            return [is_paused for (is_paused,) in connection.execute("SELECT is_paused FROM dag")]

    def airflow(*args: str, **env: str) -> None:
        subprocess.run([checkout / "dev/airflow", *args], env=os.environ | env, check=True, capture_output=True)

    own = {"AIRFLOW_CONN_PEOPLE_DB": connection_of(customers)}
    with server_of(checkout / ".airflow").use():
        airflow("dags", "reserialize")
        airflow("dags", "unpause", "--yes", "dedupe_people")
        assert paused() == [False]
        airflow("dags", "list", **own)
        assert paused() == [True]
        airflow("dags", "unpause", "--yes", "dedupe_people", **own)
        airflow("dags", "list", **own)
        assert paused() == [False], "whoever has unpaused it wants that"
