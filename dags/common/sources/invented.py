"""People and records that Faker invents."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from random import Random

import pyarrow as pa

from common.linkage.corruption import Record, corrupt
from common.sources.rows import Rows


def _fake(rows: int, rng: Random) -> list[Record]:
    """People out of Faker's own American tables, names as frequent as there.

    Drawn in bulk, since Faker itself makes about 3,000 people a second. Zip codes do not lie in their states.
    """
    from faker.providers.address.en_US import Provider as Places
    from faker.providers.person.en_US import Provider as Names

    def draw(table: Mapping[str, float] | Sequence[str]) -> list[str]:
        weights = list(accumulate(table.values() if isinstance(table, Mapping) else [1.0] * len(table)))
        return rng.choices(list(table), cum_weights=weights, k=rows)

    firsts, lasts = draw(Names.first_names), draw(Names.last_names)
    named_after = [rng.choice(pair) for pair in zip(draw(Names.first_names), draw(Names.last_names), strict=True)]
    towns = zip(draw(Places.city_prefixes), draw(Names.last_names), draw(Places.city_suffixes), strict=True)
    parts = zip(named_after, draw(Places.street_suffixes), towns, draw(Places.states_abbr), strict=True)
    addresses = []
    for street, street_word, (before, town, after), state in parts:
        number = rng.randrange(1, 10 ** rng.randint(3, 5))
        unit = rng.choice(("", "", f" Apt. {rng.randrange(1, 1000):03}", f" Suite {rng.randrange(1, 1000):03}"))
        city = rng.choice((f"{before} {town}", f"{town}{after}", f"{before} {town}{after}"))
        addresses.append(f"{number} {street} {street_word}{unit}, {city}, {state} {rng.randrange(501, 99951):05}")
    return [Record(*fields) for fields in zip(firsts, lasts, addresses, strict=True)]


def _faked(records: Sequence[Record], seed: int) -> pa.Table:
    rows = Rows()
    for number, record in enumerate(records):
        rows.add((f"faker-{seed}-{number}", *record), (), ())
    return rows.table()


def fake_people(rows: int, seed: int) -> pa.Table:
    """`rows` invented people, schema `INCOMING`; the same ones for the same seed."""
    return _faked(_fake(rows, Random(f"people {seed}")), seed)  # noqa: S311


def fake_records(rows: int, returning: float, known: pa.Table, seed: int) -> pa.Table:
    """A batch of `rows` invented records, schema `INCOMING`; the same one for the same arguments.

    Args:
        rows: how many.
        returning: which share of them, in [0, 1], are people of `known`, written differently. No one returns
            twice, so it is fewer if `known` is small.
        known: columns person_id, first_name, last_name and address (raw) of people, in any order.
        seed: of the draw.
    """
    if not 0 <= returning <= 1:
        raise ValueError(f"returning is a share in [0, 1], not {returning}")
    rng = Random(f"records {seed}")  # noqa: S311
    known = known.sort_by("person_id")
    chosen = rng.sample(range(len(known)), min(round(rows * returning), len(known)))
    people = known.select(Record._fields).take(pa.array(chosen, pa.int64())).to_pylist()
    records = [corrupt(Record(**person), rng)[0] for person in people]
    records += _fake(rows - len(records), rng)
    rng.shuffle(records)
    return _faked(records, seed)
