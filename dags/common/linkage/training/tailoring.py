"""Tailoring: a model fitted to labelled pairs of all origins, with cut-offs for pairs like those of one table."""

from dataclasses import dataclass, replace

import pyarrow as pa

from common.linkage.model import LinkageModel
from common.linkage.training.cut_offs import Costs, with_cut_offs
from common.linkage.training.labelled import common_names, lighter, part
from common.linkage.training.regression import Formula, fit


@dataclass(frozen=True)
class Tailoring:
    """What a model is made for.

    Attributes:
        like: the origin whose pairs are like those of the table; the cut-offs are set on these.
        invented: the origin whose pairs are of invented people, if there are any besides.
        invented_weight: what one of these counts beside a pair of another origin.
        inserts_relatives: see `LinkageModel`.
        costs: of mistakes and of review.
    """

    like: str
    invented: str | None
    invented_weight: float
    inserts_relatives: bool
    costs: Costs


def tailored(formula: Formula, pairs: pa.Table, tailoring: Tailoring) -> LinkageModel:
    """A model that has learnt from all pairs, with cut-offs for pairs like those of the table.

    `accept_at` is never below what the invented people suggest: new people who are as alike to somebody as two can be
    are rare, and a sample of a small table may hold none of them.

    Args:
        formula: what the model looks at.
        pairs: labelled pairs, as `joined` put them together.
        tailoring: what it is made for.
    """
    invented = tailoring.invented
    learnt = lighter(pairs, invented, tailoring.invented_weight) if invented else pairs
    model = replace(fit(formula, learnt, common_names(pairs)), inserts_relatives=tailoring.inserts_relatives)
    origins = [tailoring.like, *([invented] if invented else [])]
    like, *others = (with_cut_offs(model, part(pairs, origin), tailoring.costs) for origin in origins)
    return replace(like, accept_at=max(model.accept_at for model in (like, *others)))
