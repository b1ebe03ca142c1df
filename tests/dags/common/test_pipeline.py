"""Where a batch comes from: the same one however often a run asks, and first people exactly once."""

from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from common import pipeline
from common.default_args import PARAMS
from common.errors import PeopleDbUnreachable, SourceError
from common.linkage.model import STARTING_MODEL
from common.people_db import is_empty, undo_batch

MODEL = STARTING_MODEL.to_dict()


def given(**params: Any) -> dict[str, Any]:
    defaults = {name: param.value for name, param in PARAMS.items()}
    return defaults | {"source": "faker", "rows": 30, "returning": 0.5, "existing": 50} | params


def load(batch: pa.Table, run_id: str) -> dict[str, Any]:
    records = pipeline.standardise_batch(batch)
    shards = pipeline.plan_shards(records)
    pairs = pipeline.compare_all(records, MODEL, shards, run_id)
    decisions = pipeline.decide_batch(records, MODEL, pairs)
    return pipeline.load_batch(records, MODEL, pairs, decisions, shards, run_id)


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        return connection.execute(query).fetchall()  # type: ignore[arg-type]


def test_an_empty_table_is_filled_once(people_db: str) -> None:
    pipeline.ingest(given(), "run 1")
    filled = rows(people_db, "SELECT person_id, first_name FROM people ORDER BY 1")
    assert 45 <= len(filled) <= 50, "all but the duplicates among them"
    pipeline.ingest(given(), "run 1")
    pipeline.ingest(given(existing=500), "run 2")
    assert rows(people_db, "SELECT person_id, first_name FROM people ORDER BY 1") == filled


def test_the_first_people_are_a_batch_like_any_other(people_db: str) -> None:
    pipeline.ingest(given(), "run 1")
    ((received, inserted, run_id),) = rows(people_db, "SELECT received, inserted, run_id FROM batches")
    assert (received, run_id) == (50, "first people")
    assert rows(people_db, "SELECT count(*), count(batch_id) FROM people") == [(inserted, inserted)]


def test_a_table_is_left_empty_on_request(people_db: str) -> None:
    batch = pipeline.ingest(given(existing=0), "run 1")
    assert batch.num_rows == 30
    assert is_empty()


def test_a_killed_fill_leaves_an_empty_table_and_is_made_up_for(people_db: str) -> None:
    assert is_empty()
    accident = "BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END"
    with psycopg.connect(people_db, options="-c search_path=dedupe") as connection:
        connection.execute(f"CREATE FUNCTION accident() RETURNS trigger LANGUAGE plpgsql AS '{accident}'")
        connection.execute("CREATE TRIGGER accident AFTER INSERT ON decisions EXECUTE FUNCTION accident()")
    with pytest.raises(PeopleDbUnreachable):
        pipeline.ingest(given(), "run 1")
    assert is_empty()
    with psycopg.connect(people_db) as connection:
        connection.execute("DROP TRIGGER accident ON dedupe.decisions")
    pipeline.ingest(given(), "run 1")
    assert not is_empty()


def test_a_retry_makes_the_same_batch(people_db: str) -> None:
    first = pipeline.ingest(given(), "run 1")
    assert pipeline.ingest(given(), "run 1").equals(first, check_metadata=True)
    assert not pipeline.ingest(given(), "run 2").equals(first)


def test_a_retry_makes_the_same_batch_after_the_load_and_after_later_runs(people_db: str) -> None:
    first = pipeline.ingest(given(), "run 1")
    load(first, "run 1")
    assert pipeline.ingest(given(), "run 1").equals(first, check_metadata=True)
    load(pipeline.ingest(given(), "run 2"), "run 2")
    assert pipeline.ingest(given(), "run 1").equals(first, check_metadata=True)


def test_the_share_of_returning_people_is_as_asked(people_db: str) -> None:
    pipeline.ingest(given(existing=200), "run 0")
    for returning, least, most in ((0, 0, 1), (0.5, 12, 15), (1, 24, 30)):
        run_id = f"run {returning}"
        numbers = load(pipeline.ingest(given(returning=returning), run_id), run_id)
        assert least <= numbers["duplicates"] + numbers["review"] <= most


def test_a_batch_carries_where_it_came_from(people_db: str) -> None:
    batch = pipeline.ingest(given(existing=5), "run 1")
    assert batch.schema.metadata == {b"source": b"faker", b"system": b"default", b"people_before": b"5"}
    assert pipeline.standardise_batch(batch).schema.metadata == batch.schema.metadata


# Invented people and real ones -------------------------------------------------------------------------------------

REAL = "INSERT INTO people (first_name, last_name, address) VALUES ('Ann', 'Lee', '1 Elm Road')"


