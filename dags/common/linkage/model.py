"""The linkage model: a regression that turns a comparison vector into a match score.

The score is the probability that two records are the same person. Its log-odds are a sum with one term per
comparison, so that a decision can be explained by its terms, and every term grows with its similarity, so that
a pair not yet fully compared has a best possible score: that bound is what makes lossless candidates possible
(see `candidates`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from common.errors import ModelError
from common.linkage.rarity import COMMONNESS, NAMES, Commonness

Floats = npt.NDArray[np.float64]

SIMILARITIES = ("first_name", "last_name", "address", "address_words", "address_numbers")
"""Comparisons with a similarity in [0, 1], or null where either side is missing; see `comparison`."""

COMPARISON_VECTOR = (*SIMILARITIES, "swapped", *COMMONNESS)
"""Columns of a comparison vector; `swapped` is true where the names were compared crosswise, and the last ones say how
common the names are, see `rarity`: the commoner one of both sides, 0 where nothing is known."""

NEVER = -1_000.0
"""Log-odds that no evidence makes up for: what a model does not consider at all."""


@dataclass(frozen=True)
class Curve:
    """Log-odds that one comparison contributes: piecewise linear through its points, flat outside them.

    Attributes:
        similarities: x of the points, strictly growing, in [0, 1].
        log_odds: y of the points, never falling.
        missing: what a missing similarity contributes; it is a level of its own, neither 0 nor 1.

    Raises:
        ModelError: the points break these rules.
    """

    similarities: tuple[float, ...]
    log_odds: tuple[float, ...]
    missing: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a curve that lossless candidates could not rely on."""
        x, y = np.asarray(self.similarities), np.asarray(self.log_odds)
        if x.size == 0 or x.size != y.size or not np.isfinite([*x, *y, self.missing]).all():
            raise ModelError("a curve needs as many finite log-odds as similarities, and at least one")
        if x.min() < 0 or x.max() > 1 or (np.diff(x) <= 0).any():
            raise ModelError("the similarities of a curve must grow strictly within [0, 1]")
        if (np.diff(y) < 0).any():
            raise ModelError("the log-odds of a curve must never fall: the score is monotone in every similarity")

    def __call__(self, similarity: npt.ArrayLike) -> Floats:
        """Log-odds for an array of similarities, NaN standing for missing."""
        values = np.asarray(similarity, dtype=np.float64)
        contribution = np.interp(values, self.similarities, self.log_odds)
        return np.where(np.isnan(values), self.missing, contribution)


_NOTHING = Curve((1.0,), (0.0,))


@dataclass(frozen=True)
class CommonNames:
    """How much less agreement on a common name is worth than on a rare one, for which the curve is.

    Attributes:
        worth: of the commonest names, as a share of what the same similarity of rare ones contributes; in (0, 1].
        commonness: of the names that are common in the table that the model was made for.

    Raises:
        ModelError: a number is out of range.
    """

    worth: float
    commonness: Commonness

    def __post_init__(self) -> None:
        """Refuse what lossless candidates could not rely on."""
        if not 0 < self.worth <= 1:
            raise ModelError("agreement on a common name must be worth something, and no more than on a rare one")
        if not all(0 < value <= 1 for value in self.commonness.values()):
            raise ModelError("how common a name is must lie in (0, 1]")

    def worths(self, commonness: Floats) -> Floats:
        """For an array of how common names are, what agreement on each is worth."""
        return 1 - commonness * (1 - self.worth)


