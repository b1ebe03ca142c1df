"""A sweep finds the duplicates that are in the table already, marks them and deletes nobody."""

from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from common import people_db as database
from common import pipeline, sweeping
from common.errors import PeopleDbError
from common.linkage.model import STARTING_MODEL

MODEL = STARTING_MODEL.to_dict()
PARAMS = {"source": "people"}


def insert(dsn: str, *people: tuple[str, str, str]) -> None:
    """Rows by another client, which knows nothing of duplicates."""
    database.is_empty()  # applies the schema
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        statement = "INSERT INTO dedupe.people (first_name, last_name, address) VALUES (%s, %s, %s)"
        cursor.executemany(statement, people)


def sweep(run_id: str, model: dict[str, object] = MODEL) -> dict[str, object]:
    records = pipeline.standardise_batch(pipeline.ingest(PARAMS, run_id))
    shards = pipeline.plan_shards(records)
    pairs = pipeline.compare_all(records, model, shards, run_id)
    decisions = pipeline.decide_batch(records, model, pairs)
    return pipeline.load_batch(records, model, pairs, decisions, shards, run_id)


def marks(dsn: str) -> dict[int, int]:
    with psycopg.connect(dsn) as connection:
        query = "SELECT person_id, duplicate_of FROM dedupe.people WHERE duplicate_of IS NOT NULL"
        return dict(connection.execute(query).fetchall())


ANN = ("Ann", "Leeson", "12 Mill Road, Salem, OR 97301")
ANNE = ("Anne", "Leeson", "12 Mill Rd, Salem OR 97301")
LONG = ("Ann", "Leeson", "Apt 5, 12 Mill Road, Salem, OR 97301")
BOB = ("Bob", "Quarry", "900 Lakeshore Drive, Dover, DE 19901")


def test_duplicates_are_marked_and_nobody_is_deleted(people_db: str) -> None:
    insert(people_db, ANNE, BOB, ANN)
    report = sweep("one")
    assert (report["received"], report["duplicates"], report["inserted"]) == (1, 1, 0)
    assert marks(people_db) == {3: 1}
    with psycopg.connect(people_db) as connection:
        assert connection.execute("SELECT count(*) FROM dedupe.people").fetchone() == (3,)
        unique = connection.execute("SELECT person_id FROM dedupe.unique_people ORDER BY 1").fetchall()
    assert unique == [(1,), (2,)]


def test_a_second_sweep_finds_nothing_more(people_db: str) -> None:
    insert(people_db, ANNE, BOB, ANN)
    sweep("one")
    report = sweep("two")
    assert (report["received"], report["duplicates"]) == (0, 0)
    assert marks(people_db) == {3: 1}


def test_who_stood_for_others_takes_them_along(people_db: str) -> None:
    insert(people_db, ANNE, ANN)
    sweep("one")
    insert(people_db, LONG)  # more is known: the better survivor
    sweep("two")
    assert marks(people_db) == {1: 3, 2: 3}


def test_undoing_a_sweep_gives_back_the_marks_that_it_changed(people_db: str) -> None:
    insert(people_db, ANNE, ANN, BOB, BOB)
    first = sweep("one")
    before = marks(people_db)
    assert before == {2: 1, 3: 4}
    insert(people_db, LONG)
    second = sweep("two")
    assert marks(people_db) == {1: 5, 2: 5, 3: 4}
    pipeline.people_db.undo_batch(str(second["batch_id"]))
    assert marks(people_db) == before
    sweep("three")
    pipeline.people_db.undo_batch(str(first["batch_id"]))
    assert marks(people_db) == {1: 5}, "what the other sweep found"


def test_an_incoming_record_matches_the_survivor(people_db: str) -> None:
    insert(people_db, ANNE, BOB, ANN)
    sweep("one")
    records = pa.table(
        {
            **{
                name: pa.array([value]) for name, value in zip(("first_name", "last_name", "address"), ANN, strict=True)
            },
            **{name: pa.array([None], pa.string()) for name in ("source_key", "problem", "raw")},
            "record_key": pa.array(["r"]),
        }
    )
    records = pipeline.standardise_batch(
        records.replace_schema_metadata({"source": "test", "system": "test", "people_before": "3"})
    )
    pairs = pipeline.compare_all(records, MODEL, pipeline.plan_shards(records), "r")
    row = pipeline.decide_batch(records, MODEL, pairs).to_pylist()[0]
    assert (row["decision"], row["person_id"], row["runner_up_person_id"]) == ("DUPLICATE", 1, None)


