"""Results: how often a model errs, on the pairs it has learnt from and on others."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.model import Floats, LinkageModel
from common.linkage.training.labelled import TEST, TRAIN, Bools, new_records, vectors_of


@dataclass(frozen=True)
class Results:
    """How a model does on one split.

    Attributes:
        pairs: how many.
        log_loss: mean over the pairs that no rule decides (those with a clear difference are left out).
        f1: of the pairs accepted as duplicates, in [0, 1].
        found_f1: of those and the pairs put to review.
        reinserted: share of the returning records that are no candidates of the person they are.
        dropped: share of the new records that are accepted as duplicates of somebody.
        reviewed: share of the new records that are put to review, relatives among them.
        borderline: the same without relatives.
    """

    pairs: int
    log_loss: float
    f1: float
    found_f1: float
    reinserted: float
    dropped: float
    reviewed: float
    borderline: float


def evaluate(model: LinkageModel, pairs: pa.Table, split: str) -> Results:
    """Results of a model on the pairs of a split, `TRAIN` or `TEST`."""
    return ScoredSplit(model, pairs, split).results()


class ScoredSplit:
    """Scores of one split, by pair and by record."""

    def __init__(self, model: LinkageModel, pairs: pa.Table, split: str) -> None:
        self.model = model
        chosen = pairs.filter(pc.equal(pairs["split"], split))
        self.is_match: Bools = chosen["is_match"].to_numpy()
        self.household: Bools = chosen["household"].to_numpy()
        self.apart: Bools = chosen["apart"].to_numpy()
        self.weight: Floats = chosen["weight"].to_numpy()
        self.score: Floats = np.maximum(*(model.score(vectors_of(chosen, swapped)) for swapped in (False, True)))
        self.possible = np.where(self.apart | (self.household & model.inserts_relatives), 0, self.score)
        self.acceptable = np.where(self.household | self.apart, 0, self.score)
        records, self.record = np.unique(chosen["record"].to_numpy(), return_inverse=True)
        self.true = np.full(len(records), np.nan)
        self.true[self.record[self.is_match]] = self.possible[self.is_match]
        self.returning: Bools = ~np.isnan(self.true)
        self.of_new: Bools = ~self.returning[self.record]
        self.new_records = new_records(pairs)[split]

    def just_above_new(self) -> Floats:
        """Just above each score that a new record reaches."""
        return np.unique(np.nextafter(self.acceptable[self.of_new], 1))

    def returning_below(self, at: Floats) -> Floats:
        """How many returning records are below each cut-off with the person they are."""
        return np.searchsorted(np.sort(self.true[self.returning]), at).astype(np.float64)

    def new_from(self, at: Floats) -> Floats:
        """How many new records reach each cut-off, clear differences left out."""
        order = np.argsort(self.acceptable[self.of_new])
        score, weight = self.acceptable[self.of_new][order], self.weight[self.of_new][order]
        reached = np.append(np.cumsum(weight[::-1])[::-1], 0)[np.searchsorted(score, at)]
        return self._records(np.asarray(reached))

    def share_of_new(self, pairs: Bools) -> float:
        """Share of the new records that have one of these pairs."""
        reached = self._records(np.array([self.weight[pairs & self.of_new].sum()]))
        return float(reached[0]) / max(self.new_records, 1)

    def _records(self, pairs: Floats) -> Floats:
        """Of how many new records so many pairs are expected to be, if chance spreads them over the records."""
        return np.asarray(-np.expm1(-pairs / max(self.new_records, 1)) * self.new_records)

    def results(self) -> Results:
        """How the model does on this split."""
        from sklearn.metrics import log_loss

        accepted = self.acceptable >= self.model.accept_at
        found = self.possible >= self.model.review_at
        judged = ~(self.household | self.apart)
        return Results(
            pairs=len(self.score),
            log_loss=float(
                log_loss(
                    self.is_match[judged], self.score[judged], sample_weight=self.weight[judged], labels=[False, True]
                )
            ),
            f1=_f1(accepted, self.is_match),
            found_f1=_f1(found, self.is_match),
            reinserted=float((self.true[self.returning] < self.model.review_at).sum()) / max(self.returning.sum(), 1),
            dropped=self.share_of_new(accepted),
            reviewed=self.share_of_new(found & ~accepted),
            borderline=self.share_of_new(found & ~accepted & ~self.household),
        )


def _f1(predicted: Bools, actual: Bools) -> float:
    return 2 * int((predicted & actual).sum()) / max(int(predicted.sum() + actual.sum()), 1)


def calibration(model: LinkageModel, pairs: pa.Table) -> list[tuple[float, float, float]]:
    """How well scores are probabilities, on the test split: mean score, share of matches and pairs, by tenths."""
    split = ScoredSplit(model, pairs, TEST)
    tenth = np.minimum((split.score * 10).astype(int), 9)
    bins = []
    for number in range(10):
        chosen = (tenth == number) & ~(split.household | split.apart)
        if weight := float(split.weight[chosen].sum()):
            score, rate = (
                float(np.average(of[chosen], weights=split.weight[chosen])) for of in (split.score, split.is_match)
            )
            bins.append((score, rate, weight))
    return bins


def threshold_chart(model: LinkageModel, pairs: pa.Table) -> list[tuple[float, float, float]]:
    """What a single cut-off would do on the test split: cut-off, share re-inserted, share wrongly dropped."""
    split = ScoredSplit(model, pairs, TEST)
    returning = max(int(split.returning.sum()), 1)
    return [
        (
            float(cut_off),
            float((split.true[split.returning] < cut_off).sum()) / returning,
            split.share_of_new(split.acceptable >= cut_off),
        )
        for cut_off in np.linspace(0.05, 0.95, 19).round(2)
    ]


def results_table(fitted: Mapping[str, LinkageModel], pairs: pa.Table) -> list[dict[str, Any]]:
    """Train and test results of each model, one row a model, as plain JSON types."""
    return [
        {
            "model": name,
            "version": model.version,
            **{f"train_{key}": value for key, value in asdict(evaluate(model, pairs, TRAIN)).items()},
            **{f"test_{key}": value for key, value in asdict(evaluate(model, pairs, TEST)).items()},
            "calibration": calibration(model, pairs),
            "thresholds": threshold_chart(model, pairs),
        }
        for name, model in fitted.items()
    ]