def change(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        connection.execute(statement)  # type: ignore[arg-type]


def test_invented_people_never_join_a_real_one(people_db: str) -> None:
    is_empty()  # makes the tables
    change(people_db, REAL)
    with pytest.raises(SourceError, match="source faker is refused: there are people in the table who"):
        pipeline.ingest(given(), "run 1")
    assert rows(people_db, "SELECT first_name FROM people") == [("Ann",)]


def test_invented_people_do_not_join_those_of_a_file(people_db: str, incoming: Path) -> None:
    load(pipeline.ingest(given(source=csv_file(incoming / "new.csv", "Ann")), "run 1"), "run 1")
    with pytest.raises(SourceError, match="source faker is refused"):
        pipeline.ingest(given(), "run 2")


def test_invented_people_join_invented_ones(people_db: str) -> None:
    load(pipeline.ingest(given(), "run 1"), "run 1")
    assert load(pipeline.ingest(given(), "run 2"), "run 2")["received"] == 30


def test_who_comes_while_a_run_compares_is_seen_before_it_writes(people_db: str) -> None:
    batch = pipeline.ingest(given(), "run 1")
    before = rows(people_db, "SELECT count(*) FROM people")[0][0]
    change(people_db, REAL)
    with pytest.raises(SourceError, match="source faker is refused"):
        load(batch, "run 1")
    assert rows(people_db, "SELECT count(*) FROM people") == [(before + 1,)]


def test_the_embedded_server_is_for_trying_out(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    is_empty()
    change(people_db, REAL)
    monkeypatch.setattr(pipeline, "EMBEDDED_PEOPLE_DB", True)
    assert load(pipeline.ingest(given(), "run 1"), "run 1")["received"] == 30


# The drop folder ---------------------------------------------------------------------------------------------------


def csv_file(path: Path, *first_names: str) -> str:
    lines = [f"{name},{name[::-1].title()},{sum(map(ord, name))} {name} Street\n" for name in first_names]
    path.write_text("".join(["first_name,last_name,address\n", *lines]))
    return str(path)


def drop(folder: Path, run_id: str) -> dict[str, Any]:
    return load(pipeline.ingest(given(source=f"{folder}/"), run_id), run_id)


def test_a_folder_is_read_for_what_is_new(people_db: str, incoming: Path) -> None:
    with pytest.raises(AirflowSkipException, match="nothing new in"):
        drop(incoming, "run 0")
    csv_file(incoming / "a.csv", "Ann", "Wilhelmina")
    csv_file(incoming / "b.csv", "Theodore")
    assert drop(incoming, "run 1")["received"] == 3
    with pytest.raises(AirflowSkipException):
        drop(incoming, "run 2")
    (incoming / "a.csv").rename(incoming / "again.csv")
    with pytest.raises(AirflowSkipException):
        drop(incoming, "run 3")
    csv_file(incoming / "b.csv", "Theodore", "Zebulon")  # the same file with one more
    numbers = drop(incoming, "run 4")
    assert (numbers["received"], numbers["duplicates"], numbers["inserted"]) == (2, 1, 1)
    assert rows(people_db, "SELECT count(*) FROM people") == [(4,)]


def test_a_run_of_a_folder_that_is_cleared_makes_the_same_batch(people_db: str, incoming: Path) -> None:
    csv_file(incoming / "a.csv", "Ann")
    first = drop(incoming, "run 1")
    csv_file(incoming / "b.csv", "Theodore")
    assert drop(incoming, "run 1") == first
    assert drop(incoming, "run 2")["received"] == 1
    (incoming / "a.csv").unlink()
    with pytest.raises(AirflowSkipException):
        drop(incoming, "run 1")


def test_a_file_that_was_loaded_by_its_name_is_not_new(people_db: str, incoming: Path) -> None:
    path = csv_file(incoming / "a.csv", "Ann")
    load(pipeline.ingest(given(source=path), "run 1"), "run 1")
    with pytest.raises(AirflowSkipException):
        drop(incoming, "run 2")
    assert load(pipeline.ingest(given(source=path), "run 3"), "run 3")["run_id"] == "run 1", "the same batch"


def test_the_same_records_in_another_file_are_noted_as_loaded(people_db: str, incoming: Path) -> None:
    path = incoming / "a.csv"
    csv_file(path, "Ann", "Wilhelmina")
    first = drop(incoming, "run 1")
    csv_file(path, "Wilhelmina", "Ann")
    assert drop(incoming, "run 2") == first, "the order of rows makes no other batch"
    with pytest.raises(AirflowSkipException):
        drop(incoming, "run 3")


def test_files_of_a_batch_that_was_taken_back_are_new_again(people_db: str, incoming: Path) -> None:
    csv_file(incoming / "a.csv", "Ann")
    first = drop(incoming, "run 1")
    undo_batch(first["batch_id"])
    assert drop(incoming, "run 2")["batch_id"] == first["batch_id"]
