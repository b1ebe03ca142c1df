"""A batch against the table and against itself: candidate pairs by key instead of by row."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import MissedPairsError
from common.linkage.certificate import Certificate, certify
from common.linkage.comparison import Rows, comparison_vectors
from common.linkage.household import clear_differences
from common.linkage.model import COMPARISON_VECTOR, LinkageModel
from common.linkage.search import Budget, CandidateExplosion, Progress, Segment, bounded_pairs, candidate_pairs
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
    records = usable(records)
    # Standardised text holds neither of these signs.
    contents = pc.binary_join_element_wise(
        *(records[name].cast(pa.string()) for name in STANDARDISED),
        "|",
        null_handling="replace",
        null_replacement="-",
    )
    content = contents.combine_chunks().dictionary_encode().indices.to_numpy()
    by_key = pc.sort_indices(records["record_key"]).to_numpy()
    _, first = np.unique(content[by_key], return_index=True)
    original_key = records["record_key"].take(pa.array(by_key[first][content]))
    pairs = pa.table([records["record_key"], original_key], ["record_key", "original_key"])
    return pairs.filter(pc.not_equal(pairs["record_key"], pairs["original_key"]))


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


@dataclass(frozen=True)
class Known:
    """People whom records are compared with, or records.

    Attributes:
        rows: the columns `STANDARDISED`, and any others, which come back with the pairs: `person_id` (int64), and for
            spellings beside the first those of `PAIR_ENDS`.
        encoded: the same rows for the search, if they were encoded before.
    """

    rows: pa.Table
    encoded: Segment | None = None

    def searched(self) -> pa.Table | Segment:
        """What the search gets."""
        return self.rows.select(STANDARDISED) if self.encoded is None else self.encoded


@dataclass(frozen=True)
class Originals:
    """A batch as it is compared.

    Attributes:
        records: usable records, of those that say the same one, in the order of their keys. Crosswise names score
            differently the other way round, so which record of a pair is the left one must not depend on the order of
            the rows.
        copies: the others, see `copies`.
    """

    records: pa.Table
    copies: pa.Table

    @classmethod
    def of(cls, records: pa.Table) -> "Originals":
        """Of a standardised batch; quarantined rows are passed over."""
        same = copies(records)
        records = usable(records).sort_by("record_key")
        return cls(records.filter(pc.invert(pc.is_in(records["record_key"], same["record_key"]))), same)


def batch_pairs(
    records: pa.Table, people: pa.Table, model: LinkageModel, *, with_batch: bool, effort: Effort | None = None
) -> pa.Table:
    """All pairs of a batch at or above `model.review_at`: with people, and on request with the rest of the batch.

    Args:
        records: a standardised batch; quarantined rows are passed over.
        people: as `Known.rows`.
        model: scores the pairs.
        with_batch: also compare the records with each other.
        effort: limits, and what is proved; nothing is proved if None.

    Returns:
        See `block_pairs`.

    Raises:
        MissedPairsError: the exhaustive comparison found a pair that the search had not.
        CandidateExplosion: the budget does not allow so much work.
    """
    batch = Originals.of(records)
    everybody = range(len(batch.records))
    return block_pairs(batch, everybody, Known(people), everybody if with_batch else None, model, effort)


def block_pairs(
    batch: Originals,
    block: range,
    people: Known | None,
    others: range | None,
    model: LinkageModel,
    effort: Effort | None = None,
) -> pa.Table:
    """All pairs of a block of a batch at or above `model.review_at`: with people, and with a block of the batch.

    Args:
        batch: the whole batch.
        block: rows of its originals, ascending.
        people: whom they are compared with; nobody if None.
        others: rows that they are compared with as well: the same ones, or ones that come later. None: no rows.
        model: scores the pairs.
        effort: limits of each of the two comparisons, and what is proved; nothing is proved if None.

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
    left = batch.records.slice(block.start, len(block))
    found = []
    if people is not None:
        found.append(pairs_with_people(left, people, model, effort))
        found.append(_with_people_of_copies(found[0], batch.copies))
    if others is not None:
        right = None if others == block else batch.records.slice(others.start, len(others))
        found.append(_pairs_of_records(left, right, model, effort))
    if others == block:
        twins = _pairs_with_originals(left, batch.copies, model)
        found.append(twins.cast(found[0].schema).replace_schema_metadata(None))
    return certified(pa.concat_tables(found), certificate_of([table for table in found if table.schema.metadata]))


