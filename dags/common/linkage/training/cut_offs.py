"""Cut-offs: from which score on a pair is a duplicate, and from which on somebody should look at it."""

from dataclasses import replace

import pyarrow as pa
from scipy.special import expit

from common.linkage.model import SIMILARITIES, LinkageModel
from common.linkage.training.labelled import TRAIN
from common.linkage.training.results import ScoredSplit

NAME_EVIDENCE = 0.1
"""Log-odds by which a cut-off is above what it must not take for a match."""


def with_cut_offs(model: LinkageModel, pairs: pa.Table, max_dropped: float, max_reviewed: float) -> LinkageModel:
    """The model with the lowest cut-offs that keep to the error rates on these pairs.

    Args:
        model: to set the cut-offs of.
        pairs: schema `LABELLED`; only the train split is looked at.
        max_dropped: share of the new records that may be taken for somebody known, in [0, 1).
        max_reviewed: share of the new records that may be put to review besides, those of a household left out.

    Whatever the rates, an equal address alone does not make a candidate: everybody has neighbours. With an equal
    first name it does not make a duplicate: married or flatmates, who could tell? An equal last name is `household`'s.
    """
    split = ScoredSplit(model, pairs, TRAIN)
    review_at = max(split.cut_off(max_dropped + max_reviewed), _above_same_address(model, first_name=0.0))
    accept_at = max(split.cut_off(max_dropped), 0.5, review_at, _above_same_address(model, first_name=1.0))
    return replace(model, accept_at=accept_at, review_at=review_at)


def _above_same_address(model: LinkageModel, first_name: float) -> float:
    """A cut-off that an equal address, a first name so similar and an unlike last name do not reach."""
    equal = {name: [1.0] for name in SIMILARITIES}
    vectors = {**equal, "first_name": [first_name], "last_name": [0.0], "swapped": [0.0]}
    return float(expit(model.log_odds(vectors)[0] + NAME_EVIDENCE))
