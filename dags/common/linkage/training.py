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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from common.linkage.candidates import candidate_pairs
from common.linkage.comparison import comparison_vectors
from common.linkage.corruption import Record, corrupt
from common.linkage.household import households
from common.linkage.model import COMPARISON_VECTOR, SIMILARITIES, Curve, Floats, LinkageModel
from common.linkage.standardise import standardise

Bools = npt.NDArray[np.bool_]

TRAIN, TEST = "train", "test"

MIN_PEOPLE = 1_000
"""Fewer people than this are not worth making pairs of: the results would be chance."""

NEAR = 0.001
"""Pairs of different people below this score by `_SEARCH_MODEL` are left out of training: nobody confuses them."""

RETURNING, LOOKALIKE = 0.5, 0.6
"""Shares of the known people who come back, and of whom a lookalike comes: estimates, not measured on anybody."""

ERRORS = (4, 3, 2, 1)
"""How often a record of a returning person has 1, 2, 3 or 4 errors, relative to each other."""

NAME_EVIDENCE = 0.1
"""Log-odds by which a cut-off is above what it must not take for a match."""

MARGIN = 0.5
"""Log-odds by which the best candidate must be ahead of the runner-up, see `LinkageModel.margin`."""

_SEARCH_MODEL = LinkageModel(
    intercept=-7.0,
    curves={
        "first_name": Curve((0.70, 0.85, 0.92, 1.0), (-5.0, -1.0, 2.0, 3.0)),
        "last_name": Curve((0.70, 0.85, 0.92, 1.0), (-4.0, -1.0, 2.5, 4.0)),
        "address": Curve((0.60, 0.80, 0.90, 1.0), (-4.0, 0.0, 4.0, 6.5)),
    },
    swapped=-2.0,
    accept_at=0.90,
    review_at=0.30,
    margin=MARGIN,
)  # set by hand, and only used to find the pairs that are worth training on

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
        pa.field("weight", pa.float64(), nullable=False),
    ]
)
"""Labelled comparison vectors, one row a pair.

`record` numbers the incoming record, `kind` says how it came about. Every true pair is there, however unlike, and all
other pairs that come near. The names' similarities are there twice: as compared, crosswise where `swapped`, and
straight in any case. Pairs of a household are never accepted as duplicates. `weight` is how many such
pairs the table has for one here: chance resemblances grow with the table, lookalikes do not. Metadata `new`: how many
new records each split had, as JSON.
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


def generated_pairs(people: pa.Table, seed: int, table_size: int) -> pa.Table:
    """Labelled pairs made of people: corrupted copies as matches, strangers and lookalikes as non-matches.

    Args:
        people: raw `first_name`, `last_name`, `address` of different people, at least `MIN_PEOPLE`.
        seed: of all chance.
        table_size: people in the table that the model is to work with.

    Returns:
        A table of schema `LABELLED`.
    """
    rng = Random(seed)  # noqa: S311 - chance, not secrecy
    rows = list(zip(*(people[name].to_pylist() for name in Record._fields), strict=True))
    chosen = [Record(*row) for row in rng.sample(rows, len(rows))]
    half = len(chosen) // 2
    worlds = ((TRAIN, chosen[:half]), (TEST, chosen[half:]))
    return _joined([_world(split, part, rng, table_size) for split, part in worlds])


def _world(split: str, people: Sequence[Record], rng: Random, table_size: int) -> pa.Table:
    """A table of known people and a batch of incoming records, compared."""
    known, strangers = people[: len(people) * 2 // 3], people[len(people) * 2 // 3 :]
    incoming = [_Incoming(stranger, "stranger") for stranger in strangers]
    for number, person in enumerate(known):
        if rng.random() < RETURNING:
            (wanted,) = rng.choices((1, 2, 3, 4), weights=ERRORS)
            copy, errors = corrupt(person, rng, errors=wanted)
            incoming.append(_Incoming(copy, " + ".join(errors) or "unchanged", person=number))
        if rng.random() < LOOKALIKE:
            (make,) = rng.choices(list(LOOKALIKES), weights=list(LOOKALIKES.values()))
            lookalike = make(person, strangers, rng)
            if lookalike.first_name or lookalike.last_name:
                incoming.append(_Incoming(lookalike, make.__name__, resembles=number))
    left, right = _standardised([record.record for record in incoming]), _standardised(known)
    is_person = np.array([record.person for record in incoming])
    resembles = np.array([record.resembles for record in incoming])
    near = candidate_pairs(left, right, _SEARCH_MODEL, NEAR)
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
    weight = np.where(by_chance, max(table_size / len(known), 1.0), 1.0)
    kinds = [record.kind for record in incoming]
    return _table(split, left, right, rows, is_match, weight, kinds, int((is_person < 0).sum()))


class _Incoming(NamedTuple):
    """A record of a world's batch: how it came about, and the row of the known person that it is or resembles."""

    record: Record
    kind: str
    person: int = -1
    resembles: int = -1


