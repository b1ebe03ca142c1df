"""Tailoring: a model fitted to labelled pairs of all origins, with cut-offs for pairs like those of one table."""

from dataclasses import dataclass, replace

import pyarrow as pa

from common.linkage.model import LinkageModel
from common.linkage.training.cut_offs import Costs, Sample, with_cut_offs
from common.linkage.training.labelled import common_names, lighter, part
from common.linkage.training.regression import Formula, fit

ANSWER_WEIGHT = 5.0
"""What a record about which somebody was asked, which is a real one, counts beside a generated one for the cut-offs."""


@dataclass(frozen=True)
class Tailoring:
    """What a model is made for.

    Attributes:
        like: the origin whose pairs are like those of the table; the cut-offs are set mostly on these.
        invented: the origin whose pairs are of invented people, if there are any besides.
        invented_weight: what one of these counts beside a pair of another origin.
        judged: the origin whose pairs are answers to questions, if there are any.
        inserts_relatives: see `LinkageModel`.
        costs: of mistakes and of review.
    """

    like: str
    invented: str | None
    invented_weight: float
    judged: str | None
    inserts_relatives: bool
    costs: Costs


def tailored(formula: Formula, pairs: pa.Table, tailoring: Tailoring) -> LinkageModel:
    """A model that has learnt from all pairs, with cut-offs for pairs like those of the table.

    The cut-offs see those of the others too: new people who are as alike to somebody as two can be are rare, a sample
    of a small table may hold none of them, and what people answered is how incoming records really differ.

    Args:
        formula: what the model looks at.
        pairs: labelled pairs, as `joined` put them together.
        tailoring: what it is made for.
    """
    invented = tailoring.invented
    learnt = lighter(pairs, invented, tailoring.invented_weight) if invented else pairs
    model = replace(fit(formula, learnt, common_names(pairs)), inserts_relatives=tailoring.inserts_relatives)
    samples = [Sample(part(pairs, tailoring.like))]
    if invented:
        samples.append(Sample(part(pairs, invented), tailoring.invented_weight))
    if tailoring.judged:
        samples.append(Sample(part(pairs, tailoring.judged), ANSWER_WEIGHT, asked=True))
    return with_cut_offs(model, samples, tailoring.costs)
