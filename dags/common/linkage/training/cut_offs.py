"""Cut-offs: from which score on a pair is a duplicate, and from which on somebody should look at it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

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


class Sample(NamedTuple):
    """Labelled pairs that cut-offs are set on.

    Attributes:
        pairs: schema `LABELLED`; only the train split is looked at.
        weight: what one of its records counts beside a record of another sample.
        asked: whether these are only records that somebody was asked about. They say what a cut-off among them would
            cost, but not what share of all new records reaches it: the limits are kept without them.
    """

    pairs: pa.Table
    weight: float = 1.0
    asked: bool = False


def with_cut_offs(model: LinkageModel, samples: Sequence[Sample], costs: Costs) -> LinkageModel:
    """The model with the cut-offs that cost least on all samples together, within the limits.

    Args:
        model: to set the cut-offs of.
        samples: at least one that is not of asked records.
        costs: of both kinds of mistakes and of review, and the limits.

    Whatever it costs, an equal address alone does not make a candidate: everybody has neighbours. With an equal first
    name it does not make a duplicate: married or flatmates, who could tell? An equal last name at the same address is
    a relative, see `household`.
    """
    scored = _Scored(model, samples)
    neighbours, flatmates = (_above_same_address(model, first_name=alike) for alike in (0.0, 1.0))
    # The costs of both cut-offs add up, so that each is chosen by itself: a pair that is found costs a review, and one
    # that is accepted saves that review.
    at = scored.cut_offs(max(scored.least(costs.max_dropped), 0.5, flatmates))
    accept_at = at[np.argmin(costs.reviewed * scored.returning_below(at) + costs.dropped * scored.new_from(at))]
    at = scored.cut_offs(max(scored.least(costs.max_dropped + costs.max_reviewed), neighbours))
    missed = (costs.reinserted - costs.reviewed) * scored.returning_below(at)
    review_at = at[np.argmin(missed + costs.reviewed * scored.new_from(at))]
    return replace(model, accept_at=float(max(accept_at, review_at)), review_at=float(review_at))


class _Scored:
    """The samples together, scored by a model."""

    def __init__(self, model: LinkageModel, samples: Sequence[Sample]) -> None:
        self.all = [(ScoredSplit(model, sample.pairs, TRAIN), sample.weight) for sample in samples]
        self.limiting = [one for one, sample in zip(self.all, samples, strict=True) if not sample.asked]

    def returning_below(self, at: Floats) -> Floats:
        """How many returning records are below each cut-off with the person they are."""
        below: Floats = np.sum([weight * split.returning_below(at) for split, weight in self.all], axis=0)
        return below

    def new_from(self, at: Floats) -> Floats:
        """How many new records reach each cut-off, clear differences left out."""
        return _new_from(self.all, at)

    def cut_offs(self, least: float) -> Floats:
        """Cut-offs worth trying: just above each score that a new record reaches, the least first."""
        of_new = np.unique(np.concatenate([split.just_above_new() for split, _ in self.all]))
        return np.concatenate([[least], of_new[(of_new > least) & (of_new < 1)]])

    def least(self, share: float) -> float:
        """The lowest cut-off that at most this share of the new records reaches, clear differences left out."""
        at = np.unique(np.concatenate([[0.0], *(split.just_above_new() for split, _ in self.limiting)]))
        new = sum(weight * split.new_records for split, weight in self.limiting)
        return float(at[(_new_from(self.limiting, at) <= share * new).argmax()])


def _new_from(scored: Sequence[tuple[ScoredSplit, float]], at: Floats) -> Floats:
    reached: Floats = np.sum([weight * split.new_from(at) for split, weight in scored], axis=0)
    return reached


def _above_same_address(model: LinkageModel, first_name: float) -> float:
    """A cut-off that an equal address, a first name so similar and an unlike last name do not reach."""
    equal = {name: [1.0] for name in SIMILARITIES}
    vectors = {**equal, "first_name": [first_name], "last_name": [0.0], "swapped": [0.0]}
    return float(expit(model.log_odds(vectors)[0] + NAME_EVIDENCE))
