"""Backup and restore, by the commands of the README: into another cluster, where everything goes on."""

import csv
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from common import people_db as database
from common import pipeline, upkeep
from common.default_args import PARAMS
from common.linkage.model import STARTING_MODEL
from common.settings import PROJECT_ROOT
from common.sources import fake_people
from launch import people_db_connection
from postgres import Server

MODEL = STARTING_MODEL.to_dict()
PEOPLE = [
    (row["first_name"], row["last_name"], row["address"])
    for row in fake_people(2_000, 7).select(["first_name", "last_name", "address"]).to_pylist()
]


def load(incoming: Path, rows: list[Any], run_id: str) -> dict[str, Any]:
    path = incoming / f"{run_id}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("first_name", "last_name", "address"), *rows])
    given = {name: param.value for name, param in PARAMS.items()} | {"source": str(path)}
    batch = pipeline.standardise_batch(pipeline.ingest(given, run_id))
    shards = pipeline.plan_shards(batch)
    pairs = pipeline.compare_all(batch, MODEL, shards, run_id)
    return pipeline.load_batch(batch, MODEL, pairs, pipeline.decide_batch(batch, MODEL, pairs), shards, run_id)


@pytest.fixture
def other_cluster(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "restored")
    with server.use():
        server.create_database("people")
        yield server
    server.remove()


def run_readme_commands(source: str, target: str, programs: Path, folder: Path) -> None:
    """What the README says of backup and restore, with our addresses in the place of its examples."""
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    (pg_(?:dump|restore) .*)$", readme, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["pg_dump", "pg_restore"]
    for command in commands:
        words = [word.replace("$SOURCE", source).replace("$TARGET", target) for word in shlex.split(command)]
        done = subprocess.run([programs / words[0], *words[1:]], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_a_backup_is_restored_into_another_cluster_and_loads_go_on(
    people_db: str,
    postgres: Server,
    other_cluster: Server,
    incoming: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half = len(PEOPLE) // 2
    load(incoming, PEOPLE[:half], "one")
    with psycopg.connect(people_db, autocommit=True) as connection:
        for _ in range(2_000):  # transactions of this cluster are numbered from far above those of the other one
            connection.execute("SELECT pg_current_xact_id()")
    load(incoming, PEOPLE[half - 100 :], "two")
    target = other_cluster.dsn("people")
    run_readme_commands(people_db, target, postgres._binaries(), tmp_path)
    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", people_db_connection(other_cluster.socket_folder))
    with psycopg.connect(target) as connection:
        marks = connection.execute(
            "SELECT max(changed_xid::text::bigint), pg_current_xact_id()::text::bigint FROM dedupe.people"
        ).fetchone()
    assert marks is not None
    assert marks[0] > marks[1] + 500, "else nothing would be seen of a counter that starts anew"

    compared: list[int] = []
    changed_candidates = database.changed_candidates

    def counted(connection: Any, snapshot: str, pairs: Any) -> Any:
        current, stale = changed_candidates(connection, snapshot, pairs)
        compared.append(current.num_rows)
        return current, stale

    monkeypatch.setattr(database, "changed_candidates", counted)
    new = ("Zebulon", "Quartermain", "7 Nowhere Lane, Reno, NV 89501")
    numbers = load(incoming, [*PEOPLE[half - 50 : half + 50], new], "three")
    assert (numbers["received"], numbers["inserted"]) == (101, 1)
    assert numbers["duplicates"] == 100, "all others are known, from either batch"
    assert compared == [0], "the load does not compare the table again"
    assert upkeep.undo(numbers["batch_id"], force=False).startswith("batch")
    assert database.is_empty() is False
