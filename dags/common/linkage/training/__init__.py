"""Training: labelled pairs with realistic errors, a ladder of regression models, their cut-offs and their results.

In the order in which they are used:

- `labelled`: the table of labelled pairs, and how pairs become rows of it.
- `lookalikes`: new people who resemble a known person, such as relatives and neighbours.
- `surroundings`: what tables of people are like: families, one town, coarse addresses, common and rare names.
- `worlds`: labelled pairs made of people. They play the real task: a batch of returning people, written differently,
  and of new people is compared with a table.
- `judged`: labelled pairs of records about which somebody has said whether they are one person.
- `regression`: what the models of the ladder look at, and how they are fitted.
- `cut_offs`: from which score on a pair is a duplicate, and from which on somebody should look at it.
- `tailoring`: a model for one table: what it learns from, and on which pairs its cut-offs are set.
- `results`: how often a model errs, on the pairs it has learnt from and on others.
"""

from common.linkage.training.cut_offs import Costs, Sample, with_cut_offs
from common.linkage.training.judged import judged_pairs
from common.linkage.training.labelled import LABELLED, TEST, TRAIN, joined, lighter, lineage, part
from common.linkage.training.regression import FORMULAS, Formula, fit
from common.linkage.training.results import Results, evaluate, results_table
from common.linkage.training.surroundings import SURROUNDINGS
from common.linkage.training.tailoring import Tailoring, tailored
from common.linkage.training.worlds import MIN_PEOPLE, generated_pairs

__all__ = [
    "FORMULAS",
    "LABELLED",
    "MIN_PEOPLE",
    "SURROUNDINGS",
    "TEST",
    "TRAIN",
    "Costs",
    "Formula",
    "Results",
    "Sample",
    "Tailoring",
    "evaluate",
    "fit",
    "generated_pairs",
    "joined",
    "judged_pairs",
    "lighter",
    "lineage",
    "part",
    "results_table",
    "tailored",
    "with_cut_offs",
]
