"""The linkage model: monotone, reproducible, and picky about what it is made of."""

import contextlib
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from common.linkage.model import SIMILARITIES, STARTING_MODEL, CommonNames, Curve, LinkageModel, ModelError
from common.linkage.rarity import COMMONNESS, NAMES
from hypothesis import given
from hypothesis import strategies as st

similarities = st.floats(0, 1)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    x = sorted(draw(st.sets(similarities, min_size=1, max_size=5)))
    y = sorted(draw(st.lists(st.floats(-9, 9), min_size=len(x), max_size=len(x))))
    return Curve(tuple(x), tuple(y), draw(st.floats(-9, 9)))


@st.composite
def names_common(draw: st.DrawFn) -> CommonNames:
    return CommonNames(draw(st.floats(0.001, 1)), draw(st.dictionaries(st.text(), st.floats(0.001, 1), max_size=3)))


@st.composite
def models(draw: st.DrawFn) -> LinkageModel:
    review_at, accept_at = sorted([draw(st.floats(0.01, 0.99)), draw(st.floats(0.01, 0.99))])
    curve_of = {name: draw(curves()) for name in SIMILARITIES}
    return LinkageModel(
        intercept=draw(st.floats(-9, 9)),
        curves=curve_of,
        common_names={
            name: draw(names_common()) for name in NAMES if min(curve_of[name].log_odds) >= 0 and draw(st.booleans())
        },
        swapped=draw(st.floats(-9, 0)),
        accept_at=accept_at,
        review_at=review_at,
        margin=draw(st.floats(0, 9)),
    )


def vector(first: float, last: float, address: float, swapped: bool = False) -> dict[str, list[Any]]:
    parts = {"address": [address], "address_words": [address], "address_numbers": [address]}
    return {"first_name": [first], "last_name": [last], **parts, "swapped": [swapped]}


@given(
    models(),
    st.tuples(similarities, similarities, similarities),
    st.tuples(similarities, similarities),
    st.sampled_from(SIMILARITIES),
    similarities,
    st.booleans(),
)
def test_a_higher_similarity_never_lowers_the_score(
    model: LinkageModel,
    alike: tuple[float, float, float],
    common: tuple[float, float],
    raised: str,
    to: float,
    swapped: bool,
) -> None:
    before = vector(*alike, swapped) | {name: [value] for name, value in zip(COMMONNESS, common, strict=True)}
    after = {**before, raised: [max(to, before[raised][0])]}
    assert 0 <= model.score(before)[0] <= model.score(after)[0] <= 1


@given(models(), similarities, similarities, st.sampled_from(COMMONNESS), similarities, similarities)
def test_a_commoner_name_never_raises_the_score(
    model: LinkageModel, first: float, last: float, name: str, common: float, commoner: float
) -> None:
    common, commoner = sorted((common, commoner))
    scores = [model.score(vector(first, last, 0.5) | {name: [value]})[0] for value in (0.0, common, commoner)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == model.score(vector(first, last, 0.5))[0], "the most is what the curve says"


@given(models(), similarities, similarities, similarities)
def test_swapped_names_never_raise_the_score(model: LinkageModel, first: float, last: float, address: float) -> None:
    straight, swapped = (model.score(vector(first, last, address, value))[0] for value in (False, True))
    assert swapped <= straight


@given(models(), similarities, similarities)
def test_terms_and_intercept_explain_the_score(model: LinkageModel, first: float, address: float) -> None:
    seen = vector(first, math.nan, address, True)
    terms = model.contributions(seen)
    total = model.intercept + sum(term[0] for term in terms.values())
    assert total == pytest.approx(model.log_odds(seen)[0])
    assert terms["last_name"][0] == model.curves["last_name"].missing
    assert model.score(seen)[0] == pytest.approx(1 / (1 + math.exp(-total)))


def test_a_curve_is_linear_between_its_points_and_flat_outside() -> None:
    curve = Curve((0.5, 0.75, 1.0), (-2.0, 0.0, 4.0), missing=9.0)
    assert curve([0.0, 0.5, 0.625, 0.75, 0.875, 1.0, math.nan]).tolist() == [-2, -2, -1, 0, 2, 4, 9]


@given(models())
def test_a_model_survives_being_stored_as_json(model: LinkageModel) -> None:
    restored = LinkageModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert restored == model
    assert restored.version == model.version


def leaves(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(content, dict):
        return [leaf for key, value in content.items() for leaf in leaves(value, (*path, key))]
    if isinstance(content, list | tuple):
        return [leaf for key, value in enumerate(content) for leaf in leaves(value, (*path, key))]
    return [path]


WEIGHTS = leaves(json.loads(json.dumps(STARTING_MODEL.to_dict())))


def test_every_number_of_the_model_is_a_weight() -> None:
    numbers = {"intercept", "swapped", "accept_at", "review_at", "margin"}
    assert {path[0] for path in WEIGHTS} == numbers | {"curves"}
    assert len(WEIGHTS) == len(numbers) + sum(2 * len(c.similarities) + 1 for c in STARTING_MODEL.curves.values())


def changed(path: tuple[Any, ...], by: float) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(STARTING_MODEL.to_dict()))
    part: Any = content
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] += by
    return content


