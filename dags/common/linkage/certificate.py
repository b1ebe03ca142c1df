"""A certificate for a run: a few records compared with everybody, to show that no pair was missed.

Nothing here is shared with the search that it certifies: every pair is compared, by DuckDB's Jaro-Winkler, on
the values as they stand in the tables. Only a pair that seems to be missing is shown to the reference, which has
the last word on pairs at the very threshold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import expit

from common.linkage.comparison import COLUMNS, comparison_vectors
from common.linkage.model import Floats, LinkageModel
from common.linkage.rarity import NAMES, commonness

PARTS = ("address_words", "address_numbers")


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
    found = set(zip(pairs["left_row"].to_pylist(), pairs["right_row"].to_pylist(), strict=True))
    matches, missing = 0, []
    with duckdb.connect(":memory:") as con:
        _prepare(con, others, model)
        for row in rows:
            reached = _matches(con, left.slice(row, 1), model, at)
            if right is None:
                reached = reached[reached != row]
            matches += len(reached)
            missing += [(row, int(other)) for other in reached if not _holds(found, row, int(other), right is None)]
    if missing:  # The two implementations of Jaro-Winkler may differ in the last bit at the very threshold.
        ends = np.sort(missing, axis=1) if right is None else np.array(missing)
        scores = comparison_vectors(left, others, ends[:, 0], ends[:, 1], model)["score"].to_numpy()
        missing = [pair for pair, score in zip(missing, scores, strict=True) if score >= at]
    return Certificate(len(rows), len(others), matches, len(missing))


def _prepare(con: duckdb.DuckDBPyConnection, others: pa.Table, model: LinkageModel) -> None:
    """Make table `people` of the right records, and the macros that take addresses apart."""
    con.execute(
        """
        create macro words_of(address) as
            list_distinct(list_filter(string_split(address, ' '), lambda w: w <> '' and not w ~ '.*[0-9].*'));
        create macro numbers_of(address) as
            list_distinct(list_filter(string_split(address, ' '), lambda w: w ~ '.*[0-9].*'));
        create macro counted(similarity) as if(similarity >= 0.85, similarity, 0);
        create macro covered(words, others) as
            list_sum([len(w) * counted(list_max([jaro_winkler_similarity(w, o) for o in others])) for w in words])
            / nullif(list_sum([len(w) for w in words]), 0) + if(len(others) = 0, null, 0)
        """
    )
    columns = others.select(list(COLUMNS.values())).append_column("row", pa.array(np.arange(len(others))))
    for name in NAMES:
        common = commonness(others[COLUMNS[name]], model.commonness(name))
        columns = columns.append_column(f"{name}_commonness", pa.array(common))
    con.register("others", columns)
    con.execute(
        """
        create table people as
        select first_name_std as first, last_name_std as last, address_std as address,
               array_to_string(list_sort(string_split(address_std, ' ')), ' ') as ordered,
               list_distinct(regexp_extract_all(address_std, '[^ ]*[0-9][^ ]*')) as numbers,
               first_name_commonness as first_common, last_name_commonness as last_common,
               row
        from others
        """
    )


def _matches(con: duckdb.DuckDBPyConnection, record: pa.Table, model: LinkageModel, at: float) -> npt.NDArray[np.int64]:
    """The rows of all people who reach the threshold with a record, which is the one row of a table."""
    values = [record[column][0].as_py() for column in COLUMNS.values()]
    common = [float(commonness(record[COLUMNS[name]], model.commonness(name))[0]) for name in NAMES]
    similarities = con.sql(
        """
        select jaro_winkler_similarity(first, $1) as first_name,
               jaro_winkler_similarity(last, $2) as last_name,
               jaro_winkler_similarity(last, $1) as crossed_first,
               jaro_winkler_similarity(first, $2) as crossed_last,
               greatest(first_common, $4) as first_name_commonness,
               greatest(last_common, $5) as last_name_commonness,
               greatest(last_common, $4) as crossed_first_commonness,
               greatest(first_common, $5) as crossed_last_commonness,
               greatest(
                   jaro_winkler_similarity(address, $3),
                   jaro_winkler_similarity(ordered, array_to_string(list_sort(string_split($3::varchar, ' ')), ' '))
               ) as address
        from people order by row
        """,
        params=[*values, *common],
    ).to_arrow_table()
    vectors = {name: similarities[name].to_numpy().astype(np.float64) for name in similarities.column_names}
    # The parts of addresses take longest, so they are compared only where they could make the difference.
    close = np.flatnonzero(expit(_log_odds(model, vectors) + _most_of_parts(model)) >= at)
    vectors = {name: column[close] for name, column in vectors.items()} | _parts(con, values[2], close)
    return np.asarray(close[expit(_log_odds(model, vectors)) >= at])


def _log_odds(model: LinkageModel, vectors: Mapping[str, Floats]) -> Floats:
    """Of the better arrangement of the names; parts of addresses that are not there contribute nothing."""
    nothing = np.zeros(len(vectors["address"]))
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


def _most_of_parts(model: LinkageModel) -> float:
    return sum(max(*model.curve(name).log_odds, model.curve(name).missing) for name in PARTS)


def _parts(con: duckdb.DuckDBPyConnection, address: str | None, rows: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """Similarity by words and by numbers of an address with those of some people, NaN where there are none."""
    con.register("close", pa.table({"row": rows}))
    similarities = con.sql(
        """
        with parts as (
            select row, words_of($1::varchar) as ours, words_of(address) as theirs,
                   numbers_of($1::varchar) as our_numbers, numbers_of(address) as their_numbers
            from people semi join close using (row)
        )
        select greatest(covered(ours, theirs), covered(theirs, ours)) as address_words,
               len(list_intersect(our_numbers, their_numbers))
                   / nullif(least(len(our_numbers), len(their_numbers)), 0) as address_numbers
        from parts order by row
        """,
        params=[address],
    ).to_arrow_table()
    return {name: similarities[name].to_numpy().astype(np.float64) for name in PARTS}


def _holds(found: set[tuple[int, int]], row: int, other: int, within: bool) -> bool:
    return ((min(row, other), max(row, other)) if within else (row, other)) in found
