"""A batch against the table and against itself: candidate pairs by key instead of by row."""

import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.candidates import candidate_pairs
from common.linkage.household import households
from common.linkage.model import COMPARISON_VECTOR, LinkageModel
from common.linkage.standardise import STANDARDISED


def usable(records: pa.Table) -> pa.Table:
    """The records of a standardised batch that are not quarantined."""
    return records.filter(pc.is_null(records["quarantine_reason"]))


def batch_pairs(records: pa.Table, people: pa.Table, model: LinkageModel, *, with_batch: bool) -> pa.Table:
    """All pairs of a batch at or above `model.review_at`: with people, and on request with the rest of the batch.

    Args:
        records: a standardised batch; quarantined rows are passed over.
        people: `person_id` (int64) and the columns `STANDARDISED`.
        model: scores the pairs.
        with_batch: also compare the records with each other.

    Returns:
        `record_key`, then `person_id` or `other_record_key` (the other one is null; each pair of records once), the
        comparison vector, `score`, and `household`: whether the pair is two people of one household.
    """
    # In the order of the keys, since crosswise names score differently the other way round: which record of a pair
    # is the left one must not depend on the order of the rows.
    records = usable(records).sort_by("record_key")
    keys, people_count = records["record_key"], people.num_rows
    left, right = records.select(STANDARDISED), people.select(STANDARDISED)
    if with_batch:
        right = pa.concat_tables([right, left.cast(right.schema)])
    pairs = candidate_pairs(left, right, model, model.review_at)
    vectors = {name: pairs[name].to_numpy() for name in COMPARISON_VECTOR}
    rows = (pairs["left_row"].to_numpy(), pairs["right_row"].to_numpy())
    pairs = pairs.append_column("household", pa.array(households(left, right, *rows, vectors)))
    is_person = pc.less(pairs["right_row"], people_count)
    other_row = pc.subtract(pairs["right_row"], people_count)
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
