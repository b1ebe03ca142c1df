"""Training: pairs that are labelled right, models that are what they say, results that can be checked by hand."""

import inspect
import json
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from common import sources
from common.linkage import rarity, training
from common.linkage.corruption import Record
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES, STARTING_MODEL, Curve, LinkageModel
from common.linkage.search import candidate_pairs
from common.linkage.standardise import standardise
from common.linkage.training import FORMULAS, LABELLED, TEST, TRAIN, Formula, lookalikes, surroundings, worlds
from common.linkage.training.labelled import common_names
from common.linkage.training.tailoring import ANSWER_WEIGHT
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

PEOPLE, TABLE_SIZE = 2_000, 10_000
LADDER = {formula.name: formula for formula in FORMULAS}
SHIPPED, RARITY = LADDER["... + address parts"], LADDER["... + rarity of names"]
COSTS = training.Costs(reinserted=5, dropped=20, reviewed=1, max_dropped=0.005, max_reviewed=0.1)


@pytest.fixture(scope="module")
def pairs() -> pa.Table:
    """Labelled pairs of a few people: enough to see the rules at work."""
    return training.generated_pairs(sources.fake_people(PEOPLE, 1), 0, TABLE_SIZE)


@pytest.fixture(scope="module")
def models(pairs: pa.Table) -> dict[str, LinkageModel]:
    fitted = {name: training.fit(formula, pairs) for name, formula in LADDER.items()}
    return {name: training.with_cut_offs(model, [training.Sample(pairs)], COSTS) for name, model in fitted.items()}


@pytest.fixture(scope="module")
def results(models: dict[str, LinkageModel], pairs: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["model"]: row for row in training.results_table(models, pairs)}


def labelled(rows: list[dict[str, Any]], new: int = 0) -> pa.Table:
    """Labelled pairs of the train split; what a row does not say is ordinary."""
    ordinary = {
        **{"split": TRAIN, "kind": "made", "is_match": False, "household": False, "apart": False, "weight": 1.0},
        **dict.fromkeys(SIMILARITIES, 1.0),
        "swapped": False,
    }
    full = []
    for number, row in enumerate(rows):
        both = {"record": number, **ordinary, **row}
        full.append({"straight_first_name": both["first_name"], "straight_last_name": both["last_name"]} | both)
    return pa.Table.from_pylist(full, LABELLED.with_metadata({"new": json.dumps({TRAIN: new, TEST: 0})}))


# Labelled pairs -----------------------------------------------------------------------------------------------------


def test_pairs_are_labelled_and_weighted(pairs: pa.Table) -> None:
    assert pairs.schema.equals(LABELLED)
    pairs.validate(full=True)
    alike = {make.__name__ for make in lookalikes.LOOKALIKES}
    known = PEOPLE / 2 * 2 // 3
    for split in (TRAIN, TEST):
        rows = pairs.filter(pc.equal(pairs["split"], split)).to_pylist()
        matches = Counter(row["record"] for row in rows if row["is_match"])
        assert 0.4 * known < len(matches) < 0.6 * known, "half of the known come back"
        assert set(matches.values()) == {1}, "everybody is in the table once"
        assert {"household_member", "twin", "namesake", "stranger"} <= {row["kind"] for row in rows}
        assert not {row["kind"] for row in rows if row["is_match"]} & {"stranger", *alike}
        assert {row["weight"] for row in rows if row["is_match"]} == {1.0}
        assert {row["weight"] for row in rows} == {1.0, TABLE_SIZE / known}
        assert all(row["weight"] > 1 for row in rows if row["kind"] == "stranger"), "strangers resemble by chance"
        strangers = PEOPLE / 2 - known
        assert strangers < json.loads(pairs.schema.metadata[b"new"])[split] < strangers + known


def test_unlike_matches_are_there_too(pairs: pa.Table) -> None:
    """Were they left out, the re-inserted % would be that of the easy cases."""
    score = STARTING_MODEL.score({name: pairs[name].to_numpy() for name in COMPARISON_VECTOR})
    assert score[pairs["is_match"].to_numpy()].min() < STARTING_MODEL.review_at / 10


def test_a_small_table_weighs_nothing_down() -> None:
    small = training.generated_pairs(sources.fake_people(training.MIN_PEOPLE, 2), 0, 10)
    assert set(small["weight"].to_pylist()) == {1.0}