def pairs_with_people(records: pa.Table, people: Known, model: LinkageModel, effort: Effort) -> pa.Table:
    """All pairs of records with people, as `block_pairs` returns them; copies are compared like others."""
    found = compared_sides(Known(records), people, model, effort)
    ends = {name: _end(people.rows, name).take(found.pairs["right_row"]) for name in PAIR_ENDS.names}
    keyed = _keyed(found.pairs, records, {**ends, "other_record_key": pa.nulls(len(found.pairs), pa.string())})
    given_up = records["record_key"].take(found.left_given_up)
    return certified(_without_left_out(keyed, given_up, effort.candidates), found.certificate)


def _pairs_of_records(left: pa.Table, right: pa.Table | None, model: LinkageModel, effort: Effort) -> pa.Table:
    """All pairs of records of a batch, likewise; None compares the left ones with each other, each pair once."""
    found = compared_sides(Known(left), None if right is None else Known(right), model, effort)
    nobody = {field.name: pa.nulls(len(found.pairs), field.type) for field in PAIR_ENDS}
    others = left if right is None else right
    other_key = others["record_key"].take(found.pairs["right_row"])
    keyed = _keyed(found.pairs, left, {**nobody, "other_record_key": other_key})
    given_up = [left["record_key"].take(found.left_given_up), others["record_key"].take(found.right_given_up)]
    keys = pa.chunked_array([chunk for column in given_up for chunk in column.chunks], pa.string())
    return certified(_without_left_out(keyed, keys, effort.candidates), found.certificate)


class Compared(NamedTuple):
    """What a comparison of two sides has found.

    Attributes:
        pairs: `left_row`, `right_row`, the comparison vector, `score`, `household`, and `is_left_out`: whether they are
            clearly two people, or one of them was given up.
        left_given_up: rows of the left side that have too many pairs; not all of their pairs are there.
        right_given_up: likewise of the right side, where that is searched for them.
        certificate: what was proved.
    """

    pairs: pa.Table
    left_given_up: Rows
    right_given_up: Rows
    certificate: Certificate


def compared_sides(left: Known, right: Known | None, model: LinkageModel, effort: Effort) -> Compared:
    """All pairs of two sides by row.

    Args:
        left: one side.
        right: the other one; None compares the left one with itself, each pair once. Of records of a batch
            (`record_key`) those that have too many pairs are given up here too.
        model: scores the pairs.
        effort: limits, and what is proved.

    Raises:
        MissedPairsError: the exhaustive comparison found a pair that the search had not.
        CandidateExplosion: the budget does not allow so much work.
    """
    others = left if right is None else right
    pairs, left_given_up, right_given_up = _found(left, right, model, effort)
    bounded = right is not None or len(left_given_up) > 0  # then pairs of a side with itself are there both ways round
    certificate = Certificate(0, 0, 0, 0)
    kept = np.setdiff1d(np.arange(len(left.rows)), left_given_up).tolist()
    if count := min(effort.certified, len(kept)):
        to_certify = Random(effort.seed).sample(kept, count)  # noqa: S311 - no secret
        right_rows = others.rows if bounded else None
        certificate = certify(to_certify, left.rows, right_rows, model, model.review_at, pairs)
    if certificate.missed:
        raise MissedPairsError(str(certificate))
    if right is None and bounded:
        pairs = _once(pairs, left_given_up)
    rows = (pairs["left_row"].to_numpy(), pairs["right_row"].to_numpy())
    vectors = {name: pairs[name].to_numpy() for name in COMPARISON_VECTOR}
    household, apart = clear_differences(left.rows, others.rows, *rows, vectors)
    left_out = apart | np.isin(rows[0], left_given_up) | np.isin(rows[1], right_given_up)
    pairs = pairs.append_column("household", pa.array(household)).append_column("is_left_out", pa.array(left_out))
    return Compared(pairs, left_given_up, right_given_up, certificate)


