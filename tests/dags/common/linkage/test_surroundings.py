"""Surroundings: each rewrites people as its name says, and keeps what makes them people."""

from collections import Counter
from random import Random

import pytest
from common import sources
from common.linkage import training
from common.linkage.corruption import Record
from common.linkage.household import first_names_differ
from common.linkage.training import surroundings
from common.linkage.training.surroundings import SURROUNDINGS, Surroundings

COUNT = 600
PEOPLE = [Record(*row.values()) for row in sources.fake_people(COUNT, 3).select(Record._fields).to_pylist()]


def settled(settle: Surroundings, seed: int = 1) -> list[Record]:
    return settle(PEOPLE, Random(seed))  # noqa: S311


def shared_by(people: list[Record]) -> Counter[str | None]:
    return Counter(person.address for person in people if person.address)


@pytest.mark.parametrize("settle", SURROUNDINGS, ids=lambda settle: settle.__name__)
def test_any_surroundings(settle: Surroundings) -> None:
    people = settled(settle)
    assert COUNT * 0.95 < len(people) <= COUNT
    assert all(isinstance(person, Record) and (person.first_name or person.last_name) for person in people)
    assert people == settled(settle), "the same seed makes the same"
    assert settle is surroundings.as_given or people != settled(settle, 2)
    assert settle([], Random(1)) == []  # noqa: S311


def test_the_shares_are_shares() -> None:
    assert sum(SURROUNDINGS.values()) == pytest.approx(1)
    assert min(SURROUNDINGS.values()) > 0


def test_families_share_a_last_name_and_an_address_but_no_first_name() -> None:
    people = settled(surroundings.families)
    homes: dict[tuple[str | None, str | None], list[str]] = {}
    for person in people:
        homes.setdefault((person.last_name, person.address), []).append(str(person.first_name).lower())
    families = [names for names in homes.values() if len(names) > 1]
    assert 0.4 * COUNT < sum(map(len, families)) < 0.9 * COUNT
    unlike = [
        first_names_differ(one, other) for names in families for one in names for other in names if one is not other
    ]
    assert sum(unlike) > 0.95 * len(unlike), "nobody calls two children Anna and Anne"
    last_names: dict[str | None, set[str | None]] = {}
    for person in people:
        last_names.setdefault(person.address, set()).add(person.last_name)
    assert sum(len(names) > 1 for names in last_names.values()) > 20, "houses hold several households"


def test_everybody_lives_in_one_town() -> None:
    people = settled(surroundings.one_town)
    assert len({str(person.address).partition(",")[2] for person in people}) == 1
    assert 10 < len({surroundings._street(person.address) for person in people}) <= COUNT / 25


def test_a_town_is_shared_by_many() -> None:
    for settle in (surroundings.town_only, surroundings.town_and_postcode):
        towns = shared_by(settled(settle))
        assert len(towns) <= COUNT / 8
        assert max(towns.values()) > 3 * COUNT / len(towns), "some are large"
        assert all(town[-1].isdigit() == (settle is surroundings.town_and_postcode) for town in towns if town)


def test_e_mail_stands_where_an_address_would() -> None:
    people = settled(surroundings.e_mail)
    with_mail = [person for person in people if "@" in str(person.address)]
    assert 0.7 * COUNT < len(with_mail) < 0.9 * COUNT
    assert all(str(person.last_name).lower().replace(" ", "") in str(person.address) for person in with_mail)
    assert sum(person.address is None for person in people) > 0.02 * COUNT


def test_a_third_has_no_address_and_some_have_one_name() -> None:
    people = settled(surroundings.partly_missing)
    assert 0.25 * COUNT < sum(person.address is None for person in people) < 0.42 * COUNT
    assert 5 < sum(person.first_name is None or person.last_name is None for person in people) < 0.1 * COUNT


def test_names_elsewhere_are_in_their_own_scripts() -> None:
    people = settled(surroundings.names_elsewhere)
    assert sum(not str(person.last_name).isascii() for person in people) > 0.8 * COUNT
    assert [person.address for person in people] == [person.address for person in PEOPLE]


def test_real_names_are_uneven() -> None:
    rng = Random(1)  # noqa: S311
    people = surroundings.with_real_frequencies(PEOPLE * 10, rng)
    counts = Counter(person.last_name for person in people).most_common()
    assert counts[0][1] > 10 * len(people) / len(counts), "the most common name is far above the mean"
    assert sum(count <= 3 for _, count in counts) > len(counts) / 3, "many names are rare"


def test_each_surroundings_gives_labelled_pairs() -> None:
    pairs = training.generated_pairs(sources.fake_people(2_000, 1), 0, 10_000, SURROUNDINGS)
    sizes = training.lineage(pairs)
    assert list(sizes) == [settle.__name__ for settle in SURROUNDINGS]
    for name, size in sizes.items():
        part = training.part(pairs, name)
        assert part.num_rows == size
        splits = Counter(zip(part["split"].to_pylist(), part["is_match"].to_pylist(), strict=True))
        assert min(splits[split, is_match] for split in ("train", "test") for is_match in (True, False)) > 0, name
