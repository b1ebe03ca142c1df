"""The DAG's tasks as functions, each twice, and the whole DAG by `dag.test()`, twice in a row."""

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dedupe_people
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk.exceptions import AirflowSkipException
from common.default_args import PARAMS
from common.errors import SourceError
from common.report.paths import report_paths
from common.settings import PROJECT_ROOT

TABLES = ("people", "batches", "decisions", "quarantine", "models")
FAKER = {"source": "faker", "rows": 40, "returning": 0.5, "existing": 60, "retrain_every": 0}


def given(**params: Any) -> dict[str, Any]:
    """All params of the DAG: those given, and the defaults."""
    return {name: param.value for name, param in PARAMS.items()} | {"retrain_every": 0} | params


def everything(dsn: str) -> dict[str, list[Any]]:
    """All rows of all tables."""
    sql = "SELECT to_jsonb(t) AS row FROM {} AS t ORDER BY row"
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        return {table: connection.execute(sql.format(table)).fetchall() for table in TABLES}


def same(first: Any, second: Any) -> bool:
    if isinstance(first, list) and first and isinstance(first[0], pa.Table):
        return all(map(same, first, second))
    if isinstance(first, pa.Table):
        return bool(first.equals(second, check_metadata=True))
    return bool(first == second)


Call = Callable[[Callable[[], Any]], Any]


def run(params: dict[str, Any], run_id: str, call: Call = lambda task: task()) -> dict[str, Any]:
    """A whole run, task by task, as functions; returns the numbers. `call` makes each of the calls."""
    dag = dedupe_people
    incoming = call(lambda: dag.ingest.function(params, run_id))
    batch = call(lambda: dag.standardise.function(incoming))
    shards = call(lambda: dag.plan_shards.function(batch))
    model = call(lambda: dag.choose_model.function(None, params, run_id))
    kept = call(lambda: [dag.encode.function(shard) for shard in shards])
    blocks = call(lambda: dag.plan_blocks.function(batch, kept))
    shadow = call(lambda: dag.canaries.function(batch, run_id))
    pairs = call(lambda: [dag.compare.function(batch, model, shadow, block, run_id) for block in blocks])
    decisions = call(lambda: dag.decide.function(batch, model, pairs))
    numbers = call(lambda: dag.load.function(batch, model, pairs, decisions, shards, run_id))
    call(lambda: dag.report.function(numbers, model, pairs, shadow, run_id))
    dag_run = SimpleNamespace(run_id=run_id, start_date=DAY)
    call(lambda: dag.tidy.function(dag_run, SimpleNamespace(get_dr_count=lambda *args, **asked: 1)))
    return dict(numbers)


def summary(numbers: dict[str, Any]) -> tuple[int, ...]:
    """Received, quarantined, duplicates, review, inserted."""
    return tuple(numbers[name] for name in ("received", "quarantined", "duplicates", "review", "inserted"))


def write_csv(path: Path, *rows: tuple[str, ...], header: str = "first_name,last_name,address") -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header + "\n")
        csv.writer(file).writerows(rows)
    return str(path)


ANN, BOB, EVE = ("Ann", "Smith", "12 Main Street, Troy"), ("Bob", "Jones", "7 Oak Ave"), ("Eva", "Quux", "3 Hill Rd")
ANN_TYPO = ("Anne", "Smith", "12 Main St, Troj")

# Tasks as functions ----------------------------------------------------------------------------------------------


def test_every_task_twice_changes_nothing(people_db: str) -> None:
    def twice(task: Callable[[], Any]) -> Any:
        first = task()
        before = everything(people_db)
        assert same(first, task())
        assert everything(people_db) == before
        return first

    numbers = run(given(**FAKER), "run 1", twice)
    assert numbers["received"] == 40
    assert numbers["duplicates"] > 10, "half of them are stored people"
    assert numbers["inserted"] > 10

    before = everything(people_db)
    assert run(given(**FAKER), "run 1", twice) == numbers, "a cleared run"
    run(given(**FAKER), "run 2")
    assert len(everything(people_db)["batches"]) == len(before["batches"]) + 1
    assert run(given(**FAKER), "run 1", twice) == numbers, "an old run, cleared after a later one"


