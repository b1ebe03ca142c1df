"""Lossless candidate pairs: every pair that could reach the threshold, found without comparing all pairs.

Why nothing is missed. The log-odds of a pair are a sum with one term per comparison, and no term exceeds the
maximum of its curve (or the level of a missing value, if that is higher). So the terms known so far plus the
maxima of the others bound a pair, and a pair is left out only where that bound misses the threshold:

1. The two names together must reach the threshold less the most that an address can add.
2. So for any `split`, a pair has first names that contribute at least `split`, or last names that contribute more
   than the rest. Each case is a pass of its own, led by that name; the second leaves out the pairs of the first.
   Both together are complete whatever the split, so it is chosen by cost alone, on a sample.
3. A pass compares distinct names first, then the other name of those records only, then their addresses; each
   time the least similarity that will do follows from the terms known so far (a curve read backwards), and a
   value whose length, characters and first letters cannot reach it is not compared (see `walk`). Likewise, what
   the words of two addresses can add at most is known before the addresses are read (see `word_sieve`).
4. Where an equal number in the addresses adds log-odds, pairs that share a number can be found by that alone
   (a `Meeting`). The passes need only find the others, whose addresses add less, so that their names must add
   more. Whether that costs less is measured on the sample, too.

A record without a first name can only be led by its last name, and the other way round: passes of their own.
Swapped names are passes in which the left first names meet the right last names. What is found is scored by the
reference (`comparison`), which decides; the walk is more generous than that by `SLACK`, so that rounding never
decides.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.errors import CandidateExplosion
from common.linkage.comparison import COLUMNS, Rows, comparison_vectors
from common.linkage.model import LinkageModel
from common.linkage.search.address_parts import Meetings, meetings
from common.linkage.search.dictionary import NONE
from common.linkage.search.jaro_winkler import memory
from common.linkage.search.walk import (
    ANY,
    ASCENDING,
    ONCE,
    SLACK,
    AddressComparison,
    AddressCurves,
    Goal,
    Index,
    Meeting,
    Pass,
    Records,
    Work,
    meet,
    some_of,
    steps,
    walk,
)
from common.linkage.search.word_sieve import NO_SIEVE, NO_WORDS, alike_words
from common.masking import masked

SAMPLE = 60
"""Left records on which the cost of a pass is measured beforehand."""

PATIENCE = 100e6
"""Work on a sample, in ns, after which it is cut short."""

SPLITS = (0.5, 0.2, 0.8, 0.0, 1.0)
"""Splits that are tried, in the range where both names have to do: at 0 only the first name leads, at 1 the last."""


@dataclass(frozen=True)
class Budget:
    """How much one call may do before it gives up.

    Attributes:
        pairs: candidate pairs, at most; each takes the reference some 20 microseconds.
        comparisons: pairs of addresses looked at, at most; a core does up to a hundred million a second.
        rows: right records held encoded at a time, some 400 bytes each: the bound on memory.
        cores: threads to use.
    """

    pairs: int = 5_000_000
    comparisons: int = 100_000_000_000
    rows: int = 16_000_000
    cores: int = os.cpu_count() or 1


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


def _explosion(work: Work, budget: Budget, frequent: list[tuple[str | None, str | None, int]]) -> CandidateExplosion:
    """What to raise when the budget does not allow so much work. The message shows values of records masked."""
    pairs, comparisons = int(work.pairs), int(work.addresses)
    causes = "; ".join(f"{masked(first, last) or 'no name'} in {count:,} pairs" for first, last, count in frequent)
    return CandidateExplosion(
        f"at least {pairs:,} candidate pairs and {comparisons:,} comparisons of addresses, where"
        f" {budget.pairs:,} and {budget.comparisons:,} are allowed; most often the same: {causes or 'no names'}",
        pairs=pairs,
        comparisons=comparisons,
        frequent=frequent,
    )


def candidate_pairs(
    left: pa.Table,
    right: pa.Table | None,
    model: LinkageModel,
    at: float,
    budget: Budget | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> pa.Table:
    """All pairs with a match score of at least `at`.

    Args:
        left: standardised records: `first_name_std`, `last_name_std`, `address_std` (ASCII; null is missing).
        right: records or people with the same columns; None compares `left` with itself, each pair once.
        model: any linkage model.
        at: least match score, in (0, 1).
        budget: limits of work and memory; the usual ones if None.
        progress: called from this thread before the work begins, with what is expected, and some 30 times after.

    Returns:
        `left_row`, `right_row` (int64, in ascending order; left_row < right_row if `right` is None), the
        comparison vector and `score`.

    Raises:
        CandidateExplosion: the budget does not allow it; raised before the work begins if a sample shows it.
        ValueError: a value is not ASCII, or `at` is out of range.
    """
    if not 0 < at < 1:
        raise ValueError("the least match score must lie between 0 and 1")
    budget = budget or Budget()
    others = left if right is None else right
    lowest = at * (1 - 1e-15)  # the score itself is rounded too
    least = math.log(lowest) - math.log1p(-lowest) - model.intercept - SLACK
    by_words = steps(model.curve("address_words"))
    with_words = by_words.best > by_words.least
    records = Records(left, with_words)
    found = [np.empty((0, 2), np.int64)]
    held = len(others) if right is None else budget.rows
    for begin in range(0, len(others), max(held, 1)):
        other_records = records if right is None else Records(others.slice(begin, held), with_words)
        try:
            rows = _find(records, other_records, model, least, budget, progress)
        except _OverBudgetError as error:
            raise _explosion(error.work, budget, frequent_names(left, others)) from None
        found.append(rows + np.array([0, begin]))
    rows = np.concatenate(found)
    if right is None:
        rows = np.sort(rows[rows[:, 0] != rows[:, 1]], axis=1)
    left_rows, right_rows = np.divmod(np.unique(rows[:, 0] * len(others) + rows[:, 1]), max(len(others), 1))
    vectors = comparison_vectors(left, others, left_rows, right_rows, model)
    pairs = vectors.add_column(0, "left_row", pa.array(left_rows)).add_column(1, "right_row", pa.array(right_rows))
    return pairs.filter(pc.greater_equal(pairs["score"], at))


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


class _Group:
    """Some rows of a table, in the order of their first or last names when that is first asked for."""

    def __init__(self, records: Records, rows: Rows) -> None:
        self.records, self.rows = records, rows
        self._indexes: dict[str, Index] = {}

    def by(self, name: str) -> Index:
        if name not in self._indexes:
            self._indexes[name] = self.records.index(name, self.rows)
        return self._indexes[name]

    def only(self, chosen: npt.NDArray[np.bool_]) -> "_Group":
        return _Group(self.records, self.rows[chosen])

    def has_numbers(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.records.addresses.numbers[self.rows] != 0)


class _Arrangement(NamedTuple):
    """Complete left records against right ones, names straight or swapped."""

    goal: Goal  # driver_least: of both names together
    left: tuple[str, str]  # "first" and "last"
    right: tuple[str, str]  # what the left first and the left last name are compared with
    first: tuple[float, float]  # the least and the most that the first names contribute
    last: tuple[float, float]


class _Plan(NamedTuple):
    """Passes that find all pairs of some kind, and what each of them will take."""

    steps: list[Pass | Meeting]
    works: list[Work]

    def cost(self) -> float:
        return sum(work.scanning + work.comparing for work in self.works)

    def __or__(self, other: "_Plan") -> "_Plan":
        return _Plan(self.steps + other.steps, self.works + other.works)


def _find(
    left: Records,
    right: Records,
    model: LinkageModel,
    least: float,
    budget: Budget,
    progress: Callable[[Progress], None],
) -> Rows:
    """Row pairs of at least `least` log-odds, without the intercept: n x 2, and a few more that the reference drops.

    If `right` is `left`, they may come in either order, or both.
    """
    plan = _Search(left, right, model, least, budget.cores).plan()
    expected = Work(*(sum(values) for values in zip(*plan.works, Work(0, 0, 0, 0), strict=True)))
    if expected.addresses > budget.comparisons or expected.pairs > budget.pairs:
        raise _OverBudgetError(expected)
    return _run(plan, expected, budget, progress)


class _Search:
    """Which passes find all pairs of two tables, or of one with itself."""

    def __init__(self, left: Records, right: Records, model: LinkageModel, least: float, cores: int) -> None:
        self.left, self.right, self.within = left, right, right is left
        self.first, self.last = steps(model.curve("first_name")), steps(model.curve("last_name"))
        self.address = AddressCurves(
            *(steps(model.curve(name)) for name in ("address", "address_words", "address_numbers"))
        )
        self.least, self.swapped = least, model.swapped
        without = any(side.addresses.words is NO_WORDS for side in (left, right))
        alike = NO_SIEVE if without else alike_words(left.words, right.words, cores)
        room = memory(*left.texts(), *right.texts())
        self.addresses = AddressComparison(left.addresses, right.addresses, self.address, alike, room)

    def plan(self) -> _Plan:
        """The cheapest passes, by what they take on a sample."""
        left, right, first, last = self.left, self.right, self.first, self.last
        # records with a name missing are led by the other one, or by the missing level itself
        no_first, no_last = left.first_code == NONE, left.last_code == NONE
        most = self.address.whole.best + self.address.words.best + self.address.numbers.best
        names = self.least - most
        goal = Goal(self.least, 0.0, most, math.inf, missing=True, order=ANY)
        everyone = _Group(right, np.arange(len(right.first_code)))
        only_last, only_first = _Group(left, np.flatnonzero(no_first & ~no_last)), _Group(left, np.flatnonzero(no_last))
        lone = [
            self._led("last", "last", only_last, everyone, goal, names - first.missing),
            self._led("first", "first", only_first, everyone, goal, names - last.missing),
        ]
        plan = _cheapest([lone])

        complete = _Group(left, np.flatnonzero(~no_first & ~no_last))
        # within a table, pairs of a complete record and an incomplete one have just been found
        others = complete if self.within else everyone
        straight = goal._replace(missing=not self.within, order=ONCE if self.within else ANY)
        crossed = goal._replace(least=self.least - self.swapped, missing=False, order=ASCENDING if self.within else ANY)
        known = [(float(curve.y[0]), float(curve.y[-1])) for curve in (first, last)]
        either = known if self.within else [(curve.least, curve.best) for curve in (first, last)]
        for arrangement in (
            _Arrangement(straight, ("first", "last"), ("first", "last"), *either),
            _Arrangement(crossed, ("first", "last"), ("last", "first"), *known),
        ):
            if arrangement.first[1] + arrangement.last[1] >= arrangement.goal.least - most:
                plan |= self._arranged(arrangement, complete, others)
        return plan

    def _arranged(self, arrangement: _Arrangement, left: _Group, right: _Group) -> _Plan:
        """All pairs by their names; or those that share a number, and the others by their names, if that is cheaper."""
        whole = _cheapest(self._splits(arrangement, left, right))
        numbers, most = self.address.numbers, arrangement.goal.address_most
        apart = float(numbers.y[0])
        if apart == numbers.best:
            return whole
        ascending = arrangement._replace(goal=arrangement.goal._replace(order=ASCENDING if self.within else ANY))

        def at_most(contribution: float, of: _Arrangement) -> _Arrangement:
            return of._replace(goal=of.goal._replace(address_most=most - numbers.best + contribution))

        shared = at_most(float(numbers.y[-1]), ascending)
        plan = _cheapest([[self._meeting(shared, left.rows)]])
        plan |= _cheapest(self._splits(at_most(apart, arrangement), left, right), whole.cost())
        if numbers.missing > apart:
            missing, has_numbers = at_most(numbers.missing, ascending), left.has_numbers()
            plan |= _cheapest(self._splits(missing, left.only(~has_numbers), right))
            plan |= _cheapest(self._splits(missing, left.only(has_numbers), right.only(~right.has_numbers())))
        return plan if plan.cost() < whole.cost() else whole

    @cached_property
    def _meetings(self) -> Meetings:
        return meetings(self.left.addresses.ordered, self.right.addresses.ordered)

    def _meeting(self, arrangement: _Arrangement, rows: Rows) -> Meeting:
        goal = arrangement.goal
        (left_first, left_last), (right_first, right_last) = arrangement.left, arrangement.right
        return Meeting(
            rows=rows,
            meetings=self._meetings,
            left_first=self.left.names(left_first),
            left_last=self.left.names(left_last),
            right_first=self.right.names(right_first),
            right_last=self.right.names(right_last),
            first=self.first,
            last=self.last,
            addresses=self.addresses,
            goal=goal._replace(driver_least=goal.least - goal.address_most),
        )

    def _led(self, by: str, other_by: str, left: _Group, right: _Group, goal: Goal, driver_least: float) -> Pass:
        """A pass led by the left name `by`, which meets the right name `other_by`."""
        curves = (self.first, self.last) if by == "first" else (self.last, self.first)
        goal = goal._replace(driver_least=driver_least)
        return Pass(left.by(by), right.by(other_by), *curves, self.addresses, goal)

    def _splits(self, arrangement: _Arrangement, left: _Group, right: _Group) -> Iterator[list[Pass]]:
        """Alternatives that find the same pairs: first names that contribute at least a split, and the rest.

        The rest are last names that make up for less than the split.
        """
        goal, first, last = arrangement.goal, arrangement.first, arrangement.last
        names_least = goal.least - goal.address_most
        if not len(left.rows) or not len(right.rows) or first[1] + last[1] < names_least:
            yield []
            return
        lowest, highest = max(names_least - last[1], first[0]), min(first[1], names_least - last[0])
        (by_first, by_last), (other_first, other_last) = arrangement.left, arrangement.right
        for share in SPLITS:
            split = lowest + share * (highest - lowest)
            if share == 0:
                split = names_least - last[1]
            passes = []
            if share < 1:
                passes.append(self._led(by_first, other_first, left, right, goal, split))
            if share == 1:
                passes.append(self._led(by_last, other_last, left, right, goal, names_least - first[1]))
            elif share > 0:
                rest = goal._replace(follower_below=split)
                passes.append(self._led(by_last, other_last, left, right, rest, names_least - split))
            yield passes


def _cheapest(alternatives: Iterable[list[Pass] | list[Meeting]], most: float = math.inf) -> _Plan:
    """The alternative that costs least on a sample; how much one costs matters only if it is below `most`."""
    best, cost = _Plan([], []), math.inf
    for step_list in alternatives:
        measured = [_measure(step, min(cost, most)) for step in step_list]
        plan = _Plan(list(step_list), measured)
        if plan.cost() < cost:
            best, cost = plan, plan.cost()
    return best


def _measure(step: Pass | Meeting, most: float) -> Work:
    """The work of a pass, from a sample of its left records; cut short where it is sure to exceed `most` ns."""
    rows = step.rows if isinstance(step, Meeting) else step.left.rows
    count = len(rows)
    if not count:
        return Work(0, 0, 0, 0)
    random = np.random.default_rng(0)
    chosen = np.sort(random.choice(count, min(SAMPLE, count), replace=False))
    if isinstance(step, Meeting):
        sample: Pass | Meeting = step._replace(rows=rows[chosen])
        parts, records, per_value = len(chosen), np.ones(len(chosen)), count / len(chosen)
    else:
        # the numbers of name pairs, on which ONCE depends, are others in a sample
        goal = step.goal._replace(order=min(step.goal.order, ASCENDING))
        sample = step._replace(left=some_of(step.left, chosen), goal=goal)
        parts, records = len(sample.left.driver_code), np.diff(sample.left.row_start)
        per_value = _distinct(step.left) / _distinct(sample.left)  # values are scanned once, however many bear them
    done, seen = np.zeros(4), 0
    for part in random.permutation(parts):
        _, work = _do(sample, part, part + 1, 5_000_000, 1_000_000)
        done, seen = done + work, seen + int(records[part])
        total = done * (len(chosen) / seen) * np.array([per_value, *[count / len(chosen)] * 3])
        if done[:2].sum() > PATIENCE or total[:2].sum() * seen / len(chosen) > most:
            break
    return Work(*total.tolist())


def _do(step: Pass | Meeting, begin: int, end: int, most_addresses: int, most_pairs: int) -> tuple[Rows, Rows]:
    """Some parts of a pass: row pairs, and the work as an array."""
    run = meet if isinstance(step, Meeting) else walk
    pairs, work = run(begin, end, step, most_addresses, most_pairs)
    return pairs, work


def _distinct(index: Index) -> int:
    return int(np.count_nonzero(np.diff(index.driver_code, prepend=NONE - 1)))


def _run(plan: _Plan, expected: Work, budget: Budget, progress: Callable[[Progress], None]) -> Rows:
    """Do the passes in parts, on all threads."""
    parts, weights = [], []
    for step, work in zip(plan.steps, plan.works, strict=True):
        length = len(step.rows if isinstance(step, Meeting) else step.left.driver_code)
        bounds = np.unique(np.linspace(0, length, min(length, 16 * budget.cores) + 1).astype(np.int64))
        for begin, end in pairwise(bounds):
            parts.append((begin, end, step))
            weights.append((work.scanning + work.comparing + 1) / (len(bounds) - 1))
    found, addresses, pairs, share, shown = [np.empty((0, 2), np.int64)], 0, 0, 0.0, 0.0

    def report() -> None:
        seconds = (expected.scanning + expected.comparing) * 1e-9
        progress(Progress(min(share, 1.0), pairs, int(expected.pairs), int(expected.addresses), seconds))

    report()
    with ThreadPoolExecutor(budget.cores) as pool:
        waiting = {
            pool.submit(_do, step, begin, end, budget.comparisons, budget.pairs): weight / sum(weights)
            for (begin, end, step), weight in zip(parts, weights, strict=True)
        }
        for future in as_completed(waiting):
            rows, done = future.result()
            found.append(rows)
            addresses, pairs, share = addresses + int(done[2]), pairs + len(rows), share + waiting[future]
            if addresses > budget.comparisons or pairs > budget.pairs:
                pool.shutdown(cancel_futures=True)
                raise _OverBudgetError(expected._replace(addresses=addresses, pairs=pairs))
            if share >= shown + 1 / 30 or len(found) > len(parts):
                shown = share
                report()
    return np.concatenate(found)
