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
        log_loss: mean over the pairs that no rule decides (those of a household are left out).
        f1: of the pairs accepted as duplicates, in [0, 1].
        found_f1: of those and the pairs put to review.
        reinserted: share of the returning records that are below `review_at` with the person they are.
        dropped: share of the new records that reach `accept_at` with somebody.
        reviewed: share of the new records that are put to review, relatives among them.
    """

    pairs: int
    log_loss: float
    f1: float
    found_f1: float
    reinserted: float
    dropped: float
    reviewed: float


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
        self.weight: Floats = chosen["weight"].to_numpy()
        self.score: Floats = np.maximum(*(model.score(vectors_of(chosen, swapped)) for swapped in (False, True)))
        self.acceptable = np.where(self.household, 0, self.score)
        records, self.record = np.unique(chosen["record"].to_numpy(), return_inverse=True)
        self.true = np.full(len(records), np.nan)
        self.true[self.record[self.is_match]] = self.score[self.is_match]
        self.returning: Bools = ~np.isnan(self.true)
        self.new_records = new_records(pairs)[split]

    def cut_off(self, share: float) -> float:
        """The lowest score that at most this share of the new records reaches, those of a household left out."""
        of_new = ~self.returning[self.record]
        order = np.argsort(-self.acceptable[of_new])
        reached = np.cumsum(self.weight[of_new][order]) > share * self.new_records
        return float(np.nextafter(self.acceptable[of_new][order][reached.argmax()], 1)) if reached.any() else 0.0

    def share_of_new(self, pairs: Bools) -> float:
        """Expected share of the new records that have one of these pairs, in the table that the weights tell."""
        return min(float(self.weight[pairs & ~self.returning[self.record]].sum()) / max(self.new_records, 1), 1.0)

    def results(self) -> Results:
        """How the model does on this split."""
        from sklearn.metrics import log_loss

        accepted = self.acceptable >= self.model.accept_at
        found = self.score >= self.model.review_at
        judged = ~self.household
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
        )


def _f1(predicted: Bools, actual: Bools) -> float:
    return 2 * int((predicted & actual).sum()) / max(int(predicted.sum() + actual.sum()), 1)


def calibration(model: LinkageModel, pairs: pa.Table) -> list[tuple[float, float, float]]:
    """How well scores are probabilities, on the test split: mean score, share of matches and pairs, by tenths."""
    split = ScoredSplit(model, pairs, TEST)
    tenth = np.minimum((split.score * 10).astype(int), 9)
    bins = []
    for number in range(10):
        chosen = (tenth == number) & ~split.household
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