def _found(left: Known, right: Known | None, model: LinkageModel, effort: Effort) -> tuple[pa.Table, Rows, Rows]:
    """The pairs of a search, by row, and the rows of both sides that were given up.

    Where some were given up, all pairs of all others are there; of a side with itself both ways round.
    """
    sides = left.searched(), None if right is None else right.searched()
    nobody = np.empty(0, np.int64)
    try:
        pairs = candidate_pairs(*sides, model, model.review_at, effort.budget, effort.progress)
    except CandidateExplosion as error:
        if effort.candidates is None or error.comparisons > effort.budget.comparisons:
            raise
        limits = model, model.review_at, effort.candidates + 1, effort.budget  # a record comes near itself, too
        ours = left.rows.select(STANDARDISED)
        if right is None:
            pairs, given_up = bounded_pairs(ours, ours, *limits)
            return pairs, given_up, given_up
        pairs, given_up = bounded_pairs(ours, sides[1], *limits)
        if "record_key" not in right.rows.column_names:
            return pairs, given_up, nobody
        back, others_given_up = bounded_pairs(right.rows.select(STANDARDISED), ours, *limits)
        # The pairs of others with left records that were given up: they are counted.
        back = back.filter(pc.is_in(back["right_row"], pa.array(given_up)))
        back = back.rename_columns({"left_row": "right_row", "right_row": "left_row"}).select(pairs.column_names)
        return pa.concat_tables([pairs, back]), given_up, others_given_up
    return pairs, nobody, nobody


def _once(pairs: pa.Table, given_up: Rows) -> pa.Table:
    """Pairs of a side with itself once, which are there both ways round; of those given up only with others."""
    one_way = pc.less(pairs["left_row"], pairs["right_row"])
    return pairs.filter(pc.or_(one_way, pc.is_in(pairs["right_row"], pa.array(given_up))))


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


def certified(pairs: pa.Table, certificate: Certificate) -> pa.Table:
    """The pairs with the certificate as their metadata."""
    return pairs.replace_schema_metadata({"certificate": json.dumps(asdict(certificate))})


def _keyed(pairs: pa.Table, records: pa.Table, ends: Mapping[str, pa.ChunkedArray | pa.Array]) -> pa.Table:
    """Pairs by row as pairs by key."""
    columns = {
        "record_key": records["record_key"].take(pairs["left_row"]),
        **ends,
        **{name: pairs[name] for name in (*COMPARISON_VECTOR, "score", "household", "is_left_out")},
    }
    return pa.table(columns)


def _end(people: pa.Table, name: str) -> pa.ChunkedArray | pa.Array:
    if name in people.column_names:
        return people[name]
    kind = PAIR_ENDS.field(name).type
    return pa.nulls(len(people), kind) if name != "first_spelling" else pa.repeat(True, len(people))


def _with_people_of_copies(pairs: pa.Table, same: pa.Table) -> pa.Table:
    """The pairs with people of records that were not compared, since others say the same."""
    of_originals = pairs.filter(pc.is_null(pairs["left_out"]))
    of_originals = of_originals.join(same.rename_columns(["copy", "record_key"]), "record_key", join_type="inner")
    of_originals = of_originals.drop("record_key").rename_columns({"copy": "record_key"})
    return of_originals.select(pairs.column_names).cast(pairs.schema).replace_schema_metadata(None)


def _pairs_with_originals(records: pa.Table, same: pa.Table, model: LinkageModel) -> pa.Table:
    """The pairs of copies with those of these records that say the same."""
    originals = records.filter(pc.is_in(records["record_key"], same["original_key"]))
    themselves = self_pairs(originals, model).rename_columns({"record_key": "original_key"})
    twins = same.rename_columns(["other_record_key", "original_key"])
    twins = twins.join(themselves, "original_key", join_type="inner").rename_columns({"original_key": "record_key"})
    twins = twins.append_column("household", pa.repeat(False, len(twins)))
    for missing in (*PAIR_ENDS, pa.field("left_out", pa.int64())):
        twins = twins.append_column(missing.name, pa.nulls(len(twins), missing.type))
    names = ["record_key", *PAIR_ENDS.names, "other_record_key", *COMPARISON_VECTOR]
    return twins.select([*names, "score", "household", "left_out"])


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


def certificate_of(pairs: Sequence[pa.Table]) -> Certificate:
    """The certificates of comparisons of one batch as one: those that certify anything certify the same records."""
    parts = [Certificate(**json.loads(table.schema.metadata[b"certificate"])) for table in pairs]
    return Certificate(
        records=max(part.records for part in parts),
        people=sum(part.people for part in parts),
        matches=sum(part.matches for part in parts),
        missed=sum(part.missed for part in parts),
    )