def test_a_report_is_the_same_file_again(people_db: str) -> None:
    last: list[Callable[[], Any]] = []

    def remember(task: Callable[[], Any]) -> Any:
        last.append(task)
        return task()

    run(given(**FAKER), "run 1", remember)
    paths = report_paths("run 1")
    before = paths.text.read_bytes(), paths.html.read_bytes()
    last[-2]()
    assert (paths.text.read_bytes(), paths.html.read_bytes()) == before


@pytest.mark.parametrize("table", ["empty", "full"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_file_of_any_form_is_loaded(people_db: str, incoming: Path, form: str, table: str) -> None:
    names = ("first_name", "last_name", "address", "source_key")
    rows = [(*fields, f"key {place}") for place, fields in enumerate((ANN_TYPO, BOB, EVE))]
    path = incoming / f"new.{form}"
    if form == "csv":
        write_csv(path, *rows, header=",".join(names))
    elif form == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    else:
        pq.write_table(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path)
    if table == "full":
        run(given(source=write_csv(incoming / "old.csv", ANN, BOB)), "run 1")

    numbers = run(given(source=str(path)), "run 2")
    assert summary(numbers) == ((3, 0, 0, 0, 3) if table == "empty" else (3, 0, 2, 0, 1))
    keys = [row["source_key"] for (row,) in everything(people_db)["decisions"] if row["run_id"] == "run 2"]
    assert sorted(keys) == ["key 0", "key 1", "key 2"]


def test_the_same_file_by_another_run_changes_nothing(people_db: str, incoming: Path) -> None:
    source = write_csv(incoming / "new.csv", ANN, ANN_TYPO, BOB)
    first = run(given(source=source), "run 1")
    before = everything(people_db)
    assert run(given(source=source), "run 2") == first
    assert everything(people_db) == before
    assert "loaded before, by run run 1: nothing was changed" in report_paths("run 2").text.read_text()


def test_a_file_that_has_grown_brings_only_what_is_new(people_db: str, incoming: Path) -> None:
    run(given(source=write_csv(incoming / "new.csv", ANN, BOB)), "run 1")
    numbers = run(given(source=write_csv(incoming / "new.csv", ANN, BOB, EVE)), "run 2")
    assert summary(numbers) == (3, 0, 2, 0, 1)
    reasons = [row["reason"] for (row,) in everything(people_db)["decisions"] if row["run_id"] == "run 2"]
    assert sorted(reasons) == ["KNOWN_RECORD", "KNOWN_RECORD", "NO_CANDIDATE"]


@pytest.mark.parametrize("rows", [0, 1])
def test_small_batches_of_faker(people_db: str, rows: int) -> None:
    assert run(given(source="faker", rows=rows, existing=0), "run 1")["received"] == rows
    assert run(given(source="faker", rows=rows, existing=0, returning=1), "run 2")["received"] == rows


# Bad input -------------------------------------------------------------------------------------------------------


def test_bad_rows_go_to_quarantine_and_the_numbers_add_up(people_db: str, incoming: Path) -> None:
    path = incoming / "bad.csv"
    path.write_bytes(
        b"first_name,last_name,address\n"
        b"Ann,Smith,12 Main Street\n"
        b"Bob,Jones\n"  # a field is missing
        b"Caf\xe9,Latin,1 Old Rd\n"
        b"Nul\0,Byte,1 Old Rd\n"
        + b"Long,"
        + b"x" * 1_000_000
        + b",1 Old Rd\n"
        + b",,only an address\n"
        + b"=cmd|' /C calc'!A0,\"'; DROP TABLE people;--\",<script>alert(1)</script>\n"
        + "Zoë,Ōtani,東京 1\n".encode()
    )
    numbers = run(given(source=str(path)), "run 1")
    assert summary(numbers) == (8, 5, 0, 0, 3)
    stored = everything(people_db)
    assert sorted(row["reason"] for (row,) in stored["quarantine"]) == [
        *("FIELD_TOO_LONG", "MALFORMED_ROW", "NOT_UTF8", "NO_NAME", "NUL_BYTE"),
    ]
    assert all(len(json.dumps(row["raw"])) < 10_000 for (row,) in stored["quarantine"])
    assert "<script>" in {row["address"][:8] for (row,) in stored["people"]}, "kept as it came"
    assert "<script>" not in report_paths("run 1").html.read_text()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("missing.csv", None),
        ("empty.csv", b""),
        ("rows.csv", b"first_name,last_name,address\n"),
        ("columns.csv", b"forename,surname\nAnn,Smith\n"),
        ("cp1252.csv", "first_name,last_name,stra\u00dfe\n".encode("cp1252")),
        ("broken.parquet", b"PAR1 this is none PAR1"),
        ("unknown.xlsx", b"PK"),
        ("../outside.csv", b"first_name,last_name,address\n"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_line(
    people_db: str, incoming: Path, name: str, content: bytes | None
) -> None:
    path = incoming.parent / name.replace("..", "../..") if name.startswith("..") else incoming / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match="Cannot read source") as raised:
        run(given(source=str(path)), "run 1")
    assert "\n" not in str(raised.value)


def test_an_empty_folder_ends_skipped(people_db: str, incoming: Path) -> None:
    with pytest.raises(AirflowSkipException, match="nothing new"):
        run(given(source=str(incoming)), "run 1")


# The whole DAG ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dag(airflow_home: Path) -> Any:
    folder = PROJECT_ROOT / "dags"
    return BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder").dags["dedupe_people"]


def text_of(mail: EmailMessage) -> str:
    return b"".join(part.get_payload(decode=True) or b"" for part in mail.walk()).decode()  # type: ignore[misc]


DAY = datetime(2026, 11, 8, tzinfo=UTC)


def states(dag_run: Any) -> dict[str, str]:
    return {ti.task_id: str(ti.state) for ti in dag_run.get_task_instances()}


def test_the_whole_dag_twice(
    dag: Any, people_db: str, smtp_server: list[EmailMessage], incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second run inserts nobody from the first batch again, and a third on the same file nobody at all."""
    monkeypatch.setattr("common.retraining.TRAINING_PEOPLE", 500)
    first = dag.test(logical_date=DAY, run_conf={"source": write_csv(incoming / "1.csv", ANN, BOB), "retrain_every": 1})
    assert states(first) == dict.fromkeys(states(first), "success")
    assert {row["first_name"] for (row,) in everything(people_db)["people"]} == {"Ann", "Bob"}
    assert [row["run_id"] for (row,) in everything(people_db)["batches"]] == [first.run_id]
    champion = next(row["version"] for (row,) in everything(people_db)["models"] if row["champion"])
    assert everything(people_db)["decisions"][0][0]["model_version"] == champion

    conf = {"source": write_csv(incoming / "2.csv", ANN_TYPO, BOB, EVE), "retrain_every": 0}
    second = dag.test(logical_date=DAY + timedelta(1), run_conf=conf)
    assert states(second)["report"] == "success"
    assert states(second)["training_pairs"] == "skipped"
    after = everything(people_db)
    assert [row["first_name"] for (row,) in after["people"]].count("Bob") == 1
    assert {row["first_name"] for (row,) in after["people"]} - {"Ann", "Bob", "Eva"} <= {"Anne"}

    third = dag.test(logical_date=DAY + timedelta(2), run_conf=conf)
    assert states(third)["report"] == "success"
    assert everything(people_db) == after

    subjects = [mail["subject"] for mail in smtp_server]
    assert len(subjects) == 3
    assert subjects[0] == "[dedupe_people] 2 new people, 0 known"
    assert subjects[2].startswith("[dedupe_people] Loaded before: ")


def test_a_run_whose_input_is_missing_fails_without_a_retry(
    dag: Any, people_db: str, smtp_server: list[EmailMessage], incoming: Path
) -> None:
    dag_run = dag.test(logical_date=DAY + timedelta(3), run_conf={"source": str(incoming / "none.csv")})
    assert str(dag_run.state) == "failed"
    assert states(dag_run)["ingest"] == "failed"
    assert states(dag_run)["report"] == "upstream_failed"
    (mail,) = smtp_server
    assert mail["subject"].startswith("[dedupe_people] ingest failed: run ")
    assert "there is no such file" in text_of(mail)


def test_a_run_that_does_not_retrain_skips_the_training(people_db: str) -> None:
    with pytest.raises(AirflowSkipException):
        dedupe_people.training_pairs.function(given(retrain_every=0), "run 1")
