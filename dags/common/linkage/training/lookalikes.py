"""Lookalikes: new people who resemble somebody in the table, and must not be taken for them."""

import re
from collections.abc import Callable, Sequence
from random import Random

from common.linkage.corruption import Record

Lookalike = Callable[[Record, Sequence[Record], Random], Record]


def household_member(person: Record, others: Sequence[Record], rng: Random) -> Record:
    """Somebody of the same last name at the same address."""
    return person._replace(first_name=_other(person.first_name, [other.first_name for other in others], rng))


def namesake(person: Record, others: Sequence[Record], rng: Random) -> Record:
    """Somebody of the same name elsewhere."""
    return person._replace(address=_other(person.address, [other.address for other in others], rng))


def neighbour(person: Record, others: Sequence[Record], rng: Random) -> Record:
    """Somebody else at the same address, as in a block of flats."""
    stranger = rng.choice(others)
    return stranger._replace(address=person.address)


def twin(person: Record, others: Sequence[Record], rng: Random) -> Record:
    """Somebody of the same last name and address with the same initial."""
    initial = (person.first_name or " ")[0]
    alike = [other.first_name for other in others if (other.first_name or "")[:1] == initial]
    return person._replace(first_name=_other(person.first_name, alike or [other.first_name for other in others], rng))


def same_street(person: Record, others: Sequence[Record], rng: Random) -> Record:
    """Somebody else a few doors on: the same address but for its first number."""
    address = re.sub(r"\d+", lambda _: str(rng.randint(1, 9_999)), person.address or "", count=1)
    return rng.choice(others)._replace(address=address or None)


LOOKALIKES: dict[Lookalike, float] = {
    neighbour: 8,
    same_street: 4,
    household_member: 1,
    namesake: 1,
    twin: 0.25,
}
"""New people that resemble a known one, and how often relative to each other. A large table is full of neighbours."""


def _other(value: str | None, candidates: Sequence[str | None], rng: Random) -> str | None:
    """One of `candidates` that is not `value`, or null if there is none in reach."""
    for _ in range(20):
        candidate = rng.choice(candidates)
        if (candidate or "").lower() != (value or "").lower():
            return candidate
    return None
