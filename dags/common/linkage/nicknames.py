"""Nicknames: which first names are used for each other (table of the package `nicknames`, American usage)."""

from functools import cache

from nicknames import name_triplets


@cache
def _others() -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for name, _, nickname in name_triplets():
        found.setdefault(name, set()).add(nickname)
        found.setdefault(nickname, set()).add(name)
    return {name: tuple(sorted(others - {name})) for name, others in found.items()}


def nicknames_of(name: str) -> tuple[str, ...]:
    """The nicknames of a lower-case first name and the names it is a nickname of, sorted."""
    return _others().get(name, ())
