"""A sweep: people of the table compared with each other, a shard at a time with itself or with a later one."""

import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.batch import Effort, Known, certified, compared_sides
from common.linkage.model import COMPARISON_VECTOR, LinkageModel

PEOPLE_PAIRS = pa.schema(
    [
        ("person_id", pa.int64()),
        ("other_id", pa.int64()),
        *((name, pa.bool_() if name == "swapped" else pa.float64()) for name in COMPARISON_VECTOR),
        ("score", pa.float64()),
        ("household", pa.bool_()),
    ]
)
"""Pairs of people: their ids, the lower one first, and what the comparison found, see `batch.block_pairs`."""


def people_pairs(left: Known, right: Known | None, model: LinkageModel, effort: Effort) -> pa.Table:
    """All pairs of people at or above `model.review_at`, schema `PEOPLE_PAIRS`; the certificate is the metadata.

    Args:
        left: some people, each once by the first spelling, in the order of `person_id`; of those who say the same one.
        right: people with higher ids; None compares the left ones with each other.
        model: scores the pairs.
        effort: limits, and what is proved. Whoever is given up (`effort.candidates`) is in no pair.
    """
    found = compared_sides(left, right, model, effort)
    pairs = found.pairs.filter(pc.invert(found.pairs["is_left_out"]))
    others = left if right is None else right
    ends = left.rows["person_id"].take(pairs["left_row"]), others.rows["person_id"].take(pairs["right_row"])
    table = pa.table([*ends, *(pairs[name] for name in PEOPLE_PAIRS.names[2:])], PEOPLE_PAIRS.names)
    return certified(table.cast(PEOPLE_PAIRS), found.certificate)
