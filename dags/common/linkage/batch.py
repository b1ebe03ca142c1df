"""A batch against the table and against itself: candidate pairs by key instead of by row."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from random import Random

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import MissedPairsError
from common.linkage.certificate import Certificate, certify
from common.linkage.comparison import comparison_vectors
from common.linkage.household import clear_differences
from common.linkage.model import COMPARISON_VECTOR, LinkageModel
from common.linkage.search import Budget, CandidateExplosion, Progress, bounded_pairs, candidate_pairs
from common.linkage.standardise import STANDARDISED
from common.linkage.tables import PAIR_ENDS
from common.linkage.validation import QuarantineReason, usable


def copies(records: pa.Table) -> pa.Table:
    """Which usable records say the same as another one, word for word, once they are standardised.

    Args:
        records: a standardised batch.

    Returns:
        `record_key` and `original_key`, the smallest key of those that say the same; originals are left out.
    """
    records = usable(records).select(["record_key", *STANDARDISED])
    originals = records.group_by(list(STANDARDISED)).aggregate([("record_key", "min")])
    key_of = dict(zip(_contents(originals), originals["record_key_min"].to_pylist(), strict=True))
    pairs = [
        (key, original)
        for key, content in zip(records["record_key"].to_pylist(), _contents(records), strict=True)
        if (original := key_of[content]) != key
    ]
    columns = zip(*pairs, strict=True) if pairs else ((), ())
    return pa.table([pa.array(column, pa.string()) for column in columns], ["record_key", "original_key"])


def _contents(records: pa.Table) -> Iterator[tuple[str | None, ...]]:
    return zip(*(records[name].to_pylist() for name in STANDARDISED), strict=True)


def self_pairs(records: pa.Table, model: LinkageModel) -> pa.Table:
    """Each record compared with itself: `record_key`, the comparison vector and `score`.

    A record of which little is known, a name without an address, may stay below `accept_at` even so.
    """
    rows = np.arange(len(records))
    vectors = comparison_vectors(records, records, rows, rows, model)
    return vectors.append_column("record_key", records["record_key"])


@dataclass(frozen=True)
class Effort:
    """How much a comparison of a batch may do, and how much of it is proved.

    Attributes:
        certified: how many records to compare exhaustively, as a proof that no pair is missed.
        seed: draws those records.
        budget: limits of work and memory, see `candidate_pairs`.
        progress: told how far the search is, see `candidate_pairs`.
        candidates: where the budget does not allow all pairs, records that have more of them are given up; if None,
            nobody is.
    """

    certified: int = 0
    seed: int = 0
    budget: Budget = field(default_factory=Budget)
    candidates: int | None = None
    progress: Callable[[Progress], None] = lambda _: None


def batch_pairs(
    records: pa.Table, people: pa.Table, model: LinkageModel, *, with_batch: bool, effort: Effort | None = None
) -> pa.Table:
    """All pairs of a batch at or above `model.review_at`: with people, and on request with the rest of the batch.

    Args:
        records: a standardised batch; quarantined rows are passed over.
        people: the columns `STANDARDISED`, and any others, which come back with the pairs: `person_id` (int64), and
            for spellings beside the first those of `PAIR_ENDS`.
        model: scores the pairs.
        with_batch: also compare the records with each other.
        effort: limits, and what is proved; nothing is proved if None.

    Returns:
        `record_key`, then the columns `PAIR_ENDS` or `other_record_key` (the others are null; each pair of records
        once), the comparison vector, `score`, `household`: whether the pair may be two people of one household, and
        `left_out`. Pairs that are clearly two people (`clear_differences`) are left out, and those of records that were
        given up. On request (`effort.candidates`) a row without other ends says how many of a record were.
        Records that say the same are compared as one. Each has its pairs with people; of the batch it has the pair with
        the original alone, whatever that scores. The certificate is the metadata, as JSON.

    Raises:
        MissedPairsError: the exhaustive comparison found a pair that the search had not.
        CandidateExplosion: the budget does not allow so much work.
    """
    effort = effort or Effort()
    # In the order of the keys, since crosswise names score differently the other way round: which record of a pair
    # is the left one must not depend on the order of the rows.
    same = copies(records)
    records = usable(records).sort_by("record_key")
    everybody, records = records, records.filter(pc.invert(pc.is_in(records["record_key"], same["record_key"])))
    left, right = records.select(STANDARDISED), people.select(STANDARDISED)
    if with_batch:
        right = pa.concat_tables([right, left.cast(right.schema)])
    alone = with_batch and not people.num_rows  # a table with itself is half the work
    pairs, given_up = _found(left, None if alone else right, model, effort)
    kept = np.setdiff1d(np.arange(len(left)), given_up).tolist()
    to_certify = Random(effort.seed).sample(kept, min(effort.certified, len(kept)))  # noqa: S311 - no secret
    certificate = certify(
        to_certify, left, right if len(given_up) or not alone else None, model, model.review_at, pairs
    )
    if certificate.missed:
        raise MissedPairsError(str(certificate))
    rows = (pairs["left_row"].to_numpy(), pairs["right_row"].to_numpy())
    vectors = {name: pairs[name].to_numpy() for name in COMPARISON_VECTOR}
    household, apart = clear_differences(left, right, *rows, vectors)
    pairs = pairs.append_column("household", pa.array(household))
    left_out = pa.array(apart | np.isin(rows[1] - people.num_rows, given_up))
    pairs = _by_key(pairs.append_column("is_left_out", left_out), records, people)
    pairs = _without_left_out(pairs, records["record_key"].take(given_up), effort.candidates)
    if same.num_rows:
        pairs = pa.concat_tables([pairs, *_pairs_of_copies(pairs, same, everybody, model, with_batch=with_batch)])
    return pairs.replace_schema_metadata({"certificate": json.dumps(asdict(certificate))})


def _found(
    left: pa.Table, right: pa.Table | None, model: LinkageModel, effort: Effort
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """The pairs of a search, by row, and the rows of records that were given up; None compares `left` with itself."""
    try:
        pairs = candidate_pairs(left, right, model, model.review_at, effort.budget, effort.progress)
    except CandidateExplosion as error:
        if effort.candidates is None or error.comparisons > effort.budget.comparisons:
            raise
        most = effort.candidates + 1  # a record of the batch comes near itself, too
        return bounded_pairs(left, left if right is None else right, model, model.review_at, most, effort.budget)
    return pairs, np.empty(0, np.int64)


def _without_left_out(pairs: pa.Table, given_up: pa.Array, most: int | None) -> pa.Table:
    """The pairs by key that are not left out, and how many of each record are; see `batch_pairs`."""
    left_out, pairs = pairs.filter(pairs["is_left_out"]), pairs.filter(pc.invert(pairs["is_left_out"]))
    pairs = pairs.drop_columns("is_left_out").append_column("left_out", pa.nulls(len(pairs), pa.int64()))
    if most is None:
        return pairs
    keys = pc.value_counts(_both_ends(left_out).combine_chunks())
    counts = dict(zip(keys.field("values").to_pylist(), keys.field("counts").to_pylist(), strict=True))
    counts |= dict.fromkeys(given_up.to_pylist(), most + 1)
    columns = {"record_key": pa.array(counts, pa.string()), "left_out": pa.array(counts.values(), pa.int64())}
    return pa.concat_tables([pairs, pa.table(columns)], promote_options="default")


def _both_ends(pairs: pa.Table) -> pa.ChunkedArray:
    """The records of pairs: each as often as it is in one."""
    ends = pa.chunked_array([*pairs["record_key"].chunks, *pairs["other_record_key"].chunks], pa.string())
    return ends.drop_null()


def mark_too_common(records: pa.Table, pairs: pa.Table, known: pa.Table, most: int) -> pa.Table:
    """A batch, where records with more than `most` candidates are quarantined: nobody could choose among so many.

    Candidates are the spellings of people, the waiting records and the other records of the batch that reach
    `review_at`, relatives and people clearly apart among them. So they are counted alike, however the table is split.

    Args:
        records: a standardised batch.
        pairs: of all shards, with what was left out, see `batch_pairs`.
        known: records that were here before, schema `KNOWN`. Those that are certain stay, however many come near.
        most: candidates.
    """
    same = copies(records)
    of_copies = pc.or_(
        pc.is_in(pairs["record_key"], same["record_key"]), pc.is_in(pairs["other_record_key"], same["record_key"])
    )
    compared = pairs.filter(pc.invert(of_copies))
    counted = compared.filter(pc.is_null(compared["left_out"]))
    counts = Counter(_both_ends(counted).to_pylist())
    left_out = compared.filter(pc.is_valid(compared["left_out"])).select(["record_key", "left_out"])
    for key, count in zip(*left_out.to_pydict().values(), strict=True):
        counts[key] += count
    common = {key for key, count in counts.items() if count > most}
    common |= {row["record_key"] for row in same.to_pylist() if row["original_key"] in common}
    common -= set(known.filter(known["certain"])["record_key"].to_pylist())
    marks = pc.is_in(records["record_key"], pa.array(common, pa.string()))
    reasons = pc.if_else(marks, pa.scalar(QuarantineReason.TOO_COMMON.value), records["quarantine_reason"])
    return records.set_column(records.column_names.index("quarantine_reason"), "quarantine_reason", reasons)


def _by_key(pairs: pa.Table, records: pa.Table, people: pa.Table) -> pa.Table:
    """Pairs by row as pairs by key; right rows are those of the people, and after them those of the records."""
    keys, people_count = records["record_key"], people.num_rows
    is_person = pc.less(pairs["right_row"], people_count)
    other_row = pc.subtract(pairs["right_row"], people_count)
    # Two records of the batch are found both ways round, and each with itself: one of these is kept.
    keep = pc.or_(is_person, pc.less(pairs["left_row"], other_row))
    pairs, is_person, other_row = (part.filter(keep) for part in (pairs, is_person, other_row))
    right_row = pc.if_else(is_person, pairs["right_row"], pa.scalar(None, pa.int64()))
    ends = {name: _end(people, name).take(right_row) for name in PAIR_ENDS.names}
    return pa.table(
        {
            "record_key": keys.take(pairs["left_row"]),
            **ends,
            "other_record_key": keys.take(pc.if_else(is_person, pa.scalar(None, pa.int64()), other_row)),
            **{name: pairs[name] for name in (*COMPARISON_VECTOR, "score", "household", "is_left_out")},
        }
    )


def _end(people: pa.Table, name: str) -> pa.ChunkedArray | pa.Array:
    if name in people.column_names:
        return people[name]
    kind = PAIR_ENDS.field(name).type
    return pa.nulls(len(people), kind) if name != "first_spelling" else pa.repeat(True, len(people))


def _pairs_of_copies(
    pairs: pa.Table, same: pa.Table, records: pa.Table, model: LinkageModel, *, with_batch: bool
) -> Iterator[pa.Table]:
    """The pairs of records that were not compared, since others say the same."""
    with_people = pairs.filter(pc.and_(pc.is_null(pairs["other_record_key"]), pc.is_null(pairs["left_out"])))
    of_originals = with_people.join(same.rename_columns(["copy", "record_key"]), "record_key", join_type="inner")
    of_originals = of_originals.drop("record_key").rename_columns({"copy": "record_key"})
    yield of_originals.select(pairs.column_names).cast(pairs.schema)
    if with_batch:
        originals = records.filter(pc.is_in(records["record_key"], same["original_key"]))
        themselves = self_pairs(originals, model).rename_columns({"record_key": "original_key"})
        twins = same.rename_columns(["other_record_key", "original_key"]).join(themselves, "original_key")
        twins = twins.rename_columns({"original_key": "record_key"})
        twins = twins.append_column("household", pa.repeat(False, len(twins)))
        for field in (*PAIR_ENDS, pairs.schema.field("left_out")):
            twins = twins.append_column(field.name, pa.nulls(len(twins), field.type))
        yield twins.select(pairs.column_names).cast(pairs.schema)


def certificate_of(pairs: Sequence[pa.Table]) -> Certificate:
    """The certificates of all shards of a batch as one."""
    parts = [Certificate(**json.loads(table.schema.metadata[b"certificate"])) for table in pairs]
    return Certificate(
        records=max(part.records for part in parts),
        people=sum(part.people for part in parts),
        matches=sum(part.matches for part in parts),
        missed=sum(part.missed for part in parts),
    )
