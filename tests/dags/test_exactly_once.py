"""Nothing lost, nothing doubled: real processes killed, a real server restarted, several writers at once."""

import csv
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dedupe_people
import psycopg
import pytest
from common import people_db as database
from common import retraining, settings, upkeep
from common.default_args import PARAMS
from common.errors import PeopleDbError, PeopleDbUnreachable
from common.linkage.model import STARTING_MODEL
from common.linkage.training import MIN_PEOPLE
from common.report.paths import report_paths
from common.settings import PROJECT_ROOT
from common.standardising import standardise_people
from launch import people_db_connection
from postgres import Server
from psycopg import sql
from soak import pairs_at

FORK = multiprocessing.get_context("fork")
FAKER = {"source": "faker", "rows": 30, "returning": 0.5, "existing": 40, "retrain_every": 0}
PATIENCE = 120  # seconds

Task = Callable[[], Any]


def given(**params: Any) -> dict[str, Any]:
    """All params of the DAG: those given, and the defaults."""
    return {name: param.value for name, param in PARAMS.items()} | FAKER | params


def run(params: dict[str, Any], run_id: str, do: Callable[[str, Task], Any] = lambda _, task: task()) -> dict[str, Any]:
    """A whole run, task by task, as functions; returns the numbers. `do` runs each of the tasks."""
    dag = dedupe_people
    incoming = do("ingest", lambda: dag.ingest.function(params, run_id))
    batch = do("standardise", lambda: dag.standardise.function(incoming))
    shards = do("plan_shards", lambda: dag.plan_shards.function(batch))
    fitted = None
    if params["retrain_every"]:
        labelled = do("training_pairs", lambda: dag.training_pairs.function(params, run_id))
        fitted = do("fit_models", lambda: dag.fit_models.function(labelled, run_id))
    model = do("choose_model", lambda: dag.choose_model.function(fitted, params, run_id))
    kept = do("encode", lambda: [dag.encode.function(shard) for shard in shards])
    blocks = do("plan_blocks", lambda: dag.plan_blocks.function(batch, kept))
    shadow = do("canaries", lambda: dag.canaries.function(batch, run_id))
    pairs = do("compare", lambda: [dag.compare.function(batch, model, shadow, block, run_id) for block in blocks])
    decisions = do("decide", lambda: dag.decide.function(batch, model, pairs))
    numbers = do("load", lambda: dag.load.function(batch, model, pairs, decisions, shards, run_id))
    do("report", lambda: dag.report.function(numbers, model, pairs, shadow, run_id))
    do("tidy", lambda: dag.tidy.function(began(run_id), ASKED))
    return dict(numbers)


def began(run_id: str) -> SimpleNamespace:
    """A run as Airflow hands it to a task: one of long after, so that there is something to tidy up."""
    return SimpleNamespace(run_id=run_id, start_date=datetime(2100, 1, 1, tzinfo=UTC))


ASKED = SimpleNamespace(get_dr_count=lambda dag_id, run_ids, states: 0 if states else len(run_ids))
"""What a task asks Airflow with: every run is there, and none is going on."""


def stored(dsn: str) -> dict[str, list[Any]]:
    """All rows of all tables, but for the times."""
    query = (
        "SELECT to_jsonb(t) - '{inserted_at, loaded_at, applied_at, changed_xid, compared_with, compared_by}'::text[] "
        "- 'removed_at' FROM "
    )
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'dedupe'").fetchall()
        return {table: connection.execute(query + table + " AS t ORDER BY 1").fetchall() for (table,) in sorted(tables)}


