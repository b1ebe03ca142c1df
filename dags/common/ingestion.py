"""Where a run's batch comes from: a file, or Faker with people who are stored already among them."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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


def compare_batch(records: pa.Table, model: Mapping[str, Any], shard: people_db.Shard) -> pa.Table:
    """Candidate pairs of a batch in one shard, see `batch_pairs`; the first shard takes the batch itself too."""
    people = people_db.read_people(shard)
    return batch_pairs(records, people, LinkageModel.from_dict(model), with_batch=shard["with_batch"])


def decide_batch(records: pa.Table, model: Mapping[str, Any], pairs: Sequence[pa.Table]) -> pa.Table:
    """Decisions about a batch by the pairs of all shards, see `decide`."""
    known = people_db.known_records(records)
    return decide(records, pa.concat_tables(pairs), known, LinkageModel.from_dict(model))


def load_batch(
    records: pa.Table,
    model: Mapping[str, Any],
    pairs: Sequence[pa.Table],
    decisions: pa.Table,
    shards: list[people_db.Shard],
    run_id: str,
) -> dict[str, Any]:
    """Write a decided batch under the key that follows from its content, see `people_db.load`.

    Returns:
        The fields of its RunReport.
    """
    described = {key.decode(): value.decode() for key, value in records.schema.metadata.items()}
    loaded = people_db.load(
        records,
        pa.concat_tables(pairs),
        decisions,
        shards,
        LinkageModel.from_dict(model),
        run_id=run_id,
        source=described["source"],
        batch_id=source.batch_id(records, described["source"]),
        people_before=int(described["people_before"]),
    )
    return asdict(loaded)


def _fill(rows: int) -> None:
    """Give an empty table its first people: a batch like any other, so duplicates among them stay out too."""
    model = STARTING_MODEL.to_dict()
    records = standardise_batch(_described(source.fake_people(rows, _FIRST_SEED), "faker: first people", 0))
    shards = people_db.plan_shards()
    pairs = [compare_batch(records, model, shard) for shard in shards]
    load_batch(records, model, pairs, decide_batch(records, model, pairs), shards, run_id=people_db.FIRST_PEOPLE)


def report_batch(numbers: Mapping[str, Any], model: Mapping[str, Any], run_id: str) -> str:
    """Write the report of a loaded batch from what is stored; returns the path of the HTML page."""
    loaded = RunReport(**numbers)
    decisions, quarantine = people_db.batch_decisions(loaded.batch_id), people_db.quarantine_counts(loaded.batch_id)
    paths = write_report(run_id, loaded, decisions, quarantine, LinkageModel.from_dict(model))
    log.info("report of run %s\n%s", run_id, paths.text.read_text(encoding="utf-8"))
    return str(paths.html)