def _standardised(records: Sequence[Record]) -> pa.Table:
    columns = zip(*records, strict=True) if records else [()] * len(Record._fields)
    return standardise(pa.table(dict(zip(Record._fields, (pa.array(c, pa.string()) for c in columns), strict=True))))


def _table(
    split: str,
    left: pa.Table,
    right: pa.Table,
    rows: npt.NDArray[Any],
    is_match: Bools,
    weight: Floats,
    kinds: Sequence[str],
    new: int,
) -> pa.Table:
    vectors = comparison_vectors(left, right, rows[:, 0], rows[:, 1], _SEARCH_MODEL)
    never_swapped = replace(_SEARCH_MODEL, swapped=_NEVER)
    straight = comparison_vectors(left, right, rows[:, 0], rows[:, 1], never_swapped)
    columns = {
        "split": pa.array([split] * len(rows), pa.string()),
        "record": pa.array(rows[:, 0]),
        "kind": pa.array([kinds[row] for row in rows[:, 0]], pa.string()),
        "is_match": pa.array(is_match),
        **{name: vectors[name] for name in COMPARISON_VECTOR},
        "straight_first_name": straight["first_name"],
        "straight_last_name": straight["last_name"],
        "household": pa.array(households(left, right, rows[:, 0], rows[:, 1], _arrays(vectors))),
        "weight": pa.array(weight),
    }
    return pa.table(columns, schema=LABELLED.with_metadata({"new": json.dumps({split: new})}))


def judged_pairs(judgements: pa.Table, seed: int) -> pa.Table:
    """Labelled pairs from pairs of records that somebody judged, or of a prepared data set.

    Records that are linked by any pair, match or not, go to the same split. Where that would put most of them into
    one, only those that matches link stay together, and other pairs that lie across are left out.

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
    is_match: Bools = judgements["is_match"].to_numpy()
    group = _groups(rows, len(number))
    if np.bincount(group, minlength=1).max() > len(number) / 2:
        # Pairs that a search proposed hang together: then only matches, which are one person, must not be parted.
        group = _groups(rows[is_match], len(number))
    rng = Random(seed)  # noqa: S311
    splits = np.array([rng.choice((TRAIN, TEST)) for _ in range(group.max(initial=-1) + 1)], dtype=object)
    records = _standardised([Record(*row) for row in number])
    parts = []
    for split in (TRAIN, TEST):
        chosen = (splits[group[rows]] == split).all(axis=1)
        matched = set(rows[chosen & is_match, 0].tolist())
        new = len(set(rows[chosen, 0].tolist()) - matched)
        kinds = ["judged"] * len(number)
        parts.append(_table(split, records, records, rows[chosen], is_match[chosen], np.ones(chosen.sum()), kinds, new))
    return _joined(parts)


def _groups(pairs: npt.NDArray[np.int64], records: int) -> npt.NDArray[np.int32]:
    """The group of each record, where pairs hold records together."""
    edges = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(records, records))
    return np.asarray(connected_components(edges, directed=False)[1])


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
    return dict(json.loads(pairs.schema.metadata[b"lineage"]))


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

# Names less alike than 0.8 get no credit: unrelated names reach 0.7 by chance, and without the names a large table
# could only be searched by comparing every address with every other.
_NAME_KNOTS = (0.8, 0.87, 0.93, 1.0)
_ADDRESS_KNOTS = (0.6, 0.7, 0.8, 0.9, 1.0)
_NAMES = {"first_name": _NAME_KNOTS, "last_name": _NAME_KNOTS}
_ALL = {**_NAMES, "address": _ADDRESS_KNOTS}
_PARTS = {"address_words": (0.2, 0.4, 0.6, 0.8, 1.0), "address_numbers": (0.0, 0.5, 1.0)}
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
        warning: whether it stands in the table of results only, never to be promoted.
    """

    name: str
    knots: Mapping[str, tuple[float, ...]]
    missing: bool
    swapped: bool
    strength: float = 10.0
    warning: bool = False


