"""How common names are: by the people of a table, without saying what they are called."""

import json

import pyarrow as pa
import pytest
from common import sources
from common.linkage import rarity
from common.linkage.standardise import standardise


def people(**bearers: int) -> pa.Table:
    """So many people of each last name, all of them called Anna or nothing."""
    last = [name for name, count in bearers.items() for _ in range(count)]
    first = ["anna" if n % 2 else None for n in range(len(last))]
    return pa.table({"first_name_std": pa.array(first, pa.string()), "last_name_std": pa.array(last, pa.string())})


def test_the_more_people_bear_a_name_the_commoner_it_is() -> None:
    table = people(smith=400, jones=100, li=10, rarely=5, hardly=4, nobody=1)
    known = rarity.common_names(table)
    names = pa.array(["smith", "jones", "li", "rarely", "hardly", "nobody", "unheard", None])
    values = rarity.commonness(names, known["last_name"]).tolist()
    assert values[:2] == [1, 1], "a hundredth and more of all people"
    assert 1 == values[1] > values[3] > values[4], "rarely is known"
    assert values[4:] == [0, 0, 0, 0], "of four people nothing is known"
    assert rarity.commonness(names, known["first_name"]).tolist() == [0] * len(names), "last names are no first names"


def test_a_share_of_people_counts_and_not_their_number() -> None:
    small, large = (rarity.common_names(people(li=5 * n, others=1_995 * n))["last_name"] for n in (1, 10))
    assert small == large
    assert small[rarity.key("li")] == pytest.approx(0.7, abs=0.01)


def test_a_missing_name_is_no_name() -> None:
    table = pa.table(
        {name: pa.array([None] * 20 + ["li"] * 20, pa.string()) for name in ("first_name_std", "last_name_std")}
    )
    assert set(rarity.common_names(table)["last_name"]) == {rarity.key("li")}


def test_an_empty_table_knows_no_names() -> None:
    assert rarity.common_names(people()) == {"first_name": {}, "last_name": {}}
    assert rarity.commonness(pa.array([], pa.string()), {"x": 1.0}).tolist() == []


def test_names_that_stand_in_several_chunks() -> None:
    names = pa.chunked_array([["li", None], [], ["smith", "li"]], pa.string())
    assert rarity.commonness(names, {rarity.key("li"): 0.5}).tolist() == [0.5, 0, 0, 0.5]


def test_no_name_can_be_read() -> None:
    table = standardise(sources.fake_people(3_000, 1))
    text = json.dumps(rarity.common_names(table))
    names = {name for column in ("first_name_std", "last_name_std") for name in table[column].to_pylist()}
    assert len(rarity.common_names(table)["last_name"]) > 50
    assert not [name for name in names if name in text and len(name) > 2]
