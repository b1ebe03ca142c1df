"""Candidate pairs, held against the reference on all pairs."""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from common.errors import CandidateExplosion
from common.linkage import rarity
from common.linkage.comparison import comparison_vectors
from common.linkage.model import STARTING_MODEL, CommonNames, Curve, LinkageModel
from common.linkage.search import plan
from common.linkage.search.candidates import Budget, Progress, candidate_pairs, frequent_names
from common.linkage.search.join import ANY, ASCENDING, LEADERS, SCANNED, VALUES_COMPARED
from common.linkage.search.segment import Segment
from common.linkage.standardise import MAX_FIELD_CHARACTERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(autouse=True, scope="module")
def _words_always_bounded() -> Iterator[None]:
    """Of tables as small as these no bound for words would pay; all tests but one are to have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "WORD_PAIR", -1.0)
        yield


NAMES = ("first_name_std", "last_name_std", "address_std")


def exhaustive(left: pa.Table, right: pa.Table | None, model: LinkageModel, at: float) -> list[dict[str, Any]]:
    """Every pair compared by the reference, and those kept that reach `at`."""
    others = left if right is None else right
    i, j = (grid.ravel() for grid in np.indices((len(left), len(others))))
    if right is None:
        i, j = i[i < j], j[i < j]
    result = comparison_vectors(left, others, i, j, model)
    pairs = [
        {"left_row": int(a), "right_row": int(b), **row} for a, b, row in zip(i, j, result.to_pylist(), strict=True)
    ]
    return [pair for pair in pairs if pair["score"] >= at]


def columns(rows: list[tuple[str | None, str | None, str | None]]) -> pa.Table:
    """A table of standardised records."""
    values = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(NAMES, values, strict=True)})


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Any curve: steps, flat parts and steep parts, a missing level that may top them all."""
    x = sorted(
        draw(st.sets(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.7, 0.85, 1.0])), min_size=1, max_size=5))
    )
    y = sorted(draw(st.lists(st.sampled_from([-6.0, -1.0, 0.0, 0.3, 2.0, 4.0]), min_size=len(x), max_size=len(x))))
    return Curve(tuple(x), tuple(y), draw(st.sampled_from([-3.0, 0.0, 1.0, 5.0])))


@st.composite
def models(draw: st.DrawFn) -> LinkageModel:
    """Any model: random curves, and curves such as people use; names may be common, as far as the curves allow."""
    usual = st.sampled_from([*STARTING_MODEL.curves.values(), Curve((0.0, 1.0), (0.0, 4.0))])
    curve_of = {name: draw(st.one_of(curves(), usual)) for name in STARTING_MODEL.curves}
    return LinkageModel(
        intercept=draw(st.sampled_from([-9.0, -5.0, -2.0, 1.0])),
        curves=curve_of,
        common_names={
            name: CommonNames(draw(st.sampled_from([0.001, 0.3, 0.7, 1.0])), draw(COMMON))
            for name in rarity.NAMES
            if curve_of[name].log_odds[0] >= 0 and draw(st.booleans())
        },
        swapped=draw(st.sampled_from([-2.0, -0.5, 0.0])),
        accept_at=0.9,
        review_at=0.5,
        margin=0.0,
    )


LETTERS = ("a", "b", "ab", "ba", "aa", "abc", "anna", "li", "lee", "unknown", "1", "e", "ae")
COMMON = st.dictionaries(st.sampled_from(LETTERS).map(rarity.key), st.sampled_from([0.01, 0.3, 0.5, 1.0]))
"""How common some names are that the tables may hold."""


