"""Training: labelled pairs with realistic errors, a ladder of regression models, their train and test results.

The labelled pairs play the real task: a batch of returning people, written differently, and of new people, some of
them hard (relatives, twins, namesakes), is compared with a table. Train and test are two such worlds without a
person in common.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from common.linkage.candidates import candidate_pairs
from common.linkage.comparison import comparison_vectors
from common.linkage.corruption import Record, corrupt
from common.linkage.household import households
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES, STARTING_MODEL, Curve, Floats, LinkageModel
from common.linkage.standardise import standardise

Bools = npt.NDArray[np.bool_]

TRAIN, TEST = "train", "test"

MIN_PEOPLE = 1_000
"""Fewer people than this are not worth making pairs of: the results would be chance."""

NEAR = 0.001
"""Pairs of different people below this score by the starting model are left out of training: nobody confuses them."""

RETURNING, LOOKALIKE = 0.5, 0.6
"""Shares of the known people who come back, and of whom a lookalike comes: estimates, not measured on anybody."""

ERRORS = (4, 3, 2, 1)
"""How often a record of a returning person has 1, 2, 3 or 4 errors, relative to each other."""

LABELLED = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("record", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("is_match", pa.bool_(), nullable=False),
        *((name, pa.float64()) for name in SIMILARITIES),
        ("swapped", pa.bool_()),
        ("straight_first_name", pa.float64()),
        ("straight_last_name", pa.float64()),
        pa.field("household", pa.bool_(), nullable=False),
    ]
)
"""Labelled comparison vectors, one row a pair.

