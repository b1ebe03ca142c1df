"""Invented people for the benchmark: any number of them in a second, the same ones for the same seed.

Two kinds of variety: `faker` draws names as Faker does (some 700 first and 1,000 last names), `realistic` draws
from 30,000 first and 300,000 last names made of syllables, with frequencies that fall like those of real names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Random = np.random.Generator

VARIETIES = ("faker", "realistic")

ONSETS = [*list("bcdfghjklmnprstvwz"), "br", "ch", "dr", "fr", "gr", "kl", "ph", "sch", "sh", "st", "th", "tr"]
NUCLEI = [*list("aeiouaeio"), "ai", "ea", "ee", "ia", "ie", "ou"]
CODAS = ["", "", "", *list("lmnrst"), "ck", "ll", "nd", "ng", "rt", "ss"]
STATES = ["al", "ca", "co", "fl", "ga", "il", "ma", "mi", "nc", "nj", "ny", "oh", "pa", "tx", "va", "wa"]


@dataclass(frozen=True)
class Case:
    """What one benchmark compares.

    Attributes:
        incoming: standardised records; some are people of the table, written differently.
        people: standardised people.
        true_pairs: rows (incoming, person) of those who are the same, as an n x 2 array.
    """

    incoming: pa.Table
    people: pa.Table
    true_pairs: npt.NDArray[np.int64]


def case(incoming: int, people: int, variety: str, seed: int = 1, returning: float = 0.3) -> Case:
    """A batch and a table; a share `returning` of the batch are people of the table with errors."""
    random = np.random.default_rng(seed)
    names = _faker_names(random) if variety == "faker" else _syllable_names(random)
    table = _draw(people, names, random)
    batch = _draw(incoming, names, random)
    known = np.sort(random.choice(incoming, int(incoming * returning), replace=False))
    person = random.choice(people, len(known), replace=False)
    columns = {}
    for column in table.column_names:
        values = np.array(batch[column].to_pylist(), object)
        values[known] = [_written(text, random) for text in table[column].take(person).to_pylist()]
        columns[column] = values
    crossed = known[random.random(len(known)) < 0.03]
    first, last = columns["first_name_std"], columns["last_name_std"]
    first[crossed], last[crossed] = last[crossed], first[crossed].copy()
    written = pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})
    return Case(written, table, np.column_stack([known, person]))


def with_duplicates(people: int, variety: str, seed: int = 1, share: float = 0.05) -> Case:
    """A table that holds a share of its people twice; incoming and people are the same table."""
    once = case(int(people * share), people - int(people * share), variety, seed, returning=1.0)
    table = pa.concat_tables([once.people, once.incoming])
    twins = np.column_stack([once.true_pairs[:, 1], once.true_pairs[:, 0] + len(once.people)])
    return Case(table, table, twins)


def _faker_names(random: Random) -> Sequence[pa.Array]:
    from faker import Faker

    faker = Faker("en_US")
    faker.seed_instance(int(random.integers(1 << 31)))

    def pool(draw: Callable[[], str], size: int = 20_000) -> pa.Array:
        return pc.utf8_lower(pa.array([draw() for _ in range(size)]))

    return [pool(faker.first_name), pool(faker.last_name), pool(faker.street_name), pool(faker.city)]


def _syllable_names(random: Random) -> Sequence[pa.Array]:
    first, last, street, city = (_syllables(size, random) for size in (30_000, 300_000, 50_000, 10_000))
    kinds = pa.array(random.choice(["st", "ave", "rd", "ln", "ct", "dr", "way"], len(street)))
    streets = pc.binary_join_element_wise(street, kinds, " ")
    return [_by_frequency(first, 0.8, random), _by_frequency(last, 0.8, random), streets, city]


def _syllables(count: int, random: Random) -> pa.Array:
    """Distinct invented words of two or three syllables, in random order."""
    draws = 3 * count
    syllables = [[random.choice(parts, draws).astype(object) for parts in (ONSETS, NUCLEI, CODAS)] for _ in range(3)]
    words = sum((sum(parts[1:], parts[0]) for parts in syllables[1:]), start=np.full(draws, "", object))
    third = random.random(draws) < 0.4
    words[third] = words[third] + syllables[0][0][third] + syllables[0][1][third]
    distinct = np.unique(words.astype(str))
    return pa.array(random.permutation(distinct)[:count])


def _by_frequency(values: pa.Array, exponent: float, random: Random) -> pa.Array:
    """A pool to draw from evenly, in which the n-th value stands in proportion to 1 / n ** exponent."""
    weights = 1 / np.arange(1, len(values) + 1) ** exponent
    return values.take(pa.array(random.choice(len(values), 5_000_000, p=weights / weights.sum())))


def _draw(count: int, names: Sequence[pa.Array], random: Random) -> pa.Table:
    first, last, street, city = (pool.take(pa.array(random.integers(0, len(pool), count))) for pool in names)
    number, postcode = (
        pa.array(random.integers(*limits, count)).cast(pa.string()) for limits in ((1, 9999), (10000, 99999))
    )
    state = pa.array(np.array(STATES)[random.integers(0, len(STATES), count)])
    address = pc.binary_join_element_wise(number, street, city, state, postcode, " ")
    return pa.table({"first_name_std": first, "last_name_std": last, "address_std": address})


def _written(text: str, random: Random) -> str | None:
    """A value as somebody else might write it: half of the time the same, else with one or two errors."""
    if random.random() < 0.01:
        return None
    for _ in range(random.choice([0, 1, 2], p=[0.6, 0.3, 0.1])):
        place, letter = int(random.integers(len(text))), chr(random.integers(97, 123))
        wrong = (
            letter + text[place:],
            letter + text[place + 1 :],
            text[place + 1 :],
            text[place + 1 : place + 2] + text[place] + text[place + 2 :],
        )
        text = (text[:place] + wrong[random.integers(4)]).strip() or text
    return text