def test_no_person_is_in_both_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str | None]] = []
    search = candidate_pairs

    def overheard(left: pa.Table, right: pa.Table, *others: Any) -> pa.Table:
        seen.append({*left["address"].to_pylist(), *right["address"].to_pylist()})
        return search(left, right, *others)

    monkeypatch.setattr(worlds, "candidate_pairs", overheard)
    people = sources.fake_people(training.MIN_PEOPLE, 3)
    training.generated_pairs(people, 0, TABLE_SIZE)
    train, test = (world & set(people["address"].to_pylist()) for world in seen)
    assert len(train) == len(test) == training.MIN_PEOPLE / 2
    assert not train & test


def fingerprint() -> str:
    """Runs in another process too, so it brings what it needs."""
    import hashlib

    from common import sources
    from common.linkage import training

    people = sources.fake_people(training.MIN_PEOPLE, 4)
    pairs = training.generated_pairs(people, 7, 10_000, training.SURROUNDINGS)
    costs = training.Costs(5, 20, 1, max_dropped=0.005, max_reviewed=0.1)
    model = training.with_cut_offs(training.fit(training.FORMULAS[-2], pairs), [training.Sample(pairs)], costs)
    return hashlib.sha256(repr(pairs.to_pylist()).encode()).hexdigest() + model.version


def test_the_same_seed_makes_the_same_in_another_process() -> None:
    code = f"{inspect.getsource(fingerprint)}\nprint(fingerprint())"
    env = {**os.environ, "PYTHONPATH": "dags", "PYTHONHASHSEED": "1"}
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert other.stdout.split() == [fingerprint()]


def test_another_seed_makes_other_pairs(pairs: pa.Table) -> None:
    assert training.generated_pairs(sources.fake_people(PEOPLE, 1), 1, TABLE_SIZE) != pairs


ANN = Record("Ann", "Lee", "12 Elm Road, Salem")
OTHERS = [Record("Ann", "Roe", "1 Oak Lane"), Record("Amy", "Poe", "7 Hill Road"), Record("Bob", "Lee", "9 Main St")]


@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lookalikes.household_member, {"last_name", "address"}),
        (lookalikes.namesake, {"first_name", "last_name"}),
        (lookalikes.neighbour, {"address"}),
        (lookalikes.twin, {"last_name", "address"}),
        (lookalikes.same_street, set()),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_lookalikes(make: Any, kept: set[str]) -> None:
    for seed in range(50):
        made = make(ANN, OTHERS, Random(seed))  # noqa: S311
        assert {name for name in kept if getattr(made, name) == getattr(ANN, name)} == kept
        assert made != ANN
        if make is lookalikes.twin:
            assert made.first_name == "Amy"
        if make is lookalikes.same_street:
            assert made.address.endswith(" Elm Road, Salem")
            assert made.address != ANN.address or made[:2] != ANN[:2]


def test_a_lookalike_of_somebody_without_a_name_or_among_namesakes() -> None:
    nobody = Record(None, "Lee", None)
    for make in lookalikes.LOOKALIKES:
        for seed in range(20):
            assert isinstance(make(nobody, OTHERS, Random(seed)), Record)  # noqa: S311
    assert lookalikes.household_member(ANN, [ANN], Random(0)).first_name is None  # noqa: S311


# Judged pairs -------------------------------------------------------------------------------------------------------


def judgements(*rows: tuple[Record, Record, bool]) -> pa.Table:
    columns: dict[str, list[Any]] = {column: [] for column in sources.PAIRS.names}
    for left, right, is_match in rows:
        for side, record in (("left", left), ("right", right)):
            for name, value in record._asdict().items():
                columns[f"{side}_{name}"].append(value)
        columns["is_match"].append(is_match)
    return pa.table(columns, sources.PAIRS)


def person(number: int) -> Record:
    return Record("Ann", "Lee", f"{number} Elm Road")


def test_judged_pairs_are_compared_and_keep_their_labels() -> None:
    made = training.judged_pairs(judgements((ANN, Record("Lee", "Ann", None), True), (ANN, OTHERS[2], False)), 0)
    assert made.schema.equals(LABELLED)
    first, second = sorted(made.to_pylist(), key=lambda row: not row["is_match"])
    assert first["swapped"]
    assert (first["first_name"], first["last_name"], first["address"]) == (1.0, 1.0, None)
    assert first["straight_first_name"] < 0.6
    assert (second["is_match"], second["last_name"]) == (False, 1.0)
    assert first["split"] == second["split"], "both are about Ann"
    assert {row["weight"] for row in (first, second)} == {1.0}


