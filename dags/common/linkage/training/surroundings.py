"""Surroundings: what tables of people are like, besides the one that invented people make by themselves.

Each function rewrites a list of people as a table of that kind would hold them: the towns they live in, how much of
an address is written down, how common their names are. A model that has seen all of these does not take a shared town
for evidence. The same seed gives the same people on every machine: all chance comes from the `random.Random` given.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from random import Random

from common.linkage.corruption import Record
from common.linkage.household import first_names_differ
from common.linkage.training.names_elsewhere import NAMES_ELSEWHERE

Surroundings = Callable[[Sequence[Record], Random], list[Record]]

RARE_NAMES = 5
"""Times as many last names as people bring along: real tables hold far more names than lists of names do."""

HOUSEHOLD_SIZES = (8, 5, 3, 3, 1)
"""How often 1, 2, 3, 4 or 5 people live together, relative to each other."""

SHARED_HOUSE = 0.3
"""Share of the households that live in one house with another one."""


def as_given(people: Sequence[Record], rng: Random) -> list[Record]:
    """The people as they are: scattered over a country, nearly everybody at an address of their own."""
    return list(people)


def families(people: Sequence[Record], rng: Random) -> list[Record]:
    """Households of one last name, some of which share a house with another one, in a large country."""
    people = with_real_frequencies(people, rng)
    housed: list[Record] = []
    first, before = 0, None
    while first < len(people):
        (size,) = rng.choices(range(1, 6), weights=HOUSEHOLD_SIZES)
        members = people[first : first + size]
        head = members[0]
        address = before if before and rng.random() < SHARED_HOUSE else head.address
        names = _first_names(members, people, rng)
        for member, first_name in zip(members, names, strict=True):
            last_name = head.last_name if rng.random() < 0.85 else member.last_name
            housed.append(Record(first_name, last_name, address))
        first, before = first + size, head.address
    return housed


def _first_names(members: Sequence[Record], people: Sequence[Record], rng: Random) -> list[str | None]:
    """First names of people who live together, clearly different: nobody calls two children Anna and Anne."""
    names: list[str | None] = []
    for member in members:
        candidates = [member.first_name, *(rng.choice(people).first_name for _ in range(20))]
        names.append(next((name for name in candidates if name and _differs(name, names)), member.first_name))
    return names


def _differs(name: str, others: Sequence[str | None]) -> bool:
    return all(other is None or first_names_differ(name.lower(), other.lower()) for other in others)


def one_town(people: Sequence[Record], rng: Random) -> list[Record]:
    """Families that all live in one town, whose name stands behind every address or is left out everywhere."""
    town = rng.choice((", Springfield", ", Springfield 4711", ""))
    streets = sorted({_street(person.address) for person in people})
    streets = rng.sample(streets, min(len(streets), max(len(people) // 25, 1)))
    moved: dict[str | None, str] = {}
    for person in people:
        moved.setdefault(person.address, f"{rng.randint(1, 200)} {rng.choice(streets)}{town}")
    here = [person._replace(address=moved[person.address]) for person in people]
    return families(here, rng)


def town_only(people: Sequence[Record], rng: Random) -> list[Record]:
    """Of the address no more than the town is written down; few towns are large, many are small."""
    towns = _by_frequency(sorted({_town(person.address) for person in people}), max(len(people) // 8, 1), rng)
    drawn = _drawn(towns, people, rng)
    return families([person._replace(address=town) for person, town in zip(people, drawn, strict=True)], rng)


def town_and_postcode(people: Sequence[Record], rng: Random) -> list[Record]:
    """Of the address the town and its postcode are written down."""
    postcodes: dict[str | None, str] = {}
    people = town_only(people, rng)
    return [
        person._replace(
            address=f"{person.address} {postcodes.setdefault(person.address, f'{rng.randrange(1000, 99999):05}')}"
        )
        for person in people
    ]


def e_mail(people: Sequence[Record], rng: Random) -> list[Record]:
    """Instead of an address a town and an e-mail address, either of which may be missing."""
    changed = []
    for person in town_only(people, rng):
        name = f"{person.first_name or ''}{rng.choice('._')}{person.last_name or ''}".lower().replace(" ", "")
        mail = f"{name}{rng.choice(('', rng.randint(1, 99)))}@{rng.choice(('mail', 'post', 'web'))}.example"
        parts = [part for part in (person.address, mail) if part and rng.random() < 0.8]
        changed.append(person._replace(address=" ".join(parts) or None))
    return changed


def partly_missing(people: Sequence[Record], rng: Random) -> list[Record]:
    """Families of whom a third has no address, and a few have one name only."""
    changed = []
    for person in families(people, rng):
        if rng.random() < 1 / 3:
            person = person._replace(address=None)
        elif rng.random() < 0.05:
            person = person._replace(**{rng.choice(("first_name", "last_name")): None})
        changed.append(person)
    return [person for person in changed if person.first_name or person.last_name]


def names_elsewhere(people: Sequence[Record], rng: Random) -> list[Record]:
    """Names from elsewhere, in the scripts that they are written in: many of them are short, and some very common."""
    changed = []
    for person in people:
        firsts, lasts = rng.choice(list(NAMES_ELSEWHERE.values()))
        (first,), (last,) = (rng.choices(names, weights=_weights(len(names))) for names in (firsts, lasts))
        changed.append(person._replace(first_name=first, last_name=last))
    return changed


SURROUNDINGS: dict[Surroundings, float] = {
    as_given: 0.3,
    families: 0.2,
    one_town: 0.15,
    town_only: 0.05,
    town_and_postcode: 0.1,
    e_mail: 0.05,
    partly_missing: 0.1,
    names_elsewhere: 0.05,
}
"""The share of the invented people that live in each, chosen for variety: no claim about the world's tables."""


def with_real_frequencies(people: Sequence[Record], rng: Random) -> list[Record]:
    """The people with names that are as uneven as real ones: few very common, most of them rare."""
    firsts = sorted({person.first_name for person in people if person.first_name})
    lasts = sorted({person.last_name for person in people if person.last_name})
    drawn = (
        _drawn(_by_frequency(firsts, len(firsts), rng), people, rng),
        _drawn(_by_frequency(lasts, RARE_NAMES * len(lasts), rng), people, rng),
    )
    return [Record(first, last, person.address) for person, first, last in zip(people, *drawn, strict=True)]


def _by_frequency(values: Sequence[str], count: int, rng: Random) -> list[str]:
    """So many different values in the order of their frequency; what is not there is made of halves of others."""
    found = dict.fromkeys(rng.sample(values, min(count, len(values))))
    for _ in range(3 * count):
        if len(found) >= count or not values:
            break
        head, tail = rng.choice(values), rng.choice(values)
        found.setdefault(head[: (len(head) + 1) // 2] + tail[len(tail) // 2 :])
    return list(found)


def _drawn(values: Sequence[str], people: Sequence[Record], rng: Random) -> list[str | None]:
    """A value for each of the people."""
    if not values:
        return [None] * len(people)
    return list(rng.choices(values, cum_weights=list(accumulate(_weights(len(values)))), k=len(people)))


def _weights(count: int) -> list[float]:
    """How often the first, second, ... of so many values stands, after Zipf's law."""
    return [1 / (rank + 10) for rank in range(count)]


def _street(address: str | None) -> str:
    """The street of an address, without its numbers and what follows it."""
    return " ".join(word for word in (address or "").split(",")[0].split() if not any(map(str.isdigit, word)))


def _town(address: str | None) -> str:
    """The part of an address after the first comma."""
    parts = (address or "").split(",")
    return parts[1].strip() if len(parts) > 1 else parts[0]
