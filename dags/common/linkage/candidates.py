"""Lossless candidate pairs: every pair that could reach the threshold, found without comparing all pairs.

Why nothing is missed: the log-odds of a pair are a sum with one term per comparison, and no term exceeds the
maximum of its curve (or the level of a missing value, if that is higher). So the terms known so far plus the
maxima of the others bound the pair, and a pair is left out only where that bound misses the threshold. First
names are compared as distinct values, then last names, then the addresses of the pairs still standing.
Swapped names are a second pass with the right names exchanged. What is found is scored by the reference
(`comparison`), which decides; the filter keeps a little slack, so rounding never decides.
"""

import math

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.comparison import COLUMNS, Rows, comparison_vectors
from common.linkage.model import Curve, Floats, LinkageModel

SLACK = 1e-9
"""Log-odds and similarities by which the filter is more generous than the reference."""


def candidate_pairs(left: pa.Table, right: pa.Table | None, model: LinkageModel, at: float) -> pa.Table:
    """All pairs with a match score of at least `at`.

    Args:
        left: standardised records: `first_name_std`, `last_name_std`, `address_std` (ASCII; null is missing).
        right: records or people with the same columns; None compares `left` with itself, each pair once.
        model: any linkage model.
        at: least match score, in (0, 1).

    Returns:
        `left_row`, `right_row` (int64, in ascending order; left_row < right_row if `right` is None), the
        comparison vector and `score`.
    """
    others = left if right is None else right
    lowest = at * (1 - 1e-15)  # the score itself is rounded too
    least = math.log(lowest) - math.log1p(-lowest) - model.intercept - SLACK
    with duckdb.connect(":memory:") as con:
        _register(con, "l", left)
        _register(con, "r", others)
        straight = _pass(con, ("first", "last"), model, least, within=right is None)
        swapped = _pass(con, ("last", "first"), model, least - model.swapped, within=right is None)
    rows = np.unique(np.concatenate([straight, swapped]), axis=0)
    vectors = comparison_vectors(left, others, rows[:, 0], rows[:, 1], model)
    pairs = vectors.add_column(0, "left_row", pa.array(rows[:, 0])).add_column(
        1, "right_row", pa.array(rows[:, 1])
    )
    return pairs.filter(pc.greater_equal(pairs["score"], at))


def _register(con: duckdb.DuckDBPyConnection, side: str, records: pa.Table) -> None:
    """Records as table `l` or `r` with codes for the names (-1: missing), and a dictionary of each name."""
    columns = {"row": np.arange(len(records)), "address": records[COLUMNS["address"]].cast(pa.string())}
    for field in ("first", "last"):
        encoded = records[COLUMNS[f"{field}_name"]].cast(pa.string()).combine_chunks().dictionary_encode()
        columns[field] = encoded.indices.fill_null(-1)
        codes = pa.array(np.arange(len(encoded.dictionary), dtype=np.int32))
        con.register("arriving", pa.table({"code": codes, "value": encoded.dictionary}))
        con.execute(f"create table {side}_{field} as from arriving")
    con.register("arriving", pa.table(columns))
    con.execute(f"create table {side} as from arriving")
    con.execute(f"create table {side}_names as select distinct first, last from {side}")


def _pass(
    con: duckdb.DuckDBPyConnection,
    right_fields: tuple[str, str],
    model: LinkageModel,
    least: float,
    within: bool,
) -> Rows:
    """Row pairs that can reach `least` with the left (first, last) name against `right_fields`, as an n x 2 array."""
    first, last, address = (model.curves[name] for name in ("first_name", "last_name", "address"))
    missing = right_fields == ("first", "last")  # swapped needs all four names
    best = {curve: max(curve.log_odds[-1], curve.missing) for curve in (first, last, address)}
    _value_pairs(con, "f", "first", right_fields[0], first, least - best[last] - best[address], missing)
    _value_pairs(con, "g", "last", right_fields[1], last, least - best[first] - best[address], missing)
    name_pairs = con.sql(
        f"""
        select l.first as lf, l.last as ll, r.first as rf, r.last as rl, f.log_odds + g.log_odds as log_odds
        from l_names l join f on l.first = f.l join r_names r on f.r = r.{right_fields[0]}
        join g on g.l = l.last and g.r = r.{right_fields[1]}
        where f.log_odds + g.log_odds >= ?
        """,
        params=[least - best[address]],
    ).to_arrow_table()
    needed = least - name_pairs["log_odds"].to_numpy()
    name_pairs = name_pairs.append_column("similarity", pa.array(least_similarity(address, needed)))
    name_pairs = name_pairs.append_column("missing_will_do", pa.array(address.missing >= needed))
    con.register("name_pairs", name_pairs)
    similar = " or ".join(
        f"jaro_winkler_similarity({a}, {b}) >= n.similarity"
        for a, b in (("l.address", "r.address"), (_sorted("l.address"), _sorted("r.address")))
    )
    pairs = con.sql(
        f"""
        select l.row as l, r.row as r
        from name_pairs n join l on l.first = n.lf and l.last = n.ll join r on r.first = n.rf and r.last = n.rl
        where {"l.row < r.row" if within else "true"}
          and case when l.address is null or r.address is null then missing_will_do else {similar} end
        """
    ).to_arrow_table()
    return np.column_stack([pairs["l"].to_numpy(), pairs["r"].to_numpy()])


def _value_pairs(
    con: duckdb.DuckDBPyConnection,
    name: str,
    left: str,
    right: str,
    curve: Curve,
    needed: float,
    missing: bool,
) -> None:
    """Make table `name` of the pairs of distinct values that contribute at least `needed`, with their log-odds."""
    least = least_similarity(curve, np.array([needed]))[0]
    found = con.sql(
        f"""
        select l.code as l, r.code as r, jaro_winkler_similarity(l.value, r.value) as similarity
        from l_{left} l, r_{right} r where similarity >= ?
        """,
        params=[least],
    ).to_arrow_table()
    table = pa.table(
        {"l": found["l"], "r": found["r"], "log_odds": curve(found["similarity"].to_numpy() + SLACK)}
    )
    con.register("arriving", table)
    con.execute(f"create or replace temp table {name} as from arriving")
    if missing and curve.missing >= needed:
        con.execute(f"insert into {name} select -1, code, ? from r_{right}", [curve.missing])
        con.execute(f"insert into {name} select code, -1, ? from l_{left}", [curve.missing])
        con.execute(f"insert into {name} values (-1, -1, ?)", [curve.missing])


def _sorted(address: str) -> str:
    return f"array_to_string(list_sort(string_split({address}, ' ')), ' ')"


def least_similarity(curve: Curve, needed: npt.ArrayLike) -> Floats:
    """Least similarity that contributes `needed` log-odds, a little less to be safe: -1 for any, inf for none."""
    x, y, needed = np.asarray(curve.similarities), np.asarray(curve.log_odds), np.asarray(needed, np.float64)
    above = np.clip(np.searchsorted(y, needed, side="left"), 1, max(len(y) - 1, 1))
    if len(y) == 1:
        between = np.full(needed.shape, x[0])
    else:
        rise = y[above] - y[above - 1]
        share = np.divide(needed - y[above - 1], rise, out=np.zeros(needed.shape), where=rise > 0)
        between = x[above - 1] + share * (x[above] - x[above - 1])
    return np.select([needed <= y[0], needed > y[-1]], [-1.0, np.inf], between - SLACK)
