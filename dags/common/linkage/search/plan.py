"""Which passes find all pairs at the least cost, measured on a sample.

Why nothing is missed:

1. Every pair has a leader. For any `split`, a pair's first names contribute at least that much, or they do not: then
   its last names must make up for it. Each case is a pass, led by that name; the second leaves out the pairs of the
   first. Both together are complete whatever the split, so it is chosen by cost alone. A missing name is a value like
   any other, with its own contribution, and leads to everybody.
2. Where an equal number in the addresses adds log-odds, the pairs that share a number can be found by that alone. The
   passes by name then need only find the others, whose addresses add less, so that their names must add more. Whether
   that costs less is measured, too.
3. Names may have been swapped: passes in which the left first names meet the right last names. All four must be there.
4. Of a table with itself, those whose addresses have no numbers may meet everybody in passes of their own: what is not
   known of an address may add more than what is known to differ, and for the sake of a few all names would have to be
   searched with less to go by.

A pass of another leader, such as an equal e-mail, would be of the second kind: it finds those who share the value, and
in all other passes the most that this comparison adds falls to what it adds to those who do not.
"""

import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.linkage.model import Floats, LinkageModel
from common.linkage.rarity import commonness
from common.linkage.search.bounds import term
from common.linkage.search.join import (
    ANY,
    ANY_NUMBER,
    ASCENDING,
    COMPARED,
    FOUND,
    LEADERS,
    NAME_PAIRS,
    ONCE,
    RECORDS,
    SCANNED,
    VALUES_COMPARED,
    WORK,
    AddressTerms,
    Goal,
    Pass,
    Side,
    join,
)
from common.linkage.search.segment import (
    KINDS,
    WITH_NUMBERS,
    WITHOUT_ADDRESS,
    WITHOUT_NUMBERS,
    Encoded,
    Ordered,
    Segment,
    held_by,
    some_of,
)
from common.linkage.search.text import strings
from common.linkage.search.tokens import same_numbers
from common.linkage.search.words import NOT_COMPARED, AlikeWords, alike_words

COSTS: Floats = np.zeros(WORK)
"""What one unit of each kind of work takes, in ns on one core; rough figures, which only have to rank the plans."""
COSTS[[SCANNED, VALUES_COMPARED, LEADERS, NAME_PAIRS, RECORDS, COMPARED]] = 0.5, 30, 30, 5, 8, 60

WORD_PAIR = 0.5
"""What it takes to see whether two words are alike, likewise."""

SAMPLE, SMALLEST_SAMPLE, SAMPLED_SHARE = 60, 8, 0.1
"""Left records on which a pass is measured beforehand: at most, at least, and as a share of all."""

BLOCKS = (0.03, 0.1, 0.3)
"""Shares of a sample after which it may be cut short: a plan that is far too dear shows that in a record or two."""

PATIENCE = 100e6
"""Work on a sample, in ns, after which it is cut short."""

MOST_SAMPLED_RECORDS, MOST_SAMPLED_PAIRS = 5_000_000, 1_000_000
"""Pairs of records looked at, and found, after which one block of a sample is cut short."""

_OTHER = {"first": "last", "last": "first"}

SPLITS = (0.5, 0.2, 0.8, 0.0, 1.0)
"""Splits that are tried, in the range where both names have to do: at 0 only the first name leads, at 1 the last."""


class Work(NamedTuple):
    """What passes take.

    Attributes:
        nanoseconds: on one core; counted, not timed.
        comparisons: pairs of records looked at.
        pairs: found, before the reference has decided on them.
    """

    nanoseconds: float
    comparisons: float
    pairs: float


class Plan(NamedTuple):
    """Passes that find all pairs of some kind, and what each of them will take: units of work, see `COSTS`."""

    passes: list[Pass]
    works: list[Floats]

    def cost(self) -> float:
        """In ns on one core."""
        return float(sum(work @ COSTS for work in self.works))

    def comparing(self) -> float:
        """The part of it that comparisons of texts take, some of which a bound for words saves."""
        return float(sum(work[COMPARED] for work in self.works) * COSTS[COMPARED])

    def work(self) -> Work:
        """What all passes take together."""
        total = sum(self.works, np.zeros(WORK))
        return Work(self.cost(), float(total[RECORDS]), float(total[FOUND]))

    def __or__(self, other: "Plan") -> "Plan":
        """All passes of both."""
        return Plan(self.passes + other.passes, self.works + other.works)


