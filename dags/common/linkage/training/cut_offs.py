"""Cut-offs: from which score on a pair is a duplicate, and from which on somebody should look at it."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from scipy.special import expit

from common.linkage.model import SIMILARITIES, Floats, LinkageModel
from common.linkage.training.labelled import TRAIN
from common.linkage.training.results import ScoredSplit

NAME_EVIDENCE = 0.1
"""Log-odds by which a cut-off is above what it must not take for a match."""


@dataclass(frozen=True)
class Costs:
    """What mistakes and questions cost, relative to each other, and what is never allowed.

    Attributes:
        reinserted: a known person who is inserted again.
        dropped: a new person who is taken for somebody known.
        reviewed: a record that somebody has to look at.
        max_dropped: greatest share of the new records that may be taken for somebody known, in [0, 1).
        max_reviewed: greatest share of the new records that may be put to review besides, relatives left out.
    """

    reinserted: float
    dropped: float
    reviewed: float
    max_dropped: float
    max_reviewed: float


def with_cut_offs(model: LinkageModel, pairs: pa.Table, costs: Costs) -> LinkageModel:
    """The model with the cut-offs that cost least on the train split, within the limits.

    Args:
        model: to set the cut-offs of.
        pairs: schema `LABELLED`; only the train split is looked at.
        costs: of both kinds of mistakes and of review, and the limits.

    Whatever it costs, an equal address alone does not make a candidate: everybody has neighbours. With an equal first
    name it does not make a duplicate: married or flatmates, who could tell? An equal last name at the same address is
    a relative, see `household`.
    """
    split = ScoredSplit(model, pairs, TRAIN)
    neighbours, flatmates = (_above_same_address(model, first_name=alike) for alike in (0.0, 1.0))
    # The costs of both cut-offs add up, so that each is chosen by itself: a pair that is found costs a review, and one
    # that is accepted saves that review.
    least_accept = max(split.cut_off(costs.max_dropped), 0.5, flatmates)
    at = _candidates(split, least_accept)
    accept_at = at[np.argmin(costs.reviewed * split.returning_below(at) + costs.dropped * split.new_from(at))]
    least_review = max(split.cut_off(costs.max_dropped + costs.max_reviewed), neighbours)
    at = _candidates(split, least_review)
    missed = (costs.reinserted - costs.reviewed) * split.returning_below(at)
    review_at = at[np.argmin(missed + costs.reviewed * split.new_from(at))]
    return replace(model, accept_at=float(max(accept_at, review_at)), review_at=float(review_at))


def _candidates(split: ScoredSplit, least: float) -> Floats:
    """Cut-offs worth trying: just above each score that a new record reaches, the least first."""
    of_new = np.unique(np.nextafter(split.acceptable[split.of_new & (split.acceptable >= least)], 1))
    return np.concatenate([[least], of_new[of_new < 1]])


def _above_same_address(model: LinkageModel, first_name: float) -> float:
    """A cut-off that an equal address, a first name so similar and an unlike last name do not reach."""
    equal = {name: [1.0] for name in SIMILARITIES}
    vectors = {**equal, "first_name": [first_name], "last_name": [0.0], "swapped": [0.0]}
    return float(expit(model.log_odds(vectors)[0] + NAME_EVIDENCE))
