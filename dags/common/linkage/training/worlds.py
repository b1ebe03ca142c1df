"""Worlds: labelled pairs made of people, as a batch that is compared with a table.

The batch holds returning people, written differently, and new people, some of them hard (relatives, twins,
namesakes). Train and test are such worlds without a person in common. Invented people are spread over several
surroundings, each with a train and a test world of its own; people of a real table stay where they are.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from common.linkage.corruption import Record, corrupt
from common.linkage.rarity import KnownNames, common_names
from common.linkage.search import candidate_pairs
from common.linkage.training.labelled import SEARCH_MODEL, TEST, TRAIN, Pairs, joined, labelled, standardised, together
from common.linkage.training.lookalikes import LOOKALIKES, Lookalike
from common.linkage.training.surroundings import Surroundings, as_given

MIN_PEOPLE = 1_000
"""Fewer people than this are not worth making pairs of: the results would be chance."""

NEAR = 0.001
"""Pairs of different people below this score by `SEARCH_MODEL` are left out of training: nobody confuses them."""

RETURNING, LOOKALIKE = 0.5, 0.6
"""Shares of the existing people who come back, and of whom a lookalike comes: estimates, not measured on anybody."""

REAL: Mapping[Surroundings, float] = {as_given: 1}
"""The people of a real table need no other surroundings than their own."""

ERRORS = (4, 3, 2, 1)
"""How often a record of a returning person has 1, 2, 3 or 4 errors, relative to each other."""


def generated_pairs(
    people: pa.Table,
    seed: int,
    table_size: int,
    surroundings: Mapping[Surroundings, float] = REAL,
    lookalikes: Mapping[Lookalike, float] = LOOKALIKES,
) -> pa.Table:
    """Labelled pairs made of people: corrupted copies as matches, strangers and lookalikes as non-matches.

    Args:
        people: raw `first_name`, `last_name`, `address` of different people, at least `MIN_PEOPLE`.
        seed: of all chance.
        table_size: people in the table that the model is to work with.
        surroundings: where which share of them lives; `SURROUNDINGS` for invented people.
        lookalikes: of which kinds, and how often relative to each other.

    Returns:
        A table of schema `LABELLED`.
    """
    rng = Random(seed)  # noqa: S311 - chance, not secrecy
    rows = list(zip(*(people[name].to_pylist() for name in Record._fields), strict=True))
    chosen = [Record(*row) for row in rng.sample(rows, len(rows))]
    parts, first, share_before = {}, 0, 0.0
    for settle, share in surroundings.items():
        share_before += share
        last = round(len(chosen) * share_before / sum(surroundings.values()))
        part = settle(chosen[first:last], rng)
        rng.shuffle(part)
        worlds = ((TRAIN, part[: len(part) // 2]), (TEST, part[len(part) // 2 :]))
        known = common_names(standardised(part))
        play = _Play(rng, known, table_size, lookalikes)
        parts[settle.__name__] = together([_world(split, some, play) for split, some in worlds])
        first = last
    return joined(parts)


class _Play(NamedTuple):
    """What the worlds of one surroundings have in common."""

    rng: Random
    known: KnownNames
    table_size: int
    lookalikes: Mapping[Lookalike, float]


class _Incoming(NamedTuple):
    """A record of a world's batch.

    Attributes:
        record: its raw fields.
        kind: how it came about.
        person: row of the existing person that it is, or -1.
        resembles: row of the existing person that it was made to resemble, or -1.
    """

    record: Record
    kind: str
    person: int = -1
    resembles: int = -1


def _world(split: str, people: Sequence[Record], play: _Play) -> pa.Table:
    """A table of existing people and a batch of incoming records, compared."""
    existing, strangers = people[: len(people) * 2 // 3], people[len(people) * 2 // 3 :]
    incoming = _batch(existing, strangers, play)
    left, right = standardised([one.record for one in incoming]), standardised(existing)
    is_person = np.array([one.person for one in incoming])
    resembles = np.array([one.resembles for one in incoming])
    near = candidate_pairs(left, right, SEARCH_MODEL, NEAR)
    returning = np.flatnonzero(is_person >= 0)
    rows = np.concatenate(
        [
            np.column_stack([near["left_row"].to_numpy(), near["right_row"].to_numpy()]),
            np.column_stack([returning, is_person[returning]]),
        ]
    )
    rows = np.unique(rows, axis=0)
    is_match = is_person[rows[:, 0]] == rows[:, 1]
    by_chance = ~is_match & (resembles[rows[:, 0]] != rows[:, 1])
    weight = np.where(by_chance, max(play.table_size / len(existing), 1.0), 1.0)
    kinds = [incoming[row].kind for row in rows[:, 0]]
    return labelled(split, left, right, Pairs(rows, kinds, is_match, weight), int((is_person < 0).sum()), play.known)


def _batch(existing: Sequence[Record], strangers: Sequence[Record], play: _Play) -> list[_Incoming]:
    """The strangers, copies of some of the existing people, and lookalikes of some of them."""
    rng, kinds, shares = play.rng, list(play.lookalikes), list(play.lookalikes.values())
    incoming = [_Incoming(stranger, "stranger") for stranger in strangers]
    for number, person in enumerate(existing):
        if rng.random() < RETURNING:
            (wanted,) = rng.choices((1, 2, 3, 4), weights=ERRORS)
            copy, errors = corrupt(person, rng, errors=wanted)
            incoming.append(_Incoming(copy, " + ".join(errors) or "unchanged", person=number))
        if rng.random() < LOOKALIKE:
            (make,) = rng.choices(kinds, weights=shares)
            lookalike = make(person, strangers, rng)
            if lookalike.first_name or lookalike.last_name:
                incoming.append(_Incoming(lookalike, make.__name__, resembles=number))
    return incoming
