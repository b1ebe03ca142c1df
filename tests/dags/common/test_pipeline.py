"""Where a batch comes from: the same one however often a run asks, and first people exactly once."""

from typing import Any

import psycopg
import pyarrow as pa
import pytest
from common import pipeline
from common.default_args import PARAMS
from common.errors import PeopleDbUnreachable
from common.linkage.model import STARTING_MODEL
from common.people_db import is_empty

MODEL = STARTING_MODEL.to_dict()


def given(**params: Any) -> dict[str, Any]:
    defaults = {name: param.value for name, param in PARAMS.items()}
    return defaults | {"rows": 30, "returning": 0.5, "existing": 50} | params


def load(batch: pa.Table, run_id: str) -> dict[str, Any]:
    records = pipeline.standardise_batch(batch)
    shards = pipeline.plan_shards(records)
    pairs = [pipeline.compare_batch(records, MODEL, shard, run_id) for shard in shards]
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
    assert batch.schema.metadata == {b"source": b"faker", b"people_before": b"5"}
    assert pipeline.standardise_batch(batch).schema.metadata == batch.schema.metadata