@pytest.mark.parametrize("seed", range(5))
def test_records_that_are_linked_by_judgements_are_in_one_split(seed: int) -> None:
    chains = [[10 * chain + link for link in range(4)] for chain in range(60)]
    rows = [
        (person(one), person(other), bool((one + other) % 3))
        for chain in chains
        for one, other in ((chain[0], chain[1]), (chain[2], chain[1]), (chain[2], chain[3]))
    ]
    made = training.judged_pairs(judgements(*rows), seed).to_pylist()
    assert len(made) == len(rows)
    splits: dict[int, set[str]] = {}
    for row in made:  # records are numbered as they come: all left ones first
        splits.setdefault(row["record"] // 2, set()).add(row["split"])
    assert all(len(split) == 1 for split in splits.values())
    assert 60 < Counter(row["split"] for row in made)[TRAIN] < 120
    assert made == training.judged_pairs(judgements(*rows), seed).to_pylist()


def test_new_records_among_judgements_are_those_without_a_match() -> None:
    rows = [(person(n), person(n + 500), n % 2 == 0) for n in range(100)]
    made = training.judged_pairs(judgements(*rows), 0)
    new = json.loads(made.schema.metadata[b"new"])
    assert new == dict(Counter(row["split"] for row in made.to_pylist() if not row["is_match"]))
    assert sum(new.values()) == 50


def test_no_judgements() -> None:
    made = training.judged_pairs(judgements(), 0)
    assert (made.num_rows, made.schema.equals(LABELLED)) == (0, True)


def test_pairs_of_several_origins_are_joined() -> None:
    parts = {
        "here": training.judged_pairs(judgements(*[(person(n), person(n + 99), n % 2 == 0) for n in range(40)]), 0),
        "nowhere": training.judged_pairs(judgements(), 0),
        "there": training.judged_pairs(judgements(*[(person(n), person(n + 99), n % 3 == 0) for n in range(30)]), 0),
    }
    whole = training.joined(parts)
    assert training.lineage(whole) == {"here": 40, "nowhere": 0, "there": 30}
    assert len(set(whole["record"].to_pylist())) == 70, "a record of one origin is none of another"
    new = [json.loads(table.schema.metadata[b"new"]) for table in (*parts.values(), whole)]
    assert new[-1] == {split: sum(counts[split] for counts in new[:-1]) for split in (TRAIN, TEST)}


# Regression models --------------------------------------------------------------------------------------------------


def test_every_formula_looks_at_what_the_one_before_does_and_more() -> None:
    assert [formula.name for formula in FORMULAS][:2] == ["address", "names"]
    for simpler, richer in [(FORMULAS[0], FORMULAS[2]), *pairwise(FORMULAS[1:])]:
        assert simpler.knots.keys() <= richer.knots.keys()
        assert simpler.missing <= richer.missing
        assert simpler.swapped <= richer.swapped
        assert simpler.rarity <= richer.rarity or richer.warning
        assert simpler != richer
    assert [formula.name for formula in FORMULAS if formula.warning] == ["over-fitted"]


def test_a_richer_formula_follows_the_training_pairs_more_closely(results: dict[str, dict[str, Any]]) -> None:
    address, names, *ladder = (results[name]["train_log_loss"] for name in LADDER)
    assert max(ladder) < min(address, names)
    assert ladder == sorted(ladder, reverse=True)


def test_the_over_fitted_one_promises_more_than_it_keeps(results: dict[str, dict[str, Any]]) -> None:
    def disappointment(name: str) -> float:
        return float(results[name]["test_log_loss"] - results[name]["train_log_loss"])

    assert disappointment("over-fitted") > 1.5 * max(disappointment(name) for name in LADDER if name != "over-fitted")


def test_a_model_only_looks_at_what_its_formula_says(models: dict[str, LinkageModel]) -> None:
    for name, formula in LADDER.items():
        for field in SIMILARITIES:
            curve = models[name].curve(field)
            if field in formula.knots:
                assert curve.similarities == formula.knots[field]
                assert formula.missing or curve.missing == 0
            else:
                assert (curve.log_odds, curve.missing) == ((0.0,), 0.0)
        swapped = {column: [1.0] for column in COMPARISON_VECTOR}
        assert formula.swapped or models[name].score(swapped)[0] == 0


def test_every_comparison_counts(models: dict[str, LinkageModel]) -> None:
    for curve in models[SHIPPED.name].curves.values():
        assert curve.log_odds[-1] > curve.log_odds[0] + 1


unit = st.floats(0, 1).map(lambda value: round(value, 3))


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                **{name: st.none() | unit for name in SIMILARITIES},
                "is_match": st.booleans(),
                "swapped": st.booleans(),
                "household": st.booleans(),
                "weight": st.sampled_from([1.0, 1.0, 30.0]),
            }
        ),
        max_size=40,
    ),
    st.sampled_from([formula for formula in FORMULAS if formula.missing and not formula.warning]),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_whatever_the_labels_the_model_is_monotone(rows: list[dict[str, Any]], formula: Formula) -> None:
    # One of each kind, that there is something to fit at all.
    rows += [{"is_match": True}, {"is_match": False, "first_name": 0.5, "last_name": 0.5, "address": 0.5}]
    model = training.fit(formula, labelled(rows))
    for curve in model.curves.values():
        assert list(curve.log_odds) == sorted(curve.log_odds)
    assert model.swapped <= 0


