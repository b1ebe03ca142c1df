"""A people database with open questions, for tests of clerical review."""

from typing import Any

import psycopg
import pyarrow as pa
from common import people_db as database
from common import pipeline
from common.linkage.batch import batch_pairs
from common.linkage.model import STARTING_MODEL
from common.linkage.standardise import standardise
from common.linkage.validation import add_quarantine_reason

MODEL = STARTING_MODEL
SMITH = ("smith", "Ann", "Smith", "12 Main Street, Springfield")
JONES = ("jones", "Robert", "Jones", "7 Oak Avenue, Dover")
WOOD = ("wood", "Evelyn", "Underwood", "3 Hill Rd, Troy")
RELATIVE = ("relative", "George", "Smith", "12 Main Street, Springfield")
SISTER = ("sister", "Wilma", "Smith", "12 Main Street, Springfield")
THIN = ("thin", "Robert", "Jones", None)


def load(batch_id: str, *rows: tuple[str | None, ...], source: str = "s") -> None:
    """A batch of rows (record key, first name, last name, address) from plan to load."""
    names = ("record_key", "first_name", "last_name", "address")
    columns = {name: pa.array(column, pa.string()) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    columns |= {name: pa.nulls(len(rows), pa.string()) for name in ("source_key", "problem", "raw")}
    batch = add_quarantine_reason(standardise(pa.table(columns, metadata={"source": source, "system": source})))
    shards = pipeline.plan_shards(batch)
    pairs = pa.concat_tables(
        batch_pairs(batch, database.read_people(shard), MODEL, with_batch=shard["with_batch"]) for shard in shards
    )
    decisions = pipeline.decide_batch(batch, MODEL.to_dict(), [pairs])
    described = database.Batch(batch_id, f"run of {batch_id}", source, source, people_before=0)
    pipeline.load_decided(described, batch, MODEL, pairs, decisions, shards)


def sweep(batch_id: str) -> None:
    """A sweep of the table from plan to load."""
    batch = pipeline.standardise_batch(pipeline.ingest({"source": database.SWEEP}, "a run"))
    shards = pipeline.plan_shards(batch)
    pairs = pipeline.compare_all(batch, MODEL.to_dict(), shards, "a run")
    decisions = pipeline.decide_batch(batch, MODEL.to_dict(), pairs)
    described = database.Batch(batch_id, f"run of {batch_id}", database.SWEEP, database.SWEEP, people_before=0)
    pipeline.load_decided(described, batch, MODEL, pa.concat_tables(pairs), decisions, shards)


def insert_by_hand(dsn: str, *rows: tuple[str | None, ...]) -> None:
    """People (record key, first name, last name, address) whom another client inserts, without any comparison."""
    for row in rows:
        key, *fields = row
        statement = "INSERT INTO people (record_key, first_name, last_name, address) VALUES (%s, %s, %s, %s)"
        execute(dsn, statement, key, *fields)


def execute(dsn: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """The rows of a statement."""
    with psycopg.connect(dsn, options="-c search_path=dedupe") as connection:
        cursor = connection.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def stored(dsn: str) -> dict[str, list[Any]]:
    """All rows that a judgement may change, but for the times."""
    query = "SELECT to_jsonb(t) - ARRAY['inserted_at', 'changed_xid', 'judged_at', 'judgement_id'] FROM {} AS t"
    tables = ("people", "batches", "decisions", "judgements")
    return {table: sorted((row for (row,) in execute(dsn, query.format(table))), key=str) for table in tables}


def person_of(dsn: str, record_key: str) -> int:
    """The person who was inserted for a record."""
    ((person_id,),) = execute(dsn, "SELECT person_id FROM people WHERE record_key = %s", record_key)
    return int(person_id)
