"""Segments are kept as long as they are what the table says, and made again where they are not."""

import itertools
import os
import threading
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from common import people_db as database
from common import pipeline, segments
from common.errors import DedupePeopleError
from common.linkage.model import STARTING_MODEL

MODEL = STARTING_MODEL.to_dict()
PEOPLE = (
    ("Ann", "Leeson", "12 Mill Road, Salem, OR 97301"),
    ("Bob", "Quarry", "900 Lakeshore Drive, Dover, DE 19901"),
    ("Carla", "Copperfield", "7 Windsor Court, Albany, NY 12203"),
    ("Dmitri", "Ostrowski", "41 Birch Lane, Fargo, ND 58102"),
    ("Eleanor", "Vandermeer", "3 Hill Road, Troy, NY 12180"),
)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of batches of the test's own."""
    monkeypatch.setattr("common.settings.XCOM_ROOT", str(tmp_path / "xcom"))
    return tmp_path / "xcom" / "segments"


def execute(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    database.is_empty()  # applies the schema
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, values or None)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def insert(dsn: str, *people: tuple[str, str, str]) -> None:
    for person in people:
        execute(dsn, "INSERT INTO people (first_name, last_name, address) VALUES (%s, %s, %s)", *person)


def batch(*rows: tuple[str, str, str]) -> pa.Table:
    columns = dict(zip(("first_name", "last_name", "address"), map(list, zip(*rows, strict=True)), strict=True))
    columns |= {name: [None] * len(rows) for name in ("source_key", "problem", "raw")}
    columns["record_key"] = [f"{place:032x}" for place in range(len(rows))]
    table = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return pipeline.standardise_batch(
        table.replace_schema_metadata({"source": "s", "system": "s", "people_before": "0"})
    )


def kept(records: pa.Table) -> list[segments.Kept]:
    return [segments.keep(shard) for shard in pipeline.plan_shards(records)]