@pytest.mark.parametrize("path", WEIGHTS, ids=lambda path: ".".join(map(str, path)))
def test_the_version_changes_with_any_weight(path: tuple[Any, ...]) -> None:
    # Upwards where a flat part of a curve or the swapped term leaves no other way.
    for by in (-1e-9, 1e-9):
        with contextlib.suppress(ModelError):
            assert LinkageModel.from_dict(changed(path, by)).version != STARTING_MODEL.version
            return
    pytest.fail("neither way is a model")


def test_the_version_does_not_depend_on_the_order_of_the_curves() -> None:
    content = STARTING_MODEL.to_dict()
    content["curves"] = dict(reversed(content["curves"].items()))
    assert LinkageModel.from_dict(content).version == STARTING_MODEL.version


@pytest.mark.parametrize(
    ("x", "y", "missing"),
    [
        ((), (), 0),
        ((0.5,), (1, 2), 0),
        ((0.5, 0.5), (1, 2), 0),
        ((0.6, 0.5), (1, 2), 0),
        ((-0.1, 0.5), (1, 2), 0),
        ((0.5, 1.1), (1, 2), 0),
        ((0.5, 1), (2, 1), 0),
        ((0.5, math.nan), (1, 2), 0),
        ((0.5, 1), (1, math.inf), 0),
        ((0.5, 1), (-math.inf, 1), 0),
        ((0.5, 1), (1, 2), math.nan),
    ],
)
def test_a_curve_that_candidates_could_not_rely_on_is_refused(
    x: tuple[float, ...], y: tuple[float, ...], missing: float
) -> None:
    with pytest.raises(ModelError):
        Curve(x, y, missing)


@pytest.mark.parametrize(
    "change",
    [
        {"swapped": 0.1},
        {"swapped": math.nan},
        {"intercept": math.nan},
        {"intercept": math.inf},
        {"accept_at": 1.0},
        {"accept_at": math.nan},
        {"review_at": 0.0},
        {"review_at": 0.95},
        {"margin": -1.0},
        {"margin": math.inf},
        {"margin": "0.5"},
        {"curves": {**STARTING_MODEL.to_dict()["curves"], "shoe_size": {"similarities": [1], "log_odds": [1]}}},
        {"curves": {name: {"similarities": [1.0]} for name in SIMILARITIES}},
        {"curves": {name: {"similarities": "1", "log_odds": [1], "missing": 0} for name in SIMILARITIES}},
        {"curves": None},
        {"common_names": {"first_name": {"worth": 0.0, "commonness": {}}}},
        {"common_names": {"first_name": {"worth": 1.1, "commonness": {}}}},
        {"common_names": {"first_name": {"worth": math.nan, "commonness": {}}}},
        {"common_names": {"first_name": {"worth": 0.5, "commonness": {"x": 0.0}}}},
        {"common_names": {"first_name": {"worth": 0.5, "commonness": {"x": 1.5}}}},
        {"common_names": {"first_name": {"worth": 0.5}}},
        {"common_names": {"address": {"worth": 0.5, "commonness": {}}}},
        {"unheard_of": 1},
    ],
)
def test_a_model_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        LinkageModel.from_dict({**STARTING_MODEL.to_dict(), **change})


@pytest.mark.parametrize("missing", STARTING_MODEL.to_dict())
def test_a_model_without_one_of_its_parts_is_refused(missing: str) -> None:
    content = STARTING_MODEL.to_dict()
    del content[missing]
    with pytest.raises(ModelError, match=missing):
        LinkageModel.from_dict(content)


