"""The ladder of regression models: what each of them looks at, and how they are fitted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.model import NEVER, SIMILARITIES, CommonNames, Curve, Floats, LinkageModel
from common.linkage.rarity import NAMES, NOTHING_KNOWN, KnownNames
from common.linkage.training.labelled import TRAIN, vectors_of

MARGIN = 0.5
"""Log-odds by which the best candidate must be ahead of the runner-up, see `LinkageModel.margin`."""

WORTHS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""What agreement on the commonest names may be worth, see `CommonNames`."""

LEAST_GAIN = 1e-6
"""Log-loss by which another worth must be better."""

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
        rarity: whether agreement on a common name is worth less, where it is known which names are common.
        strength: inverse of the regularisation; more follows the training pairs more closely.
        warning: whether it stands in the table of results only, never to be promoted.
    """

    name: str
    knots: Mapping[str, tuple[float, ...]]
    missing: bool
    swapped: bool
    rarity: bool = False
    strength: float = 10.0
    warning: bool = False


FORMULAS = (
    Formula("address", {"address": _ADDRESS_KNOTS}, missing=False, swapped=False),
    Formula("names", _NAMES, missing=False, swapped=False),
    Formula("names + address", _ALL, missing=False, swapped=False),
    Formula("... + missing levels", _ALL, missing=True, swapped=False),
    Formula("... + swapped names", _ALL, missing=True, swapped=True),
    Formula("... + address parts", {**_ALL, **_PARTS}, missing=True, swapped=True),
    Formula("... + rarity of names", {**_ALL, **_PARTS}, missing=True, swapped=True, rarity=True),
    Formula("over-fitted", dict.fromkeys(SIMILARITIES, _FINE), missing=True, swapped=True, strength=1e6, warning=True),
)
"""From the simplest to one that learns its training pairs by heart, as a warning."""


def fit(formula: Formula, pairs: pa.Table, known: KnownNames = NOTHING_KNOWN) -> LinkageModel:
    """Fit a logistic regression, monotone in every similarity, to the train split; cut-offs are set elsewhere.

    Each curve is a sum of ramps between neighbouring knots. A ramp whose weight comes out negative would make the
    curve fall; it is dropped and the rest fitted again, until none is left. What agreement on common names is worth is
    looked for step by step, fitting everything else again each time. Pairs of a
    household are left out: a rule decides them, and they would only teach the regression to mistrust every changed
    first name. They are kept where all others are of one kind, as in a small set of judgements. Pairs that are apart
    stay in, though a rule decides them too: without them nothing tells that neighbours with unlike names are two
    people, and `review_at`, which must lie above neighbours, would come out too high.

    Args:
        formula: what to look at.
        pairs: schema `LABELLED`, with matches and others among them.
        known: how common names are in the table that the model is made for; without it, rarity is left out.

    Raises:
        ValueError: the pairs are all of one kind.
    """
    pairs = pairs.filter(pc.equal(pairs["split"], TRAIN))
    undecided = pairs.filter(pc.invert(pairs["household"]))
    if len(undecided["is_match"].unique()) > 1:
        pairs = undecided
    task = _Task(formula, pairs)
    common = {name: names for name, names in known.items() if names and name in formula.knots}
    worths, fitted = _with_worths(task, list(common) if formula.rarity else [])
    return LinkageModel(
        intercept=fitted.intercept,
        curves={name: _curve(name, knots, fitted.weight) for name, knots in formula.knots.items()},
        swapped=0.0 - fitted.weight[("swapped", "penalty")] if formula.swapped else NEVER,
        accept_at=0.5,
        review_at=0.5,
        margin=MARGIN,
        common_names={name: CommonNames(worth, common[name]) for name, worth in worths.items() if worth < 1},
    )


_Feature = tuple[str, float | str]


class _Fitted(NamedTuple):
    """Weights by feature, and the log-loss on the pairs that they were fitted to."""

    intercept: float
    weight: Mapping[_Feature, float]
    loss: float


class _Task:
    """What a formula is fitted to: a matrix of features, labels and weights of the pairs."""

    def __init__(self, formula: Formula, pairs: pa.Table) -> None:
        vectors = vectors_of(pairs, formula.swapped)
        self.features, columns = zip(*_features(formula, vectors), strict=True)
        self.matrix, self.strength = np.column_stack(columns), formula.strength
        self.labels, self.weights = pairs["is_match"].to_numpy(), pairs["weight"].to_numpy()
        self.common = {name: np.nan_to_num(vectors[f"{name}_commonness"]) for name in NAMES}
        self.free = np.array([kind == "missing" for _, kind in self.features])

    def fitted(self, worths: Mapping[str, float]) -> _Fitted:
        """The regression where agreement on common names has these worths, see `CommonNames`."""
        from sklearn.linear_model import LogisticRegression  # two seconds, and most runs fit nothing
        from sklearn.metrics import log_loss

        matrix = self.matrix.copy()
        for name, worth in worths.items():
            of_name = np.array([feature == name for feature, _ in self.features]) & ~self.free
            matrix[:, of_name] *= (1 - self.common[name] * (1 - worth))[:, np.newaxis]
        used = np.ones(len(self.features), bool)
        while True:
            regression = LogisticRegression(C=self.strength, max_iter=500)
            regression.fit(matrix * used, self.labels, sample_weight=self.weights)
            weights = regression.coef_[0] * used
            if not (wrong := (weights < 0) & ~self.free).any():
                break
            used &= ~wrong
        weight = dict(zip(self.features, weights.tolist(), strict=True))
        probability = regression.predict_proba(matrix * used)[:, 1]
        return _Fitted(
            float(regression.intercept_[0]), weight, log_loss(self.labels, probability, sample_weight=self.weights)
        )


def _with_worths(task: _Task, names: Sequence[str]) -> tuple[dict[str, float], _Fitted]:
    """The worths of common names that fit best, of those in `WORTHS`, and everything else that goes with them.

    One name after the other goes down and up as long as that lowers the loss, and then each of them once more.
    """
    at = dict.fromkeys(names, 0)
    best = task.fitted({})
    for name, step in [(name, step) for name in (*names, *names) for step in (1, -1)]:
        while 0 <= at[name] + step < len(WORTHS):
            there = at | {name: at[name] + step}
            fitted = task.fitted({name: WORTHS[place] for name, place in there.items()})
            if fitted.loss > best.loss - LEAST_GAIN:
                break
            at, best = there, fitted
    return {name: WORTHS[place] for name, place in at.items()}, best


def _features(formula: Formula, vectors: Mapping[str, npt.NDArray[Any]]) -> Iterable[tuple[_Feature, Floats]]:
    for name, knots in formula.knots.items():
        missing = np.isnan(vectors[name])
        for low, high in pairwise(knots):
            yield (name, high), np.where(missing, 0, np.clip((vectors[name] - low) / (high - low), 0, 1))
        if formula.missing:
            yield (name, "missing"), missing.astype(float)
    if formula.swapped:
        yield ("swapped", "penalty"), -vectors["swapped"].astype(float)


def _curve(name: str, knots: tuple[float, ...], weight: Mapping[_Feature, float]) -> Curve:
    rises = np.cumsum([0.0, *(weight[name, knot] for knot in knots[1:])])
    return Curve(knots, tuple(rises.tolist()), weight.get((name, "missing"), 0.0))