class _Arrangement(NamedTuple):
    """Which names meet: straight or swapped.

    Attributes:
        least: what the pairs must reach.
        swapped: whether left first names meet right last names.
        first: the least and the most that the left first name contributes.
        last: likewise.
        few: whether the left records are only those whose addresses have no numbers; then they meet everybody, whether
            the other one comes later or not.
        back: whether the left record is the later one of each pair, which matters where names are swapped.
    """

    least: float
    swapped: bool
    first: tuple[float, float]
    last: tuple[float, float]
    few: bool = False
    back: bool = False


def planned(left: Segment, right: Segment, model: LinkageModel, least: float, cores: int) -> Plan:
    """The cheapest passes that find all pairs of `least` log-odds, without the intercept.

    Args:
        left: one table.
        right: another one, or `left`: then each pair may come in either order, or both.
        model: the linkage model.
        least: what a pair must reach.
        cores: threads to use.
    """
    planner = _Planner(left, right, model, least)
    plan = planner.plan()
    words, other_words = left.encoded.distinct_words, right.encoded.distinct_words
    pays = plan.comparing() > words.missing * other_words.missing * WORD_PAIR
    if not (planner.address.words.matters and pays):
        return plan
    return planner.with_words(plan, alike_words(words, other_words, cores))


class _Planner:
    """The passes that may be chosen from, for two tables or for one with itself."""

    def __init__(self, left: Segment, right: Segment, model: LinkageModel, least: float) -> None:
        self.left, self.right, self.within = left.encoded, right.encoded, right is left
        self.first, self.last = term(model.curve("first_name")), term(model.curve("last_name"))
        self.address = AddressTerms(
            *(term(model.curve(name)) for name in ("address", "address_words", "address_numbers"))
        )
        self.least, self.swapped, self.model = least, model.swapped, model
        self.longest = max(left.longest(), right.longest())
        self.measured: dict[int, list[Ordered]] = {}
        self.without_numbers: dict[int, Ordered] = {}
        self.worths: dict[tuple[str, str], Floats] = {}

    def plan(self) -> Plan:
        """The cheapest passes, by what they take on a sample."""
        plan = Plan([], [])
        if not len(self.left.first.code) or not len(self.right.first.code):
            return plan
        first, last = self.first, self.last
        straight = _Arrangement(self.least, False, (first.least, first.best), (last.least, last.best))
        crossed = _Arrangement(self.least - self.swapped, True, first.known, last.known)
        for arrangement in (straight, crossed):
            plan |= self._arranged(arrangement)
        return plan

    def with_words(self, plan: Plan, alike: AlikeWords) -> Plan:
        """The passes of a plan with a bound for the words of two addresses."""
        passes = [step._replace(alike=alike) for step in plan.passes]
        return Plan(passes, [self._measure(step, math.inf) for step in passes])

    def _arranged(self, arrangement: _Arrangement) -> Plan:
        """All pairs by their names; or those that share a number, and the others by their names, if that is cheaper."""
        numbers = self.address.numbers
        whole = self._cheapest(self._by_names(arrangement, self._address_most(numbers.best)))
        least, most = numbers.known
        if least == most or not len(self.left.numbers.code) or not len(self.right.numbers.code):
            return whole
        sharing = self._cheapest([self._by_number(arrangement, self._address_most(most))], whole.cost())
        if sharing.cost() >= whole.cost():
            return whole
        plan = sharing | self._sharing_none(arrangement, self._address_most(least), whole.cost() - sharing.cost())
        return plan if plan.cost() < whole.cost() else whole

    def _sharing_none(self, arrangement: _Arrangement, address_most: Floats, most: float) -> Plan:
        """All pairs but those that share a number, by their names; how much it costs matters if it is below `most`."""
        together = self._cheapest(self._by_names(arrangement, address_most), most)
        if not (self.within and len(self._without_numbers(self.left.by_first).rows)):
            return together
        numbered = np.full_like(address_most, -math.inf)
        numbered[WITH_NUMBERS, WITH_NUMBERS] = address_most[WITH_NUMBERS, WITH_NUMBERS]
        apart = self._cheapest(self._by_names(arrangement, numbered), together.cost())
        for back in (False, True)[: 1 + arrangement.swapped]:
            few = arrangement._replace(few=True, back=back)
            apart |= self._cheapest(self._by_names(few, address_most), together.cost() - apart.cost())
        return apart if apart.cost() < together.cost() else together

    def _without_numbers(self, ordered: Ordered) -> Ordered:
        """The records of an order whose addresses have no numbers, or are missing."""
        if id(ordered) not in self.without_numbers:
            places = np.flatnonzero(ordered.kind[ordered.name_pair] != WITH_NUMBERS)
            self.without_numbers[id(ordered)] = some_of(ordered, places)
        return self.without_numbers[id(ordered)]

    def _address_most(self, numbers: float) -> Floats:
        """`Goal.address_most`, where numbers of two addresses that have some contribute at most so much."""
        terms = self.address
        most = np.full((len(KINDS), len(KINDS)), terms.whole.known[1] + terms.words.best + terms.numbers.missing)
        most[WITH_NUMBERS, WITH_NUMBERS] += numbers - terms.numbers.missing
        missing = terms.whole.missing + terms.words.missing + terms.numbers.missing
        most[WITHOUT_ADDRESS, :] = most[:, WITHOUT_ADDRESS] = missing
        return most

    def _by_names(self, arrangement: _Arrangement, address_most: Floats) -> Iterator[list[Pass]]:
        """Alternatives that find the same pairs, by several splits."""
        first, last = arrangement.first, arrangement.last
        if first[1] + last[1] + address_most.max() < arrangement.least:
            yield []
            return
        usual = WITH_NUMBERS if len(self.left.numbers.code) else WITHOUT_NUMBERS
        usually_least = arrangement.least - address_most[usual, usual]
        lowest, highest = max(usually_least - last[1], first[0]), min(first[1], usually_least - last[0])
        names_least = arrangement.least - address_most.max()
        for share in SPLITS:
            split = lowest + share * (highest - lowest) if 0 < share < 1 else (-math.inf, math.inf)[round(share)]
            by_first = self._pass("first", arrangement, address_most, max(split, names_least - last[1]), math.inf)
            by_last = self._pass("last", arrangement, address_most, names_least - min(split, first[1]), split)
            yield [by_first] * (share < 1) + [by_last] * (share > 0)

    def _by_number(self, arrangement: _Arrangement, address_most: Floats) -> list[Pass]:
        """The pass that finds the pairs that share a number."""
        if arrangement.first[1] + arrangement.last[1] + address_most[WITH_NUMBERS, WITH_NUMBERS] < arrangement.least:
            return []
        by_name = self._pass("first", arrangement, address_most, -math.inf, math.inf)
        order = ASCENDING if self.within else ANY
        goal = by_name.goal._replace(order=order)
        return [by_name._replace(goal=goal, by_number=True, same_number=self._same_number)]

    def _side(self, encoded: Encoded, leader: str, field: str) -> Side:
        """A side whose `field`, first or last, is compared as the term of `leader`; the other name is the follower."""
        name, other = (encoded.first, encoded.last) if field == "first" else (encoded.last, encoded.first)
        ordered = encoded.by_first if field == "first" else encoded.by_last
        follower, other_field = (_OTHER[leader], _OTHER[field])
        worths = self._worth(encoded, leader, field), self._worth(encoded, follower, other_field)
        values = name.distinct, other.distinct, name.code, other.code
        return Side(ordered, *values, *worths, encoded.addresses, encoded.numbers)

    def _worth(self, encoded: Encoded, name: str, field: str) -> Floats:
        """`Side.leader_worth` of the values of a field where they are compared as a name."""
        values = (encoded.first if field == "first" else encoded.last).distinct.values
        if encoded is not self.left:  # the left names alone are a bound too, and take less than those of a large table
            return np.ones(len(values.prefix) + 1)
        if (name, field) not in self.worths:
            common = commonness(strings(values), self.model.commonness(f"{field}_name"))
            self.worths[name, field] = np.append(self.model.worths(f"{name}_name", common), 1.0)
        return self.worths[name, field]

    @cached_property
    def _same_number(self) -> npt.NDArray[np.int64]:
        return same_numbers(self.left.numbers, self.right.numbers)

    def _pass(
        self, leader: str, arrangement: _Arrangement, address_most: Floats, leader_least: float, follower_below: float
    ) -> Pass:
        """A pass led by the left name `leader`, `first` or `last`."""
        terms = (self.first, self.last) if leader == "first" else (self.last, self.first)
        left = self._side(self.left, leader, _OTHER[leader] if arrangement.back else leader)
        meets = leader if arrangement.swapped == arrangement.back else _OTHER[leader]
        order = ASCENDING if arrangement.swapped else ONCE
        if arrangement.few:
            left, order = left._replace(ordered=self._without_numbers(left.ordered)), ANY
        return Pass(
            left=left,
            right=self._side(self.right, leader, meets),
            leader=terms[0],
            follower=terms[1],
            address=self.address,
            goal=Goal(
                *(arrangement.least, leader_least, follower_below, address_most, not arrangement.swapped),
                order if self.within else ANY,
            ),
            by_number=False,
            same_number=np.empty(0, np.int64),
            alike=NOT_COMPARED,
            longest=self.longest,
        )

    def _cheapest(self, alternatives: Iterable[list[Pass]], most: float = math.inf) -> Plan:
        """The alternative that costs least on a sample; how much one costs matters only if it is below `most`."""
        best, cost = Plan([], []), math.inf
        for passes in alternatives:
            works: list[Floats] = []
            for step in passes:
                works.append(self._measure(step, min(cost, most) - Plan([], works).cost()))
            plan = Plan(passes, works)
            if plan.cost() < cost:
                best, cost = plan, plan.cost()
        return best

    def _measure(self, step: Pass, most: float) -> Floats:
        """The work of a pass, from a sample of its left records; cut short where it is sure to exceed `most` ns."""
        samples = self._samples(step)
        rows, drawn, distinct = len(step.left.ordered.rows), sum(len(part.rows) for part in samples), _distinct(step)
        done, seen, leaders = np.zeros(WORK), 0, 0
        for sample in samples:
            part = _sampled(step, sample)
            _, work = join(0, part.length, part, MOST_SAMPLED_RECORDS, MOST_SAMPLED_PAIRS, ANY_NUMBER)
            done, seen, leaders = done + work, seen + len(sample.rows), leaders + _distinct(part)
            total = done * (rows / seen)
            # of each leader once, however many records have it
            total[[SCANNED, VALUES_COMPARED]] = done[[SCANNED, VALUES_COMPARED]] * (distinct / max(leaders, 1))
            if done @ COSTS > PATIENCE or (total @ COSTS) * seen / drawn > most:
                break
        result: Floats = total
        return result

    def _samples(self, step: Pass) -> list[Ordered]:
        """Some left records of a pass, in several blocks."""
        ordered = step.left.ordered
        if id(ordered) not in self.measured:
            count = len(ordered.rows)
            size = min(count, SAMPLE, max(SMALLEST_SAMPLE, round(SAMPLED_SHARE * count)))
            chosen = np.random.default_rng(0).choice(count, size, replace=False)
            blocks = np.split(chosen, np.unique([round(size * share) for share in BLOCKS]))
            self.measured[id(ordered)] = [some_of(ordered, np.sort(block)) for block in blocks if len(block)]
        return self.measured[id(ordered)]


def _sampled(step: Pass, sample: Ordered) -> Pass:
    """A pass of which the left records are those of a sample alone."""
    if step.by_number:
        return step._replace(left=step.left._replace(numbers=held_by(step.left.numbers, sample.rows)))
    # the numbers of name pairs, on which ONCE depends, are others in a sample
    goal = step.goal._replace(order=min(step.goal.order, ASCENDING))
    return step._replace(left=step.left._replace(ordered=sample), goal=goal)


def _distinct(step: Pass) -> int:
    """How many left leaders there are: numbers, or leading names."""
    if step.by_number:
        return int(np.count_nonzero(np.diff(step.left.numbers.holder_start)))
    return int(np.count_nonzero(np.diff(step.left.ordered.leader, prepend=-1)))
