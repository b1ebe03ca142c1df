"""Labelled pairs: comparison vectors of which it is known whether they are of one person."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.comparison import Rows, comparison_vectors
from common.linkage.corruption import Record
from common.linkage.household import clear_differences
from common.linkage.model import COMPARISON_VECTOR, NEVER, SIMILARITIES, CommonNames, Curve, Floats, LinkageModel
from common.linkage.rarity import COMMONNESS, NOTHING_KNOWN, KnownNames
from common.linkage.standardise import standardise

Bools = npt.NDArray[np.bool_]

TRAIN, TEST = "train", "test"
"""The two splits: a model is fitted to the first, and its results are taken on the second."""

SEARCH_MODEL = LinkageModel(
    intercept=-7.0,
    curves={
        "first_name": Curve((0.70, 0.85, 0.92, 1.0), (-5.0, -1.0, 2.0, 3.0)),
        "last_name": Curve((0.70, 0.85, 0.92, 1.0), (-4.0, -1.0, 2.5, 4.0)),
        "address": Curve((0.60, 0.80, 0.90, 1.0), (-4.0, 0.0, 4.0, 6.5)),
    },
    swapped=-2.0,
    accept_at=0.90,
    review_at=0.30,
    margin=0.5,
)
"""A model set by hand, used only to find the pairs that are worth training on and to arrange their names."""

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
        *((name, pa.float64()) for name in COMMONNESS),
        pa.field("household", pa.bool_(), nullable=False),
        pa.field("apart", pa.bool_(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
    ]
)
"""Labelled comparison vectors, one row a pair.

