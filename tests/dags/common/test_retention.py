"""Retention: what goes when its time is over, what stays, and that everything works on without it."""

import csv
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec  # type: ignore[import-untyped]
import psycopg
import pyarrow as pa
import pytest
from airflow.sdk.io import attach
from common import people_db as database
from common import pipeline, retention, review, settings, sources, storage, upkeep
from common.arrow_xcom import ArrowXCom, batch_files
from common.default_args import PARAMS
from common.errors import PeopleDbError
from common.linkage.model import STARTING_MODEL
from common.people_db import QuestionKey
from common.report.paths import report_paths
from common.settings import DAG_ID

MODEL = STARTING_MODEL.to_dict()
DAY = timedelta(days=1)
LATER = datetime.now(UTC) + 10 * DAY

Row = tuple[str | None, str | None, str | None, str | None]
ANN: Row = (None, "Annabel", "Quimby", "12 Wisteria Street, Springfield, IL 62701")
ANN_TYPO: Row = (None, "Anabel", "Quimby", "12 Wisteria St, Springfeld, IL 62701")
SISTER: Row = (None, "Victoria", "Quimby", "12 Wisteria Street, Springfield, IL 62701")
BOB: Row = ("7", "Robert", "Jones", "7 Oak Avenue, Dover, DE 19901")
NOBODY: Row = (None, None, None, "3 Zzyzx Lane")


def load(incoming: Path, *rows: Row, run_id: str) -> dict[str, Any]:
    path = incoming / f"{run_id}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("source_key", "first_name", "last_name", "address"), *rows])
    given = {name: param.value for name, param in PARAMS.items()} | {"source": str(path)}
    batch = pipeline.standardise_batch(pipeline.ingest(given, run_id))
    shards = pipeline.plan_shards(batch)
    pairs = pipeline.compare_all(batch, MODEL, shards, run_id)
    return pipeline.load_batch(batch, MODEL, pairs, pipeline.decide_batch(batch, MODEL, pairs), shards, run_id)


def execute(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


class Runs:
    """The runs that Airflow knows, by id with their states; counts how often it was asked."""

    def __init__(self, **states: str) -> None:
        self.states, self.asked = states, 0

    def __call__(self, run_ids: Sequence[str], states: Sequence[str] | None) -> int:
        self.asked += 1
        assert len(run_ids) <= 50, "they travel in a URL"
        return sum(run in self.states and (states is None or self.states[run] in states) for run in run_ids)


def tidy(began: datetime = LATER, runs: Runs | None = None) -> str:
    return retention.tidy(began, "own", runs or Runs(own="running"))


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "XCOM_ROOT", str(tmp_path / "xcom"))
    monkeypatch.setattr(settings, "REPORTS_DIR", str(tmp_path / "reports"))


# Rows -------------------------------------------------------------------------------------------------------------


def everything(dsn: str) -> str:
    tables = execute(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'dedupe' ORDER BY 1")
    query = "SELECT coalesce(jsonb_agg(t ORDER BY t::text), '[]') FROM {} AS t"
    return json.dumps([execute(dsn, query.format(table)) for (table,) in tables])


def test_by_default_nothing_goes_that_somebody_would_miss(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, NOBODY, run_id="one")
    before = everything(people_db)
    assert tidy() == "0 files of batches deleted; 0 files of reports deleted"
    assert everything(people_db) == before


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "KEEP_QUARANTINED", 5 * DAY)
    monkeypatch.setattr(settings, "KEEP_FIELDS", 5 * DAY)


@pytest.mark.usefixtures("short")
def test_raw_rows_and_fields_go_after_their_days_and_not_before(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, NOBODY, run_id="one")
    load(incoming, ANN_TYPO, SISTER, run_id="two")
    before = everything(people_db)
    assert "0 quarantined rows emptied; fields of 0 decided records removed" in tidy(LATER - 6 * DAY)
    assert everything(people_db) == before
    assert "1 quarantined rows emptied; fields of 2 decided records removed" in tidy()
    assert execute(people_db, "SELECT reason, raw FROM quarantine") == [("NO_NAME", None)]
    kept = execute(people_db, "SELECT first_name, decision FROM decisions ORDER BY 2")
    assert kept == [(None, "DUPLICATE"), (None, "NEW"), ("Victoria", "REVIEW")], "who is asked about is shown"
    assert execute(people_db, "SELECT first_name, address FROM people") == [(ANN[1], ANN[3])]
    after = everything(people_db)
    assert "0 quarantined rows emptied; fields of 0 decided records removed" in tidy()
    assert everything(people_db) == after


