"""What each task of the DAG does: the linkage method, the people database and the sources put together."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from airflow.sdk.exceptions import AirflowSkipException

from common import lookup, people_db, sources
from common.errors import SourceError
from common.linkage.batch import Effort, batch_pairs, certificate_of, mark_too_common
from common.linkage.canary import Canaries, canary_records, judge_canaries
from common.linkage.decision import decide
from common.linkage.model import STARTING_MODEL, LinkageModel
from common.linkage.recognition import recognise
from common.linkage.search import Budget, Progress
from common.linkage.standardise import standardise
from common.linkage.validation import add_quarantine_reason, usable, without
from common.report.findings import Findings
from common.report.write import write_report
from common.run_report import RunReport
from common.settings import (
    CANARIES,
    CANARY_RUNS,
    CERTIFIED_RECORDS,
    EMBEDDED_PEOPLE_DB,
    FILL_FROM,
    MAX_ADDRESS_COMPARISONS,
    MAX_CANDIDATE_PAIRS,
    MAX_CANDIDATES,
    PROGRESS_SECONDS,
    REVIEWED_BATCHES,
    RUN_SLA,
)
from common.standardising import standardise_people

log = logging.getLogger(__name__)

FAKER, SWEEP = "faker", people_db.SWEEP
"""Sources that are no files: invented records, and the table itself, to find the duplicates that are in it."""

_FIRST_PEOPLE = "faker: first people"
_INVENTED = (FAKER, _FIRST_PEOPLE)
_FIRST_SEED = 0  # the people of a new table are the same everywhere


def ingest(params: Mapping[str, Any], run_id: str) -> pa.Table:
    """The batch of a run, the same one however often it is asked for.

    Args:
        params: of the DAG: `source` and `system`, for files `columns` and `encoding`, for Faker `rows`, `returning`,
            `existing`.
        run_id: seeds what is random.

    Returns:
        Incoming records (schema `sources.INCOMING`), with `source`, `system` and `people_before` as metadata.

    Raises:
        SourceError: the source cannot be read, or invented people may not enter this table.
        AirflowSkipException: there is nothing new in a folder.
    """
    if params["source"] == SWEEP:
        return _described(people_db.people_as_records(), SWEEP, SWEEP, people_before=0)
    if params["source"] != FAKER:
        return _described(_read_files(params, run_id), params["source"], params["system"], people_before=0)
    _check_invented_may_enter()
    if people_db.is_empty():
        _fill(params["existing"])
    seed = _seed(run_id)
    known, before = people_db.sample_people(round(params["rows"] * params["returning"]), seed, run_id)
    records = sources.fake_records(params["rows"], params["returning"], known, seed)
    return _described(records, FAKER, params["system"], before)


def _read_files(params: Mapping[str, Any], run_id: str) -> pa.Table:
    """The records of a file; of a folder, those of the files that no run but this one has loaded.

    A run that has loaded files already takes the same ones again, although others may have come meanwhile.
    """
    by_this_run, by_others = people_db.loaded_files(run_id)
    records = sources.read_records(
        params["source"],
        sources.Layout(params["columns"], params["encoding"]),
        taken=by_this_run.__contains__ if by_this_run else lambda content: content not in by_others,
    )
    if not records.num_rows:
        raise AirflowSkipException(f"nothing new in {params['source']}")
    return records


def _check_invented_may_enter(connection: people_db.Transaction | None = None) -> None:
    """Check that nobody in the table is real, unless it is there to try things out.

    Raises:
        SourceError: somebody was not invented, as far as the database knows.
    """
    if not EMBEDDED_PEOPLE_DB and people_db.anybody_not_from(_INVENTED, connection):
        raise SourceError(
            f"source {FAKER} is refused: there are people in the table who were not invented, and invented ones never "
            "join them. Name a file or a folder as source"
        )


def _described(records: pa.Table, origin: str, system: str, people_before: int) -> pa.Table:
    known = {"source": origin, "system": system, "people_before": str(people_before)}
    return records.replace_schema_metadata({**(records.schema.metadata or {}), **known})


def standardise_batch(incoming: pa.Table) -> pa.Table:
    """The batch with its `*_std` columns and `quarantine_reason`; every received row is in it once."""
    return add_quarantine_reason(standardise(incoming))


def plan_shards(records: pa.Table) -> list[people_db.Shard]:
    """The shards of the table that a batch is compared with; none of it for a sweep, which is the table itself.

    Rows that other clients wrote, or that an older standardiser made, are standardised first.
    """
    with people_db.transaction() as connection:
        standardise_people(connection)
    shards = people_db.plan_shards()
    if _origin(records) == SWEEP:
        return [people_db.Shard(first_person=0, last_person=-1, with_batch=True, snapshot=shards[0]["snapshot"])]
    return shards


def _origin(records: pa.Table) -> str:
    return str(records.schema.metadata[b"source"], "utf-8")


def _system(records: pa.Table) -> str:
    return str(records.schema.metadata[b"system"], "utf-8")


def _recognised(connection: people_db.Transaction, records: pa.Table, system: str, model: LinkageModel) -> pa.Table:
    """Which records of a batch were here before, see `recognise`; none of a sweep: they are people themselves."""
    good = usable(records).slice(0, 0 if _origin(records) == SWEEP else None)
    by_content = people_db.seen_contents(connection, good)
    by_key = people_db.seen_keys(connection, good, system)
    people = pc.unique(by_key["person_id"].drop_null())
    return recognise(good, by_content, by_key, people_db.spellings_of(connection, people), model)


def compare_batch(records: pa.Table, model: Mapping[str, Any], shard: people_db.Shard, run_id: str) -> pa.Table:
    """Candidate pairs of a batch in one shard, see `batch_pairs`; the first shard takes the batch itself too."""
    sweep, linkage_model = _origin(records) == SWEEP, LinkageModel.from_dict(model)
    # Comparing all spellings would make one person of people who are strangers.
    people = people_db.CANDIDATES.empty_table() if sweep else people_db.read_people(shard)
    pairs = batch_pairs(
        records,
        people,
        linkage_model,
        with_batch=shard["with_batch"],
        effort=Effort(
            certified=CERTIFIED_RECORDS,
            seed=_seed(run_id),
            budget=Budget(pairs=MAX_CANDIDATE_PAIRS, comparisons=MAX_ADDRESS_COMPARISONS),
            progress=_ProgressLog(),
            candidates=MAX_CANDIDATES,
        ),
    )
    log.info("%s", certificate_of([pairs]))
    return _apart(records, pairs.filter(pc.greater_equal(pairs["score"], linkage_model.review_at))) if sweep else pairs


def _apart(records: pa.Table, pairs: pa.Table) -> pa.Table:
    """The pairs of a sweep, where people whom somebody called two are two, like relatives: never without a look."""
    apart = {(row["person_id"], row["other_id"]) for row in people_db.people_apart().to_pylist()}
    if not apart:
        return pairs
    person_of = dict(zip(records["record_key"].to_pylist(), map(int, records["source_key"].to_pylist()), strict=True))
    sides = zip(pairs["record_key"].to_pylist(), pairs["other_record_key"].to_pylist(), strict=True)
    two = pa.array([(person_of[one], person_of[other]) in apart for one, other in sides], pa.bool_())
    place = pairs.column_names.index("household")
    return pairs.set_column(place, "household", pc.or_(pairs["household"], two))


class _ProgressLog:
    """Logs what a search is expected to take, and every few seconds how far it is."""

    def __init__(self) -> None:
        self.next_line = 0.0

    def __call__(self, progress: Progress) -> None:
        seconds = progress.core_seconds / (os.cpu_count() or 1)
        if not self.next_line:
            log.info(
                "forecast: %d candidate pairs, %d addresses to compare, about %.1f seconds",
                *(progress.pairs, progress.comparisons, seconds),
            )
            if seconds > RUN_SLA.total_seconds():
                log.warning("the forecast exceeds the SLA of %s: this run will miss it", RUN_SLA)
        elif time.monotonic() < self.next_line:
            return
        else:
            log.info("compared %.0f %%, %d pairs found", progress.share * 100, progress.found)
        self.next_line = time.monotonic() + PROGRESS_SECONDS


def _seed(run_id: str) -> int:
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:6])


def score_canaries(
    records: pa.Table, model: Mapping[str, Any], shards: list[people_db.Shard], run_id: str
) -> dict[str, int]:
    """Score records with a known answer against everybody, in shadow; the fields of `Canaries`."""
    linkage_model = LinkageModel.from_dict(model)
    people, _ = people_db.sample_people(0 if _origin(records) == SWEEP else CANARIES, _seed(run_id), run_id)
    raw = canary_records(people, _seed(run_id))
    missing = pa.nulls(len(raw), pa.string())
    standardised = standardise_batch(raw.append_column("source_key", missing).append_column("problem", missing))
    canaries = judge_canaries(usable(standardised), lookup.find(standardised, linkage_model, shards), linkage_model)
    log.info("%s", canaries)
    return asdict(canaries)


def decide_batch(records: pa.Table, model: Mapping[str, Any], pairs: Sequence[pa.Table]) -> pa.Table:
    """Decisions about a batch by the pairs of all shards, see `decide`; none about records that are too common."""
    linkage_model, found = LinkageModel.from_dict(model), pa.concat_tables(pairs)
    with people_db.transaction() as connection:
        known = _recognised(connection, records, _system(records), linkage_model)
    return decide(mark_too_common(records, found, known, MAX_CANDIDATES), found, known, linkage_model)


def load_batch(
    records: pa.Table,
    model: Mapping[str, Any],
    pairs: Sequence[pa.Table],
    decisions: pa.Table,
    shards: list[people_db.Shard],
    run_id: str,
) -> dict[str, Any]:
    """Write a decided batch under the key that follows from its content; one that is there already stays as it is.

    Returns:
        The fields of its RunReport.
    """
    origin = _origin(records)
    batch = people_db.Batch(
        batch_id=sources.batch_id(records, _system(records)),
        run_id=run_id,
        source=origin,
        system=_system(records),
        people_before=int(records.schema.metadata[b"people_before"]),
        files=json.loads(records.schema.metadata.get(b"files", b"{}")),
    )
    linkage_model = LinkageModel.from_dict(model)
    return asdict(load_decided(batch, records, linkage_model, pa.concat_tables(pairs), decisions, shards))


def load_decided(
    batch: people_db.Batch,
    records: pa.Table,
    model: LinkageModel,
    pairs: pa.Table,
    decisions: pa.Table,
    shards: list[people_db.Shard],
) -> RunReport:
    """Write a decided batch in one transaction, all of it or nothing.

    Other writers to `people` wait meanwhile. People who came, changed or went since the shards were planned are
    compared again, and the batch decided again if there are any. A sweep changes nobody but marks duplicates.

    Args:
        batch: what it is; if it is loaded already, nothing changes.
        records: the standardised batch.
        model: what scored the pairs.
        pairs: all its candidate pairs, as `batch_pairs` returns them.
        decisions: what `decide` made of them.
        shards: as planned before the comparison.
    """
    with people_db.writing() as connection:
        if stored := people_db.stored_report(connection, batch.batch_id):
            people_db.note_files(connection, batch)
            return stored
        if batch.source in _INVENTED:
            _check_invented_may_enter(connection)
        if batch.source == SWEEP:
            return people_db.mark_duplicates(connection, batch, records, decisions, model)
        standardise_people(connection)
        kept_out = people_db.kept_out(connection, records, batch.system)
        records, pairs = without(records, kept_out), _pairs_without(pairs, kept_out)
        current = lookup.current_pairs(connection, records, model, pairs, shards[0]["snapshot"])
        known = _recognised(connection, records, batch.system, model)
        records = mark_too_common(records, current, known, MAX_CANDIDATES)
        if current is not pairs or known.num_rows or kept_out:
            decisions = decide(records, current, known, model)
        report = people_db.write_batch(connection, batch, records, decisions, model)
        if FILL_FROM and people_db.fill_in(connection, batch.batch_id, FILL_FROM):
            standardise_people(connection)
        return report


def _pairs_without(pairs: pa.Table, kept_out: Mapping[str, str]) -> pa.Table:
    """The pairs of all records but those of people who are kept out; the very same object if there are none."""
    if not kept_out:
        return pairs
    keys = pa.array(kept_out, pa.string())
    of_them = pc.or_(pc.is_in(pairs["record_key"], keys), pc.is_in(pairs["other_record_key"], keys))
    return pairs.filter(pc.invert(of_them))


def _fill(rows: int) -> None:
    """Give an empty table its first people: a batch like any other, so duplicates among them stay out too."""
    model = STARTING_MODEL.to_dict()
    records = standardise_batch(_described(sources.fake_people(rows, _FIRST_SEED), _FIRST_PEOPLE, FAKER, 0))
    shards = plan_shards(records)
    pairs = [compare_batch(records, model, shard, people_db.FIRST_PEOPLE) for shard in shards]
    load_batch(records, model, pairs, decide_batch(records, model, pairs), shards, run_id=people_db.FIRST_PEOPLE)


def report_batch(
    numbers: Mapping[str, Any],
    model: Mapping[str, Any],
    pairs: Sequence[pa.Table],
    shadow: Mapping[str, int],
    run_id: str,
    undelivered: Sequence[str] = (),
) -> str:
    """Write the report of a loaded batch from what is stored; returns the path of the HTML page.

    Args:
        numbers: what `load_batch` returned.
        model: that decided, as `LinkageModel.to_dict`.
        pairs: of all shards, for the certificate that they carry.
        shadow: what `score_canaries` returned.
        run_id: the run that reports.
        undelivered: mails that reached nobody, in one line each.
    """
    loaded = RunReport(**numbers)
    batch_id = loaded.batch_id
    people_db.store_canaries(batch_id, Canaries(**shadow))
    with people_db.transaction() as connection:
        work = people_db.review_work(connection, batch_id, REVIEWED_BATCHES)
    findings = Findings(
        run_id,
        loaded,
        people_db.loaded_batch(batch_id),
        people_db.batch_decisions(batch_id),
        people_db.quarantine_counts(batch_id),
        LinkageModel.from_dict(model),
        results=people_db.model_results(loaded.model_version),
        certificate=str(certificate_of(pairs)),
        canaries=people_db.last_canaries(batch_id, CANARY_RUNS),
        undelivered=undelivered,
        review=work,
    )
    paths = write_report(findings)
    log.info("report of run %s\n%s", run_id, paths.text.read_text(encoding="utf-8"))
    return str(paths.html)