@st.composite
def batches(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    """Two tables with few letters, so that values repeat and nearly repeat; some long, some missing.

    Addresses may also be of few words and numbers, in any order.
    """
    letters = draw(st.sampled_from(["ab", "abcde", "anelrs 12", "abcdefghijklmnopqrstuvwxyz 0123456789"]))
    longest = draw(st.sampled_from([3, 8, 20, 70, 140]))
    text = st.text(letters, min_size=1, max_size=longest)
    pool = draw(st.lists(text | st.sampled_from(LETTERS), min_size=1, max_size=6))
    value = st.one_of(st.none(), st.sampled_from(pool), st.sampled_from(pool), text)
    words = st.sampled_from(["12", "21", "4a", "97301", "oak", "oaks", "elm", "st", "street", "road", "salem"])
    address = st.none() | st.lists(words, min_size=1, max_size=7).map(" ".join)
    rows = st.lists(st.tuples(value, value, draw(st.sampled_from([value, address]))), max_size=7)
    return columns(draw(rows)), columns(draw(rows))


def twins(count: int) -> pa.Table:
    """Records of a few people over and over, among them a placeholder."""
    people = [("unknown", "unknown", "unknown"), ("anna", "li", "1 oak st"), ("bob", "lee", None)]
    return columns([people[n % 3] for n in range(count)])


thresholds = st.one_of(st.floats(1e-6, 1 - 1e-6), st.sampled_from([0.05, 0.3, 0.5, 0.85, 0.9, 0.999]))
proof = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@proof
@given(batches(), models(), thresholds)
def test_pairs_are_the_exhaustive_ones(tables: tuple[pa.Table, pa.Table], model: LinkageModel, at: float) -> None:
    """Any tables, model and threshold: the same pairs, vectors and scores, in the same order."""
    left, right = tables
    assert candidate_pairs(left, right, model, at).to_pylist() == exhaustive(left, right, model, at)
    assert candidate_pairs(left, None, model, at).to_pylist() == exhaustive(left, None, model, at)


@proof
@given(batches(), models(), thresholds)
def test_saved_segments_find_the_same(tables: tuple[pa.Table, pa.Table], model: LinkageModel, at: float) -> None:
    """Encoded once, saved and mapped into memory: on either side, on both, and a table with itself."""
    left, right = tables
    with tempfile.TemporaryDirectory() as folder:
        segments = []
        for table in tables:
            Segment.of(table).save(Path(folder, "segment"))
            segments.append(Segment.open(Path(folder, "segment")))
    expected = exhaustive(left, right, model, at)
    for one, other in ((left, segments[1]), (segments[0], right), segments):
        assert candidate_pairs(one, other, model, at).to_pylist() == expected
    assert candidate_pairs(segments[1], None, model, at).to_pylist() == exhaustive(right, None, model, at)


def crowd(count: int, letters: str, seed: int) -> pa.Table:
    """Many records of few letters, so that all bounds are tried; 5 % of all values are missing."""
    random = np.random.default_rng(seed)

    def word(longest: int) -> str:
        return "".join(random.choice(list(letters), random.integers(1, longest)))

    words = [word(7) for _ in range(12)]

    def address() -> str:
        return " ".join([str(random.integers(1, 30)), *random.choice(words, 3), str(random.integers(90, 99))])

    rows = [(word(6), str(random.choice(words)), address()) for _ in range(count)]
    return columns([tuple(None if random.random() < 0.05 else value for value in row) for row in rows])


@pytest.mark.parametrize("letters", ["ab", "abcdefgh"])
@pytest.mark.parametrize("names_decide", [True, False])
def test_many_records_at_thresholds_that_are_scores(letters: str, names_decide: bool) -> None:
    """Hundreds of records on both sides, more than the budget holds at a time, and thresholds exactly at scores."""
    model = STARTING_MODEL
    if names_decide:
        curves = {name: Curve((0.0, 1.0), (0.0, 6.0)) for name in ("first_name", "last_name", "address")}
        model = LinkageModel(-13.0, curves, swapped=-1.0, accept_at=0.9, review_at=0.5, margin=0.0)
    left, right = crowd(150, letters, seed=1), crowd(200, letters, seed=2)
    everything, within = exhaustive(left, right, model, 1e-300), exhaustive(left, None, model, 1e-300)
    scores = np.sort([pair["score"] for pair in everything])
    for place in (len(scores) // 2, -2000, -300, -20):
        at = float(scores[place])
        expected = [pair for pair in everything if pair["score"] >= at]
        assert candidate_pairs(left, right, model, at, Budget(rows=70)).to_pylist() == expected
        assert candidate_pairs(left, None, model, at).to_pylist() == [pair for pair in within if pair["score"] >= at]


@pytest.mark.parametrize("share", plan.SPLITS)
@pytest.mark.parametrize("only_scanning_costs", [False, True])
@pytest.mark.parametrize("names_are_common", [False, True])
def test_every_plan_finds_all_pairs(
    share: float, only_scanning_costs: bool, names_are_common: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the split, and whether numbers lead or not; where only names cost something, numbers do."""
    monkeypatch.setattr(plan, "SPLITS", (share,))
    if only_scanning_costs:
        costs = np.zeros_like(plan.COSTS)
        costs[[SCANNED, VALUES_COMPARED]] = 1
        monkeypatch.setattr(plan, "COSTS", costs)
    left, right = crowd(60, "abcd", seed=3), crowd(70, "abcd", seed=4)
    model = STARTING_MODEL
    if names_are_common:  # some of the names of each side
        known = {
            name: {
                rarity.key(value): 1 / (1 + n % 5)
                for n, value in enumerate(sorted(side[f"{name}_std"].drop_null().unique().to_pylist()))
                if n % 3
            }
            for name, side in zip(rarity.NAMES, (left, right), strict=True)
        }
        model = replace(model, common_names={name: CommonNames(0.4, names) for name, names in known.items()})
    everything, within = (exhaustive(left, other, model, 1e-300) for other in (right, None))
    scores = np.sort([pair["score"] for pair in everything])
    by_number = 0
    for at in scores[[-2500, -800, -300, -100, -30, -10]].tolist():
        assert candidate_pairs(left, right, model, at).to_pylist() == [p for p in everything if p["score"] >= at]
        assert candidate_pairs(left, None, model, at).to_pylist() == [p for p in within if p["score"] >= at]
        segments = Segment.of(left), Segment.of(right)
        least = math.log(at) - math.log1p(-at) - model.intercept
        by_number += sum(step.by_number for step in plan.planned(*segments, model, least, 1).passes)
    assert by_number or not only_scanning_costs or share in (0, 1)  # there numbers save no scanning


@pytest.mark.parametrize("share", plan.SPLITS)
def test_a_leader_need_not_contribute_more_than_it_must(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs with all else equal but one name, at thresholds exactly at their scores: nothing is left to spare."""
    monkeypatch.setattr(plan, "SPLITS", (share,))
    first_names, last_names = ("anna", "anne", "ann", "bert", None), ("lindqvist", "lindquist", "lopez", None)
    table = columns([(first, last, "12 oak st salem") for first in first_names for last in last_names])
    pairs = exhaustive(table, table, STARTING_MODEL, 1e-300)
    for at in sorted({pair["score"] for pair in pairs}):
        expected = [pair for pair in pairs if pair["score"] >= at]
        assert candidate_pairs(table, table, STARTING_MODEL, at).to_pylist() == expected


@pytest.mark.parametrize("names_are_common", [False, True])
def test_who_shares_a_number_need_not_contribute_more_either(
    names_are_common: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, where numbers lead: two tables and one with itself, names that are missing, and names that are swapped.

    Where only looking at names costs something, numbers are chosen wherever they save any of that.
    """
    monkeypatch.setattr(plan, "COSTS", np.eye(len(plan.COSTS))[SCANNED])
    first_names, last_names = ("anna", "anne", "ann", "lopez", None), ("lindqvist", "lindquist", "lopes", "ann", None)
    house = [(first, last, "12 oak st 97301 salem") for first in first_names for last in last_names]
    table = columns([*house, ("anna", "lindqvist", "12 elm"), ("bob", "lee", "7 elm road dover")])
    model = STARTING_MODEL
    if names_are_common:
        known = {rarity.key(name): 1 / place for place, name in enumerate(("anna", "lopez", "lindquist"), 1)}
        model = replace(model, common_names={name: CommonNames(0.6, known) for name in rarity.NAMES})
    everything, within = (exhaustive(table, other, model, 1e-300) for other in (table, None))
    segments, by_number = (Segment.of(table), Segment.of(table)), set()
    for at in sorted({pair["score"] for pair in everything}):
        assert candidate_pairs(*segments, model, at).to_pylist() == [p for p in everything if p["score"] >= at]
        assert candidate_pairs(segments[0], None, model, at).to_pylist() == [p for p in within if p["score"] >= at]
        least = math.log(at) - math.log1p(-at) - model.intercept
        passes = [step for other in segments for step in plan.planned(segments[0], other, model, least, 1).passes]
        by_number |= {(step.goal.order, step.goal.missing) for step in passes if step.by_number}
    assert by_number == {(order, straight) for order in (ANY, ASCENDING) for straight in (True, False)}


@pytest.mark.parametrize("names_are_common", [False, True])
@pytest.mark.parametrize(("costly", "straight"), [(LEADERS, {True, False}), (SCANNED, {False})])
def test_a_few_without_numbers_miss_nobody_in_passes_of_their_own(
    costly: int, straight: set[bool], names_are_common: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with itself, names straight and crosswise either way round, at thresholds exactly at scores."""
    monkeypatch.setattr(plan, "COSTS", np.eye(len(plan.COSTS))[costly])
    names = [("anna", "lopez"), ("lopes", "anne"), ("lopez", "anna"), ("ann", "lopes"), ("anna", "lopes")]
    few = columns([(*name, address) for name in names for address in ("oak st salem", None)])
    numbered = columns([(*name, f"{n} oak st salem") for n, name in enumerate(names)])
    others = crowd(90, "abcdefgh", seed=5).filter(pc.field("address_std").is_valid())
    # they come first, last and in the midst
    table = pa.concat_tables([few.slice(0, 4), numbered.slice(0, 2), few.slice(4, 3), numbered.slice(2), few.slice(7)])
    table = pa.concat_tables([table.slice(0, 9), others, table.slice(9)])
    model = STARTING_MODEL
    if names_are_common:
        known = {rarity.key(name): 1 / place for place, name in enumerate(("anna", "lopez", "ann"), 1)}
        model = replace(model, common_names={name: CommonNames(0.6, known) for name in rarity.NAMES})
    segment, within, apart = Segment.of(table), exhaustive(table, None, model, 1e-300), set()
    scores = sorted({pair["score"] for pair in within if pair["score"] > 0.002})
    crosswise = {pair["score"] for pair in within if pair["score"] > 0.1 and pair["swapped"]}
    for at in sorted(crosswise.union(scores[::10])):
        assert candidate_pairs(segment, None, model, at).to_pylist() == [p for p in within if p["score"] >= at]
        least = math.log(at) - math.log1p(-at) - model.intercept
        passes = plan.planned(segment, segment, model, least, 1).passes
        apart |= {step.goal.missing for step in passes if len(step.left.ordered.rows) == len(few)}
    assert apart >= straight


def test_addresses_need_not_contribute_more_than_they_must() -> None:
    """Equal names and addresses that share their beginning, in either order, at thresholds at their scores."""
    curves = {name: Curve((0.0, 1.0), (0.0, 6.0)) for name in ("first_name", "last_name", "address")}
    model = LinkageModel(-15.0, curves, swapped=-1.0, accept_at=0.9, review_at=0.5, margin=0.0)
    addresses = ("oaks lane dover", "oaks lane salem", "salem oaks lane", "oaks road dover", "elm hill", "oaks")
    table = columns([("anna", "li", address) for address in addresses])
    pairs = exhaustive(table, table, model, 1e-300)
    for at in sorted({pair["score"] for pair in pairs}):
        expected = [pair for pair in pairs if pair["score"] >= at]
        assert candidate_pairs(table, table, model, at).to_pylist() == expected


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_record_that_is_passed_over_is_not_taken_for_looked_up(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swapped names need all four; here the first record with a leader lacks the other name, and the next has it."""
    monkeypatch.setattr(plan, "SPLITS", (share,))
    curves = {"first_name": Curve((0.0, 1.0), (-6.0, 4.0), missing=-3.0), "last_name": Curve((0.0,), (-1.0,), -3.0)}
    model = LinkageModel(-1.0, curves, swapped=-0.5, accept_at=0.9, review_at=0.5, margin=0.0)
    table = columns([("11", None, "11"), ("11", "11", None), ("1", "11", None)])
    found = candidate_pairs(table, None, model, 0.7, Budget(cores=1)).to_pylist()
    assert found == exhaustive(table, None, model, 0.7)
    assert [pair["swapped"] for pair in found] == [True]


@pytest.mark.parametrize("at", [0.3, 0.9, 0.98])
def test_fields_as_long_as_validation_lets_through(at: float) -> None:
    """Names and addresses of a thousand characters, of few long words, many short ones, and many that are alike."""
    random = np.random.default_rng(0)
    alike = ["abcdef" + one + other for one in "jklmnopqrstu" for other in "jklmnopqrstu"]
    texts = [" ".join(alike[:111]), "abcdefz unlike", " ".join(alike[20:131]), "x" * 1_000, "x" * 999 + "y"]
    texts += ["ab " * 333, "".join(random.choice(list("abc 12"), MAX_FIELD_CHARACTERS)).strip()]
    assert max(map(len, texts)) == MAX_FIELD_CHARACTERS
    table = columns([(first, "li", address) for first in (*texts[2:4], "anna") for address in texts])
    result = candidate_pairs(table, table, STARTING_MODEL, at).to_pylist()
    assert result == exhaustive(table, table, STARTING_MODEL, at)
    assert len(result) > len(table)


@pytest.mark.parametrize("words", [Curve((1.0,), (0.0,)), Curve((0.0, 1.0), (0.0, 2.0), missing=1.0)])
@pytest.mark.parametrize("numbers_missing", [0.0, 3.0])
def test_what_words_and_numbers_add_is_never_taken_for_granted(words: Curve, numbers_missing: float) -> None:
    """Addresses that are alike in one way and not in the other, at every threshold."""
    names = Curve((0.0, 1.0), (0.0, 1.0))
    curves = {
        **{"first_name": names, "last_name": names, "address": Curve((0.0, 1.0), (0.0, 4.0))},
        **{"address_words": words, "address_numbers": Curve((0.0, 1.0), (0.0, 4.0), missing=numbers_missing)},
    }
    model = LinkageModel(-6.0, curves, swapped=-1.0, accept_at=0.9, review_at=0.5, margin=0.0)
    addresses = [
        *("12 9 oak elm", "oak elm 12 7", "12 oak elm", "elm oak", "9 12 elm road", "7 elm 12 oaks"),
        *("12", "7 9", None, "road street", "12 9 8 oak elm road street"),
    ]
    table = columns([("ann", "lee", address) for address in addresses] + [("bob", "ray", addresses[0])])
    for at in np.linspace(0.02, 0.999, 60):
        assert candidate_pairs(table, table, model, float(at)).to_pylist() == exhaustive(table, table, model, float(at))


def test_words_are_bounded_where_that_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nowhere else; the pairs are the same."""
    left, right = crowd(60, "abcd", seed=3), crowd(70, "abcd", seed=4)
    expected, bounded = exhaustive(left, right, STARTING_MODEL, 0.1), set()
    for pair_of_words in (0.5, 1e9):
        monkeypatch.setattr(plan, "WORD_PAIR", pair_of_words)
        assert candidate_pairs(left, right, STARTING_MODEL, 0.1).to_pylist() == expected
        planned = plan.planned(Segment.of(left), Segment.of(right), STARTING_MODEL, 5.0, 1)
        bounded.add((pair_of_words, all(len(step.alike.start) > 1 for step in planned.passes)))
    assert bounded == {(0.5, True), (1e9, False)}


@proof
@given(batches(), models(), st.data())
def test_pair_exactly_at_the_threshold_is_kept(
    tables: tuple[pa.Table, pa.Table], model: LinkageModel, data: st.DataObject
) -> None:
    """A threshold equal to the score of a pair keeps that pair, whatever the rounding."""
    left, right = tables
    pairs = [pair for pair in exhaustive(left, right, model, 1e-300) if pair["score"] < 1]
    if pairs:
        at = data.draw(st.sampled_from(pairs))["score"]
        assert candidate_pairs(left, right, model, at).to_pylist() == exhaustive(left, right, model, at)


@pytest.mark.parametrize("rows", [[], [("anna", "li", "1 a")], [(None, None, None)]])
def test_tiny_tables(rows: list[tuple[str | None, str | None, str | None]]) -> None:
    """Empty and one-row tables, on either side."""
    table, other = columns(rows), columns([("anna", "li", "1 a"), ("anna", None, "1 a")])
    for left, right in ((table, other), (other, table), (table, None)):
        result = candidate_pairs(left, right, STARTING_MODEL, 0.3)
        assert result.to_pylist() == exhaustive(left, right, STARTING_MODEL, 0.3)


@pytest.mark.parametrize("slices", [1, 2, 7])
def test_shards_make_no_difference(slices: int) -> None:
    """The pairs found in slices of the right table are those found in all of it."""
    random = np.random.default_rng(3)
    words = np.array(["anna", "anne", "bob", "li", "lee", "lopez", "1 oak st", "2 oak st", None], object)
    left, right = (columns([tuple(random.choice(words, 3)) for _ in range(n)]) for n in (20, 50))
    found = set()
    for rows in np.array_split(np.arange(len(right)), slices):
        pairs = candidate_pairs(left, right.slice(rows[0], len(rows)), STARTING_MODEL, 0.3)
        found |= {(p["left_row"], p["right_row"] + int(rows[0]), p["score"]) for p in pairs.to_pylist()}
    assert found == {(p["left_row"], p["right_row"], p["score"]) for p in exhaustive(left, right, STARTING_MODEL, 0.3)}
    assert found


@pytest.mark.parametrize("rows", [1, 4, 50, 1000])
def test_part_held_at_a_time_makes_no_difference(rows: int) -> None:
    """A bound on memory changes nothing but the memory."""
    left, right = twins(7), twins(50)
    whole = candidate_pairs(left, right, STARTING_MODEL, 0.3)
    assert candidate_pairs(left, right, STARTING_MODEL, 0.3, Budget(rows=rows)).equals(whole)
    assert len(whole)


@pytest.mark.parametrize("cores", [1, 3])
def test_threads_make_no_difference(cores: int) -> None:
    """Nor does the number of threads."""
    left, right = twins(60), twins(90)
    expected = exhaustive(left, right, STARTING_MODEL, 0.3)
    assert candidate_pairs(left, right, STARTING_MODEL, 0.3, Budget(cores=cores)).to_pylist() == expected


@pytest.mark.parametrize("budget", [Budget(pairs=1000), Budget(comparisons=1000)])
def test_explosion_stops_before_the_work_and_names_no_value(budget: Budget) -> None:
    """Too many pairs: an error with the counts and the cause, whose message shows values masked only."""
    seen: list[Progress] = []
    with pytest.raises(CandidateExplosion) as raised:
        candidate_pairs(twins(300), twins(300), STARTING_MODEL, 0.3, budget, seen.append)
    assert seen == []
    assert raised.value.pairs > 1000
    assert raised.value.frequent[0] in [("unknown", "unknown", 10000), ("anna", "li", 10000), ("bob", "lee", 10000)]
    assert "u******, u****** in 10,000 pairs" in str(raised.value)
    assert not any(word in str(raised.value) for word in ("unknown", "anna", "lee"))


def test_explosion_that_no_sample_shows() -> None:
    """A placeholder in a few records only: the sample may not see it, the count does."""
    others = columns([(f"{n}x{n}", f"y{n}y", None) for n in range(3000)])
    left = pa.concat_tables([others, columns([("unknown", "unknown", "1 a")] * 2)])
    right = columns([("unknown", "unknown", "1 a")] * 5000)
    with pytest.raises(CandidateExplosion) as raised:
        candidate_pairs(left, right, STARTING_MODEL, 0.3, Budget(pairs=5000))
    assert raised.value.frequent == [("unknown", "unknown", 10000)]


def test_progress_grows_to_the_whole() -> None:
    """The first report comes before the work, with what is expected; the last one when all is done."""
    seen: list[Progress] = []
    found = candidate_pairs(twins(90), twins(90), STARTING_MODEL, 0.3, Budget(cores=2), seen.append)
    shares = [progress.share for progress in seen]
    assert (shares[0], seen[0].found) == (0, 0)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert seen[0].pairs == pytest.approx(len(found), rel=0.5)
    assert seen[0].core_seconds > 0


def test_frequent_names_are_those_on_both_sides() -> None:
    left, right = (
        columns([("a", "b", None)] * 2 + [(None, "c", None)] * 3),
        columns([(None, "c", "x"), ("d", "e", "x")]),
    )
    assert frequent_names(left, right) == [(None, "c", 3)]


def test_text_that_is_not_ascii_is_refused() -> None:
    """Standardised text is ASCII; the compiled search would compare bytes."""
    with pytest.raises(ValueError, match="ASCII"):
        candidate_pairs(columns([("zoë", "li", None)]), twins(3), STARTING_MODEL, 0.3)


@pytest.mark.parametrize("at", [0.0, 1.0, -1.0])
def test_threshold_out_of_range(at: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        candidate_pairs(twins(3), None, STARTING_MODEL, at)


def test_no_index_runs_off_an_array(request: pytest.FixtureRequest) -> None:
    """Compiled code does not look: the property once more, compiled so that it does (kept, for it takes a minute)."""
    cache = request.config.cache.mkdir("numba-boundscheck")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "exhaustive_ones",
    ]
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(cache)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=request.config.rootpath)
    assert result.returncode == 0, result.stdout[-3000:]