def test_labels_upside_down_flatten_the_curve() -> None:
    rows = [{"address": n / 100, "is_match": n < 80} for n in range(101)]
    model = training.fit(LADDER["... + missing levels"], labelled(rows))
    assert set(model.curves["address"].log_odds) == {0.0}


def test_names_that_tell_nothing_leave_a_model_without_terms() -> None:
    """So it happens with pairs of few people: near pairs have the same names, matches have errors in them."""
    rows = [{"is_match": True, "first_name": 0.9}] * 3 + [{"is_match": False}] * 1
    model = training.fit(LADDER["names"], labelled(rows))
    assert {value for curve in model.curves.values() for value in curve.log_odds} == {0.0}
    assert model.intercept == pytest.approx(math.log(3), abs=0.01)


def test_missing_and_swapped_get_weights_of_their_own() -> None:
    rows = [
        {"address": address, "swapped": swapped, "is_match": bool(n % 10) == likely}
        for address, swapped, likely in ((1.0, False, True), (None, False, False), (1.0, True, False))
        for n in range(100)
    ]
    model = training.fit(SHIPPED, labelled([{**row, "first_name": 1.0, "last_name": 1.0} for row in rows]))
    assert model.curves["address"].missing < model.curves["address"].log_odds[-1] - 1
    assert model.swapped < -1


def test_agreement_on_a_common_name_is_worth_less_where_it_is_known() -> None:
    """Of equal last names nine in ten are of one person where they are rare, and one in ten where they are common."""
    rows = [
        {"last_name": alike, "last_name_commonness": common, "is_match": bool(n % 10) == likely}
        for alike, common, likely in ((1.0, 0.0, True), (1.0, 1.0, False), (0.5, 0.0, False), (0.5, 1.0, False))
        for n in range(100)
    ]
    known = {"first_name": {}, "last_name": {"a": 1.0, "b": 0.5}}
    model, unaware = training.fit(RARITY, labelled(rows), known), training.fit(RARITY, labelled(rows))
    assert (unaware.common_names, training.fit(SHIPPED, labelled(rows), known)) == ({}, unaware)
    assert model.common_names["last_name"].commonness == known["last_name"]
    assert model.common_names.keys() == {"last_name"}, "first names tell nothing here"
    vectors = {
        **{name: np.ones(2) for name in SIMILARITIES},
        "swapped": np.zeros(2),
        "last_name_commonness": np.array([0.0, 1.0]),
    }
    rare, common = model.score(vectors)
    assert rare > 0.8
    assert common < 0.4
    assert rare > unaware.score(vectors)[0] > common