def files(store: Path) -> dict[str, int]:
    """The files that are kept, and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in store.iterdir()}


def test_a_segment_is_what_the_table_holds(people_db: str) -> None:
    insert(people_db, *PEOPLE)
    (segment,) = kept(batch(PEOPLE[0]))
    known = segments.opened(segment)
    assert segment["rows"] == len(known.rows) == 5
    assert known.encoded is not None
    names = ["first_name_std", "last_name_std", "address_std"]
    assert known.encoded.records(range(5)).select(names).to_pydict() == known.rows.select(names).to_pydict()
    assert known.rows.equals(database.read_people(segment["shard"]))


def test_what_has_not_changed_is_kept(people_db: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.people_db.people.SHARD_PEOPLE", 2)
    insert(people_db, *PEOPLE)
    first = kept(batch(PEOPLE[0]))
    assert [segment["rows"] for segment in first] == [2, 2, 1]
    before = files(store)
    again = kept(batch(PEOPLE[0]))
    assert [segment["name"] for segment in again] == [segment["name"] for segment in first]
    assert files(store) == before

    insert(people_db, ("Frederick", "Nakamura", "5 Pine Street, Reno, NV 89501"))
    second = kept(batch(PEOPLE[0]))
    assert [segment["name"] for segment in second[:2]] == [segment["name"] for segment in first[:2]]
    assert second[2]["name"] != first[2]["name"]


CHANGES = {
    "a row": "UPDATE people SET first_name = 'Zebulon' WHERE person_id = 2",
    "one gone": "DELETE FROM people WHERE person_id = 2",
    "marked": "UPDATE people SET duplicate_of = 1 WHERE person_id = 2",
    "another one": "INSERT INTO people (person_id, first_name) VALUES (-1, 'Zebulon')",
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_has_another_segment(people_db: str, change: str) -> None:
    insert(people_db, *PEOPLE)
    before = kept(batch(PEOPLE[0]))
    execute(people_db, CHANGES[change])
    after = kept(batch(PEOPLE[0]))
    assert before[0]["name"] != after[0]["name"]
    assert segments.opened(after[0]).rows.equals(database.read_people(after[0]["shard"]))


def test_spellings_and_open_questions_are_in_segments(people_db: str) -> None:
    insert(people_db, *PEOPLE)
    records = batch(("Anne", "Leeson", "12 Mill Rd, Salem OR 97301"), ("Georgina", *PEOPLE[0][1:]))
    shards = pipeline.plan_shards(records)
    pairs = pipeline.compare_all(records, MODEL, shards, "run")
    numbers = pipeline.load_batch(records, MODEL, pairs, pipeline.decide_batch(records, MODEL, pairs), shards, "run")
    assert (numbers["duplicates"], numbers["review"]) == (1, 1)
    (segment,) = kept(records)
    rows = segments.opened(segment).rows.to_pylist()
    assert {(row["first_name_std"], row["person_id"], row["question_id"]) for row in rows if row["via_record_key"]} == {
        ("anne", 1, None),
        ("georgina", None, 1),
    }
    database.undo_batch(numbers["batch_id"])
    assert kept(records)[0]["rows"] == 5


def test_any_size_of_blocks_and_shards_finds_the_same_pairs(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    insert(people_db, *PEOPLE, PEOPLE[1])
    written = [("Anne", *PEOPLE[0][1:]), ("Georgina", *PEOPLE[0][1:]), PEOPLE[2], ("Bobby", *PEOPLE[1][1:]), PEOPLE[1]]
    first = batch(*written)
    shards = pipeline.plan_shards(first)
    pairs = pipeline.compare_all(first, MODEL, shards, "run")
    pipeline.load_batch(first, MODEL, pairs, pipeline.decide_batch(first, MODEL, pairs), shards, "run")
    records = batch(*written, *PEOPLE, ("Anny", *PEOPLE[0][1:]), PEOPLE[4], PEOPLE[4])
    expected: Any = None
    for people, block in itertools.product((100, 3, 1), (100, 4, 1)):
        monkeypatch.setattr("common.people_db.people.SHARD_PEOPLE", people)
        monkeypatch.setattr(pipeline, "BLOCK_RECORDS", block)
        execute(people_db, "DELETE FROM shards")
        pairs = pipeline.compare_all(records, MODEL, pipeline.plan_shards(records), "run 2")
        decided = pipeline.decide_batch(records, MODEL, pairs)
        found = sorted(map(str, pa.concat_tables(pairs).to_pylist()))
        expected = expected or (found, decided)
        assert found == expected[0]
        assert decided.equals(expected[1])
    assert len(expected[0]) > 20


def test_canaries_ride_along_and_are_no_records(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.people_db.people.SHARD_PEOPLE", 2)
    monkeypatch.setattr(pipeline, "BLOCK_RECORDS", 1)
    insert(people_db, *PEOPLE)
    records = batch(*PEOPLE[:2])
    shadow = pipeline.make_canaries(records, "run")
    assert shadow.num_rows == 10
    assert pipeline.make_canaries(records, "run").equals(shadow)
    blocks = pipeline.plan_blocks(records, kept(records))
    pairs = [pipeline.compare_batch(records, MODEL, block, shadow, "run") for block in blocks]
    own = {row["record_key"]: row["person_id"] for row in shadow.to_pylist()}
    of_canaries = [row for table in pairs for row in table.to_pylist() if row["record_key"] in own]
    found = {row["record_key"] for row in of_canaries if row["person_id"] == own[row["record_key"]]}
    assert {key for key in own if key.endswith("stranger")} <= found
    assert pipeline.decide_batch(records, MODEL, pairs).num_rows == 2


def test_a_segment_that_was_deleted_meanwhile_is_made_again(people_db: str, store: Path) -> None:
    insert(people_db, *PEOPLE)
    (segment,) = kept(batch(PEOPLE[0]))
    for path in store.iterdir():
        path.unlink()
    assert segments.opened(segment).rows.num_rows == 5


def test_several_make_the_same_segment_at_once(people_db: str, store: Path) -> None:
    insert(people_db, *PEOPLE)
    (shard,) = pipeline.plan_shards(batch(PEOPLE[0]))
    made: list[segments.Kept] = []
    threads = [threading.Thread(target=lambda: made.append(segments.keep(shard))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == made[:1] * 4
    assert len(files(store)) == 2


def test_segments_of_others_are_pruned_when_they_are_old(people_db: str, store: Path) -> None:
    insert(people_db, *PEOPLE)
    (old,) = kept(batch(PEOPLE[0]))
    insert(people_db, PEOPLE[0])
    (new,) = kept(batch(PEOPLE[0]))
    (store / "unfinished").mkdir()
    assert segments.prune({new["name"]}) == 0, "another run may use it"
    for path in store.iterdir():
        os.utime(path, (0, 0))
    assert segments.prune({new["name"]}) == 3
    assert {name.partition(".")[0] for name in files(store)} == {new["name"]}
    assert old["name"] != new["name"]


def test_who_is_erased_is_in_no_segment(people_db: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.people_db.people.SHARD_PEOPLE", 2)
    insert(people_db, *PEOPLE)
    names = [segment["name"] for segment in kept(batch(PEOPLE[0]))]
    assert segments.forget([3]) == 2
    assert {name.partition(".")[0] for name in files(store)} == {names[0], names[2]}


def test_state_and_rows_are_of_one_moment(people_db: str) -> None:
    insert(people_db, *PEOPLE)
    (shard,) = pipeline.plan_shards(batch(PEOPLE[0]))
    before, _ = database.read_shard(shard, lambda _: True)

    def changed_meanwhile(_: str) -> bool:
        execute(people_db, "UPDATE people SET first_name_std = 'other'")
        return False

    state, rows = database.read_shard(shard, changed_meanwhile)
    assert state == before
    assert rows is not None
    assert "other" not in rows["first_name_std"].to_pylist()


def test_a_run_has_no_more_comparisons_than_airflow_maps() -> None:
    for records, shards in ((0, 1), (1, 1), (50_000, 100), (50_001, 100), (1_000_000, 104), (10_000_000, 1)):
        blocks = pipeline._blocks(records, shards)
        assert blocks[0][0] == 0
        assert blocks[-1][1] == records
        assert all(one[1] == other[0] for one, other in itertools.pairwise(blocks))
        assert len(blocks) * shards + len(blocks) * (len(blocks) - 1) / 2 <= 1_000
        assert max(end - begin for begin, end in blocks) <= 50_000 or len(blocks) in {9, 44}


def test_a_sweep_of_many_shards_joins_them(people_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.people_db.people.SHARD_PEOPLE", 1)
    monkeypatch.setattr("common.people_db.people.MAX_SWEPT_SHARDS", 2)
    insert(people_db, *PEOPLE)
    pipeline.plan_shards(batch(PEOPLE[0]))  # standardises
    shards = database.plan_shards(originals=True)
    assert [(shard["first_person"], shard["last_person"]) for shard in shards] == [(1, 3), (4, 5)]
    assert [segments.keep(shard)["rows"] for shard in shards] == [3, 2]


def test_segments_in_an_object_store_are_fetched_once_and_copies_go_with_them(
    people_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.settings.XCOM_ROOT", f"file://{tmp_path}/objects")
    cache = tmp_path / "cache"
    monkeypatch.setattr(segments, "SEGMENT_CACHE", cache)
    insert(people_db, *PEOPLE)
    (first,) = kept(batch(PEOPLE[0]))
    assert segments.opened(first).rows.num_rows == 5
    copies = files(cache)
    assert files(tmp_path / "objects" / "segments").keys() == copies.keys()
    assert len(copies) == 2
    segments.opened(first)
    assert kept(batch(PEOPLE[0]))[0]["name"] == first["name"]
    assert files(cache) == copies, "not fetched again"

    assert segments.forget([1]) == 2
    execute(people_db, "DELETE FROM people WHERE person_id = 1")
    (second,) = kept(batch(PEOPLE[0]))
    assert segments.opened(second).rows.num_rows == 4
    assert {name.partition(".")[0] for name in files(cache)} == {second["name"]}
    assert cache.stat().st_mode & 0o77 == 0


def test_a_cache_of_somebody_else_is_refused(people_db: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid():
        pytest.skip("only root can give a folder away")
    monkeypatch.setattr("common.settings.XCOM_ROOT", f"file://{tmp_path}/objects")
    monkeypatch.setattr(segments, "SEGMENT_CACHE", tmp_path / "cache")
    (tmp_path / "cache").mkdir()
    os.chown(tmp_path / "cache", 65534, 65534)
    insert(people_db, *PEOPLE)
    with pytest.raises(DedupePeopleError, match="belongs to somebody else"):
        kept(batch(PEOPLE[0]))
