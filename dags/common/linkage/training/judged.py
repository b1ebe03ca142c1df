"""Judged pairs: labelled pairs of records about which somebody has said whether they are one person."""

from random import Random

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from common.linkage.comparison import Rows
from common.linkage.corruption import Record
from common.linkage.rarity import NOTHING_KNOWN, KnownNames
from common.linkage.training.labelled import TEST, TRAIN, Bools, Pairs, labelled, standardised, together


def judged_pairs(judgements: pa.Table, seed: int, known: KnownNames = NOTHING_KNOWN) -> pa.Table:
    """Labelled pairs from pairs of records that somebody judged, or of a prepared data set.

    Records that are linked by any pair, match or not, go to the same split. Where that would put most of them into
    one, only those that matches link stay together, and other pairs that lie across are left out.

    Args:
        judgements: raw `left_first_name`, `left_last_name`, `left_address`, the same with `right_`, and `is_match`.
        seed: decides which records are for testing.
        known: how common names are.

    Returns:
        A table of schema `LABELLED`.
    """
    sides = [
        list(zip(*(judgements[f"{side}_{name}"].to_pylist() for name in Record._fields), strict=True))
        for side in ("left", "right")
    ]
    number = {row: place for place, row in enumerate(dict.fromkeys(sides[0] + sides[1]))}
    rows = np.array([[number[row] for row in side] for side in sides], dtype=np.int64).T.reshape(-1, 2)
    is_match: Bools = judgements["is_match"].to_numpy()
    group = _groups(rows, len(number))
    if np.bincount(group, minlength=1).max() > len(number) / 2:
        # Pairs that a search proposed hang together: then only matches, which are one person, must not be parted.
        group = _groups(rows[is_match], len(number))
    rng = Random(seed)  # noqa: S311 - chance, not secrecy
    splits = np.array([rng.choice((TRAIN, TEST)) for _ in range(group.max(initial=-1) + 1)], dtype=object)
    records = standardised([Record(*row) for row in number])
    parts = []
    for split in (TRAIN, TEST):
        chosen = (splits[group[rows]] == split).all(axis=1)
        matched = set(rows[chosen & is_match, 0].tolist())
        new = len(set(rows[chosen, 0].tolist()) - matched)
        count = int(chosen.sum())
        pairs = Pairs(rows[chosen], ["judged"] * count, is_match[chosen], np.ones(count))
        parts.append(labelled(split, records, records, pairs, new, known))
    return together(parts)


def _groups(pairs: Rows, records: int) -> npt.NDArray[np.int32]:
    """The group of each record, where pairs hold records together."""
    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(records, records))
    return np.asarray(connected_components(edges, directed=False)[1])