def test_rarity_is_learnt_from_names_with_real_frequencies() -> None:
    people = [Record(*row.values()) for row in sources.fake_people(4_000, 6).select(Record._fields).to_pylist()]
    settled = surroundings.families(people, Random(6))  # noqa: S311
    table = pa.Table.from_pylist([person._asdict() for person in settled])
    made = training.generated_pairs(table, 0, len(table))
    known = rarity.common_names(standardise(table))
    unaware, aware = (training.fit(formula, made, known) for formula in (SHIPPED, RARITY))
    assert aware.common_names
    assert all(common.worth < 1 for common in aware.common_names.values())
    assert training.evaluate(aware, made, TEST).log_loss < training.evaluate(unaware, made, TEST).log_loss


def test_the_table_s_names_travel_with_its_pairs() -> None:
    known = {"first_name": {"a": 0.5}, "last_name": {}}
    made = training.judged_pairs(judgements((ANN, OTHERS[0], True), (ANN, OTHERS[2], False)), 0)
    assert common_names(training.joined({"here": made}, known)) == known
    assert common_names(training.joined({"here": made})) == {}


def test_households_test_pairs_and_light_pairs_teach_little() -> None:
    sure = [{"address": n / 50, "is_match": n > 40} for n in range(51)]
    plain = training.fit(SHIPPED, labelled(sure))
    against = {"is_match": False}
    assert training.fit(SHIPPED, labelled(sure + [{**against, "household": True}] * 50)) == plain
    assert training.fit(SHIPPED, labelled(sure + [{**against, "apart": True}] * 50)) != plain
    assert training.fit(SHIPPED, labelled(sure + [{**against, "split": TEST}] * 50)) == plain
    once, heavy = (training.fit(SHIPPED, labelled([*sure, {**against, "weight": w}])) for w in (1.0, 20.0))
    alike = {**{name: [1.0] for name in SIMILARITIES}, "swapped": [0.0]}
    assert plain.score(alike) > once.score(alike) > heavy.score(alike)


def test_households_are_learnt_from_where_there_is_nothing_else() -> None:
    """So it is with a few judgements: everybody who is somebody else has another name."""
    rows = [{"is_match": True}] * 5 + [{"household": True, "first_name": 0.3}, {"household": True, "first_name": 0.4}]
    model = training.fit(SHIPPED, labelled(rows))
    assert model.curve("first_name").log_odds[-1] > 0.5


def test_pairs_of_one_kind_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="class"):
        training.fit(SHIPPED, labelled([{"is_match": True}] * 9))


# Cut-offs and results -----------------------------------------------------------------------------------------------


def slow(model: LinkageModel, pairs: pa.Table, split: str) -> dict[str, float]:
    """The results of a model, pair by pair."""
    sums: Counter[str] = Counter()
    returning = {row["record"] for row in pairs.to_pylist() if row["is_match"] and row["split"] == split}
    new = json.loads(pairs.schema.metadata[b"new"])[split]
    for row in pairs.to_pylist():
        if row["split"] != split:
            continue
        parts = [row[name] for name in SIMILARITIES[2:]]
        as_compared = [row["first_name"], row["last_name"], *parts, row["swapped"]]
        straight = [row["straight_first_name"], row["straight_last_name"], *parts, False]
        score = max(by_hand(model, vector) for vector in (as_compared, straight))
        ruled_out = row["apart"] or (row["household"] and model.inserts_relatives)
        accepted = score >= model.accept_at and not row["household"] and not row["apart"]
        found = score >= model.review_at and not ruled_out
        sums["pairs"] += 1
        if not row["household"] and not row["apart"]:
            sums["loss"] -= row["weight"] * math.log(score if row["is_match"] else 1 - score)
            sums["weight"] += row["weight"]
        sums["accepted"] += accepted
        sums["found"] += found
        sums["matches"] += row["is_match"]
        sums["right"] += accepted and row["is_match"]
        sums["right_found"] += found and row["is_match"]
        sums["missed"] += row["is_match"] and not found
        if row["record"] not in returning:
            sums["dropped"] += row["weight"] * accepted
            sums["reviewed"] += row["weight"] * (found and not accepted)
            sums["borderline"] += row["weight"] * (found and not accepted and not row["household"])
            sums["found_new"] += row["weight"] * (found and not row["household"])
    new_records = {
        name: -math.expm1(-sums[name] / max(new, 1)) for name in ("dropped", "reviewed", "borderline", "found_new")
    }
    return {
        "pairs": sums["pairs"],
        "log_loss": sums["loss"] / sums["weight"],
        "f1": 2 * sums["right"] / max(sums["accepted"] + sums["matches"], 1),
        "found_f1": 2 * sums["right_found"] / max(sums["found"] + sums["matches"], 1),
        "reinserted": sums["missed"] / max(len(returning), 1),
        **new_records,
        # What the cut-offs are chosen by: people inserted again, dropped, and looked at.
        "cost": COSTS.reinserted * sums["missed"]
        + COSTS.dropped * new_records["dropped"] * new
        + COSTS.reviewed * (new_records["found_new"] * new + sums["right_found"] - sums["right"]),
    }


