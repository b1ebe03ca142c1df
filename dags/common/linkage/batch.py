"""A batch against the table and against itself: candidate pairs by key instead of by row."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from random import Random

import pyarrow as pa
import pyarrow.compute as pc

from common.errors import MissedPairsError
from common.linkage.certificate import Certificate, certify
from common.linkage.household import clear_differences
from common.linkage.model import COMPARISON_VECTOR, LinkageModel
from common.linkage.search import Budget, Progress, candidate_pairs
from common.linkage.standardise import STANDARDISED


def usable(records: pa.Table) -> pa.Table:
    """The records of a standardised batch that are not quarantined."""
    return records.filter(pc.is_null(records["quarantine_reason"]))


@dataclass(frozen=True)
class Effort:
    """How much a comparison of a batch may do, and how much of it is proved.

    Attributes:
        certified: how many records to compare exhaustively, as a proof that no pair is missed.
        seed: draws those records.
        budget: limits of work and memory, see `candidate_pairs`.
        progress: told how far the search is, see `candidate_pairs`.
    """

    certified: int = 0
    seed: int = 0
    budget: Budget | None = None
    progress: Callable[[Progress], None] = lambda _: None


def batch_pairs(
    records: pa.Table, people: pa.Table, model: LinkageModel, *, with_batch: bool, effort: Effort | None = None
) -> pa.Table:
    """All pairs of a batch at or above `model.review_at`: with people, and on request with the rest of the batch.

    Args:
        records: a standardised batch; quarantined rows are passed over.
        people: `person_id` (int64) and the columns `STANDARDISED`.
        model: scores the pairs.
        with_batch: also compare the records with each other.
        effort: limits, and what is proved; nothing is proved if None.

    Returns:
        `record_key`, then `person_id` or `other_record_key` (the other one is null; each pair of records once), the
        comparison vector, `score`, and `household`: whether the pair may be two people of one household. Pairs that
        are clearly two people (`clear_differences`) are left out. The certificate is its metadata, as JSON.

    Raises:
        MissedPairsError: the exhaustive comparison found a pair that the search had not.
        CandidateExplosion: the budget does not allow so much work.
    """
    effort = effort or Effort()
    # In the order of the keys, since crosswise names score differently the other way round: which record of a pair
    # is the left one must not depend on the order of the rows.
    records = usable(records).sort_by("record_key")
    left, right = records.select(STANDARDISED), people.select(STANDARDISED)
    if with_batch:
        right = pa.concat_tables([right, left.cast(right.schema)])
    other = None if with_batch and not people.num_rows else right  # a table with itself is half the work
    pairs = candidate_pairs(left, other, model, model.review_at, effort.budget, effort.progress)
    to_certify = Random(effort.seed).sample(range(len(left)), min(effort.certified, len(left)))  # noqa: S311 - no secret
    certificate = certify(to_certify, left, other, model, model.review_at, pairs)
    if certificate.missed:
        raise MissedPairsError(str(certificate))
    rows = (pairs["left_row"].to_numpy(), pairs["right_row"].to_numpy())
    vectors = {name: pairs[name].to_numpy() for name in COMPARISON_VECTOR}
    household, apart = clear_differences(left, right, *rows, vectors)
    pairs = pairs.append_column("household", pa.array(household))
    pairs = pairs.filter(pa.array(~apart & ~(household & model.inserts_relatives)))
    return _by_key(pairs, records, people).replace_schema_metadata({"certificate": json.dumps(asdict(certificate))})


def _by_key(pairs: pa.Table, records: pa.Table, people: pa.Table) -> pa.Table:
    """Pairs by row as pairs by key; right rows are those of the people, and after them those of the records."""
    keys, people_count = records["record_key"], people.num_rows
    is_person = pc.less(pairs["right_row"], people_count)
    other_row = pc.subtract(pairs["right_row"], people_count)
    # Two records of the batch are found both ways round, and each with itself: one of these is kept.
    keep = pc.or_(is_person, pc.less(pairs["left_row"], other_row))
    pairs, is_person, other_row = (part.filter(keep) for part in (pairs, is_person, other_row))
    nothing = pa.scalar(None, pa.int64())
    return pa.table(
        {
            "record_key": keys.take(pairs["left_row"]),
            "person_id": people["person_id"].take(pc.if_else(is_person, pairs["right_row"], nothing)),
            "other_record_key": keys.take(pc.if_else(is_person, nothing, other_row)),
            **{name: pairs[name] for name in (*COMPARISON_VECTOR, "score", "household")},
        }
    )


def certificate_of(pairs: Sequence[pa.Table]) -> Certificate:
    """The certificates of all shards of a batch as one."""
    parts = [Certificate(**json.loads(table.schema.metadata[b"certificate"])) for table in pairs]
    return Certificate(
        records=max(part.records for part in parts),
        people=sum(part.people for part in parts),
        matches=sum(part.matches for part in parts),
        missed=sum(part.missed for part in parts),
    )
