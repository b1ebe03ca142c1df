"""Erasing people: no trace in rows or files, proof of it, and nobody comes back who is kept out."""

import csv
import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import psycopg
import pyarrow as pa
import pytest
from airflow.sdk.io import attach
from common import erasing, pipeline, settings, storage, upkeep
from common.arrow_xcom import ArrowXCom, batch_files
from common.default_args import PARAMS
from common.errors import PeopleDbError
from common.linkage.model import STARTING_MODEL
from common.settings import DAG_ID

MODEL = STARTING_MODEL.to_dict()

Row = tuple[str | None, str | None, str | None, str | None]
ANN: Row = ("7", "Annabel", "Quimby", "12 Wisteria Street, Springfield, IL 62701")
ANN_TYPO: Row = (None, "Anabel", "Quimby", "12 Wisteria St, Springfeld, IL 62701")
ANN_MARRIED: Row = ("7", "Annabel", "Carter", "900 Lakeshore Drive, Reno, NV 89501")
SISTER: Row = ("8", "Victoria", "Quimby", "12 Wisteria Street, Springfield, IL 62701")
BOB: Row = ("9", "Robert", "Jones", "7 Oak Avenue, Dover, DE 19901")


def params(path: Path, system: str = "default") -> dict[str, Any]:
    return {name: param.value for name, param in PARAMS.items()} | {"source": str(path), "system": system}