def above_flatmates(model: LinkageModel) -> bool:
    """Whether equal addresses and first names make no duplicate, and equal addresses alone no candidate."""
    flatmate = {**{field: [1.0] for field in SIMILARITIES}, "last_name": [0.0], "swapped": [0.0]}
    neighbour = {**flatmate, "first_name": [0.0]}
    return bool(model.score(flatmate)[0] < model.accept_at and model.score(neighbour)[0] < model.review_at)


def by_hand(model: LinkageModel, vector: list[Any]) -> float:
    *similarities, swapped = vector
    total = model.intercept + model.swapped * swapped
    for name, similarity in zip(SIMILARITIES, similarities, strict=True):
        curve = model.curve(name)
        missing = similarity is None or math.isnan(similarity)
        total += curve.missing if missing else float(np.interp(similarity, curve.similarities, curve.log_odds))
    return 1 / (1 + math.exp(-total)) if total > -700 else 0.0


def test_the_table_of_results_is_right(
    models: dict[str, LinkageModel], pairs: pa.Table, results: dict[str, dict[str, Any]]
) -> None:
    assert list(results) == list(LADDER)
    for name, row in results.items():
        assert row["version"] == models[name].version
        for split in (TRAIN, TEST):
            shown = slow(models[name], pairs, split)
            for key in ("found_new", "cost"):
                del shown[key]
            for key, value in shown.items():
                assert row[f"{split}_{key}"] == pytest.approx(value, rel=1e-9), (name, split, key)


def test_results_of_a_few_pairs() -> None:
    """Scores are those of the address alone: .9 for the same, .5 for one like .8, .1 for another."""
    log_odds = math.log(9)
    flat = Curve((1.0,), (0.0,))
    address = Curve((0.6, 0.8, 1.0), (0.0, log_odds, 2 * log_odds))
    model = LinkageModel(-log_odds, {"first_name": flat, "last_name": flat, "address": address}, 0.0, 0.8, 0.4, 0.5)
    made = labelled(
        [
            {"record": 0, "is_match": True},
            {"record": 1, "is_match": True, "address": 0.8},
            {"record": 2, "is_match": True, "address": 0.3},
            {"record": 2, "address": 1.0},
            {"record": 3, "weight": 2.0},
            {"record": 4, "household": True},
            {"record": 5, "address": 0.8},
        ],
        new=10,
    )
    found = training.evaluate(model, made, TRAIN)
    assert found.pairs == 7
    assert found.f1 == pytest.approx(2 * 1 / (3 + 3)), "accepted: records 0, 2 with somebody else, 3"
    assert found.found_f1 == pytest.approx(2 * 2 / (6 + 3))
    assert found.reinserted == pytest.approx(1 / 3), "record 2"
    assert found.dropped == pytest.approx(-math.expm1(-2 / 10)), "record 3, which stands for two; record 2 is not new"
    assert found.reviewed == pytest.approx(-math.expm1(-2 / 10)), "records 4 and 5"
    assert found.borderline == pytest.approx(-math.expm1(-1 / 10)), "record 5"
    losses = [-math.log(0.9), -math.log(0.5), -math.log(0.1), -math.log(0.1), -2 * math.log(0.1), -math.log(0.5)]
    assert found.log_loss == pytest.approx(sum(losses) / 7)


