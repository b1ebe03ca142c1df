"""A batch against the table and against itself: candidate pairs by key instead of by row."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import MissedPairsError
from common.linkage.certificate import Certificate, certify
from common.linkage.comparison import comparison_vectors
from common.linkage.household import clear_differences
from common.linkage.model import COMPARISON_VECTOR, LinkageModel
from common.linkage.search import Budget, Progress, candidate_pairs
from common.linkage.standardise import STANDARDISED
from common.linkage.tables import PAIR_ENDS
from common.linkage.validation import usable


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
        people: the columns `STANDARDISED`, and any others, which come back with the pairs: `person_id` (int64), and
            for spellings beside the first those of `PAIR_ENDS`.
        model: scores the pairs.
        with_batch: also compare the records with each other.
        effort: limits, and what is proved; nothing is proved if None.

    Returns:
        `record_key`, then the columns `PAIR_ENDS` or `other_record_key` (the others are null; each pair of records
        once), the comparison vector, `score`, and `household`: whether the pair may be two people of one household.
        Pairs that are clearly two people (`clear_differences`) are left out. Records that say the same are compared as
        one. Each has its pairs with people; of the batch it has the pair with the original alone, whatever that
        scores. The certificate is the metadata, as JSON.

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
    pairs = _by_key(pairs, records, people)
    if same.num_rows:
        pairs = pa.concat_tables([pairs, *_pairs_of_copies(pairs, same, everybody, model, with_batch=with_batch)])
    return pairs.replace_schema_metadata({"certificate": json.dumps(asdict(certificate))})


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
            **{name: pairs[name] for name in (*COMPARISON_VECTOR, "score", "household")},
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
    with_people = pairs.filter(pc.is_null(pairs["other_record_key"]))
    of_originals = with_people.join(same.rename_columns(["copy", "record_key"]), "record_key", join_type="inner")
    of_originals = of_originals.drop("record_key").rename_columns({"copy": "record_key"})
    yield of_originals.select(pairs.column_names).cast(pairs.schema)
    if with_batch:
        originals = records.filter(pc.is_in(records["record_key"], same["original_key"]))
        themselves = self_pairs(originals, model).rename_columns({"record_key": "original_key"})
        twins = same.rename_columns(["other_record_key", "original_key"]).join(themselves, "original_key")
        twins = twins.rename_columns({"original_key": "record_key"})
        twins = twins.append_column("household", pa.repeat(False, len(twins)))
        for field in PAIR_ENDS:
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