def load(
    incoming: Path,
    *rows: Row,
    run_id: str,
    system: str = "default",
    meanwhile: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """From ingest to load; `meanwhile` happens between deciding and loading."""
    path = incoming / f"{run_id}.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("source_key", "first_name", "last_name", "address"), *rows])
    batch = pipeline.standardise_batch(pipeline.ingest(params(path, system), run_id))
    ArrowXCom.serialize_value(batch, dag_id=DAG_ID, task_id="standardise", run_id=run_id)
    shards = pipeline.plan_shards(batch)
    pairs = pipeline.compare_all(batch, MODEL, shards, run_id)
    decisions = pipeline.decide_batch(batch, MODEL, pairs)
    meanwhile()
    return pipeline.load_batch(batch, MODEL, pairs, decisions, shards, run_id)


def execute(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def everywhere(dsn: str) -> str:
    """All rows of all tables, as one text."""
    tables = execute(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'dedupe'")
    query = "SELECT coalesce(jsonb_agg(t), '[]') FROM {} AS t"
    return json.dumps([execute(dsn, query.format(table)) for (table,) in tables])


def counts(numbers: dict[str, Any]) -> tuple[int, ...]:
    return tuple(numbers[name] for name in ("received", "quarantined", "duplicates", "review", "inserted"))


def runs_with_files() -> set[str | None]:
    return {batch.run_id for batch in batch_files(DAG_ID)}


def erase(*args: str) -> int:
    return upkeep.main(["erase", *args])


@pytest.fixture(autouse=True, params=["folder", "object store"])
def stored(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files of batches lie."""
    root = str(tmp_path / "xcom")
    if request.param == "object store":
        attach("memory", fs=fsspec.filesystem("memory"))
        root = f"memory://bucket{tmp_path}"
    monkeypatch.setattr(settings, "XCOM_ROOT", root)


def test_files_go_that_say_something_of_the_person_and_no_other(
    people_db: str, incoming: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load(incoming, ANN, run_id="brought her")
    load(incoming, BOB, run_id="another")
    names = ("source_key", "first_name", "last_name", "address")
    decided = pa.table({"record": [dict(zip(names, row, strict=True)) for row in (ANN, BOB)]})
    ArrowXCom.serialize_value(decided, dag_id=DAG_ID, task_id="decide", run_id="sweep")
    ArrowXCom.serialize_value(pa.table({"score": [0.5]}), dag_id=DAG_ID, task_id="compare", run_id="another")
    capsys.readouterr()
    assert erase("1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "person 1 erased; removed: 1 of decisions, 0 of judgements, 1 of people, 0 of quarantine, 0 of removed_people",
        "rows that say the same: none",
        "files of batches searched: 4, with something of them: 2; deleted: 2, left: 0; files of segments deleted: 2",
    ]
    assert runs_with_files() == {"another"}
    assert "Annabel" not in everywhere(people_db)


def test_a_file_that_cannot_be_deleted_is_said_and_goes_when_it_is_repeated(
    people_db: str, incoming: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load(incoming, ANN, run_id="one")

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "a file")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete", refuse)
        for _ in range(2):
            assert erase("1") == 1, "it is not done"
            said = capsys.readouterr()
            assert "deleted: 0, left: 1" in said.out
            why = "1 files cannot be deleted now (Permission denied)"
            assert said.err == f"{why}: repeat this command until none is left\n"
            assert "Annabel" not in everywhere(people_db)
    assert runs_with_files() == {"one"}
    assert erase("1") == 0
    assert capsys.readouterr().out == "there is no person 1 any more\nfiles deleted: 1, left: 0\n"
    assert runs_with_files() == set()
    assert erase("1") == 1
    assert capsys.readouterr().err == "there is no person 1\n"


def test_a_store_that_cannot_be_read_leaves_everything_as_it_is(
    people_db: str, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(incoming, ANN, run_id="one")
    before = everywhere(people_db)

    def refuse(*_: Any) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(storage, "files_below", refuse)
    with pytest.raises(PermissionError):
        erasing.erase(1, None, "default", keep_out=True)
    assert everywhere(people_db) == before


def test_under_a_key_also_what_waits_and_what_cannot_be_used_is_erased(people_db: str, incoming: Path) -> None:
    bad: Row = ("8", None, None, "Wisteria Lane")
    load(incoming, ANN, run_id="one")
    load(incoming, SISTER, run_id="two")
    load(incoming, bad, run_id="three")
    load(incoming, bad, BOB, run_id="four", system="another")
    assert execute(people_db, "SELECT count(*) FROM decisions WHERE decision = 'REVIEW'") == [(1,)]
    assert erase("--key", "8") == 0
    assert execute(people_db, "SELECT system, reason FROM quarantine") == [("another", "NO_NAME")]
    assert "Victoria" not in everywhere(people_db)
    assert execute(people_db, "SELECT first_name FROM people ORDER BY 1") == [("Annabel",), ("Robert",)]
    assert execute(people_db, "SELECT count(*) FROM spellings WHERE question_id IS NOT NULL") == [(0,)]
    assert erase("--key", "8") == 1
    with pytest.raises(PeopleDbError, match="nobody came under this key of nowhere"):
        erasing.erase(None, "8", "nowhere", keep_out=False)


# Kept out ---------------------------------------------------------------------------------------------------------

AGAIN: dict[str, Row] = {
    "as it was": ANN,
    "without its key": (None, *ANN[1:]),
    "in capitals": (None, "ANNABEL", " quimby ", ANN[3]),
    "abbreviated": (None, "Annabel", "Quimby", "12 Wisteria St., Springfield, IL 62701"),
    "spelt as it was once": ANN_TYPO,
    "under its key": ANN_MARRIED,
    "under its key, unusable": ("7", None, None, None),
}
"""What is delivered again."""


@pytest.fixture
def kept_out(people_db: str, incoming: Path) -> str:
    load(incoming, ANN, BOB, run_id="one")
    load(incoming, ANN_TYPO, run_id="two")
    ((person_id,),) = execute(people_db, "SELECT person_id FROM people WHERE first_name = 'Annabel'")
    assert erase(str(person_id), "--keep-out") == 0
    return people_db


@pytest.mark.parametrize("how", AGAIN)
def test_who_is_kept_out_is_counted_and_nothing_is_stored_of_them(kept_out: str, incoming: Path, how: str) -> None:
    numbers = load(incoming, AGAIN[how], BOB, BOB, run_id="again")
    assert counts(numbers) == (3, 1, 2, 0, 0)
    assert load(incoming, AGAIN[how], BOB, BOB, run_id="once more") == numbers
    query = "SELECT reason, raw, source_key, record_key FROM quarantine WHERE batch_id = %s"
    ((*stored, record_key),) = execute(kept_out, query, numbers["batch_id"])
    assert stored == ["ERASED", None, None]
    text = everywhere(kept_out).lower()
    assert not any(name in text for name in ("annabel", "anabel", "quimby", "carter"))
    arrived = pipeline.ingest(params(incoming / "again.csv"), "x")["record_key"].to_pylist()
    assert record_key not in arrived, "which would tell whoever can guess the record"


def test_a_relative_and_the_same_key_elsewhere_are_somebody_else(kept_out: str, incoming: Path) -> None:
    assert counts(load(incoming, SISTER, run_id="relative"))[1] == 0
    assert counts(load(incoming, ANN_MARRIED, run_id="elsewhere", system="another"))[1] == 0


def test_what_was_written_is_known_also_to_a_later_standardiser(kept_out: str, incoming: Path) -> None:
    keys = execute(kept_out, "SELECT key FROM kept_out")
    assert len(keys) == 5, "two contents, the same as written, and the key"
    assert all(len(key) == 32 for (key,) in keys)
    from common.people_db import contents

    made, written = contents.content_keys, load(incoming, BOB, SISTER, run_id="before")
    assert counts(written)[1] == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "common.people_db.erasure.content_keys",
            lambda connection, records: [key and f"other {key}" for key in made(connection, records)],
        )
        assert counts(load(incoming, (None, *ANN[1:]), run_id="again")) == (1, 1, 0, 0, 0)


def test_who_is_erased_while_a_batch_is_compared_is_kept_out_of_it(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    twin: Row = (None, *ANN[1:])

    def meanwhile() -> None:
        assert erase("1", "--keep-out") == 0

    numbers = load(incoming, ANN, twin, BOB, run_id="two", meanwhile=meanwhile)
    assert counts(numbers) == (3, 2, 0, 0, 1)
    assert execute(people_db, "SELECT first_name FROM people") == [("Robert",)]
    assert "Annabel" not in everywhere(people_db)


def test_without_keeping_out_who_is_delivered_again_is_somebody_new(people_db: str, incoming: Path) -> None:
    load(incoming, ANN, run_id="one")
    assert erase("1") == 0
    assert counts(load(incoming, ANN, BOB, run_id="two")) == (2, 0, 0, 0, 2)