@pytest.mark.parametrize(("max_dropped", "max_reviewed"), [(0.0, 0.0), (0.001, 0.0), (0.005, 0.01), (0.05, 0.2)])
def test_cut_offs_keep_to_the_limits(
    models: dict[str, LinkageModel], pairs: pa.Table, max_dropped: float, max_reviewed: float
) -> None:
    relatives_aside = pairs.filter(pc.invert(pairs["household"]))
    costs = replace(COSTS, max_dropped=max_dropped, max_reviewed=max_reviewed)
    for name, fitted in models.items():
        model = training.with_cut_offs(fitted, [training.Sample(pairs)], costs)
        at = slow(model, relatives_aside, TRAIN)
        assert at["dropped"] <= max_dropped + 1e-12, name
        assert at["found_new"] <= max_dropped + max_reviewed + 1e-12, name
        assert replace(model, accept_at=fitted.accept_at, review_at=fitted.review_at) == fitted
        neighbour = {
            **{field: [1.0] for field in SIMILARITIES},
            "first_name": [0.0],
            "last_name": [0.0],
            "swapped": [0.0],
        }
        assert model.score(neighbour)[0] < model.review_at, f"{name}: neighbours would be candidates"
        assert model.score({**neighbour, "first_name": [1.0]})[0] < model.accept_at, f"{name}: flatmates would be one"


def test_no_other_cut_offs_within_the_limits_cost_less(models: dict[str, LinkageModel], pairs: pa.Table) -> None:
    fitted = models[SHIPPED.name]
    least = slow(fitted, pairs, TRAIN)["cost"]
    for accept_at in np.linspace(fitted.accept_at - 0.05, 0.999, 4):
        for review_at in np.linspace(fitted.review_at, accept_at, 4):
            model = replace(fitted, accept_at=float(accept_at), review_at=float(review_at))
            at = slow(model, pairs, TRAIN)
            within = at["dropped"] <= COSTS.max_dropped and at["found_new"] <= COSTS.max_dropped + COSTS.max_reviewed
            assert at["cost"] >= least - 1e-9 or not within or not above_flatmates(model), (accept_at, review_at)


def test_samples_count_together_by_their_weights(models: dict[str, LinkageModel], pairs: pa.Table) -> None:
    """Two halves of one sample are the sample, and one that weighs nothing changes nothing."""
    fitted = models[SHIPPED.name]
    others = training.generated_pairs(sources.fake_people(PEOPLE, 9), 3, TABLE_SIZE)
    whole, other = training.Sample(pairs), training.Sample(others)
    halves = [training.Sample(pairs, 0.5)] * 2
    assert training.with_cut_offs(fitted, halves, COSTS) == fitted
    assert training.with_cut_offs(fitted, [whole, other._replace(weight=1e-9)], COSTS).review_at == fitted.review_at
    both = training.with_cut_offs(fitted, [whole, other], COSTS)
    alone = training.with_cut_offs(fitted, [other], COSTS)
    for name in ("accept_at", "review_at"):
        low, high = sorted(getattr(model, name) for model in (fitted, alone))
        assert low <= getattr(both, name) <= high


BY_LAST_NAME = LinkageModel(-2.0, {"last_name": Curve((0.5, 1.0), (0.0, 8.0))}, 0.0, 0.5, 0.5, 0.5)
"""Whose score is that of the last name alone: .5 at a similarity of .625, .88 at .75."""


def alike_by(last_names: Any, is_match: bool) -> list[dict[str, Any]]:
    return [{"last_name": float(similarity), "is_match": is_match} for similarity in last_names]


@pytest.mark.parametrize("is_match", [True, False])
def test_answers_move_the_cut_offs(is_match: bool) -> None:
    """Answers about records in the middle of the review zone, all the same one."""
    rows = alike_by(np.linspace(0.6, 1, 20), True) + alike_by(np.linspace(0.5, 0.75, 20), False)
    generated = training.Sample(labelled(rows, new=20))
    free = replace(COSTS, max_dropped=0.9, max_reviewed=0.9)
    alone = training.with_cut_offs(BY_LAST_NAME, [generated], free)
    assert alone.review_at < BY_LAST_NAME.score({"last_name": [0.65], "swapped": [0]})[0] < alone.accept_at
    answers = labelled(alike_by([0.65] * 30, is_match), new=0 if is_match else 30)
    taught = training.with_cut_offs(BY_LAST_NAME, [generated, training.Sample(answers, 5.0, asked=True)], free)
    if is_match:
        assert taught.accept_at < alone.accept_at
        assert taught.review_at <= alone.review_at
    else:
        assert taught.review_at > alone.review_at
        assert taught.accept_at >= alone.accept_at