@dataclass(frozen=True)
class LinkageModel:
    """A logistic regression over a comparison vector, with the cut-offs that make decisions of its scores.

    Attributes:
        intercept: log-odds before any comparison.
        curves: by name of `SIMILARITIES`; a comparison without a curve contributes nothing.
        swapped: log-odds added when the names match crosswise; at most 0, since swapping is a sign of an error.
        accept_at: a score of at least this is a duplicate, in (0, 1).
        review_at: a score of at least this and below `accept_at` goes to review, in (0, accept_at].
        margin: a best candidate less than this ahead of the runner-up goes to review; log-odds, at least 0.
        inserts_relatives: whether somebody who lives with a person of the same last name and clearly another first
            name is inserted without a question; else such a record goes to review.
        common_names: by name of `rarity.NAMES`; without it, all names count as rare.
    """

    intercept: float
    curves: Mapping[str, Curve]
    swapped: float
    accept_at: float
    review_at: float
    margin: float
    inserts_relatives: bool = False
    common_names: Mapping[str, CommonNames] = field(default_factory=dict)
    version: str = field(init=False)

    def __post_init__(self) -> None:
        """Check the parts and derive the version from them."""
        if unknown := set(self.curves) - set(SIMILARITIES):
            raise ModelError(f"there are curves for {', '.join(SIMILARITIES)}, not for {', '.join(sorted(unknown))}")
        if not np.isfinite([self.intercept, self.swapped]).all():
            raise ModelError("every weight must be a finite number")
        if self.swapped > 0:
            raise ModelError("swapped names must not count in favour of a match")
        if not 0 < self.review_at <= self.accept_at < 1:
            raise ModelError("the cut-offs must satisfy 0 < review_at <= accept_at < 1")
        if not 0 <= self.margin < np.inf:
            raise ModelError("the margin must be a finite number of log-odds, at least 0")
        if unknown := set(self.common_names) - set(NAMES):
            raise ModelError(f"names are common for {' and '.join(NAMES)}, not for {', '.join(sorted(unknown))}")
        if any(common.worth < 1 and min(self.curve(name).log_odds) < 0 for name, common in self.common_names.items()):
            raise ModelError("names that are worth less where they are common must not count against a match")
        content = json.dumps(self.to_dict(), sort_keys=True)
        object.__setattr__(self, "version", hashlib.sha256(content.encode()).hexdigest()[:12])

    def curve(self, name: str) -> Curve:
        """The curve of one of `SIMILARITIES`, flat at 0 where the model has none: the most that any value can add."""
        return self.curves.get(name, _NOTHING)

    def commonness(self, name: str) -> Commonness:
        """The names that are common, by one of `rarity.NAMES`."""
        return self.common_names[name].commonness if name in self.common_names else {}

    def worths(self, name: str, commonness: Floats) -> Floats:
        """What agreement on names so common is worth, as a share of that on rare ones, by one of `rarity.NAMES`."""
        common = self.common_names.get(name)
        return common.worths(commonness) if common else np.ones(len(commonness))

    def _term(self, name: str, vectors: Mapping[str, npt.ArrayLike]) -> Floats:
        term = self.curves[name](vectors[name])
        column = f"{name}_commonness"
        if name not in self.common_names or column not in vectors:
            return term
        worths = self.worths(name, np.nan_to_num(np.asarray(vectors[column], dtype=np.float64)))
        return np.where(np.isnan(np.asarray(vectors[name], dtype=np.float64)), term, worths * term)

    def contributions(self, vectors: Mapping[str, npt.ArrayLike]) -> dict[str, Floats]:
        """Log-odds of each term for arrays of comparison vectors; with the intercept they sum to the score's.

        Args:
            vectors: the columns of `COMPARISON_VECTOR` as arrays of one length, NaN for a missing similarity; those
                without a curve may be left out, and without the last ones all names count as rare.
        """
        nothing = np.zeros(len(np.asarray(vectors["swapped"])))
        terms = {name: self._term(name, vectors) if name in self.curves else nothing for name in SIMILARITIES}
        terms["swapped"] = self.swapped * np.asarray(vectors["swapped"], dtype=np.float64)
        return terms

    def log_odds(self, vectors: Mapping[str, npt.ArrayLike]) -> Floats:
        """Log-odds of a match for arrays of comparison vectors."""
        total = np.full(len(np.asarray(vectors["swapped"])), self.intercept, dtype=np.float64)
        for term in self.contributions(vectors).values():
            total += term
        return total

    def score(self, vectors: Mapping[str, npt.ArrayLike]) -> Floats:
        """Match scores, probabilities in [0, 1], for arrays of comparison vectors."""
        return np.asarray(expit(self.log_odds(vectors)))

    def to_dict(self) -> dict[str, Any]:
        """The model as plain JSON types, without the version, which follows from them."""
        content: dict[str, Any] = {
            "intercept": self.intercept,
            "curves": {name: asdict(self.curves[name]) for name in SIMILARITIES if name in self.curves},
            "swapped": self.swapped,
            "accept_at": self.accept_at,
            "review_at": self.review_at,
            "margin": self.margin,
        }
        # Left out where there is nothing to say, so that models stored before these existed keep their versions.
        if self.inserts_relatives:
            content["inserts_relatives"] = True
        if self.common_names:
            content["common_names"] = {name: asdict(self.common_names[name]) for name in sorted(self.common_names)}
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The model that `to_dict` described.

        Raises:
            ModelError: a part is missing, unknown or out of range.
        """
        try:
            curves = {
                name: Curve(tuple(curve["similarities"]), tuple(curve["log_odds"]), curve["missing"])
                for name, curve in content["curves"].items()
            }
            common = {
                name: CommonNames(part["worth"], dict(part["commonness"]))
                for name, part in content.get("common_names", {}).items()
            }
            return cls(**{**content, "curves": curves, "common_names": common})
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"not a linkage model: {error}") from error


STARTING_MODEL = LinkageModel(
    intercept=-9.5949,
    curves={
        "first_name": Curve((0.8, 0.87, 0.93, 1.0), (0.0, 0.0, 1.7172, 2.7539), missing=0.0921),
        "last_name": Curve((0.8, 0.87, 0.93, 1.0), (0.0, 2.1035, 3.1942, 4.1648), missing=1.9412),
        "address": Curve((0.6, 0.7, 0.8, 0.9, 1.0), (0.0, 0.0, 0.8154, 3.5421, 3.5421), missing=1.2842),
        "address_words": Curve((0.2, 0.4, 0.6, 0.8, 1.0), (0.0, 0.5203, 0.5659, 3.2285, 3.2285), missing=1.2842),
        "address_numbers": Curve((0.0, 0.5, 1.0), (0.0, 1.6716, 1.8659), missing=1.2842),
    },
    swapped=0.0,
    accept_at=0.8694,
    review_at=0.2977,
    margin=0.5,
)
"""What decides until a model trained on the table's own people is promoted.

`dev/shipped_model.py` makes it anew: from 10,000 invented people with full addresses all over a country, for a table of
10,000, with cut-offs that keep to given shares of mistakes, rounded. It knows no common names, since those differ from
table to table. What the training of today makes of the same people costs as much in mistakes and reviews, by
`make quality`, asks about more records and takes one pair more of the golden ones for one person, so this one stays.
"""
