"""Where a run's batch comes from: a file, or Faker with people who are stored already among them."""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from common import people_db, source
from common.linkage.batch import batch_pairs
from common.linkage.decision import decide
from common.linkage.model import STARTING_MODEL, LinkageModel
from common.linkage.standardise import standardise
from common.linkage.validation import add_quarantine_reason
from common.report import RunReport, write_report

log = logging.getLogger(__name__)

FAKER = "faker"
_FIRST_SEED = 0  # the people of a new table are the same everywhere


def ingest(params: Mapping[str, Any], run_id: str) -> pa.Table:
    """The batch of a run, the same one however often it is asked for.

    Args:
        params: of the DAG: `source`, and for Faker `rows`, `returning`, `existing`.
        run_id: seeds what is random.

    Returns:
        Incoming records (schema `source.INCOMING`), with `source` and `people_before` as metadata.

    Raises:
        source.SourceError: the source cannot be read.
    """
    if params["source"] != FAKER:
        return _described(source.read_records(params["source"]), params["source"], people_before=0)
    if people_db.is_empty():
        _fill(params["existing"])
    seed = int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:6])
    known, before = people_db.sample_people(round(params["rows"] * params["returning"]), seed, run_id)
    return _described(source.fake_records(params["rows"], params["returning"], known, seed), FAKER, before)


def _described(records: pa.Table, origin: str, people_before: int) -> pa.Table:
    return records.replace_schema_metadata({"source": origin, "people_before": str(people_before)})


def standardise_batch(incoming: pa.Table) -> pa.Table:
    """The batch with its `*_std` columns and `quarantine_reason`; every received row is in it once."""
    return add_quarantine_reason(standardise(incoming))


def load_batch(
    records: pa.Table,
    pairs: pa.Table,
    decisions: pa.Table,
    shards: list[people_db.Shard],
    model: LinkageModel,
    run_id: str,
) -> RunReport:
    """Write a decided batch under the key that follows from its content, see `people_db.load`."""
    described = {key.decode(): value.decode() for key, value in records.schema.metadata.items()}
    return people_db.load(
        records,
        pairs,
        decisions,
        shards,
        model,
        run_id=run_id,
        source=described["source"],
        batch_id=source.batch_id(records, described["source"]),
        people_before=int(described["people_before"]),
    )


def _fill(rows: int) -> None:
    """Give an empty table its first people: a batch like any other, so duplicates among them stay out too."""
    shards = people_db.plan_shards()
    records = standardise_batch(_described(source.fake_people(rows, _FIRST_SEED), "faker: first people", 0))
    pairs = batch_pairs(records, people_db.read_people(shards[0]), STARTING_MODEL, with_batch=True)
    decisions = decide(records, pairs, people_db.known_records(records), STARTING_MODEL)
    load_batch(records, pairs, decisions, shards, STARTING_MODEL, run_id="first people")


def report_batch(numbers: Mapping[str, Any], run_id: str) -> str:
    """Write the report of a loaded batch from what is stored; returns the path of the HTML page."""
    numbers = RunReport(**numbers)
    paths = write_report(
        run_id,
        numbers,
        people_db.batch_decisions(numbers.batch_id),
        people_db.quarantine_counts(numbers.batch_id),
        STARTING_MODEL,
    )
    log.info("%s\n%s", run_id, paths.text.read_text(encoding="utf-8"))
    return str(paths.html)