def test_extreme_weights_do_not_leave_the_range() -> None:
    for intercept, expected in ((-5000.0, 0.0), (5000.0, 1.0)):
        model = LinkageModel.from_dict({**STARTING_MODEL.to_dict(), "intercept": intercept})
        with np.errstate(over="ignore"):
            assert model.score(vector(1, 1, 1))[0] == expected


def test_the_starting_model_in_words() -> None:
    model = STARTING_MODEL
    same, typo, other = 1.0, 0.95, 0.4
    assert model.score(vector(same, same, same))[0] >= model.accept_at
    assert model.score(vector(typo, typo, typo))[0] >= model.accept_at
    elsewhere = {**vector(same, same, other), "address_words": [0.0], "address_numbers": [0.0]}
    assert model.score(elsewhere)[0] < model.review_at, "a namesake elsewhere is somebody else"
    assert model.score(vector(other, other, same))[0] < model.accept_at, "neighbours are not one person"
    assert model.score(vector(same, same, math.nan))[0] < model.accept_at, "a name alone is no proof"


STORED_BEFORE = """
{"intercept": -9.5949, "swapped": 0.0, "accept_at": 0.8694, "review_at": 0.2977, "margin": 0.5, "curves": {
"first_name": {"similarities": [0.8, 0.87, 0.93, 1.0], "log_odds": [0.0, 0.0, 1.7172, 2.7539], "missing": 0.0921},
"last_name": {"similarities": [0.8, 0.87, 0.93, 1.0], "log_odds": [0.0, 2.1035, 3.1942, 4.1648], "missing": 1.9412},
"address": {"similarities": [0.6, 0.7, 0.8, 0.9, 1.0], "log_odds": [0.0, 0.0, 0.8154, 3.5421, 3.5421],
            "missing": 1.2842},
"address_words": {"similarities": [0.2, 0.4, 0.6, 0.8, 1.0], "log_odds": [0.0, 0.5203, 0.5659, 3.2285, 3.2285],
                  "missing": 1.2842},
"address_numbers": {"similarities": [0.0, 0.5, 1.0], "log_odds": [0.0, 1.6716, 1.8659], "missing": 1.2842}}}
"""
"""A champion as version 0 of the project stored it, and the version that its decisions name."""


def test_a_model_stored_by_an_earlier_version_stays_what_it_was() -> None:
    model = LinkageModel.from_dict(json.loads(STORED_BEFORE))
    assert model.version == "67052198d231"
    assert json.loads(json.dumps(model.to_dict())) == json.loads(STORED_BEFORE)
    assert not model.inserts_relatives
    vectors = {
        "first_name": [1.0, 0.5, np.nan],
        "last_name": [1.0, 1.0, 0.9],
        "address": [0.95, 1.0, np.nan],
        "address_words": [1.0, 1.0, np.nan],
        "address_numbers": [0.5, 1.0, np.nan],
        "swapped": [False, False, False],
    }
    assert model.score(vectors) == pytest.approx([0.99687752, 0.96107441, 0.04736492], abs=1e-8)


def test_names_that_are_worth_less_must_not_count_against_a_match() -> None:
    """Else a common name could be worth more than a rare one, and the search would miss pairs."""
    against = {**STARTING_MODEL.curves, "first_name": Curve((0.8, 1.0), (-1.0, 3.0))}
    with pytest.raises(ModelError, match="against"):
        replace(STARTING_MODEL, curves=against, common_names={"first_name": CommonNames(0.5, {})})


def test_common_names_are_part_of_the_version() -> None:
    knows = replace(STARTING_MODEL, common_names={"last_name": CommonNames(0.5, {"a": 0.5})})
    knows_more = replace(STARTING_MODEL, common_names={"last_name": CommonNames(0.5, {"a": 0.5, "b": 0.5})})
    assert len({model.version for model in (STARTING_MODEL, knows, knows_more)}) == 3


def test_inserting_relatives_is_part_of_the_version() -> None:
    asks, inserts = STARTING_MODEL, replace(STARTING_MODEL, inserts_relatives=True)
    assert asks.version != inserts.version
    assert LinkageModel.from_dict(inserts.to_dict()) == inserts
    assert LinkageModel.from_dict(inserts.to_dict()).version == inserts.version