@pytest.mark.usefixtures("short")
def test_a_record_that_is_answered_later_loses_its_fields_then(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    load(incoming, SISTER, run_id="two")
    tidy()
    assert upkeep.answer(1, 1).endswith("person 1")
    assert "fields of 1 decided records" in tidy()
    assert execute(people_db, "SELECT count(*) FROM decisions WHERE first_name IS NOT NULL") == [(0,)]


@pytest.mark.usefixtures("short")
def test_without_fields_records_are_recognised_compared_and_taken_back(people_db: str, incoming: Path) -> None:
    first = load(incoming, ANN, BOB, run_id="one")
    second = load(incoming, ANN_TYPO, run_id="two")
    tidy()
    third = load(incoming, ANN_TYPO, ("7", "Robert", "Carter", "1 Elm Rd, Reno"), run_id="three")
    reasons = execute(people_db, "SELECT reason FROM decisions WHERE run_id = 'three' ORDER BY 1")
    assert reasons == [("KNOWN_RECORD",), ("SAME_KEY",)], "by content, and by key"
    execute(people_db, "UPDATE decisions SET content_version = 'older'")
    fourth = load(incoming, ANN_TYPO, SISTER, run_id="four")
    spelt = execute(people_db, "SELECT first_name_std FROM spellings WHERE batch_id = %s", second["batch_id"])
    assert spelt == [("anabel",)], "what cannot be standardised again stays as it is"
    for numbers in (fourth, third, second, first):
        database.undo_batch(numbers["batch_id"])
    assert execute(people_db, "SELECT count(*) FROM people") == [(0,)]


@pytest.mark.usefixtures("short")
def test_without_fields_people_and_questions_are_shown_as_they_are_spelt(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    load(incoming, ANN_TYPO, run_id="two")
    load(incoming, SISTER, run_id="three")
    tidy()
    person = review.person(1)
    assert [(spelling.first_name, spelling.address) for spelling in person["spellings"]] == [
        (ANN[1], ANN[3]),
        ("anabel", "12 wisteria st springfeld il 62701"),
    ]
    assert {row["first_name"] for row in person["decisions"]} == {None, "anabel", "Victoria"}
    (question,) = review.open_questions(database.Asked())
    assert question.record["first_name"] == [("Victoria", True)]
    assert len(question.candidate.spellings) == 2
    path = incoming / "questions.csv"
    assert "1 questions written" in upkeep.export_review(path, database.Asked())
    assert "Victoria" in path.read_text(encoding="utf-8-sig")


@pytest.mark.usefixtures("short")
def test_what_cannot_be_done_without_fields_says_so_in_one_line(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    batch = load(incoming, ANN_TYPO, SISTER, run_id="two")["batch_id"]
    keys = dict(execute(people_db, "SELECT first_name, record_key FROM decisions WHERE batch_id = %s", batch))
    with database.writing() as connection:
        review.judge(connection, QuestionKey(batch, keys["Victoria"]), None, "me")
    judged = database.judged_pairs().to_pylist()
    tidy()
    for change in (
        lambda: upkeep.judge(batch, keys["Anabel"], None),
        lambda: upkeep.split(1, [], [f"{batch}/{keys['Anabel']}"]),
        lambda: review.take_back(database.Reviewer("me", "screen")),
    ):
        with pytest.raises(PeopleDbError, match="DEDUPE_KEEP_FIELDS_DAYS") as raised:
            change()
        assert "\n" not in str(raised.value)
    assert database.judged_pairs().to_pylist() == judged, "training has what was said"


@pytest.mark.usefixtures("short")
def test_the_report_of_an_old_batch_is_written_again_without_its_fields(people_db: str, incoming: Path) -> None:
    numbers = load(incoming, ANN, ANN_TYPO, NOBODY, run_id="one")
    tidy()
    records = database.batch_decisions(numbers["batch_id"])
    assert records["first_name"].null_count == 2
    described = {"source": "s", "system": "s", "people_before": "0"}
    batch = pipeline.standardise_batch(sources.INCOMING.empty_table().replace_schema_metadata(described))
    pairs = pipeline.compare_all(batch, MODEL, pipeline.plan_shards(batch), "one")
    pipeline.report_batch(numbers, MODEL, pairs, pipeline.make_canaries(batch, "one"), "one")
    told = " ".join(report_paths("one").text.read_text().split())
    assert "a record without fields (removed after their time)" in told


# Files ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "object store"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where files of batches lie."""
    root = str(tmp_path / "xcom")
    if request.param == "object store":
        store = fsspec.filesystem("memory")
        attach("memory", fs=store)
        root = f"memory://bucket{tmp_path}"
    monkeypatch.setattr(settings, "XCOM_ROOT", root)
    return root


def pushed(run_id: str, days_ago: float) -> storage.SharedPath:
    """A file of a batch of a run."""
    table = pa.table({"n": [1]})
    before = {str(batch.file.path) for batch in batch_files(DAG_ID)}
    ArrowXCom.serialize_value(table, dag_id=DAG_ID, task_id="ingest", run_id=run_id)
    (path,) = [batch.file.path for batch in batch_files(DAG_ID) if str(batch.file.path) not in before]
    if isinstance(path, Path):
        written = time.time() - days_ago * DAY.total_seconds()
        os.utime(path, (written, written))
    else:
        path.fs.store[path.path].modified = datetime.now(UTC) - days_ago * DAY
    return path


def left() -> list[str]:
    return sorted(str(batch.run_id) for batch in batch_files(DAG_ID))


AWKWARD = ("scheduled__2026-11-08T00:00:00+00:00", "manual / äöü %2F ..", "." * 250, "ß" * 250)


@pytest.mark.parametrize("run_id", AWKWARD)
def test_a_file_says_which_run_it_is_of(stored: str, run_id: str) -> None:
    path = pushed(run_id, 0)
    assert left() == [run_id]
    assert ".." not in path.parts


def test_files_go_when_their_run_is_done_and_their_days_are_over(people_db: str, stored: str) -> None:
    for run_id, days in {"old": 31, "young": 29, "old but going on": 31, "waiting": 31, "own": 31}.items():
        pushed(run_id, days)
    pushed("run again", 31)
    pushed("run again", 1)
    states = {"old": "success", "young": "failed", "old but going on": "running", "waiting": "queued"}
    runs = Runs(**states, **{"own": "running", "run again": "success"})
    said = tidy(datetime.now(UTC), runs)
    assert said.startswith("1 files of batches deleted")
    assert left() == ["old but going on", "own", "run again", "run again", "waiting", "young"]
    assert runs.asked < 6
    assert tidy(datetime.now(UTC), runs).startswith("0 files of batches deleted")


def test_files_of_deleted_runs_go_after_a_day(people_db: str, stored: str) -> None:
    for number in range(120):
        pushed(f"there {number}", 2)
    pushed("deleted", 2)
    pushed("deleted just now", 0.5)
    runs = Runs(own="running", **{f"there {number}": "success" for number in range(120)})
    assert tidy(datetime.now(UTC), runs).startswith("1 files of batches deleted")
    assert set(left()) == {*runs.states, "deleted just now"} - {"own"}
    assert runs.asked <= 3 + 50, "only where some are missing one by one"


def test_files_of_an_earlier_version_go_by_their_age(people_db: str, stored: str) -> None:
    for run_id, days in (("a", 31), ("b", 29)):
        path = pushed(run_id, days)
        legacy = storage.place(stored) / DAG_ID / f"manual__{run_id}" / "ingest" / path.name
        storage.write(legacy, path.read_bytes())
        if isinstance(legacy, Path):
            os.utime(legacy, (path.stat().st_mtime,) * 2)
        else:
            legacy.fs.store[legacy.path].modified = path.fs.store[path.path].modified
        path.unlink()
    assert tidy(datetime.now(UTC), Runs()).startswith("1 files of batches deleted")
    assert left() == ["None"]


def test_a_file_that_is_gone_fails_no_run(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pushed("gone", 3)
    delete = storage.delete

    def gone_just_now(file: Path, root: Path) -> None:
        file.unlink()
        delete(file, root)

    monkeypatch.setattr(storage, "delete", gone_just_now)
    assert tidy(datetime.now(UTC), Runs()).startswith("1 files of batches deleted")
    assert not path.exists()


def test_a_store_that_cannot_be_read_fails_no_run(
    people_db: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(settings, "XCOM_ROOT", "nosuchstore://bucket/xcom")
    assert tidy().startswith("files of batches: not looked through")
    assert "stay" in caplog.text


def test_a_file_that_cannot_be_deleted_is_told_of_and_tried_again(
    people_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed("old", 3)

    def refuse(*_: Any) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete", refuse)
        assert tidy(datetime.now(UTC), Runs()).startswith("0 files of batches deleted, 1 could not be")
    assert tidy(datetime.now(UTC), Runs()).startswith("1 files of batches deleted")


def test_reports_go_after_their_days_and_nothing_else_beside_them(
    people_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "KEEP_REPORTS", 5 * DAY)
    old, young = (list(vars(report_paths(run_id)).values()) for run_id in ("old", "young"))
    foreign = tmp_path / "reports" / "mine.html"
    for path in (*old, *young, foreign):
        storage.write(path, b"")
    for path in (*old, foreign):
        os.utime(path, (0, 0))
    assert "3 files of reports deleted" in tidy(datetime.now(UTC))
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in (*young, foreign))


def test_the_runs_own_clock_counts(people_db: str) -> None:
    """A run that is tried again, a year later, removes no more than it did."""
    pushed("deleted", 0)
    dag_run = SimpleNamespace(run_id="own", start_date=datetime.now(UTC), run_after=datetime(1999, 1, 1, tzinfo=UTC))
    asked = SimpleNamespace(get_dr_count=lambda dag_id, run_ids, states: 0)
    assert retention.tidy_after(dag_run, asked).startswith("0 files of batches deleted")
    dag_run.start_date += 2 * DAY
    assert retention.tidy_after(dag_run, asked).startswith("1 files of batches deleted")