def test_a_sweep_does_not_overwrite_what_changed_meanwhile(people_db: str) -> None:
    insert(people_db, ANNE, BOB, ANN)
    records = pipeline.standardise_batch(pipeline.ingest(PARAMS, "one"))
    shards = pipeline.plan_shards(records)
    pairs = pipeline.compare_all(records, MODEL, shards, "one")
    decisions = pipeline.decide_batch(records, MODEL, pairs)
    with psycopg.connect(people_db) as connection:
        connection.execute("UPDATE dedupe.people SET last_name = 'Other' WHERE person_id = 3")
    report = pipeline.load_batch(records, MODEL, pairs, decisions, shards, "one")
    assert (report["received"], report["duplicates"]) == (0, 0), "who has changed is left to the next sweep"
    assert marks(people_db) == {}


def test_a_sweep_is_written_once(people_db: str) -> None:
    insert(people_db, ANNE, BOB, ANN)
    first = sweep("one")
    insert(people_db, BOB)
    assert sweep("one") == first, "the run is cleared"
    assert marks(people_db) == {3: 1}


def test_shards_of_any_size_mark_the_same(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where several people say the very same, in one shard and in others."""
    same = ("Carla", "Copperfield", "7 Windsor Court, Albany, NY 12203")
    insert(people_db, ANNE, same, BOB, ANN, same, LONG, same, BOB, ("", "", "nameless"), ("", "", "nameless"))
    expected = None
    for size in (100, 4, 1):
        monkeypatch.setattr("common.people_db.people.SHARD_PEOPLE", size)
        with psycopg.connect(people_db) as connection:
            connection.execute("DELETE FROM dedupe.shards")
        report = sweep(f"shards of {size}")
        expected = expected or marks(people_db)
        assert marks(people_db) == expected
        assert len(expected) == report["duplicates"] == 5
        pipeline.people_db.undo_batch(str(report["batch_id"]))
        assert marks(people_db) == {}


def test_whom_somebody_called_two_are_neither_marked_nor_asked_about_again(people_db: str) -> None:
    insert(people_db, ANNE, ANN, BOB, BOB)
    called_two(people_db, 1, 2)
    report = sweep("one")
    assert (report["received"], report["duplicates"], report["review"]) == (1, 1, 0)
    assert marks(people_db) == {3: 4}


def test_a_third_person_makes_one_of_two_for_nobody_but_people(people_db: str) -> None:
    insert(people_db, ANNE, ANN, LONG)
    called_two(people_db, 1, 2)
    report = sweep("one")
    assert (report["duplicates"], report["review"]) == (0, 2), "1 and 2 are each asked about with 3"
    assert marks(people_db) == {}


def called_two(dsn: str, one: int, other: int) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("INSERT INTO dedupe.apart (person_id, other_id) VALUES (%s, %s)", [one, other])


# Removing instead of marking ---------------------------------------------------------------------------------------


def everything(dsn: str) -> dict[str, list[Any]]:
    """All rows that a sweep may change, but for the times."""
    query = "SELECT to_jsonb(t) - ARRAY['changed_xid', 'judged_at', 'removed_at'] FROM {} AS t ORDER BY 1"
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        tables = ("people", "decisions", "spellings", "apart", "removed_people")
        return {table: connection.execute(query.format(table)).fetchall() for table in tables}


def load(run_id: str, *rows: tuple[str, str, str]) -> dict[str, object]:
    columns = dict(zip(("first_name", "last_name", "address"), map(list, zip(*rows, strict=True)), strict=True))
    columns |= {name: [None] * len(rows) for name in ("source_key", "problem", "raw")}
    columns["record_key"] = [f"{run_id} {place}" for place in range(len(rows))]
    records = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    records = pipeline.standardise_batch(
        records.replace_schema_metadata({"source": "s", "system": "s", "people_before": "0"})
    )
    shards = pipeline.plan_shards(records)
    pairs = pipeline.compare_all(records, MODEL, shards, run_id)
    return pipeline.load_batch(records, MODEL, pairs, pipeline.decide_batch(records, MODEL, pairs), shards, run_id)


def test_duplicates_are_removed_on_request_and_undo_brings_them_back(
    people_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a column of the table's owner, and all that hangs on them."""
    insert(people_db, ANN, BOB)
    load("one", ("Ann", "Lesson", ANN[2]))
    with psycopg.connect(people_db) as connection:
        connection.execute(
            "ALTER TABLE dedupe.people ADD COLUMN vip boolean, ADD COLUMN twice bigint"
            " GENERATED ALWAYS AS (2 * person_id) STORED"
        )
        connection.execute("UPDATE dedupe.people SET vip = true WHERE person_id = 1")
    insert(people_db, LONG)
    pipeline.plan_shards(pipeline.standardise_batch(pipeline.ingest(PARAMS, "plan")))  # standardises
    with psycopg.connect(people_db) as connection:
        connection.execute("INSERT INTO dedupe.apart (person_id, other_id) VALUES (1, 2)")
    before = everything(people_db)
    monkeypatch.setattr("common.sweeping.SWEEP_REMOVES", True)
    report = sweep("sweep")
    assert (report["received"], report["duplicates"]) == (1, 1)
    assert sweep("sweep") == report
    after = everything(people_db)
    assert [row["person_id"] for (row,) in after["people"]] == [2, 3]
    assert [(row["person_id"], row["survivor_id"], row["content"]["vip"]) for (row,) in after["removed_people"]] == [
        (1, 3, True)
    ]
    assert [(row["person_id"], row["other_id"]) for (row,) in after["apart"]] == [(2, 3)]
    assert {(row["first_name_std"], row["last_name_std"], row["person_id"]) for (row,) in after["spellings"]} == {
        ("ann", "lesson", 3),
        ("ann", "leeson", 3),
    }
    again = load("two", ANN, ("Ann", "Lesson", ANN[2]), ("Ann", "Leesen", ANN[2]))
    assert (again["duplicates"], again["inserted"]) == (3, 0)
    pipeline.people_db.undo_batch(str(again["batch_id"]))
    pipeline.people_db.undo_batch(str(report["batch_id"]))
    undone = everything(people_db)
    undone["apart"] = [(row,) for (row,) in undone["apart"] if row["other_id"] == 2]
    assert undone == before


def test_sweeps_that_removed_the_same_people_are_undone_last_first(
    people_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.sweeping.SWEEP_REMOVES", True)
    insert(people_db, ANNE, ANN)
    first = sweep("one")
    insert(people_db, LONG)
    second = sweep("two")
    with pytest.raises(PeopleDbError, match=f"undo sweep {second['batch_id']} first"):
        pipeline.people_db.undo_batch(str(first["batch_id"]))
    for report in (second, first):
        pipeline.people_db.undo_batch(str(report["batch_id"]))
    assert [row["person_id"] for (row,) in everything(people_db)["people"]] == [1, 2, 3]


def test_who_was_removed_is_erased_with_the_person(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.sweeping.SWEEP_REMOVES", True)
    insert(people_db, ANNE, ANN)
    sweep("one")
    with database.writing() as connection:
        erased = database.erase(connection, database.Whom((1,)))
    assert (erased.rows["removed_people"], erased.left) == (1, {})
    assert everything(people_db)["removed_people"] == []


# By itself ---------------------------------------------------------------------------------------------------------


def test_a_sweep_is_due_when_there_is_a_reason(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.sweeping.SWEEP_EVERY", 2)
    load("one", ANN)
    assert sweeping.why() is None
    load("two", BOB)
    assert sweeping.why() == "2 batches were loaded since the last sweep"
    sweep("sweep one")
    assert sweeping.why() is None
    promoted = replace(STARTING_MODEL, accept_at=0.95)
    database.champion("run")
    assert sweeping.why() is None, "the shipped model has swept"
    database.store_challenger(promoted, "formula", {}, {}, "run")
    database.promote_stored(promoted.version, "run")
    assert sweeping.why() == f"model {promoted.version} was promoted"
    sweep("sweep two", promoted.to_dict())
    assert sweeping.why() is None
    monkeypatch.setattr("common.sweeping.SWEEP_EVERY", 0)
    load("three", LONG)
    load("four", ANNE)
    assert sweeping.why() is None


def test_an_adopted_table_is_swept_once(people_db: str) -> None:
    insert(people_db, ANN, ANNE)
    assert "never compared with each other" in str(sweeping.why())
    sweep("one")
    insert(people_db, BOB)
    assert sweeping.why() is None
    with pytest.raises(AirflowSkipException):
        pipeline.sweep_due()
