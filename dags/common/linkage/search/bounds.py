# mypy: disable-error-code="no-untyped-def"
"""What a comparison contributes to a pair, exactly and at most.

The log-odds of a pair are a sum with one term per comparison. Every term has an upper bound, the bound of a pair is
the sum of the bounds of its terms, each step of the search replaces one bound by a tighter one or by the exact term,
and a pair is dropped only where the sum misses the goal. Bounds are rounded upwards by `SLACK`, so that rounding never
drops a pair: the reference (`comparison`) decides about those that are left.
"""

from typing import NamedTuple

import numpy as np

from common.linkage.model import Curve, Floats
from common.linkage.search.compiled import compiled
from common.linkage.search.jaro_winkler import LAST_STEP, highest_similarities

SLACK = 1e-9
"""Log-odds and similarities by which the search is more generous than the reference."""


class Term(NamedTuple):
    """A `Curve` as compiled code takes it.

    Attributes:
        similarities: x of its points.
        log_odds: y of its points.
        missing: what a missing value contributes.
        least: the least that the term can be, missing or not.
        best: the most, likewise.
        most: the most by common prefix and by step of shares of two values that are there; 5 x (LAST_STEP + 1), see
            `highest_similarities`.
    """

    similarities: Floats
    log_odds: Floats
    missing: float
    least: float
    best: float
    most: Floats

    @property
    def known(self) -> tuple[float, float]:
        """The least and the most of two values that are there."""
        return float(self.log_odds[0]), float(self.log_odds[-1])

    @property
    def matters(self) -> bool:
        """Whether the comparison can make a difference between pairs."""
        return self.best > self.least


def term(curve: Curve) -> Term:
    """A curve for the search."""
    x, y = np.array(curve.similarities, np.float64), np.array(curve.log_odds, np.float64)
    levels = float(y[0]), float(y[-1]), float(curve.missing)
    most = np.interp(highest_similarities() + 2 * SLACK, x, y)
    return Term(x, y, levels[2], min(levels), max(levels), most)


@compiled
def contribution(term, similarity):
    """Log-odds that a similarity contributes, a little more where the curve rises."""
    x, y = term.similarities, term.log_odds
    generous = similarity + SLACK
    if generous >= x[-1]:
        return y[-1]
    if generous <= x[0]:
        return y[0]
    k = 1
    while x[k] < generous:
        k += 1
    return y[k - 1] + (y[k] - y[k - 1]) * ((generous - x[k - 1]) / (x[k] - x[k - 1]))


@compiled
def least_step(term, prefix, needed):
    """The lowest step of shares with which a pair may contribute `needed`; LAST_STEP + 1 if there is none."""
    low, high = 0, LAST_STEP + 1
    while low < high:
        middle = (low + high) // 2
        if term.most[prefix, middle] < needed:
            low = middle + 1
        else:
            high = middle
    return low
