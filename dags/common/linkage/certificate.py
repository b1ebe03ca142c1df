"""A certificate for a run: a few records compared with everybody, to show that no pair was missed.

Nothing here is shared with the search that it certifies: every pair is compared, by DuckDB's Jaro-Winkler, on
the values as they stand in the tables. Only a pair that seems to be missing is shown to the reference, which has
the last word on pairs at the very threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from scipy.special import expit

from common.linkage.comparison import COLUMNS, comparison_vectors
from common.linkage.model import LinkageModel


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
    found = set(zip(pairs["left_row"].to_pylist(), pairs["right_row"].to_pylist(), strict=True))
    first, last, address = (COLUMNS[name] for name in ("first_name", "last_name", "address"))
    matches, missing = 0, []
    with duckdb.connect(":memory:") as con:
        con.register("others", others.select([first, last, address]))
        con.execute(
            """
            create table people as
            select first_name_std as first, last_name_std as last, address_std as address,
                   array_to_string(list_sort(string_split(address_std, ' ')), ' ') as ordered
            from others
            """
        )
        for row in rows:
            values = [left[name][row].as_py() for name in (first, last, address)]
            similarities = con.sql(
                """
                select jaro_winkler_similarity(first, $1), jaro_winkler_similarity(last, $2),
                       jaro_winkler_similarity(last, $1), jaro_winkler_similarity(first, $2),
                       greatest(
                           jaro_winkler_similarity(address, $3),
                           jaro_winkler_similarity(
                               ordered, array_to_string(list_sort(string_split($3::varchar, ' ')), ' ')
                           )
                       )
                from people
                """,
                params=values,
            ).to_arrow_table()
            straight_first, straight_last, crossed_first, crossed_last, alike = (
                column.to_numpy().astype(np.float64) for column in similarities.columns
            )
            swapped = np.zeros(len(others), bool)
            names = {"first_name": straight_first, "last_name": straight_last}
            log_odds = model.log_odds({**names, "address": alike, "swapped": swapped})
            names = {"first_name": crossed_first, "last_name": crossed_last}
            crossed = model.log_odds({**names, "address": alike, "swapped": ~swapped})
            complete = ~np.isnan(crossed_first) & ~np.isnan(crossed_last)
            log_odds = np.where(complete, np.maximum(log_odds, crossed), log_odds)
            reached = np.flatnonzero(expit(log_odds) >= at)
            if right is None:
                reached = reached[reached != row]
            matches += len(reached)
            missing += [(row, int(other)) for other in reached if not _holds(found, row, int(other), right is None)]
    if missing:  # at the very threshold the two Jaro-Winklers may differ in the last bit
        ends = np.sort(missing, axis=1) if right is None else np.array(missing)
        scores = comparison_vectors(left, others, ends[:, 0], ends[:, 1], model)["score"].to_numpy()
        missing = [pair for pair, score in zip(missing, scores, strict=True) if score >= at]
    return Certificate(len(rows), len(others), matches, len(missing))


def _holds(found: set[tuple[int, int]], row: int, other: int, within: bool) -> bool:
    return ((min(row, other), max(row, other)) if within else (row, other)) in found
