"""The ladder of regression models: what each of them looks at, and how they are fitted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.model import NEVER, SIMILARITIES, Curve, Floats, LinkageModel
from common.linkage.training.labelled import TRAIN, vectors_of

MARGIN = 0.5
"""Log-odds by which the best candidate must be ahead of the runner-up, see `LinkageModel.margin`."""


# Names less alike than 0.8 get no credit: unrelated names reach 0.7 by chance, and without the names a large table
# could only be searched by comparing every address with every other.
_NAME_KNOTS = (0.8, 0.87, 0.93, 1.0)
_ADDRESS_KNOTS = (0.6, 0.7, 0.8, 0.9, 1.0)
_NAMES = {"first_name": _NAME_KNOTS, "last_name": _NAME_KNOTS}
_ALL = {**_NAMES, "address": _ADDRESS_KNOTS}
_PARTS = {"address_words": (0.2, 0.4, 0.6, 0.8, 1.0), "address_numbers": (0.0, 0.5, 1.0)}
_FINE = tuple(float(knot) for knot in np.linspace(0.3, 1, 15).round(3))


@dataclass(frozen=True)
class Formula:
    """What a regression model looks at.

    Attributes:
        name: as the table of results shows it.
        knots: the comparisons in it, each with the similarities where its curve may bend.
        missing: whether a missing similarity is a level of its own; else it counts like the lowest similarity.
        swapped: whether names are compared crosswise too.
        strength: inverse of the regularisation; more follows the training pairs more closely.
        warning: whether it stands in the table of results only, never to be promoted.
    """

    name: str
    knots: Mapping[str, tuple[float, ...]]
    missing: bool
    swapped: bool
    strength: float = 10.0
    warning: bool = False


FORMULAS = (
    Formula("address", {"address": _ADDRESS_KNOTS}, missing=False, swapped=False),
    Formula("names", _NAMES, missing=False, swapped=False),
    Formula("names + address", _ALL, missing=False, swapped=False),
    Formula("... + missing levels", _ALL, missing=True, swapped=False),
    Formula("... + swapped names", _ALL, missing=True, swapped=True),
    Formula("... + address parts", {**_ALL, **_PARTS}, missing=True, swapped=True),
    Formula("over-fitted", dict.fromkeys(SIMILARITIES, _FINE), missing=True, swapped=True, strength=1e6, warning=True),
)
"""From the simplest to one that learns its training pairs by heart, as a warning."""


def fit(formula: Formula, pairs: pa.Table) -> LinkageModel:
    """Fit a logistic regression, monotone in every similarity, to the train split; cut-offs are set elsewhere.

    Each curve is a sum of ramps between neighbouring knots. A ramp whose weight comes out negative would make the
    curve fall; it is dropped and the rest fitted again, until none is left. Pairs of a
    household are left out: a rule decides them, and they would only teach the regression to mistrust every changed
    first name. They are kept where all others are of one kind, as in a small set of judgements. Pairs that are apart
    stay in, though a rule decides them too: without them nothing tells that neighbours with unlike names are two
    people, and `review_at`, which must lie above neighbours, would come out too high.

    Args:
        formula: what to look at.
        pairs: schema `LABELLED`, with matches and others among them.

    Raises:
        ValueError: the pairs are all of one kind.
    """
    from sklearn.linear_model import LogisticRegression  # two seconds, and most runs fit nothing

    pairs = pairs.filter(pc.equal(pairs["split"], TRAIN))
    undecided = pairs.filter(pc.invert(pairs["household"]))
    if len(undecided["is_match"].unique()) > 1:
        pairs = undecided
    vectors = vectors_of(pairs, formula.swapped)
    names, features = zip(*_features(formula, vectors), strict=True)
    matrix, labels, weight_of_pair = np.column_stack(features), pairs["is_match"].to_numpy(), pairs["weight"].to_numpy()
    used = np.ones(len(names), bool)
    free = np.array([kind == "missing" for _, kind in names])
    while True:
        regression = LogisticRegression(C=formula.strength, max_iter=500)
        regression.fit(matrix * used, labels, sample_weight=weight_of_pair)
        weights = regression.coef_[0] * used
        if not (wrong := (weights < 0) & ~free).any():
            break
        used &= ~wrong
    weight = dict(zip(names, weights.tolist(), strict=True))
    return LinkageModel(
        intercept=float(regression.intercept_[0]),
        curves={name: _curve(name, knots, weight) for name, knots in formula.knots.items()},
        swapped=0.0 - weight[("swapped", "penalty")] if formula.swapped else NEVER,
        accept_at=0.5,
        review_at=0.5,
        margin=MARGIN,
    )


def _features(
    formula: Formula, vectors: Mapping[str, npt.NDArray[Any]]
) -> Iterable[tuple[tuple[str, float | str], Floats]]:
    for name, knots in formula.knots.items():
        missing = np.isnan(vectors[name])
        for low, high in pairwise(knots):
            yield (name, high), np.where(missing, 0, np.clip((vectors[name] - low) / (high - low), 0, 1))
        if formula.missing:
            yield (name, "missing"), missing.astype(float)
    if formula.swapped:
        yield ("swapped", "penalty"), -vectors["swapped"].astype(float)


def _curve(name: str, knots: tuple[float, ...], weight: Mapping[tuple[str, float | str], float]) -> Curve:
    rises = np.cumsum([0.0, *(weight[name, knot] for knot in knots[1:])])
    return Curve(knots, tuple(rises.tolist()), weight.get((name, "missing"), 0.0))
