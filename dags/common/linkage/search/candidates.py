"""Lossless candidate pairs: every pair that could reach the threshold, found without comparing all pairs.

Tables are encoded (`segment`), the cheapest passes that find all pairs are planned (`plan`, which also says why nothing
is missed), and the passes are joins (`join`) that drop a pair only when the sum of its bounds (`bounds`) misses the
threshold. What is found is scored by the reference (`comparison`), which decides; the search is a little more generous
than that, so that rounding never decides.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from joblib import cpu_count

from common.errors import CandidateExplosion
from common.linkage.comparison import COLUMNS, Rows, compared
from common.linkage.model import LinkageModel
from common.linkage.search.bounds import SLACK
from common.linkage.search.join import ANY_NUMBER, FOUND, RECORDS, Pass, join
from common.linkage.search.plan import COSTS, Plan, Work, planned
from common.linkage.search.segment import Segment
from common.masking import masked

HELD_PAIRS, MOST_PASSES = 4, 6
"""Pairs that a pass of `bounded_pairs` holds before records are given up, for each that the budget allows: 16 bytes
each. And how many passes a plan has at most: by number, by first and by last name, and all of them swapped."""

PARTS, SHORTEST_PART = 16, 1e6
"""Parts of a pass for each core, and the least work in one, in ns."""


@dataclass(frozen=True)
class Budget:
    """How much one call may do before it gives up.

    Attributes:
        pairs: candidate pairs, at most; each takes the reference some 20 microseconds.
        comparisons: pairs of addresses looked at, at most; a core does up to a hundred million a second.
        rows: right records encoded at a time, some 400 bytes each: the bound on memory. A segment is used whole.
        cores: threads to use; by default as many as this process may, by its affinity and its container's quota.
    """

    pairs: int = 5_000_000
    comparisons: int = 100_000_000_000
    rows: int = 16_000_000
    cores: int = field(default_factory=cpu_count)


@dataclass(frozen=True)
class Progress:
    """How far a call has come with `right`, or with the part of it that is held at a time.

    Attributes:
        share: of the work, in [0, 1].
        found: pairs found so far; the reference has not yet decided on them.
        pairs: that all of the work is expected to find.
        comparisons: of addresses, that all of the work is expected to take.
        core_seconds: that all of the work is expected to take; a rough figure.
    """

    share: float
    found: int
    pairs: int
    comparisons: int
    core_seconds: float


def candidate_pairs(
    left: pa.Table | Segment,
    right: pa.Table | Segment | None,
    model: LinkageModel,
    at: float,
    budget: Budget | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> pa.Table:
    """All pairs with a match score of at least `at`.

    Args:
        left: standardised records: `first_name_std`, `last_name_std`, `address_std` (ASCII; null is missing); or a
            segment of such a table, which saves encoding it again.
        right: records or people with the same columns, or a segment of them; None compares `left` with itself, each
            pair once.
        model: any linkage model.
        at: least match score, in (0, 1).
        budget: limits of work and memory; the usual ones if None.
        progress: called from this thread before the work begins, with what is expected, and some 30 times after.

    Returns:
        `left_row`, `right_row` (int64, in ascending order; left_row < right_row if `right` is None), the
        comparison vector and `score`.

    Raises:
        CandidateExplosion: the budget does not allow it; raised before the work begins if a sample shows it.
        ValueError: a value is not ASCII, `at` is out of range, or a segment lacks the tokens that the model weighs.
    """
    budget = budget or Budget()
    least = _least(model, at)
    ours = _encoded(left, _with_tokens(model))
    found = [_scored(ours, ours, np.empty((0, 2), np.int64), model)]
    for begin, theirs in _held(ours, right, _with_tokens(model), budget.rows):
        try:
            rows = _find(ours, theirs, model, least, budget, progress)
        except _OverBudgetError as error:
            others = ours if right is None else right
            raise _explosion(error.work, budget, frequent_names(_table(left), _table(others))) from None
        scored = _scored(ours, theirs, rows, model)
        scored = scored.filter(pc.greater_equal(scored["score"], at))
        found.append(scored.set_column(1, "right_row", pc.add(scored["right_row"], begin)))
    return pa.concat_tables(found).sort_by([("left_row", "ascending"), ("right_row", "ascending")])


def bounded_pairs(
    left: pa.Table, right: pa.Table | Segment, model: LinkageModel, at: float, most: int, budget: Budget
) -> tuple[pa.Table, Rows]:
    """As `candidate_pairs` of two tables, but records that have more than `most` pairs are given up.

    A placeholder such as `Test Test` makes millions of pairs, and would cost all other records theirs.

    Args:
        left: standardised records, as of `candidate_pairs`; so the others.
        right: likewise.
        model: likewise.
        at: likewise.
        most: pairs of one left record.
        budget: limits of work and memory; that of pairs is for those that are returned.

    Returns:
        The pairs of all records that were not given up; and the rows of `left` that were, in ascending order.

    Raises:
        CandidateExplosion: the budget does not allow the pairs of the others either.
    """
    size = max(1, HELD_PAIRS * budget.pairs // (most + 1))
    found, given_up = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    for start in range(0, len(left), size):
        rows, too_many = _bounded(left.slice(start, size), right, model, _least(model, at), most, budget)
        found.append(rows + np.array([start, 0]))
        given_up.append(too_many + start)
        if sum(map(len, found)) > budget.pairs:
            work = Work(0, 0, sum(map(len, found)))
            raise _explosion(work, budget, frequent_names(left, _table(right)))
    rows = np.concatenate(found)
    theirs = right.records(rows[:, 1]) if isinstance(right, Segment) else right.take(rows[:, 1])
    pairs = compared(left.take(rows[:, 0]), theirs, model)
    pairs = pairs.add_column(0, "left_row", pa.array(rows[:, 0])).add_column(1, "right_row", pa.array(rows[:, 1]))
    return pairs.filter(pc.greater_equal(pairs["score"], at)), np.concatenate(given_up)


def _bounded(
    left: pa.Table, right: pa.Table | Segment, model: LinkageModel, least: float, most: int, budget: Budget
) -> tuple[Rows, Rows]:
    """Row pairs of the left records that have no more than `most`, as of `_find`; and the rows of the others."""
    ours, counts, found = Segment.of(left, _with_tokens(model)), np.zeros(len(left), np.int64), []
    # A record may have its pairs in each of several passes.
    generous = replace(budget, pairs=MOST_PASSES * HELD_PAIRS * budget.pairs)
    for begin, theirs in _held(ours, right, _with_tokens(model), budget.rows):
        try:
            rows = _find(ours, theirs, model, least, generous, lambda _: None, most)
        except _OverBudgetError as error:
            raise _explosion(error.work, budget, frequent_names(left, _table(right))) from None
        counts += np.bincount(rows[:, 0], minlength=len(left))
        found.append(rows + np.array([0, begin]))
    together = np.concatenate([np.empty((0, 2), np.int64), *found])
    together = together[np.lexsort(together.T[::-1])]
    return together[counts[together[:, 0]] <= most], np.flatnonzero(counts > most)


def frequent_names(left: pa.Table, right: pa.Table, most: int = 3) -> list[tuple[str | None, str | None, int]]:
    """The (first name, last name, pairs) that are the same on both sides in most pairs, most frequent first."""
    names = [COLUMNS["first_name"], COLUMNS["last_name"]]
    counts = []
    for table in (left, right):
        grouped = table.select(names).group_by(names).aggregate([([], "count_all")]).to_pydict()
        counts.append(
            dict(zip(zip(*(grouped[name] for name in names), strict=True), grouped["count_all"], strict=True))
        )
    pairs = [(*name, count * counts[1].get(name, 0)) for name, count in counts[0].items()]
    return sorted((pair for pair in pairs if pair[2] > 0), key=lambda pair: -pair[2])[:most]


class _OverBudgetError(Exception):
    def __init__(self, work: Work) -> None:
        super().__init__("over budget")
        self.work = work


def _explosion(work: Work, budget: Budget, frequent: list[tuple[str | None, str | None, int]]) -> CandidateExplosion:
    """What to raise when the budget does not allow so much work. The message shows values of records masked."""
    pairs, comparisons = int(work.pairs), int(work.comparisons)
    causes = "; ".join(f"{masked(first, last) or 'no name'} in {count:,} pairs" for first, last, count in frequent)
    return CandidateExplosion(
        f"at least {pairs:,} candidate pairs and {comparisons:,} comparisons of addresses, where"
        f" {budget.pairs:,} and {budget.comparisons:,} are allowed; most often the same: {causes or 'no names'}",
        pairs=pairs,
        comparisons=comparisons,
        frequent=frequent,
    )


def _least(model: LinkageModel, at: float) -> float:
    """The log-odds, without the intercept, that pairs with a match score of `at` reach."""
    if not 0 < at < 1:
        raise ValueError("the least match score must lie between 0 and 1")
    lowest = at * (1 - 1e-15)  # the score itself is rounded too
    return math.log(lowest) - math.log1p(-lowest) - model.intercept - SLACK


def _with_tokens(model: LinkageModel) -> bool:
    return any(_matters(model, name) for name in ("address_words", "address_numbers"))


def _matters(model: LinkageModel, name: str) -> bool:
    """Whether a comparison can make a difference between pairs."""
    curve = model.curve(name)
    return len({*curve.log_odds, curve.missing}) > 1


def _encoded(table: pa.Table | Segment, with_tokens: bool) -> Segment:
    if not isinstance(table, Segment):
        return Segment.of(table, with_tokens)
    if with_tokens and not table.with_tokens:
        raise ValueError("the model weighs words or numbers of addresses, and the segment was made without them")
    return table


def _held(
    left: Segment, right: pa.Table | Segment | None, with_tokens: bool, rows: int
) -> Iterator[tuple[int, Segment]]:
    """The segments that `left` is compared with one after the other, and the row where each begins."""
    if right is None:
        yield 0, left
    elif isinstance(right, Segment):
        yield 0, _encoded(right, with_tokens)
    else:
        for begin in range(0, len(right), rows):
            yield begin, Segment.of(right.slice(begin, rows), with_tokens)


def _table(records: pa.Table | Segment) -> pa.Table:
    return records.records(np.arange(len(records))) if isinstance(records, Segment) else records


def _find(
    left: Segment,
    right: Segment,
    model: LinkageModel,
    least: float,
    budget: Budget,
    progress: Callable[[Progress], None],
    most: int = ANY_NUMBER,
) -> Rows:
    """Row pairs of at least `least` log-odds, without the intercept: n x 2, and a few more that the reference drops.

    Each comes once, in ascending order; if `right` is `left`, the lower row first. Of a left record that has more than
    `most`, at least one more than that is returned.
    """
    plan = planned(left, right, model, least, budget.cores)
    expected = plan.work()
    if expected.comparisons > budget.comparisons or (most == ANY_NUMBER and expected.pairs > budget.pairs):
        raise _OverBudgetError(expected)
    rows = _run(plan, expected, budget, progress, most)
    if right is left:
        rows = np.sort(rows[rows[:, 0] != rows[:, 1]], axis=1)
    return np.column_stack(np.divmod(np.unique(rows[:, 0] * len(right) + rows[:, 1]), max(len(right), 1)))


def _scored(left: Segment, right: Segment, rows: Rows, model: LinkageModel) -> pa.Table:
    """Row pairs with their comparison vectors and scores, by the reference."""
    vectors = compared(left.records(rows[:, 0]), right.records(rows[:, 1]), model)
    return vectors.add_column(0, "left_row", pa.array(rows[:, 0])).add_column(1, "right_row", pa.array(rows[:, 1]))


class _Part(NamedTuple):
    """Some left leaders of a pass, and the share of all work that they are expected to take."""

    step: Pass
    begin: int
    end: int
    share: float


def _parts(plan: Plan, cores: int) -> list[_Part]:
    """The passes in parts that threads can do side by side."""
    parts = []
    for step, work in zip(plan.passes, plan.works, strict=True):
        cost, length = float(work @ COSTS), step.length
        count = min(length, PARTS * cores, cores + int(cost / SHORTEST_PART))
        bounds = np.linspace(0, length, count + 1).astype(np.int64)
        share = cost / max(plan.cost(), 1) / max(count, 1)
        parts += [_Part(step, begin, end, share) for begin, end in pairwise(bounds.tolist())]
    return parts


def _run(plan: Plan, expected: Work, budget: Budget, progress: Callable[[Progress], None], most: int) -> Rows:
    """Do the passes in parts, on all threads; `most` as of `_find`."""
    parts = _parts(plan, budget.cores)
    found, comparisons, pairs, share, shown = [np.empty((0, 2), np.int64)], 0, 0, 0.0, 0.0

    def report(share: float) -> None:
        counts = int(expected.pairs), int(expected.comparisons)
        progress(Progress(min(share, 1.0), pairs, *counts, expected.nanoseconds * 1e-9))

    report(0.0)
    with ThreadPoolExecutor(budget.cores) as pool:
        waiting = {
            pool.submit(join, part.begin, part.end, part.step, budget.comparisons, budget.pairs, most): part
            for part in parts
        }
        for future in as_completed(waiting):
            rows, done = future.result()
            found.append(rows)
            comparisons, pairs = comparisons + int(done[RECORDS]), pairs + int(done[FOUND])
            share += waiting[future].share
            if comparisons > budget.comparisons or pairs > budget.pairs:
                pool.shutdown(cancel_futures=True)
                raise _OverBudgetError(expected._replace(comparisons=comparisons, pairs=pairs))
            if share >= shown + 1 / 30 and len(found) <= len(parts):
                shown = share
                report(share)
    report(1.0)
    return np.concatenate(found)