`record` numbers the incoming record, and `kind` says how it came about. Every true pair is there, however unlike, and
of the other pairs all that come near. The names' similarities are there twice: as compared, which is crosswise where
`swapped` is true, and straight in any case; how common the names are is as compared. `household` and `apart` are clear
differences (`household.Differences`) about which no model is asked: the first are never accepted as duplicates, and the
others are no candidates. `weight` is how many such pairs the real table has for this one, since chance resemblances
grow with the table and lookalikes do not. The metadata `new` holds how many new records each split had, as JSON.
"""


class Pairs(NamedTuple):
    """Pairs of one split before they are compared, as arrays of one length.

    Attributes:
        rows: row on the left and row on the right, n x 2.
        kind: how the left record came about.
        is_match: whether the two are one person.
        weight: how many such pairs the real table has for this one.
    """

    rows: Rows
    kind: Sequence[str]
    is_match: Bools
    weight: Floats


def standardised(records: Sequence[Record]) -> pa.Table:
    """Raw records as a standardised table, in the given order."""
    columns = zip(*records, strict=True) if records else [()] * len(Record._fields)
    return standardise(pa.table(dict(zip(Record._fields, (pa.array(c, pa.string()) for c in columns), strict=True))))


def labelled(
    split: str, left: pa.Table, right: pa.Table, pairs: Pairs, new: int, known: KnownNames = NOTHING_KNOWN
) -> pa.Table:
    """Compare pairs whose answer is known.

    Args:
        split: `TRAIN` or `TEST`.
        left: standardised incoming records.
        right: standardised records that they are compared with.
        pairs: which rows are compared, with their labels.
        new: how many of the incoming records are nobody on the right.
        known: how common the names are.

    Returns:
        A table of schema `LABELLED`.
    """
    left_rows, right_rows = pairs.rows[:, 0], pairs.rows[:, 1]
    common = {name: CommonNames(1.0, commonness) for name, commonness in known.items()}
    vectors = comparison_vectors(left, right, left_rows, right_rows, replace(SEARCH_MODEL, common_names=common))
    never_swapped = replace(SEARCH_MODEL, swapped=NEVER)
    straight = comparison_vectors(left, right, left_rows, right_rows, never_swapped)
    arrays = {name: vectors[name].to_numpy() for name in COMPARISON_VECTOR}
    household, apart = clear_differences(left, right, left_rows, right_rows, arrays)
    columns = {
        "split": pa.array([split] * len(left_rows), pa.string()),
        "record": pa.array(left_rows),
        "kind": pa.array(pairs.kind, pa.string()),
        "is_match": pa.array(pairs.is_match),
        **{name: vectors[name] for name in COMPARISON_VECTOR},
        "straight_first_name": straight["first_name"],
        "straight_last_name": straight["last_name"],
        "household": pa.array(household),
        "apart": pa.array(apart),
        "weight": pa.array(pairs.weight),
    }
    return pa.table(columns, schema=LABELLED.with_metadata({"new": json.dumps({split: new})}))


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """Labelled pairs of several splits of one origin in one table; their records keep their numbers."""
    new = {TRAIN: 0, TEST: 0}
    for table in tables:
        for split, count in new_records(table).items():
            new[split] += count
    return pa.concat_tables([table.replace_schema_metadata({"new": json.dumps(new)}) for table in tables])


def joined(parts: Mapping[str, pa.Table], known: KnownNames = NOTHING_KNOWN) -> pa.Table:
    """Labelled pairs of several origins in one table, with their sizes as its lineage.

    Args:
        parts: by origin.
        known: how common names are in the table that a model is to be made for.

    Records are numbered anew, so that a record of one origin is never taken for one of another.
    """
    tables, first = [], 0
    for table in parts.values():
        renumbered = pc.add(table["record"], first)
        first += (pc.max(table["record"]).as_py() or 0) + 1
        tables.append(table.set_column(1, LABELLED.field("record"), renumbered))
    whole = together(tables)
    sizes = json.dumps({name: table.num_rows for name, table in parts.items()})
    new = json.dumps({name: new_records(table) for name, table in parts.items()})
    more = {"lineage": sizes, "new of parts": new, "common names": json.dumps(known)}
    return whole.replace_schema_metadata({**whole.schema.metadata, **more})


def common_names(pairs: pa.Table) -> KnownNames:
    """How common names are in the table that a model is to be made for, as `joined` was told."""
    return dict(json.loads(pairs.schema.metadata[b"common names"]))


def part(pairs: pa.Table, name: str) -> pa.Table:
    """The labelled pairs of one of the origins that `joined` put together."""
    sizes = lineage(pairs)
    names = list(sizes)
    first = sum(sizes[before] for before in names[: names.index(name)])
    new = json.loads(pairs.schema.metadata[b"new of parts"])[name]
    return pairs.slice(first, sizes[name]).replace_schema_metadata({"new": json.dumps(new)})


def lighter(pairs: pa.Table, name: str, factor: float) -> pa.Table:
    """The same pairs, where those of one origin weigh `factor` times as much."""
    sizes = lineage(pairs)
    factors = np.repeat([factor if origin == name else 1.0 for origin in sizes], list(sizes.values()))
    place = pairs.schema.get_field_index("weight")
    return pairs.set_column(place, LABELLED.field("weight"), pc.multiply(pairs["weight"], pa.array(factors)))


def lineage(pairs: pa.Table) -> dict[str, int]:
    """How many labelled pairs came from where."""
    return dict(json.loads(pairs.schema.metadata[b"lineage"]))


def new_records(pairs: pa.Table) -> dict[str, int]:
    """How many new records each split had."""
    return dict(json.loads(pairs.schema.metadata[b"new"]))


def vectors_of(pairs: pa.Table, swapped: bool) -> dict[str, npt.NDArray[Any]]:
    """Comparison vectors of labelled pairs as arrays; without swapping, all names are compared straight."""
    columns = {name: name for name in COMPARISON_VECTOR}
    if not swapped:
        columns |= {"first_name": "straight_first_name", "last_name": "straight_last_name"}
    vectors = {name: pairs[column].to_numpy() for name, column in columns.items()}
    return vectors if swapped else vectors | {"swapped": np.zeros(len(pairs), bool)}
