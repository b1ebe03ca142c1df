"""A certificate for a run: a few records compared with everybody, to show that no pair was missed.

Nothing here is shared with the search that it certifies: every pair is compared, by DuckDB's Jaro-Winkler, on
the values as they stand in the tables. Only a pair that seems to be missing is shown to the reference, which has
the last word on pairs at the very threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import expit

from common.linkage.comparison import COLUMNS, comparison_vectors
from common.linkage.model import Floats, LinkageModel
from common.linkage.rarity import NAMES, commonness

PARTS = ("address_words", "address_numbers")

ROUNDING = 1e-9
"""Log-odds by which a bound is raised, since sums are rounded."""


@dataclass(frozen=True)
class Certificate:
    """What an exhaustive comparison of a few records found.

    Attributes:
        records: left records compared.
        people: right records that each of them was compared with.
        matches: pairs that reach the threshold.
        missed: those of them that the search did not find; anything but 0 is a fault of the search.
    """

    records: int
    people: int
    matches: int
    missed: int

    def __str__(self) -> str:
        """One line for the log and the report."""
        return (
            f"certificate: {self.records:,} records x {self.people:,} people compared exhaustively,"
            f" {self.matches:,} pairs reach the threshold, {self.missed:,} missed"
        )


def certify(
    rows: Sequence[int], left: pa.Table, right: pa.Table | None, model: LinkageModel, at: float, pairs: pa.Table
) -> Certificate:
    """Compare some left records with every right record, and look their matches up in what was found.

    Args:
        rows: the rows of `left` to compare.
        left: standardised records.
        right: records or people; None if `left` was compared with itself.
        model: the linkage model of the search.
        at: least match score, in (0, 1).
        pairs: what the search found for `left` and `right`, with `left_row` and `right_row`.
    """
    others = left if right is None else right
    if not rows:
        return Certificate(0, len(others), 0, 0)
    found = _found(pairs, rows, right is None)
    matches, missing = 0, []
    with duckdb.connect(":memory:") as con:
        con.execute(_MACROS)
        people = _People.of(others, model)
        for row in rows:
            reached = _matches(con, left.slice(row, 1), people, model, at)
            if right is None:
                reached = reached[reached != row]
            matches += len(reached)
            missing += [(row, int(other)) for other in reached if not _holds(found, row, int(other), right is None)]
    if missing:  # The two implementations of Jaro-Winkler may differ in the last bit at the very threshold.
        ends = np.sort(missing, axis=1) if right is None else np.array(missing)
        scores = comparison_vectors(left, others, ends[:, 0], ends[:, 1], model)["score"].to_numpy()
        missing = [pair for pair, score in zip(missing, scores, strict=True) if score >= at]
    return Certificate(len(rows), len(others), matches, len(missing))


_MACROS = """
    create macro words_of(address) as
        list_distinct(list_filter(string_split(address, ' '), lambda w: w <> '' and not w ~ '.*[0-9].*'));
    create macro numbers_of(address) as
        list_distinct(list_filter(string_split(address, ' '), lambda w: w ~ '.*[0-9].*'));
    create macro ordered(address) as array_to_string(list_sort(string_split(address, ' ')), ' ');
    create macro counted(similarity) as if(similarity >= 0.85, similarity, 0);
    create macro covered(words, others) as
        list_sum([len(w) * counted(list_max([jaro_winkler_similarity(w, o) for o in others])) for w in words])
        / nullif(list_sum([len(w) for w in words]), 0) + if(len(others) = 0, null, 0)
    """


class _Names(NamedTuple):
    """A name of all right records: the distinct ones, the place there of each (-1 missing), how common each is."""

    distinct: pa.Table
    place: npt.NDArray[np.int64]
    common: Floats

    @classmethod
    def of(cls, names: pa.ChunkedArray, common: Floats) -> Self:
        encoded = names.combine_chunks().dictionary_encode()
        distinct = pa.table({"name": encoded.dictionary, "place": pa.array(np.arange(len(encoded.dictionary)))})
        return cls(distinct, encoded.indices.fill_null(-1).to_numpy().astype(np.int64), common)

    def similarities(self, con: duckdb.DuckDBPyConnection, name: str | None) -> Floats:
        """That of each right record to a name; NaN where one is missing. Every distinct name is compared."""
        con.register("names", self.distinct)
        found = con.sql("select jaro_winkler_similarity(name, $1::varchar) from names order by place", params=[name])
        return np.append(_column(found.to_arrow_table(), 0), np.nan)[self.place]


class _People(NamedTuple):
    """The right records."""

    first: _Names
    last: _Names
    addresses: pa.ChunkedArray

    @classmethod
    def of(cls, others: pa.Table, model: LinkageModel) -> Self:
        def names(name: str) -> _Names:
            column = others[COLUMNS[name]]
            return _Names.of(column, commonness(column, model.commonness(name)))

        first, last = map(names, NAMES)
        return cls(first, last, others[COLUMNS["address"]])


def _matches(
    con: duckdb.DuckDBPyConnection, record: pa.Table, people: _People, model: LinkageModel, at: float
) -> npt.NDArray[np.int64]:
    """The rows of all people who reach the threshold with a record, which is the one row of a table.

    Names are compared first, then addresses as a whole, and then their parts: each where it could make the difference.
    """
    first, last, address = (record[column][0].as_py() for column in COLUMNS.values())
    common = [float(commonness(record[COLUMNS[name]], model.commonness(name))[0]) for name in NAMES]
    vectors = {
        "first_name": people.first.similarities(con, first),
        "last_name": people.last.similarities(con, last),
        "crossed_first": people.last.similarities(con, first),
        "crossed_last": people.first.similarities(con, last),
        "first_name_commonness": np.maximum(people.first.common, common[0]),
        "last_name_commonness": np.maximum(people.last.common, common[1]),
        "crossed_first_commonness": np.maximum(people.last.common, common[0]),
        "crossed_last_commonness": np.maximum(people.first.common, common[1]),
    }
    rows = np.arange(len(people.addresses))
    for names, query in ((("address", *PARTS), _WHOLE), (PARTS, _PARTS)):
        close = np.flatnonzero(expit(_log_odds(model, vectors) + _most(model, names)) >= at)
        rows, vectors = rows[close], {name: column[close] for name, column in vectors.items()}
        con.register("close", pa.table({"address": people.addresses.take(pa.array(rows)), "row": rows}))
        found = con.sql(query, params=[address]).to_arrow_table()
        vectors |= {name: _column(found, name) for name in found.column_names}
    return np.asarray(rows[expit(_log_odds(model, vectors)) >= at])


_WHOLE = """
    select greatest(jaro_winkler_similarity(address, $1::varchar),
                    jaro_winkler_similarity(ordered(address), ordered($1::varchar))) as address
    from close order by row
    """
_PARTS = """
    with parts as (
        select row, words_of($1::varchar) as ours, words_of(address) as theirs,
               numbers_of($1::varchar) as our_numbers, numbers_of(address) as their_numbers
        from close
    )
    select greatest(covered(ours, theirs), covered(theirs, ours)) as address_words,
           len(list_intersect(our_numbers, their_numbers))
               / nullif(least(len(our_numbers), len(their_numbers)), 0) as address_numbers
    from parts order by row
    """


def _column(table: pa.Table, name: str | int) -> Floats:
    """A column of numbers, NaN where there is none."""
    return np.asarray(table[name].to_numpy(), np.float64)


def _log_odds(model: LinkageModel, vectors: Mapping[str, Floats]) -> Floats:
    """Of the better arrangement of the names; comparisons of addresses that are not there contribute nothing."""
    nothing = np.zeros(len(vectors["first_name"]))
    parts = {name: vectors[name] for name in ("address", *PARTS) if name in vectors}

    def total(first: str, last: str, swapped: float) -> Floats:
        terms = [model.curve(name)(similarity) for name, similarity in parts.items()]
        terms += [_of_name(model, name, vectors, column) for name, column in zip(NAMES, (first, last), strict=True)]
        return model.intercept + swapped + sum(terms, nothing)

    straight, crossed = total("first_name", "last_name", 0), total("crossed_first", "crossed_last", model.swapped)
    complete = ~np.isnan(vectors["crossed_first"]) & ~np.isnan(vectors["crossed_last"])
    return np.where(complete, np.maximum(straight, crossed), straight)


def _of_name(model: LinkageModel, name: str, vectors: Mapping[str, Floats], column: str) -> Floats:
    """What a name contributes: less where it is common."""
    similarity, common = vectors[column], model.common_names.get(name)
    rare = model.curve(name)(similarity)
    if common is None:
        return rare
    return rare - np.where(np.isnan(similarity), 0, rare * vectors[f"{column}_commonness"] * (1 - common.worth))


def _most(model: LinkageModel, names: Sequence[str]) -> float:
    """What comparisons contribute at most."""
    return sum(max(*model.curve(name).log_odds, model.curve(name).missing) for name in names) + ROUNDING


def _found(pairs: pa.Table, rows: Sequence[int], within: bool) -> set[tuple[int, int]]:
    """The pairs of these rows; of a table with itself either way round."""
    ends = ["left_row", "right_row"] if within else ["left_row"]
    theirs = [pairs.filter(pc.is_in(pairs[end], pa.array(rows))) for end in ends]
    return {
        pair
        for some in theirs
        for pair in zip(*some.select(["left_row", "right_row"]).to_pydict().values(), strict=True)
    }


def _holds(found: set[tuple[int, int]], row: int, other: int, within: bool) -> bool:
    return ((min(row, other), max(row, other)) if within else (row, other)) in found