def empty(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP SCHEMA IF EXISTS dedupe CASCADE")
    database.is_empty()  # applies the schema
    with psycopg.connect(dsn) as connection:  # so that the keys of contents are the same in another database
        connection.execute("UPDATE dedupe.installation SET salt = 'of all tests'")


def duplicates(dsn: str) -> list[Any]:
    """All pairs of people that reach `accept_at`, by comparing everybody with everybody."""
    with psycopg.connect(dsn) as connection:
        return pairs_at(connection, STARTING_MODEL)


def in_a_process(task: Task, kill_before: int | None = None) -> int:
    """The exit code of a process of its own in which the task runs, and dies by SIGKILL before an SQL statement."""

    def child() -> None:
        statements = 0

        def counted(call: Callable[..., Any]) -> Callable[..., Any]:
            def counting(*args: Any, **kwargs: Any) -> Any:
                nonlocal statements
                if statements == kill_before:
                    os.kill(os.getpid(), signal.SIGKILL)
                statements += 1
                return call(*args, **kwargs)

            return counting

        for owner, name in ((psycopg.Cursor, "execute"), (psycopg.Cursor, "copy"), (psycopg.Connection, "commit")):
            setattr(owner, name, counted(getattr(owner, name)))
        task()

    process = FORK.Process(target=child)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def killed_everywhere(task: Task, dsn: str, half_way: list[dict[str, Any]]) -> int:
    """Run a task again and again, killed before each of its SQL statements, until it ends; returns how often."""
    for kill_before in range(100):
        code = in_a_process(task, kill_before)
        if code == 0:
            return kill_before
        assert code == -signal.SIGKILL
        half_way.append(stored(dsn))
    raise AssertionError("it never ends")


def killed_half_way(task: Task) -> None:
    """Run a task three times, killed at a quarter, the middle and three quarters of its course."""
    begin = time.monotonic()
    assert in_a_process(task) == 0
    seconds, killed = time.monotonic() - begin, 0
    while killed < 3:
        process = FORK.Process(target=task)
        process.start()
        process.join(seconds * (killed + 1) / 4)
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            killed += 1
        else:  # it was faster this time
            seconds /= 2


def page_of(run_id: str) -> str:
    """The report without the time at which the batch was loaded."""
    page = report_paths(run_id).html.read_text()
    shorter = re.sub(r"\w+, \d+ \w+ \d{4}, \d\d:\d\d UTC", "", page)
    assert shorter != page
    return shorter


def test_every_task_that_is_killed_anywhere_ends_as_if_undisturbed(
    people_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that write most are killed between any two statements, the others at a few moments.

    The file that each leaves for the next appears by a rename, see test_arrow_xcom.py.
    """
    monkeypatch.setattr(retraining, "TRAINING_PEOPLE", MIN_PEOPLE)
    for kept in ("KEEP_QUARANTINED", "KEEP_FIELDS"):
        monkeypatch.setattr(settings, kept, timedelta(days=1))
    params = given(retrain_every=1)
    empty(people_db)
    run(params, "run 1")
    undisturbed = stored(people_db)
    page = page_of("run 1")

    empty(people_db)
    kills: dict[str, int] = {}
    others = set()

    def do(name: str, task: Task) -> Any:
        before = stored(people_db)
        if name in {"ingest", "plan_shards", "choose_model", "load", "report", "tidy"}:
            half_way: list[dict[str, Any]] = []
            kills[name] = killed_everywhere(task, people_db, half_way)
            assert name != "load" or all(state == before for state in half_way), "all of it or nothing"
        else:
            killed_half_way(task)
            others.add(name)
        return task()

    run(params, "run 1", do)
    assert stored(people_db) == undisturbed
    assert page_of("run 1") == page
    assert kills["load"] >= 15
    assert min(kills.values()) >= 3, "else there was nothing to kill"
    reading = {"sweep_due", "sweep"}  # they write nothing here
    assert kills.keys() | others | reading == dedupe_people.dedupe_people().task_dict.keys()


def test_a_load_that_fills_in_what_is_missing_and_is_killed_anywhere_fills_it_once(
    people_db: str, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.pipeline.FILL_FROM", 0.95)
    header = "source_key,first_name,last_name,address\n"
    (incoming / "one.csv").write_text(f"{header}7,Annabel,Quimby,\n")
    (incoming / "two.csv").write_text(f'{header}7,Annabel,Quimby,"12 Wisteria Street, Springfield, IL 62701"\n')
    first, second = (given(source=str(incoming / name)) for name in ("one.csv", "two.csv"))
    empty(people_db)
    run(first, "run 1")
    before = stored(people_db)

    def do(name: str, task: Task) -> Any:
        if name == "load":
            half_way: list[dict[str, Any]] = []
            assert killed_everywhere(task, people_db, half_way) >= 15
            assert all(state["people"] == before["people"] and not state["filled"] for state in half_way)
        return task()

    run(second, "run 2", do)
    after = stored(people_db)
    assert [row["address"] for (row,) in after["people"]] == ["12 Wisteria Street, Springfield, IL 62701"]
    assert len(after["filled"]) == 1


def test_a_run_killed_after_every_task_and_started_anew_ends_as_if_undisturbed(people_db: str) -> None:
    """A run that is cleared, or deleted and triggered again: all is done once more from the start."""
    empty(people_db)
    run(given(), "run 1")
    run(given(), "run 2")
    undisturbed = stored(people_db)

    class Killed(Exception):
        pass

    empty(people_db)
    run(given(), "run 1")
    for last in ("ingest", "plan_shards", "choose_model", "decide", "load", "report", "tidy"):

        def do(name: str, task: Task, last: str = last) -> Any:
            result = task()
            if name == last:
                raise Killed
            return result

        with pytest.raises(Killed):
            run(given(), "run 2", do)
    run(given(), "run 2")
    assert stored(people_db) == undisturbed


# Several at once -------------------------------------------------------------------------------------------------

FIRST = ("Maria", "Jonas", "Priya", "Oluwaseun", "Gwendolyn", "Tomasz", "Ingrid", "Rafael", "Yuki", "Beatrix")
LAST = ("Fernandez", "Lindqvist", "Raghunathan", "Adeyemi", "Fitzgerald", "Kowalczyk", "Thorvaldsen", "Monteiro")


def people(count: int) -> list[tuple[str, str, str]]:
    """People who do not resemble each other."""
    return [
        (
            FIRST[n % 10],
            LAST[n // 10 % 8],
            f"{n * 7919 % 9000} {LAST[n * 3 % 8]} {FIRST[n * 7 % 10]} Road, {10000 + n * 977}",
        )
        for n in range(count)
    ]


def write(path: Path, rows: list[tuple[str, str, str]]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("first_name", "last_name", "address"), *rows])
    return str(path)


def test_runs_at_once_on_overlapping_batches_while_another_client_inserts(people_db: str, incoming: Path) -> None:
    everybody = people(60)
    batches = [everybody[:30], everybody[10:40], everybody[20:50]]
    others = everybody[45:60]
    sources = [write(incoming / f"{n}.csv", rows) for n, rows in enumerate(batches)]
    database.is_empty()
    database.champion("first")
    waiting = threading.Barrier(len(sources) + 1, timeout=PATIENCE)

    def one(number: int) -> None:
        def do(name: str, task: Task) -> Any:
            if name == "load":  # everybody has compared, nobody has written
                waiting.wait()
            return task()

        results[number] = run(given(source=sources[number]), f"run {number}", do)

    results: dict[int, dict[str, Any]] = {}
    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(sources))]
    for thread in threads:
        thread.start()
    waiting.wait()
    with psycopg.connect(people_db, autocommit=True) as client:
        for row in others:
            client.execute("INSERT INTO dedupe.people (first_name, last_name, address) VALUES (%s, %s, %s)", row)
    for thread in threads:
        thread.join(PATIENCE)
    assert len(results) == len(sources), "none of them failed or hangs"
    for numbers in results.values():
        assert numbers["received"] == sum(numbers[k] for k in ("quarantined", "duplicates", "review", "inserted")) == 30
    again = run(given(source=write(incoming / "all.csv", everybody)), "run 9")
    assert (again["inserted"], again["duplicates"] + again["review"]) == (0, 60), "all are known"
    ours = "SELECT count(*), count(DISTINCT record_key) FROM dedupe.people WHERE record_key IS NOT NULL"
    with psycopg.connect(people_db) as connection:
        count, distinct = connection.execute(ours).fetchall()[0]
        twice = connection.execute(
            "SELECT first_name, last_name, address FROM dedupe.people WHERE record_key IS NOT NULL "
            "GROUP BY 1, 2, 3 HAVING count(*) > 1"
        ).fetchall()
    assert count == distinct == sum(numbers["inserted"] for numbers in results.values())
    assert twice == []


# A server that goes away -----------------------------------------------------------------------------------------


@pytest.fixture
def own_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A Postgres of the test's own behind connection `people_db`, to be restarted."""
    server = Server(tmp_path / "server")
    with server.use():
        server.create_database("people")
        monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", people_db_connection(server.socket_folder))
        yield server
    server.remove()


def test_a_server_that_is_restarted_in_the_middle_of_a_run_costs_a_retry(own_server: Server) -> None:
    dsn = own_server.dsn("people")
    empty(dsn)
    run(given(), "run 1")
    undisturbed = stored(dsn)
    empty(dsn)
    retries: list[str] = []

    def restart_during(task: Task) -> None:
        """Stop the server while the task waits for a lock."""
        other = psycopg.connect(dsn)
        other.execute("LOCK TABLE dedupe.people")

        def attempt() -> None:
            try:
                task()
            except PeopleDbUnreachable as error:
                retries.append(str(error))

        thread = threading.Thread(target=attempt)
        thread.start()
        blocked = "SELECT FROM pg_locks WHERE NOT granted"
        end = time.monotonic() + PATIENCE
        with psycopg.connect(dsn, autocommit=True) as watcher:
            while not watcher.execute(blocked).fetchall() and thread.is_alive() and time.monotonic() < end:
                time.sleep(0.05)
        own_server.stop()
        thread.join(PATIENCE)
        other.close()

    def do(name: str, task: Task) -> Any:
        if name in {"plan_shards", "load"}:
            restart_during(task)
            with pytest.raises(PeopleDbUnreachable):
                task()  # it is down
            with own_server.use():
                return task()
        with own_server.use():
            return task()

    with own_server.use():
        run(given(), "run 1", do)
        assert stored(dsn) == undisturbed
    assert len(retries) == 2
    assert not any("\n" in error for error in retries)


@pytest.fixture
def small_disk(own_server: Server) -> Iterator[Path]:
    """A disk of its own, of 40 MB, for the people database."""
    disk, owner = own_server.socket_folder / "small", own_server.data.stat().st_uid
    disk.mkdir()
    size = f"size=40m,mode=700,uid={owner}"
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", size, "people", disk]).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        with psycopg.connect(own_server.dsn("postgres"), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(disk)))
            admin.execute("ALTER DATABASE people SET TABLESPACE small")
        yield disk
    finally:
        own_server.stop()
        subprocess.run(["umount", disk], check=True)


def test_a_disk_that_is_full_during_load_is_one_clear_line_and_costs_a_retry(
    own_server: Server, small_disk: Path
) -> None:
    dsn, params = own_server.dsn("people"), given(rows=3_000)
    empty(dsn)
    run(params, "run 1")
    undisturbed = stored(dsn)
    empty(dsn)

    def do(name: str, task: Task) -> Any:
        if name == "load":
            before = stored(dsn)
            filler = small_disk / "filler"
            filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
            with pytest.raises(PeopleDbUnreachable, match="No space left on device") as raised:
                task()
            assert "\n" not in str(raised.value)
            filler.unlink()
            assert stored(dsn) == before
        return task()

    run(params, "run 1", do)
    assert stored(dsn) == undisturbed


def test_the_judge_of_all_pairs_finds_what_is_there(people_db: str) -> None:
    """Else its silence elsewhere would say nothing."""
    database.is_empty()
    with psycopg.connect(people_db) as connection:
        for row in (*people(20), ("Marya", *people(1)[0][1:])):
            connection.execute("INSERT INTO dedupe.people (first_name, last_name, address) VALUES (%s, %s, %s)", row)
    with database.transaction() as connection:
        standardise_people(connection)
    assert [(pair.person_id, pair.other_id) for pair in duplicates(people_db)] == [(21, 1)]


def test_runs_one_after_the_other_leave_no_two_people_who_reach_accept_at(people_db: str) -> None:
    for number in range(3):
        run(given(rows=60, existing=100), f"run {number}")
    with psycopg.connect(people_db) as connection:
        assert connection.execute("SELECT count(*) FROM dedupe.people").fetchone()[0] > 150  # type: ignore[index]
    assert duplicates(people_db) == []


# Roles that may do no more than they need ------------------------------------------------------------------------


@pytest.fixture
def become(people_db: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets connection `people_db` log in as a role of role.sql; the owner has applied the schema."""
    database.is_empty()
    with psycopg.connect(people_db, autocommit=True) as owner:
        owner.execute((PROJECT_ROOT / "dags" / "common" / "people_db" / "role.sql").read_text().encode())
        host, name = owner.info.host, owner.info.dbname

        def become(role: str) -> None:
            connection = {"conn_type": "postgres", "host": host, "login": role, "schema": name}
            monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", json.dumps(connection))

        yield become
        for role in ("dedupe_upkeep", "dedupe_dag"):
            owner.execute(f"DROP OWNED BY {role}")
            owner.execute(f"DROP ROLE {role}")


def test_the_dag_and_the_upkeep_need_no_more_than_their_roles_have(
    people_db: str, become: Callable[[str], None], incoming: Path
) -> None:
    become("dedupe_dag")
    run(given(), "run 1")
    with psycopg.connect(people_db) as owner:
        owner.execute("INSERT INTO dedupe.people (first_name, last_name, address) VALUES ('A', 'B', '1 C Rd')")
    (incoming / "new.csv").write_text("first_name,last_name,address\nA,B,1 C Rd\nZebulon,Quill,7 Fir Court\n")
    numbers = run(given(source=f"{incoming}/"), "run 2")
    run(given(source="people"), "run 3")
    assert numbers["inserted"] > 0

    dsn = people_db.replace("user=postgres", "user=dedupe_dag")
    for forbidden in (
        *("DELETE FROM dedupe.people", "DELETE FROM dedupe.batches", "DELETE FROM dedupe.decisions"),
        *("DELETE FROM dedupe.quarantine", "TRUNCATE dedupe.people", "TRUNCATE dedupe.judgements"),
        *("UPDATE dedupe.decisions SET person_id = 1", "UPDATE dedupe.batches SET inserted = 0"),
        *("UPDATE dedupe.people SET first_name = 'X'", "UPDATE dedupe.people SET source_key = 'X'"),
        *("UPDATE dedupe.people SET batch_id = NULL", "UPDATE dedupe.people SET person_id = 0"),
        *("UPDATE dedupe.models SET content = '{}'", "UPDATE dedupe.models SET results = '{}'"),
        *("DELETE FROM dedupe.models", "UPDATE dedupe.decisions SET first_name = 'X'"),
        *("UPDATE dedupe.quarantine SET raw = '{}'", "UPDATE dedupe.spellings SET person_id = 1"),
        *("UPDATE dedupe.installation SET salt = ''", "INSERT INTO dedupe.judgements (is_match) VALUES (true)"),
        *("DELETE FROM dedupe.kept_out", "INSERT INTO dedupe.kept_out (key) VALUES ('x')"),
        *("LOCK TABLE dedupe.people IN ACCESS EXCLUSIVE MODE", "DELETE FROM dedupe.canaries"),
        *("CREATE TABLE dedupe.mine ()", "DROP TABLE dedupe.people", "ALTER TABLE dedupe.people DISABLE TRIGGER ALL"),
    ):
        with psycopg.connect(dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(forbidden.encode())
    with pytest.raises(PeopleDbError, match="lacks rights"):
        database.undo_batch(numbers["batch_id"], force=True)

    become("dedupe_upkeep")
    batches = (
        "SELECT batch_id, record_key FROM dedupe.decisions WHERE decision = 'DUPLICATE' AND run_id = 'run 2' LIMIT 1"
    )
    with psycopg.connect(people_db) as owner:
        batch_id, record_key = owner.execute(batches.encode()).fetchall()[0]
    upkeep.judge(batch_id, record_key, None)
    database.undo_batch(batch_id, force=True)
    upkeep.erase(1, keep_out=True)