FORMULAS = (
    Formula("address", {"address": _ADDRESS_KNOTS}, missing=False, swapped=False),
    Formula("names", _NAMES, missing=False, swapped=False),
    Formula("names + address", _ALL, missing=False, swapped=False),
    Formula("... + missing levels", _ALL, missing=True, swapped=False),
    Formula("... + swapped names", _ALL, missing=True, swapped=True),
    Formula("... + address parts", {**_ALL, **_PARTS}, missing=True, swapped=True),
    Formula("over-fitted", dict.fromkeys(SIMILARITIES, _FINE), missing=True, swapped=True, strength=1e6, warning=True),
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
    from sklearn.linear_model import LogisticRegression  # two seconds, and most runs fit nothing

    pairs = pairs.filter(pc.and_not(pc.equal(pairs["split"], TRAIN), pairs["household"]))
    vectors = _vectors(pairs, formula.swapped)
    names, features = zip(*_features(formula, vectors), strict=True)
    matrix, labels, weight_of_pair = np.column_stack(features), pairs["is_match"].to_numpy(), pairs["weight"].to_numpy()
    used = np.ones(len(names), bool)
    free = np.array([kind == "missing" for _, kind in names])
    while True:
        regression = LogisticRegression(C=formula.strength, max_iter=500)
        regression.fit(matrix * used, labels, sample_weight=weight_of_pair)
        weights = regression.coef_[0] * used
        if not (wrong := (weights < 0) & ~free).any():
            break
        used &= ~wrong
    weight = dict(zip(names, weights.tolist(), strict=True))
    return LinkageModel(
        intercept=float(regression.intercept_[0]),
        curves={name: _curve(name, knots, weight) for name, knots in formula.knots.items()},
        swapped=0.0 - weight[("swapped", "penalty")] if formula.swapped else _NEVER,
        accept_at=0.5,
        review_at=0.5,
        margin=MARGIN,
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


def _curve(name: str, knots: tuple[float, ...], weight: Mapping[tuple[str, float | str], float]) -> Curve:
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

    Whatever the rates, an equal address alone does not make a candidate: everybody has neighbours. With an equal
    first name it does not make a duplicate: married or flatmates, who could tell? An equal last name is `household`'s.
    """
    split = _Split(model, pairs, TRAIN)
    review_at = max(split.cut_off(max_dropped + max_reviewed), _above_same_address(model, first_name=0.0))
    accept_at = max(split.cut_off(max_dropped), 0.5, review_at, _above_same_address(model, first_name=1.0))
    return replace(model, accept_at=accept_at, review_at=review_at)


def _above_same_address(model: LinkageModel, first_name: float) -> float:
    """A cut-off that an equal address, a first name so similar and an unlike last name do not reach."""
    equal = {name: [1.0] for name in SIMILARITIES}
    vectors = {**equal, "first_name": [first_name], "last_name": [0.0], "swapped": [0.0]}
    return float(expit(model.log_odds(vectors)[0] + NAME_EVIDENCE))


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
        reviewed: share of the new records that are put to review, relatives among them.
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
        self.household: Bools = chosen["household"].to_numpy()
        self.weight: Floats = chosen["weight"].to_numpy()
        self.score: Floats = np.maximum(*(model.score(_vectors(chosen, swapped)) for swapped in (False, True)))
        self.acceptable = np.where(self.household, 0, self.score)
        records, self.record = np.unique(chosen["record"].to_numpy(), return_inverse=True)
        self.true = np.full(len(records), np.nan)
        self.true[self.record[self.is_match]] = self.score[self.is_match]
        self.returning: Bools = ~np.isnan(self.true)
        self.new_records = int(json.loads(pairs.schema.metadata[b"new"])[split])

    def cut_off(self, share: float) -> float:
        """The lowest score that at most this share of the new records reaches, those of a household left out."""
        of_new = ~self.returning[self.record]
        order = np.argsort(-self.acceptable[of_new])
        reached = np.cumsum(self.weight[of_new][order]) > share * self.new_records
        return float(np.nextafter(self.acceptable[of_new][order][reached.argmax()], 1)) if reached.any() else 0.0

    def share_of_new(self, pairs: Bools) -> float:
        """Expected share of the new records that have one of these pairs, in the table that the weights tell."""
        return min(float(self.weight[pairs & ~self.returning[self.record]].sum()) / max(self.new_records, 1), 1.0)

    def results(self) -> Results:
        from sklearn.metrics import log_loss

        accepted = self.acceptable >= self.model.accept_at
        found = self.score >= self.model.review_at
        judged = ~self.household
        return Results(
            pairs=len(self.score),
            log_loss=float(
                log_loss(
                    self.is_match[judged], self.score[judged], sample_weight=self.weight[judged], labels=[False, True]
                )
            ),
            f1=_f1(accepted, self.is_match),
            found_f1=_f1(found, self.is_match),
            reinserted=float((self.true[self.returning] < self.model.review_at).sum()) / max(self.returning.sum(), 1),
            dropped=self.share_of_new(accepted),
            reviewed=self.share_of_new(found & ~accepted),
        )


def _f1(predicted: Bools, actual: Bools) -> float:
    return 2 * int((predicted & actual).sum()) / max(int(predicted.sum() + actual.sum()), 1)


def calibration(model: LinkageModel, pairs: pa.Table) -> list[tuple[float, float, float]]:
    """How well scores are probabilities, on the test split: mean score, share of matches and pairs, by tenths."""
    split = _Split(model, pairs, TEST)
    tenth = np.minimum((split.score * 10).astype(int), 9)
    bins = []
    for number in range(10):
        chosen = (tenth == number) & ~split.household
        if weight := float(split.weight[chosen].sum()):
            score, rate = (
                float(np.average(of[chosen], weights=split.weight[chosen])) for of in (split.score, split.is_match)
            )
            bins.append((score, rate, weight))
    return bins


def threshold_chart(model: LinkageModel, pairs: pa.Table) -> list[tuple[float, float, float]]:
    """What a single cut-off would do on the test split: cut-off, share re-inserted, share wrongly dropped."""
    split = _Split(model, pairs, TEST)
    returning = max(int(split.returning.sum()), 1)
    return [
        (
            float(cut_off),
            float((split.true[split.returning] < cut_off).sum()) / returning,
            split.share_of_new(split.acceptable >= cut_off),
        )
        for cut_off in np.linspace(0.05, 0.95, 19).round(2)
    ]


def results_table(fitted: Mapping[str, LinkageModel], pairs: pa.Table) -> list[dict[str, Any]]:
    """Train and test results of each model, one row a model, as plain JSON types."""
    return [
        {
            "model": name,
            "version": model.version,
            **{f"train_{key}": value for key, value in asdict(evaluate(model, pairs, TRAIN)).items()},
            **{f"test_{key}": value for key, value in asdict(evaluate(model, pairs, TEST)).items()},
            "calibration": calibration(model, pairs),
            "thresholds": threshold_chart(model, pairs),
        }
        for name, model in fitted.items()
    ]