def test_the_limits_are_kept_without_the_answers(models: dict[str, LinkageModel], pairs: pa.Table) -> None:
    """Of those who were asked about, all resemble somebody: no share of new records can be read off them."""
    rows = [{"record": number, "first_name": 0.9, "last_name": 0.95} for number in range(50)]
    answers = training.Sample(labelled(rows, new=50), 1e-6, asked=True)
    fitted = models[SHIPPED.name]
    with_them = training.with_cut_offs(fitted, [training.Sample(pairs), answers], COSTS)
    assert (with_them.accept_at, with_them.review_at) == (fitted.accept_at, fitted.review_at)


@pytest.mark.parametrize("judged", [None, "answers"])
def test_a_tailored_model_has_its_cut_offs_from_all_its_pairs(judged: str | None, pairs: pa.Table) -> None:
    others = [training.generated_pairs(sources.fake_people(training.MIN_PEOPLE, seed), 1, 1_000) for seed in (8, 9)]
    whole = training.joined(dict(zip(("stored", "invented", "answers"), (pairs, *others), strict=True)))
    model = training.tailored(SHIPPED, whole, training.Tailoring("stored", "invented", 0.1, judged, False, COSTS))
    samples = [training.Sample(training.part(whole, "stored")), training.Sample(training.part(whole, "invented"), 0.1)]
    if judged:
        samples.append(training.Sample(training.part(whole, "answers"), ANSWER_WEIGHT, asked=True))
    assert training.with_cut_offs(model, samples, COSTS) == model


def test_what_costs_more_happens_less(models: dict[str, LinkageModel], pairs: pa.Table) -> None:
    free = replace(COSTS, max_dropped=0.9, max_reviewed=0.9)

    def results(**cost: float) -> training.Results:
        model = training.with_cut_offs(models[SHIPPED.name], [training.Sample(pairs)], replace(free, **cost))
        return training.evaluate(model, pairs, TRAIN)

    for name in ("reinserted", "dropped"):
        shares = [getattr(results(**{name: cost}), name) for cost in (1.5, 5.0, 50.0, 5_000.0)]
        assert shares == sorted(shares, reverse=True), name
    in_review = [results(reviewed=cost).borderline for cost in (0.01, 1.0, 4.0)]
    assert in_review == sorted(in_review, reverse=True)


def test_relatives_and_people_who_are_apart_count_as_the_model_decides() -> None:
    rows = [
        {"record": 0, "is_match": True, "household": True},
        {"record": 1, "is_match": True, "apart": True},
        {"record": 2, "household": True},
        {"record": 3, "apart": True},
        {"record": 4, "first_name": 0.0, "last_name": 0.0, "address": 0.0},
    ]
    asks = training.evaluate(STARTING_MODEL, labelled(rows, new=10), TRAIN)
    inserts = training.evaluate(replace(STARTING_MODEL, inserts_relatives=True), labelled(rows, new=10), TRAIN)
    assert (asks.reinserted, inserts.reinserted) == (1 / 2, 1.0)
    assert (asks.reviewed, asks.borderline, asks.dropped) == (pytest.approx(-math.expm1(-1 / 10)), 0, 0)
    assert (inserts.reviewed, inserts.borderline, inserts.dropped) == (0, 0, 0)


def test_the_shipped_model_does_well_on_invented_people_it_was_not_trained_on() -> None:
    """It was trained on people 0; in the surroundings that it was made for, scattered over a country."""
    made = training.generated_pairs(sources.fake_people(10_000, 5), 0, 10_000)
    results = training.evaluate(STARTING_MODEL, made, TEST)
    assert results.reinserted < 0.07
    assert results.dropped < 0.0075
    assert results.borderline < 0.02
    assert results.f1 > 0.92


def test_pairs_of_a_search_do_not_all_end_in_one_split() -> None:
    """Near pairs link everybody with everybody; only matches must stay together."""
    rows = [(person(n), person(n + 100), True) for n in range(60)]
    rows += [(person(n), person(n + 101), False) for n in range(59)]
    made = training.judged_pairs(judgements(*rows), 0).to_pylist()
    kinds = Counter((row["split"], row["is_match"]) for row in made)
    assert kinds[(TRAIN, True)] + kinds[(TEST, True)] == 60
    assert min(kinds[(split, is_match)] for split in (TRAIN, TEST) for is_match in (True, False)) > 5
