"""What each task of the DAG does: the linkage method, the people database and the sources put together."""

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations, combinations_with_replacement, pairwise, product
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from airflow.sdk.exceptions import AirflowSkipException
from joblib import cpu_count

from common import lookup, people_db, segments, sources, sweeping
from common.errors import SourceError
from common.linkage.batch import (
    Effort,
    Originals,
    block_pairs,
    certificate_of,
    certified,
    mark_too_common,
    pairs_with_people,
)
from common.linkage.canary import canary_records, is_canary, judge_canaries
from common.linkage.decision import decide
from common.linkage.model import STARTING_MODEL, LinkageModel
from common.linkage.recognition import recognise
from common.linkage.search import Budget, Progress
from common.linkage.standardise import standardise
from common.linkage.sweep import people_pairs
from common.linkage.validation import add_quarantine_reason, usable, without
from common.report.findings import Findings
from common.report.write import write_report
from common.run_report import RunReport
from common.settings import (
    BLOCK_RECORDS,
    CANARIES,
    CANARY_RUNS,
    CERTIFIED_RECORDS,
    CORES,
    EMBEDDED_PEOPLE_DB,
    FILL_FROM,
    MAX_ADDRESS_COMPARISONS,
    MAX_BLOCKS,
    MAX_CANDIDATE_PAIRS,
    MAX_CANDIDATES,
    PROGRESS_SECONDS,
    REVIEWED_BATCHES,
    RUN_SLA,
)
from common.standardising import standardise_in_pages, standardise_people

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
    if params["source"] == SWEEP:  # nobody comes in: people are compared where they are
        return _described(sources.INCOMING.empty_table(), SWEEP, SWEEP, people_before=0)
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
    """The shards of the table that a batch is compared with, or that a sweep compares with each other.

    Rows that other clients wrote, or that an older standardiser made, are standardised first.
    """
    standardise_in_pages()
    return people_db.plan_shards(originals=_origin(records) == SWEEP)


class Block(TypedDict):
    """What one mapped `compare` compares: a block of the batch with a segment and with a block of the batch.

    `records` are the first row of a block and the first one after it, in the order of `Originals`. They are compared
    with the people of `segment`, if it names one, and with the records `others`, if there are any: the same ones, or
    later ones. A sweep compares the people of `people` with those of `segment`, or with each other if that is None.
    """

    name: str
    records: tuple[int, int] | None
    others: tuple[int, int] | None
    people: segments.Kept | None
    segment: segments.Kept | None


def plan_blocks(records: pa.Table, kept: Sequence[segments.Kept]) -> list[Block]:
    """What is to be compared, in blocks that are each within the budget of one task. Other segments are pruned.

    Args:
        records: the standardised batch.
        kept: a segment of each shard.
    """
    pruned = segments.prune({segment["name"] for segment in kept})
    log.info("%d files of segments that no run needs any more are deleted", pruned)
    if _origin(records) == SWEEP:
        pairs = [(one, other) for one, other in combinations_with_replacement(kept, 2)]
        return [
            Block(
                name=f"{_people(one)} x {_people(other)}",
                records=None,
                others=None,
                people=one,
                segment=None if other is one else other,
            )
            for one, other in pairs
        ]
    blocks = _blocks(len(Originals.of(records).records), len(kept))
    first = kept[0]["name"]
    with_people = [
        Block(
            name=f"records {block[0] + 1:,} to {block[1]:,} x {_people(segment)}",
            records=block,
            others=block if segment["name"] == first else None,
            people=None,
            segment=segment,
        )
        for block, segment in product(blocks, kept)
    ]
    within = [
        Block(
            name=f"records {one[0] + 1:,} to {one[1]:,} x records {other[0] + 1:,} to {other[1]:,}",
            records=one,
            others=other,
            people=None,
            segment=None,
        )
        for one, other in combinations(blocks, 2)
    ]
    return with_people + within


