"""Invented worlds on which quality is measured besides FEBRL: a table of people, and a batch whose answers are known.

They differ from the worlds that models are trained on (`common.linkage.training.worlds`): other names, with
frequencies that fall like those of real names, other streets and towns, and whole households, of which some members
are in the table and others come with the batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
from common.linkage.corruption import Record, corrupt
from common.sources import fake_people

GOLDEN = Path(__file__).resolve().parents[1] / "tests/dags/common/linkage/golden_pairs_elsewhere.txt"

EXISTING, INCOMING = 3_000, 2_000
"""People in the table of a world, and records of its batch, of which half are people of the table."""

LATIN = ("en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pl_PL")
OTHER_SCRIPTS = ("ru_RU", "el_GR", "ar_SA", "zh_CN", "vi_VN", "ja_JP")
"""Faker's locales whose names the worlds take."""

STREETS = (
    *("Mill", "Church", "Bridge", "Station", "Castle", "Abbey", "Harbour", "Victoria", "King", "Queen", "Meadow"),
    *("Chapel", "Forge", "Priory", "Orchard", "Windmill", "Tanner", "Cooper", "Weaver", "Fuller", "Ferry", "Minster"),
)
STREET_WORDS = ("Street", "Road", "Lane", "Close", "Row", "Terrace", "Hill", "Walk")
MAIL_HOSTS = ("post.example", "mail.example", "inbox.example", "letters.example")

Household = list[Record]
Home = Callable[[Random], str]


@dataclass(frozen=True)
class World:
    """A table and a batch.

    Attributes:
        existing: raw `first_name`, `last_name`, `address` of the people in the table.
        incoming: the same of the batch.
        person: for each record of the batch the row of the existing person that it is, or -1.
    """

    existing: pa.Table
    incoming: pa.Table
    person: list[int]


class Names:
    """Names of some locales, drawn with frequencies like 1 / rank, as real names have them."""

    def __init__(self, locales: Sequence[str], rng: Random) -> None:
        from faker import Factory

        providers = [self._provider(Factory, locale) for locale in locales]
        self.first = self._ranked([name for one in providers for name in one.first_names], rng)
        self.last = self._ranked([name for one in providers for name in one.last_names], rng)

    @staticmethod
    def _provider(factory: Any, locale: str) -> Any:
        return next(p for p in factory.create(locale).providers if hasattr(p, "first_names"))

    @staticmethod
    def _ranked(names: Sequence[str], rng: Random) -> tuple[list[str], list[float]]:
        distinct = sorted(set(names))
        rng.shuffle(distinct)
        return distinct, list(accumulate(1 / (rank + 5) for rank in range(len(distinct))))

    def draw(self, of: tuple[list[str], list[float]], rng: Random) -> str:
        """One of the first or the last names."""
        (name,) = rng.choices(of[0], cum_weights=of[1])
        return name


def house_in(town: Callable[[Random], str]) -> Home:
    """House number, street and town."""

    def home(rng: Random) -> str:
        flat = f"Flat {rng.randint(1, 9)}, " if rng.random() < 0.2 else ""
        return f"{flat}{rng.randint(1, 150)} {rng.choice(STREETS)} {rng.choice(STREET_WORDS)}, {town(rng)}"

    return home


def towns(count: int) -> Callable[[Random], str]:
    """One of some invented towns, the first ones more often, with its postcode."""
    made = Random(count)  # noqa: S311 - chance, not secrecy
    heads, middles, tails = (
        ("Bar", "Ket", "Wol", "Thorn", "Ash", "Mar"),
        ("ring", "ber", "den", "s"),
        ("ton", "ham", "by"),
    )
    names = [f"{made.choice(heads)}{made.choice(middles)}{made.choice(tails)}" for _ in range(count)]
    named = [f"{name} {made.choice('BCDEGHKLM')}{made.choice('ABDEHLNS')}{made.randint(1, 40)}" for name in names]
    weights = list(accumulate(1 / (rank + 10) for rank in range(count)))

    def town(rng: Random) -> str:
        (chosen,) = rng.choices(named, cum_weights=weights)
        return chosen

    return town


