"""Canaries: the answer is known, so what goes wrong can be counted."""

import pyarrow as pa
import pytest
from common.linkage.batch import batch_pairs
from common.linkage.canary import Canaries, canary_records, interval, judge_canaries
from common.linkage.model import STARTING_MODEL
from common.linkage.standardise import standardise

PEOPLE = [
    ("Ann", "Leeson", "12 Mill Road, Salem, OR 97301"),
    ("Bob", "Quarry", "900 Lakeshore Drive, Dover, DE 19901"),
    ("Carla", "Zimmer", "7 Oak Avenue, Reno, NV 89501"),
    ("Dmitri", "Volkov", "4410 Birch Court, Boise, ID 83702"),
]


def stored(people: list[tuple[str, str, str]]) -> pa.Table:
    columns = dict(zip(("first_name", "last_name", "address"), zip(*people, strict=True), strict=True))
    return pa.table({"person_id": pa.array(range(1, len(people) + 1), pa.int64()), **columns})


def judged(canaries: pa.Table, people: pa.Table) -> Canaries:
    nothing = pa.nulls(len(canaries), pa.string())
    records = standardise(canaries).append_column("quarantine_reason", nothing)
    pairs = batch_pairs(records, standardise(people), STARTING_MODEL, with_batch=False)
    return judge_canaries(canaries, pairs, STARTING_MODEL)


def test_the_same_seed_makes_the_same_canaries() -> None:
    people = stored(PEOPLE)
    assert canary_records(people, 1).equals(canary_records(people, 1))
    assert not canary_records(people, 1).equals(canary_records(people, 2))


def test_strangers_are_as_stored_and_returning_ones_are_not() -> None:
    rows = canary_records(stored(PEOPLE), 1).to_pylist()
    assert [row["returning"] for row in rows] == [True, False] * 4
    for row in rows:
        original = PEOPLE[row["person_id"] - 1]
        assert ((row["first_name"], row["last_name"], row["address"]) == original) is not row["returning"]


def test_whoever_is_not_found_again_is_reinserted() -> None:
    canaries, people = canary_records(stored(PEOPLE), 1), stored(PEOPLE)
    assert judged(canaries, people.slice(0, 0)) == Canaries(returning=4, reinserted=4, strangers=4, dropped=0)
    found = judged(canaries, people)
    assert found.reinserted < 4
    assert found.dropped == 0


def test_a_stranger_taken_for_somebody_else_is_dropped() -> None:
    twice = stored([*PEOPLE, PEOPLE[0]])  # the table holds one person twice: each is taken for the other
    assert judged(canary_records(twice, 1), twice).dropped == 2


def test_a_relative_is_not_taken_for_a_stranger() -> None:
    family = stored([*PEOPLE, ("Gregory", "Leeson", PEOPLE[0][2])])
    assert judged(canary_records(family, 1), family).dropped == 0


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"), [(0, 0, 0.0, 1.0), (0, 100, 0.0, 0.037), (50, 100, 0.404, 0.596)]
)
def test_intervals_are_wilson_s(hits: int, of: int, low: float, high: float) -> None:
    assert interval(hits, of) == pytest.approx((low, high), abs=5e-4)


def test_a_limit_is_exceeded_only_beyond_doubt() -> None:
    assert not Canaries(10, 2, 10, 0).exceed(max_reinserted=0.1, max_dropped=0.1, fewest=10)
    assert Canaries(1_000, 200, 1_000, 0).exceed(max_reinserted=0.1, max_dropped=0.1, fewest=10)
    assert Canaries(1_000, 0, 1_000, 200).exceed(max_reinserted=0.1, max_dropped=0.1, fewest=10)