`record` numbers the incoming record, `kind` says how it came about. Every true pair is there, however unlike, and all
other pairs that come near. The names' similarities are there twice: as compared, crosswise where `swapped`, and
straight in any case. Pairs of a household are never accepted as duplicates. Metadata `new`: how many new records
each split had, as JSON.
"""


# --- Labelled pairs -------------------------------------------------------------------------------------------------


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


LOOKALIKES: dict[Callable[[Record, Sequence[Record], Random], Record], float] = {
    neighbour: 8,
    same_street: 4,
    household_member: 1,
    namesake: 1,
    twin: 1,
}
"""New people that resemble a known one, and how often relative to each other. A large table is full of neighbours."""


def _other(value: str | None, candidates: Sequence[str | None], rng: Random) -> str | None:
    """One of `candidates` that is not `value`, or null if there is none in reach."""
    for _ in range(20):
        candidate = rng.choice(candidates)
        if (candidate or "").lower() != (value or "").lower():
            return candidate
    return None


def generated_pairs(people: pa.Table, seed: int) -> pa.Table:
    """Labelled pairs made of people: corrupted copies as matches, strangers and lookalikes as non-matches.

    Args:
        people: raw `first_name`, `last_name`, `address` of different people, at least `MIN_PEOPLE`.
        seed: of all chance.

    Returns:
        A table of schema `LABELLED`.
    """
    rng = Random(seed)  # noqa: S311 - chance, not secrecy
    rows = list(zip(*(people[name].to_pylist() for name in Record._fields), strict=True))
    chosen = [Record(*row) for row in rng.sample(rows, len(rows))]
    half = len(chosen) // 2
    return _joined([_world(TRAIN, chosen[:half], rng), _world(TEST, chosen[half:], rng)])


def _world(split: str, people: Sequence[Record], rng: Random) -> pa.Table:
    """A table of known people and a batch of incoming records, compared."""
    known, strangers = people[: len(people) * 2 // 3], people[len(people) * 2 // 3 :]
    incoming: list[tuple[Record, str, int]] = [(stranger, "stranger", -1) for stranger in strangers]
    for number, person in enumerate(known):
        if rng.random() < RETURNING:
            (wanted,) = rng.choices((1, 2, 3, 4), weights=ERRORS)
            copy, errors = corrupt(person, rng, errors=wanted)
            incoming.append((copy, " + ".join(errors) or "unchanged", number))
        if rng.random() < LOOKALIKE:
            (make,) = rng.choices(list(LOOKALIKES), weights=LOOKALIKES.values())
            lookalike = make(person, strangers, rng)
            if lookalike.first_name or lookalike.last_name:
                incoming.append((lookalike, make.__name__, -1))
    left = _standardised([record for record, _, _ in incoming])
    right = _standardised(known)
    person = np.array([number for _, _, number in incoming])
    return _labelled(split, left, right, person, [kind for _, kind, _ in incoming])


def _standardised(records: Sequence[Record]) -> pa.Table:
    columns = zip(*records, strict=True) if records else [()] * len(Record._fields)
    return standardise(pa.table(dict(zip(Record._fields, (pa.array(c, pa.string()) for c in columns), strict=True))))


def _labelled(split: str, left: pa.Table, right: pa.Table, person: npt.NDArray[Any], kinds: Sequence[str]) -> pa.Table:
    """Pairs of a batch with a table where `person` is the row of `right` that each record is, or -1."""
    near = candidate_pairs(left, right, STARTING_MODEL, NEAR)
    returning = np.flatnonzero(person >= 0)
    rows = np.concatenate(
        [
            np.column_stack([near["left_row"].to_numpy(), near["right_row"].to_numpy()]),
            np.column_stack([returning, person[returning]]),
        ]
    )
    rows = np.unique(rows, axis=0)
    return _table(split, left, right, rows, person[rows[:, 0]] == rows[:, 1], kinds, int((person < 0).sum()))


def _table(
    split: str,
    left: pa.Table,
    right: pa.Table,
    rows: npt.NDArray[Any],
    is_match: Bools,
    kinds: Sequence[str],
    new: int,
) -> pa.Table:
    vectors = comparison_vectors(left, right, rows[:, 0], rows[:, 1], STARTING_MODEL)
    never_swapped = replace(STARTING_MODEL, swapped=_NEVER)
    straight = comparison_vectors(left, right, rows[:, 0], rows[:, 1], never_swapped)
    columns = {
        "split": pa.array([split] * len(rows), pa.string()),
        "record": pa.array(rows[:, 0]),
        "kind": pa.array([kinds[row] for row in rows[:, 0]], pa.string()),
        "is_match": pa.array(is_match),
        **{name: vectors[name] for name in COMPARISON_VECTOR},
        "straight_first_name": straight["first_name"],
        "straight_last_name": straight["last_name"],
        "household": pa.array(
            households(
                left, right, rows[:, 0], rows[:, 1], {name: vectors[name].to_numpy() for name in COMPARISON_VECTOR}
            )
        ),
    }
    return pa.table(columns, schema=LABELLED.with_metadata({"new": json.dumps({split: new})}))


def judged_pairs(judgements: pa.Table, seed: int) -> pa.Table:
    """Labelled pairs from pairs of records that somebody judged, or of a prepared data set.

    Records that are linked by any pair, match or not, go to the same split.

    Args:
        judgements: raw `left_first_name`, `left_last_name`, `left_address`, the same with `right_`, and `is_match`.
        seed: decides which records are for testing.

    Returns:
        A table of schema `LABELLED`.
    """
    sides = [
        list(zip(*(judgements[f"{side}_{name}"].to_pylist() for name in Record._fields), strict=True))
        for side in ("left", "right")
    ]
    number = {row: place for place, row in enumerate(dict.fromkeys(sides[0] + sides[1]))}
    rows = np.array([[number[row] for row in side] for side in sides], dtype=np.int64).T.reshape(-1, 2)
    edges = coo_array((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=(len(number), len(number)))
    group = connected_components(edges, directed=False)[1]
    rng = Random(seed)  # noqa: S311
    splits = np.array([rng.choice((TRAIN, TEST)) for _ in range(group.max(initial=-1) + 1)], dtype=object)
    records = _standardised([Record(*row) for row in number])
    is_match: Bools = judgements["is_match"].to_numpy()
    parts = []
    for split in (TRAIN, TEST):
        chosen = splits[group[rows[:, 0]]] == split
        matched = set(rows[chosen & is_match, 0].tolist())
        new = len(set(rows[chosen, 0].tolist()) - matched)
        kinds = ["judged"] * len(number)
        parts.append(_table(split, records, records, rows[chosen], is_match[chosen], kinds, new))
    return _joined(parts)


def joined(parts: Mapping[str, pa.Table]) -> pa.Table:
    """Labelled pairs of several origins in one table, with their sizes as its lineage."""
    tables, first = [], 0
    for table in parts.values():
        renumbered = pc.add(table["record"], first)
        first += (pc.max(table["record"]).as_py() or 0) + 1
        tables.append(table.set_column(1, LABELLED.field("record"), renumbered))
    whole = _joined(tables)
    sizes = json.dumps({name: table.num_rows for name, table in parts.items()})
    return whole.replace_schema_metadata({**whole.schema.metadata, "lineage": sizes})


def lineage(pairs: pa.Table) -> dict[str, int]:
    """How many labelled pairs came from where."""
    return json.loads(pairs.schema.metadata[b"lineage"])


def _arrays(vectors: pa.Table) -> dict[str, npt.NDArray[Any]]:
    return {name: vectors[name].to_numpy() for name in COMPARISON_VECTOR}


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    new = {TRAIN: 0, TEST: 0}
    for table in tables:
        for split, count in json.loads(table.schema.metadata[b"new"]).items():
            new[split] += count
    return pa.concat_tables([table.replace_schema_metadata({"new": json.dumps(new)}) for table in tables])


# --- Regression models ----------------------------------------------------------------------------------------------

_NEVER = -1_000.0  # log-odds that no evidence makes up for

_NAME_KNOTS = (0.6, 0.75, 0.85, 0.92, 1.0)
_ADDRESS_KNOTS = (0.6, 0.7, 0.8, 0.9, 1.0)
_NAMES = {"first_name": _NAME_KNOTS, "last_name": _NAME_KNOTS}
_ALL = {**_NAMES, "address": _ADDRESS_KNOTS}
_FINE = tuple(float(knot) for knot in np.linspace(0.3, 1, 15).round(3))


@dataclass(frozen=True)
class Formula:
    """What a regression model looks at.

    Attributes:
        name: as the table of results shows it.
        knots: the comparisons in it, each with the similarities where its curve may bend.
        missing: whether a missing similarity is a level of its own; else it counts like the lowest similarity.
        swapped: whether names are compared crosswise too.
        strength: inverse of the regularisation; more follows the training pairs more closely.
    """

    name: str
    knots: Mapping[str, tuple[float, ...]]
    missing: bool
    swapped: bool
    strength: float = 10.0


FORMULAS = (
    Formula("address", {"address": _ADDRESS_KNOTS}, missing=False, swapped=False),
    Formula("names", _NAMES, missing=False, swapped=False),
    Formula("names + address", _ALL, missing=False, swapped=False),
    Formula("... + missing levels", _ALL, missing=True, swapped=False),
    Formula("... + swapped names", _ALL, missing=True, swapped=True),
    Formula("over-fitted", dict.fromkeys(SIMILARITIES, _FINE), missing=True, swapped=True, strength=1e6),
)
"""From the simplest to one that learns its training pairs by heart, as a warning."""


def fit(formula: Formula, pairs: pa.Table) -> LinkageModel:
    """Fit a logistic regression, monotone in every similarity, to the train split; cut-offs are set elsewhere.

    Each curve is a sum of ramps between neighbouring knots. A ramp whose weight comes out negative would make the
    curve fall; it is dropped and the rest fitted again, until none is left. Pairs of a household are left out: a rule
    decides them, and they would only teach the regression to mistrust every changed first name.

    Args:
        formula: what to look at.
        pairs: schema `LABELLED`, with matches and others among them.

    Raises:
        ValueError: the pairs are all of one kind.
    """
    pairs = pairs.filter(pc.and_not(pc.equal(pairs["split"], TRAIN), pairs["household"]))
    vectors = _vectors(pairs, formula.swapped)
    names, features = zip(*_features(formula, vectors), strict=True)
    matrix, labels = np.column_stack(features), pairs["is_match"].to_numpy()
    used = np.ones(len(names), bool)
    free = np.array([kind == "missing" for _, kind in names])
    while True:
        regression = LogisticRegression(C=formula.strength, max_iter=500).fit(matrix[:, used], labels)
        weights = np.zeros(len(names))
        weights[used] = regression.coef_[0]
        if not (wrong := (weights < 0) & ~free).any():
            break
        used &= ~wrong
    weight = dict(zip(names, weights.tolist(), strict=True))
    return LinkageModel(
        intercept=float(regression.intercept_[0]),
        curves={name: _curve(name, formula, weight) for name in SIMILARITIES},
        swapped=0.0 - weight[("swapped", "penalty")] if formula.swapped else _NEVER,
        accept_at=0.5,
        review_at=0.5,
        margin=STARTING_MODEL.margin,
    )


def _vectors(pairs: pa.Table, swapped: bool) -> dict[str, npt.NDArray[Any]]:
    """Comparison vectors as arrays; without swapping, all names are compared straight."""
    columns = {name: name for name in COMPARISON_VECTOR}
    if not swapped:
        columns |= {"first_name": "straight_first_name", "last_name": "straight_last_name"}
    vectors = {name: pairs[column].to_numpy() for name, column in columns.items()}
    return vectors if swapped else vectors | {"swapped": np.zeros(len(pairs), bool)}


def _features(
    formula: Formula, vectors: Mapping[str, npt.NDArray[Any]]
) -> Iterable[tuple[tuple[str, float | str], Floats]]:
    for name, knots in formula.knots.items():
        missing = np.isnan(vectors[name])
        for low, high in pairwise(knots):
            yield (name, high), np.where(missing, 0, np.clip((vectors[name] - low) / (high - low), 0, 1))
        if formula.missing:
            yield (name, "missing"), missing.astype(float)
    if formula.swapped:
        yield ("swapped", "penalty"), -vectors["swapped"].astype(float)


def _curve(name: str, formula: Formula, weight: Mapping[tuple[str, float | str], float]) -> Curve:
    if name not in formula.knots:
        return Curve((1.0,), (0.0,))
    knots = formula.knots[name]
    rises = np.cumsum([0.0, *(weight[name, knot] for knot in knots[1:])])
    return Curve(knots, tuple(rises.tolist()), weight.get((name, "missing"), 0.0))


# --- Cut-offs and results -------------------------------------------------------------------------------------------


def with_cut_offs(model: LinkageModel, pairs: pa.Table, max_dropped: float, max_reviewed: float) -> LinkageModel:
    """The model with the lowest cut-offs that keep to the error rates on these pairs.

    Args:
        model: to set the cut-offs of.
        pairs: schema `LABELLED`; only the train split is looked at.
        max_dropped: share of the new records that may be taken for somebody known, in [0, 1).
        max_reviewed: share of the new records that may be put to review besides, those of a household left out.
    """
    split = _Split(model, pairs, TRAIN)
    accept_at = max(split.cut_off(split.best_to_accept, max_dropped), 0.5)
    review_at = max(split.cut_off(split.best_to_accept, max_dropped + max_reviewed), _above_same_address(model))
    return replace(model, accept_at=accept_at, review_at=min(review_at, accept_at))


def _above_same_address(model: LinkageModel) -> float:
    """A cut-off that an equal address alone does not reach: everybody has neighbours, and they are no candidates."""
    strangers = {"first_name": [0.0], "last_name": [0.0], "address": [1.0], "swapped": [0.0]}
    return float(np.nextafter(model.score(strangers)[0], 1))


@dataclass(frozen=True)
class Results:
    """How a model does on one split.

    Attributes:
        pairs: how many.
        log_loss: mean over the pairs that no rule decides (those of a household are left out).
        f1: of the pairs accepted as duplicates, in [0, 1].
        found_f1: of those and the pairs put to review.
        reinserted: share of the returning records that are below `review_at` with the person they are.
        dropped: share of the new records that reach `accept_at` with somebody.
        reviewed: share of all records that are put to review.
    """

    pairs: int
    log_loss: float
    f1: float
    found_f1: float
    reinserted: float
    dropped: float
    reviewed: float


def evaluate(model: LinkageModel, pairs: pa.Table, split: str) -> Results:
    """Results of a model on the pairs of a split, `TRAIN` or `TEST`."""
    return _Split(model, pairs, split).results()


class _Split:
    """Scores of one split, by pair and by record."""

    def __init__(self, model: LinkageModel, pairs: pa.Table, split: str) -> None:
        self.model = model
        chosen = pairs.filter(pc.equal(pairs["split"], split))
        self.is_match: Bools = chosen["is_match"].to_numpy()
        scores = [model.score(_vectors(chosen, swapped)) for swapped in (False, True)]
        self.score: Floats = np.maximum(*scores) if len(chosen) else np.array([])
        records, position = np.unique(chosen["record"].to_numpy(), return_inverse=True)
        self.household: Bools = chosen["household"].to_numpy()
        self.acceptable = np.where(self.household, 0, self.score)
        self.best, self.best_to_accept = np.zeros(len(records)), np.zeros(len(records))
        np.maximum.at(self.best, position, self.score)
        np.maximum.at(self.best_to_accept, position, self.acceptable)
        self.true = np.full(len(records), np.nan)
        self.true[position[self.is_match]] = self.score[self.is_match]
        self.new_records = int(json.loads(pairs.schema.metadata[b"new"])[split])

    @property
    def returning(self) -> Bools:
        return ~np.isnan(self.true)

    def cut_off(self, best_scores: Floats, share: float) -> float:
        """The lowest score that at most this share of the new records reaches, by their best scores."""
        best = np.sort(best_scores[~self.returning])[::-1]
        allowed = int(share * self.new_records)
        return float(np.nextafter(best[allowed], 1)) if allowed < len(best) else 0.0

    def results(self) -> Results:
        accepted = self.acceptable >= self.model.accept_at
        found = self.score >= self.model.review_at
        judged = ~self.household
        returning, new = int(self.returning.sum()), self.new_records
        dropped = self.best_to_accept >= self.model.accept_at
        reviewed = int(((self.best >= self.model.review_at) & ~dropped).sum())
        return Results(
            pairs=len(self.score),
            log_loss=float(log_loss(self.is_match[judged], self.score[judged], labels=[False, True])),
            f1=_f1(accepted, self.is_match),
            found_f1=_f1(found, self.is_match),
            reinserted=float((self.true[self.returning] < self.model.review_at).sum()) / max(returning, 1),
            dropped=float((dropped & ~self.returning).sum()) / max(new, 1),
            reviewed=reviewed / max(returning + new, 1),
        )


def _f1(predicted: Bools, actual: Bools) -> float:
    return 2 * int((predicted & actual).sum()) / max(int(predicted.sum() + actual.sum()), 1)


def results_table(fitted: Mapping[str, LinkageModel], pairs: pa.Table) -> list[dict[str, Any]]:
    """Train and test results of each model, one row a model, as plain JSON types."""
    return [
        {
            "model": name,
            "version": model.version,
            **{f"train_{key}": value for key, value in asdict(evaluate(model, pairs, TRAIN)).items()},
            **{f"test_{key}": value for key, value in asdict(evaluate(model, pairs, TEST)).items()},
        }
        for name, model in fitted.items()
    ]