def family(names: Names, home: Home, rng: Random) -> Household:
    """People who live at one address: most of them of one last name."""
    last, address = names.draw(names.last, rng), home(rng)
    (size,) = rng.choices((1, 2, 3, 4, 5), weights=(40, 25, 15, 15, 5))
    firsts: dict[str, None] = {}
    while len(firsts) < size:
        firsts.setdefault(names.draw(names.first, rng))
    lasts = [last if rng.random() < 0.85 else names.draw(names.last, rng) for _ in firsts]
    return [Record(first, own, address) for first, own in zip(firsts, lasts, strict=True)]


def houses(households: list[Household], rng: Random) -> list[Record]:
    """The people of all households; a third of these live in one house with the one before."""
    moved = [households[0]] if households else []
    for before, household in pairwise(households):
        address = before[0].address if rng.random() < 1 / 3 else household[0].address
        moved.append([person._replace(address=address) for person in household])
    return [person for household in moved for person in household]


def with_mail(people: list[Record], rng: Random) -> list[Record]:
    """Everybody's address is a town and an e-mail address, either of which may be missing."""
    changed = []
    for first, last, address in people:
        mail = f"{first}{rng.choice('._')}{last}{rng.choice(('', rng.randint(1, 99)))}@{rng.choice(MAIL_HOSTS)}".lower()
        parts = [part for part in (str(address).split()[0], mail.replace(" ", "")) if rng.random() < 0.8]
        changed.append(Record(first, last, " ".join(parts) or None))
    return changed


def partly_missing(people: list[Record], rng: Random) -> list[Record]:
    """A third of the people have no address."""
    return [person._replace(address=None) if rng.random() < 1 / 3 else person for person in people]


def coarse(rng: Random, town: Callable[[Random], str] = towns(400)) -> str:  # noqa: B008 - the same towns for all
    """Town and postcode."""
    return town(rng)


Change = Callable[[list[Record], Random], list[Record]]

WORLDS: dict[str, tuple[Sequence[str], Home, Change | None]] = {
    "full-address": (LATIN, house_in(towns(400)), None),
    "one-town": (LATIN, house_in(lambda _: "Wolberton"), None),
    "coarse-address": (LATIN, coarse, None),
    "town-and-e-mail": (LATIN, coarse, with_mail),
    "no-address-for-a-third": (LATIN, house_in(towns(400)), partly_missing),
    "other-scripts": (OTHER_SCRIPTS, house_in(towns(400)), None),
}
"""Whose names, what addresses are like, and what is changed in the end."""


def world(name: str, seed: int = 0) -> World:
    """An invented world, the same one for the same seed."""
    rng = Random(f"{name} {seed}")  # noqa: S311 - chance, not secrecy
    locales, home, change = WORLDS[name]
    names = Names(locales, rng)
    new = INCOMING // 2
    households: list[Household] = []
    while sum(map(len, households)) < EXISTING + new:
        households.append(family(names, home, rng))
    people = houses(households, rng)[: EXISTING + new]
    if change:
        people = change(people, rng)
    rng.shuffle(people)
    existing, strangers = people[:EXISTING], people[EXISTING:]
    returning = rng.sample(range(EXISTING), INCOMING - new)
    batch = [(corrupt(existing[row], rng)[0], row) for row in returning] + [(one, -1) for one in strangers]
    rng.shuffle(batch)
    return World(table(existing), table([record for record, _ in batch]), [row for _, row in batch])


def golden_worlds() -> dict[str, World]:
    """The golden pairs of the tests in other scripts: by script, its people among others, and its incoming records."""
    worlds: dict[str, tuple[list[Record], list[Record], list[int]]] = {}
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            script, _, expected, *records = map(str.strip, line.split("|"))
            one, other = (Record(*(field.strip() or None for field in record.split(";"))) for record in records)
            existing, incoming, person = worlds.setdefault(script, ([], [], []))
            person.append(len(existing) if expected == "same" else -1)
            existing.append(other)
            incoming.append(one)
    crowd = [Record(*row.values()) for row in fake_people(200, 5).select(Record._fields).to_pylist()]
    return {name: World(table([*ours, *crowd]), table(batch), who) for name, (ours, batch, who) in worlds.items()}


def table(records: Sequence[Record]) -> pa.Table:
    """Raw records as a table."""
    columns = zip(*records, strict=True)
    return pa.table({name: pa.array(column, pa.string()) for name, column in zip(Record._fields, columns, strict=True)})