def _blocks(records: int, shards: int) -> list[tuple[int, int]]:
    """Begin and end of blocks of about `BLOCK_RECORDS`, larger ones where there would be too many comparisons."""
    count = max(1, -(-records // BLOCK_RECORDS))
    while count > 1 and count * shards + count * (count - 1) // 2 > MAX_BLOCKS:
        count -= 1
    bounds = np.linspace(0, records, count + 1).astype(int).tolist()
    return list(pairwise(bounds))


def _people(kept: segments.Kept) -> str:
    shard = kept["shard"]
    if shard["first_person"] > shard["last_person"]:
        return f"{kept['rows']:,} spellings"
    return f"{kept['rows']:,} people from {shard['first_person']} on"


def _origin(records: pa.Table) -> str:
    return str(records.schema.metadata[b"source"], "utf-8")


def sweep_id(run_id: str) -> str:
    """The key of the batch that a sweep by a run is."""
    return hashlib.sha256(f"{SWEEP}\0{run_id}".encode()).hexdigest()[:32]


def _system(records: pa.Table) -> str:
    return str(records.schema.metadata[b"system"], "utf-8")


def _recognised(connection: people_db.Transaction, records: pa.Table, system: str, model: LinkageModel) -> pa.Table:
    """Which records of a batch were here before, see `recognise`; none of a sweep: they are people themselves."""
    good = usable(records).slice(0, 0 if _origin(records) == SWEEP else None)
    by_content = people_db.seen_contents(connection, good)
    by_key = people_db.seen_keys(connection, good, system)
    people = pc.unique(by_key["person_id"].drop_null())
    return recognise(good, by_content, by_key, people_db.spellings_of(connection, people), model)


def compare_batch(records: pa.Table, model: Mapping[str, Any], block: Block, shadow: pa.Table, run_id: str) -> pa.Table:
    """Candidate pairs of a block, see `block_pairs`, and with the first block those of the canaries with its segment.

    Of a sweep: pairs of people, see `sweep.people_pairs`.

    Args:
        records: the standardised batch.
        model: as `LinkageModel.to_dict`.
        block: as planned.
        shadow: what `make_canaries` made.
        run_id: seeds the certificate. What is proved is proved for records of the first block.
    """
    linkage_model = LinkageModel.from_dict(model)
    effort = Effort(
        seed=_seed(run_id),
        budget=_budget(pairs=MAX_CANDIDATE_PAIRS, comparisons=MAX_ADDRESS_COMPARISONS),
        progress=_ProgressLog(),
        candidates=MAX_CANDIDATES,
    )
    certifying = replace(effort, certified=CERTIFIED_RECORDS)
    segment = None if block["segment"] is None else segments.opened(block["segment"])
    if block["people"] is not None:
        pairs = people_pairs(segments.opened(block["people"]), segment, linkage_model, certifying)
        log.info("%s", certificate_of([pairs]))
        return sweeping.as_of(pairs, block["people"]["shard"]["snapshot"])
    rows, others = range(*block["records"] or ()), None if block["others"] is None else range(*block["others"])
    is_first = rows.start == 0
    pairs = block_pairs(Originals.of(records), rows, segment, others, linkage_model, certifying if is_first else effort)
    log.info("%s", certificate_of([pairs]))
    if is_first and segment is not None:
        of_canaries = pairs_with_people(usable(shadow), segment, linkage_model, replace(effort, certified=0))
        pairs = certified(pa.concat_tables([pairs, of_canaries]), certificate_of([pairs]))
    return pairs


class _ProgressLog:
    """Logs what a search is expected to take, and every few seconds how far it is."""

    def __init__(self) -> None:
        self.next_line = 0.0

    def __call__(self, progress: Progress) -> None:
        seconds = progress.core_seconds / _budget().cores
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


def _budget(**limits: int) -> Budget:
    """Limits of a search, with as many threads as it may have."""
    return Budget(**limits, cores=CORES or cpu_count())


def _seed(run_id: str) -> int:
    return int.from_bytes(hashlib.sha256(run_id.encode()).digest()[:6])


def compare_all(
    records: pa.Table, model: Mapping[str, Any], shards: Sequence[people_db.Shard], run_id: str
) -> list[pa.Table]:
    """What the tasks between `plan_shards` and `decide` do, without canaries: the pairs of each block."""
    kept = [segments.keep(shard) for shard in shards]
    nobody = standardise_batch(sources.INCOMING.empty_table())
    return [compare_batch(records, model, block, nobody, run_id) for block in plan_blocks(records, kept)]


def make_canaries(records: pa.Table, run_id: str) -> pa.Table:
    """Records with a known answer, standardised: `compare` scores them in shadow, and `report_batch` judges them.

    There are none for a sweep.
    """
    people, _ = people_db.sample_people(0 if _origin(records) == SWEEP else CANARIES, _seed(run_id), run_id)
    raw = canary_records(people, _seed(run_id))
    missing = pa.nulls(len(raw), pa.string())
    return standardise_batch(raw.append_column("source_key", missing).append_column("problem", missing))


def _of_batch(pairs: Sequence[pa.Table]) -> pa.Table:
    """The pairs of all blocks without those of canaries."""
    together = pa.concat_tables(pairs).replace_schema_metadata(None)
    return together.filter(pc.invert(is_canary(together["record_key"])))


def decide_batch(records: pa.Table, model: Mapping[str, Any], pairs: Sequence[pa.Table]) -> pa.Table:
    """Decisions about a batch by the pairs of all blocks, see `decide`; none about records that are too common.

    Of a sweep, see `sweeping.decide_people`.
    """
    linkage_model = LinkageModel.from_dict(model)
    with people_db.transaction() as connection:
        if _origin(records) == SWEEP:
            return sweeping.decide_people(connection, pairs, linkage_model)
        known = _recognised(connection, records, _system(records), linkage_model)
    found = _of_batch(pairs)
    return decide(mark_too_common(records, found, known, MAX_CANDIDATES), found, known, linkage_model)


def load_batch(
    records: pa.Table,
    model: Mapping[str, Any],
    pairs: Sequence[pa.Table],
    decisions: pa.Table,
    shards: Sequence[people_db.Shard],
    run_id: str,
) -> dict[str, Any]:
    """Write a decided batch under the key that follows from its content; one that is there already stays as it is.

    Returns:
        The fields of its RunReport.
    """
    origin = _origin(records)
    batch = people_db.Batch(
        # A sweep is what a run found in the table; the same run finds it once.
        batch_id=sweep_id(run_id) if origin == SWEEP else sources.batch_id(records, _system(records)),
        run_id=run_id,
        source=origin,
        system=_system(records),
        people_before=int(records.schema.metadata[b"people_before"]),
        files=json.loads(records.schema.metadata.get(b"files", b"{}")),
    )
    linkage_model = LinkageModel.from_dict(model)
    # Those of a sweep carry the metadata that all of them share.
    found = pa.concat_tables(pairs) if origin == SWEEP else _of_batch(pairs)
    return asdict(load_decided(batch, records, linkage_model, found, decisions, shards))


def load_decided(
    batch: people_db.Batch,
    records: pa.Table,
    model: LinkageModel,
    pairs: pa.Table,
    decisions: pa.Table,
    shards: Sequence[people_db.Shard],
) -> RunReport:
    """Write a decided batch in one transaction, all of it or nothing.

    Other writers to `people` wait meanwhile. People who came, changed or went since the shards were planned are
    compared again, and the batch decided again if there are any. A sweep changes nobody but marks duplicates.

    Args:
        batch: what it is; if it is loaded already, nothing changes.
        records: the standardised batch.
        model: what scored the pairs.
        pairs: all its candidate pairs, as `batch_pairs` returns them; of a sweep those of people.
        decisions: what `decide`, or for a sweep `sweeping.decide_people`, made of them.
        shards: as planned before the comparison.
    """
    with people_db.writing() as connection:
        if stored := people_db.stored_report(connection, batch.batch_id):
            people_db.note_files(connection, batch)
            return stored
        if batch.source in _INVENTED:
            _check_invented_may_enter(connection)
        if batch.source == SWEEP:
            return sweeping.mark(connection, batch, pairs, decisions, model)
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


def sweep_due() -> str:
    """Why the table should be swept now, in one line.

    Raises:
        AirflowSkipException: there is no reason.
    """
    if why := sweeping.why():
        return why
    raise AirflowSkipException("no sweep is due")


def _fill(rows: int) -> None:
    """Give an empty table its first people: a batch like any other, so duplicates among them stay out too."""
    model = STARTING_MODEL.to_dict()
    records = standardise_batch(_described(sources.fake_people(rows, _FIRST_SEED), _FIRST_PEOPLE, FAKER, 0))
    shards = plan_shards(records)
    pairs = compare_all(records, model, shards, people_db.FIRST_PEOPLE)
    load_batch(records, model, pairs, decide_batch(records, model, pairs), shards, people_db.FIRST_PEOPLE)


def report_batch(
    numbers: Mapping[str, Any],
    model: Mapping[str, Any],
    pairs: Sequence[pa.Table],
    shadow: pa.Table,
    run_id: str,
    undelivered: Sequence[str] = (),
) -> str:
    """Write the report of a loaded batch from what is stored; returns the path of the HTML page.

    Args:
        numbers: what `load_batch` returned.
        model: that decided, as `LinkageModel.to_dict`.
        pairs: of all blocks, for the canaries among them and the certificate that they carry.
        shadow: what `make_canaries` made.
        run_id: the run that reports.
        undelivered: mails that reached nobody, in one line each.
    """
    loaded = RunReport(**numbers)
    batch_id = loaded.batch_id
    if loaded.source != SWEEP:
        canaries = judge_canaries(usable(shadow), pa.concat_tables(pairs), LinkageModel.from_dict(model))
        log.info("%s", canaries)
        people_db.store_canaries(batch_id, canaries)
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
