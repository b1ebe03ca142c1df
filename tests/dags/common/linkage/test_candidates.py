"""Candidate pairs, held against the reference on all pairs."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.linkage.candidates import candidate_pairs
from common.linkage.comparison import comparison_vectors
from common.linkage.model import STARTING_MODEL, Curve, LinkageModel

NAMES = ("first_name_std", "last_name_std", "address_std")


def exhaustive(
    left: pa.Table, right: pa.Table | None, model: LinkageModel, at: float
) -> list[dict[str, object]]:
    """Every pair compared by the reference, and those kept that reach `at`."""
    others = left if right is None else right
    i, j = (grid.ravel() for grid in np.indices((len(left), len(others))))
    if right is None:
        i, j = i[i < j], j[i < j]
    result = comparison_vectors(left, others, i, j, model)
    pairs = [
        {"left_row": int(a), "right_row": int(b), **row}
        for a, b, row in zip(i, j, result.to_pylist(), strict=True)
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
        draw(
            st.sets(
                st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.7, 0.85, 1.0])), min_size=1, max_size=5
            )
        )
    )
    y = sorted(
        draw(st.lists(st.sampled_from([-6.0, -1.0, 0.0, 0.3, 2.0, 4.0]), min_size=len(x), max_size=len(x)))
    )
    return Curve(tuple(x), tuple(y), draw(st.sampled_from([-3.0, 0.0, 1.0, 5.0])))


@st.composite
def models(draw: st.DrawFn) -> LinkageModel:
    """Any model: random curves, and curves such as people use."""
    usual = st.sampled_from([*STARTING_MODEL.curves.values(), Curve((0.0, 1.0), (0.0, 4.0))])
    return LinkageModel(
        intercept=draw(st.sampled_from([-9.0, -5.0, -2.0, 1.0])),
        curves={name: draw(st.one_of(curves(), usual)) for name in STARTING_MODEL.curves},
        swapped=draw(st.sampled_from([-2.0, -0.5, 0.0])),
        accept_at=0.9,
        review_at=0.5,
        margin=0.0,
    )


@st.composite
def batches(draw: st.DrawFn) -> tuple[pa.Table, pa.Table]:
    """Two tables with few letters, so that values repeat and nearly repeat; some long, some missing."""
    letters = draw(st.sampled_from(["ab", "abcde", "anelrs 12", "abcdefghijklmnopqrstuvwxyz 0123456789"]))
    longest = draw(st.sampled_from([3, 8, 20, 70, 140]))
    text = st.text(letters, min_size=1, max_size=longest)
    pool = draw(st.lists(text, min_size=1, max_size=6))
    value = st.one_of(st.none(), st.sampled_from(pool), st.sampled_from(pool), text)
    rows = st.lists(st.tuples(value, value, value), max_size=7)
    return columns(draw(rows)), columns(draw(rows))


thresholds = st.one_of(st.floats(1e-6, 1 - 1e-6), st.sampled_from([0.05, 0.3, 0.5, 0.85, 0.9, 0.999]))
proof = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@proof
@given(batches(), models(), thresholds)
def test_pairs_are_the_exhaustive_ones(
    tables: tuple[pa.Table, pa.Table], model: LinkageModel, at: float
) -> None:
    """Any tables, model and threshold: the same pairs, vectors and scores, in the same order."""
    left, right = tables
    assert candidate_pairs(left, right, model, at).to_pylist() == exhaustive(left, right, model, at)
    assert candidate_pairs(left, None, model, at).to_pylist() == exhaustive(left, None, model, at)


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
    words = ["anna", "anne", "bob", "li", "lee", "lopez", "1 oak st", "2 oak st", None]
    left, right = (columns([tuple(random.choice(words, 3)) for _ in range(n)]) for n in (20, 50))  # type: ignore[misc]
    found = set()
    for rows in np.array_split(np.arange(len(right)), slices):
        pairs = candidate_pairs(left, right.slice(rows[0], len(rows)), STARTING_MODEL, 0.3)
        found |= {(p["left_row"], p["right_row"] + int(rows[0]), p["score"]) for p in pairs.to_pylist()}
    assert found == {
        (p["left_row"], p["right_row"], p["score"]) for p in exhaustive(left, right, STARTING_MODEL, 0.3)
    }
    assert found
