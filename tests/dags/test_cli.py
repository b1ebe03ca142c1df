"""Airflow's commands as the README lists them, as commands; every task by `tasks test`, one after the other.

`tasks test` exits with 0 also when the task fails, so it is the state and the effect that count.
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from launch import people_db_connection
from postgres import Server

DAY = "2026-11-08"
TASKS = (
    *("ingest", "standardise", "plan_shards", "encode", "plan_blocks", "training_pairs", "fit_models", "choose_model"),
    *("canaries", "compare", "decide", "load", "report", "sweep_due", "tidy"),
)
ROWS = "first_name,last_name,address\nAnn,Smith,12 Main St\nAnne,Smith,12 Main Street\nBob,Jones,7 Oak Ave\n,,nowhere\n"


class Airflow:
    """Runs `airflow ...` in a home of this process, with a people database of its own."""

    def __init__(self, home: Path, dsn: str) -> None:
        self.home = home
        self.dsn = dsn

    def __call__(self, *args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-m", "airflow", *args], capture_output=True, text=True)

    def people(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.dsn, options="-c search_path=dedupe") as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    def states(self, day: str) -> dict[str, str]:
        """State of every task of the day's run, of its last instance where it is mapped."""
        connection = sqlite3.connect(self.home / "airflow.db")
        try:
            return dict(
                connection.execute(
                    "SELECT task_id, ti.state FROM task_instance AS ti JOIN dag_run USING (run_id) "
                    "WHERE date(logical_date) = ? ORDER BY map_index",
                    [day],
                ).fetchall()
            )
        finally:
            connection.close()


@pytest.fixture(scope="module")
def airflow(airflow_home: Path, postgres: Server) -> Iterator[Airflow]:
    with pytest.MonkeyPatch.context() as patch:
        postgres.create_database("people_cli")
        patch.setenv("AIRFLOW_CONN_PEOPLE_DB", people_db_connection(postgres.socket_folder, "people_cli"))
        patch.setenv("DEDUPE_REPORTS_DIR", str(airflow_home / "reports of commands"))
        yield Airflow(airflow_home, postgres.dsn("people_cli"))


@pytest.fixture(scope="module")
def source(airflow: Airflow) -> str:
    folder = Path(os.environ["DEDUPE_SOURCE_ROOTS"])
    folder.mkdir(exist_ok=True)
    path = folder / "cli.csv"
    path.write_text(ROWS)
    return str(path)


@pytest.fixture(scope="module")
def skeleton(airflow: Airflow, source: str) -> "subprocess.CompletedProcess[str]":
    """A run of the day in which nothing was executed."""
    conf = json.dumps({"source": source, "retrain_every": 0})
    return airflow("dags", "test", "dedupe_people", DAY, "--conf", conf, "--mark-success-pattern", ".*")


@pytest.fixture(scope="module")
def one_by_one(
    airflow: Airflow, skeleton: "subprocess.CompletedProcess[str]"
) -> dict[str, "subprocess.CompletedProcess[str]"]:
    """Every task of the skeleton by `tasks test`, in order."""
    mapped = {name: ["--map-index", "0"] for name in ("encode", "compare")}
    return {task: airflow("tasks", "test", "dedupe_people", task, DAY, *mapped.get(task, [])) for task in TASKS}


@pytest.mark.usefixtures("skeleton")
def test_lists(airflow: Airflow) -> None:
    dags = airflow("dags", "list", "-o", "plain")
    assert [line.split()[0] for line in dags.stdout.splitlines()[1:]] == ["dedupe_people"]
    errors = airflow("dags", "list-import-errors")
    assert (errors.returncode, errors.stdout.strip()) == (0, "No data found")
    tasks = airflow("tasks", "list", "dedupe_people")
    assert set(tasks.stdout.split()) == {*TASKS, "sweep"}


def test_a_skeleton_run_executes_nothing(airflow: Airflow, one_by_one: object) -> None:
    """Nothing but what the tasks did later, one by one: a single batch."""
    assert airflow.people("SELECT count(*) FROM batches") == [(1,)]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_by_itself(
    airflow: Airflow, one_by_one: dict[str, "subprocess.CompletedProcess[str]"], task: str
) -> None:
    done = one_by_one[task]
    assert done.returncode == 0
    if task == "fit_models":  # gets nothing from the skipped task before it; in a run it would be skipped too
        assert airflow.states(DAY)[task] == "failed"
    else:
        expected = "skipped" if task in {"training_pairs", "sweep_due"} else "success"
        assert airflow.states(DAY)[task] == expected, done.stdout[-3000:]
    assert "Traceback" not in done.stdout + done.stderr


def test_the_tasks_together_did_what_a_run_does(airflow: Airflow, one_by_one: object) -> None:
    numbers = airflow.people("SELECT received, quarantined, duplicates, review, inserted FROM batches")
    assert numbers == [(4, 1, 1, 0, 2)]
    assert {name for (name,) in airflow.people("SELECT first_name FROM people")} == {"Anne", "Bob"}
    (page,) = (airflow.home / "reports of commands").glob("*.html")
    assert "Ann" not in page.read_text()


def test_a_task_without_its_batch_ends_with_one_line_that_names_the_recipe(
    one_by_one: dict[str, "subprocess.CompletedProcess[str]"],
) -> None:
    lines = one_by_one["fit_models"].stdout.splitlines()
    (line,) = [line for line in lines if "run the tasks before this one first" in line]
    assert "--mark-success-pattern" in line
    assert "[error" in line


def test_dags_test_ends_with_0_or_1(airflow: Airflow, source: str) -> None:
    conf = json.dumps({"source": source, "retrain_every": 0})
    good = airflow("dags", "test", "dedupe_people", "2026-11-09", "--conf", conf)
    assert good.returncode == 0, good.stdout[-3000:]
    assert set(airflow.states("2026-11-09").values()) == {"success", "skipped"}

    conf = json.dumps({"source": source + ".missing.csv"})
    bad = airflow("dags", "test", "dedupe_people", "2026-11-10", "--conf", conf)
    assert bad.returncode == 1
    assert airflow.states("2026-11-10")["ingest"] == "failed"
