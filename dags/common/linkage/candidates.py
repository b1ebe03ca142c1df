"""Lossless candidate pairs: every pair that could reach the threshold, found without comparing all pairs.

Why nothing is missed. The log-odds of a pair are a sum with one term per comparison, and no term exceeds the
maximum of its curve (or the level of a missing value, if that is higher). So the terms known so far plus the
maxima of the others bound a pair, and a pair is left out only where that bound misses the threshold:

1. The two names together must reach `names_least`: the threshold less the most that an address can add.
2. So a pair has a **driver**: either its first names contribute at least `split`, or its last names contribute
   more than `names_least - split`. Each case is a pass of its own, the second without the pairs of the first.
   For any `split` the two passes together are complete, so it is chosen by cost alone, on a sample.
3. A pass goes through the distinct values of its driver on the left, finds the similar ones among the distinct
   values on the right, and follows only these to the records that bear them.
4. There the other name, the **follower**, must make up what is missing, and then the address. What is needed
   of a field is turned into the least similarity that will do (its curve, read backwards), and a value is
   compared only if its length, its characters and its first letters allow that much (see `jaro_winkler`).

A record without a first name can only be driven by its last name, and the other way round; swapped names are
passes of the same kind in which the left first names meet the right last names. What is found is scored by the
reference (`comparison`), which decides; the filter is more generous than that by `SLACK`, so that rounding
never decides.
"""

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.comparison import COLUMNS, Rows, comparison_vectors
from common.linkage.jaro_winkler import (
    Texts,
    common_prefix,
    compiled,
    describe,
    forget,
    most_similar,
    popcount,
    prepare,
    similarity,
    sort_tokens,
    texts,
)
from common.linkage.model import Curve, Floats, LinkageModel

SLACK = 1e-9
"""Log-odds and similarities by which the filter is more generous than the reference."""

NONE = -1
"""Code of a missing value."""


class Steps(NamedTuple):
    """A `Curve` as compiled code takes it; `best` is the most it can contribute."""

    x: Floats
    y: Floats
    missing: float
    best: float


class Dictionary(NamedTuple):
    """The distinct values of a name, ordered so that values of one length and first letter form a group."""

    values: Texts
    group: Rows  # where each group starts, and a last one where they end


class Index(NamedTuple):
    """Records in the order of one name, the driver: values -> pairs of names -> rows.

    Attributes:
        driver: the distinct values of the name that leads.
        follower: the distinct values of the other name.
        names: where the name pairs of each driver value start; those of missing drivers come last.
        driver_code: of each name pair.
        follower_code: of each name pair, `NONE` where it is missing.
        follower_signature, follower_prefix, follower_length: of each name pair, side by side for speed.
        row_start: where the rows of each name pair start in `rows`.
        rows: row numbers in the table.
    """

    driver: Dictionary
    follower: Dictionary
    names: Rows
    driver_code: Rows
    follower_code: Rows
    follower_signature: npt.NDArray[np.uint64]
    follower_prefix: npt.NDArray[np.uint32]
    follower_length: Rows
    row_start: Rows
    rows: Rows


class Addresses(NamedTuple):
    """The addresses of all rows, as written and with sorted words (same places, same characters)."""

    written: Texts
    ordered: Texts


class Goal(NamedTuple):
    """What the pairs of a pass must reach, in log-odds.

    Attributes:
        least: of the whole pair, without the intercept.
        driver_least: of the driver.
        follower_below: pairs whose follower contributes this much belong to another pass.
        missing: whether missing names count as such; in a swapped pass they rule a pair out.
        within: whether left and right are one table, of which each pair is wanted once.
    """

    least: float
    driver_least: float
    follower_below: float
    missing: bool
    within: bool


class Pass(NamedTuple):
    """One walk through the records: who leads, by which curves, towards what."""

    left: Index
    right: Index
    driver: Steps
    follower: Steps
    goal: Goal


def candidate_pairs(
    left: pa.Table,
    right: pa.Table | None,
    model: LinkageModel,
    at: float,
    *,
    cores: int | None = None,
) -> pa.Table:
    """All pairs with a match score of at least `at`.

    Args:
        left: standardised records: `first_name_std`, `last_name_std`, `address_std` (ASCII; null is missing).
        right: records or people with the same columns; None compares `left` with itself, each pair once.
        model: any linkage model.
        at: least match score, in (0, 1).
        cores: threads to use; all cores if None.

    Returns:
        `left_row`, `right_row` (int64, in ascending order; left_row < right_row if `right` is None), the
        comparison vector and `score`.
    """
    others = left if right is None else right
    lowest = at * (1 - 1e-15)  # the score itself is rounded too
    least = math.log(lowest) - math.log1p(-lowest) - model.intercept - SLACK
    records = Records(left)
    other_records = records if right is None else Records(others)
    address = _steps(model.curves["address"])
    found = []
    for step in passes(records, other_records, model, least, within=right is None):
        found.append(_run(step, records.addresses, other_records.addresses, address, cores or os.cpu_count() or 1))
    rows = np.unique(np.concatenate(found), axis=0) if found else np.empty((0, 2), np.int64)
    vectors = comparison_vectors(left, others, rows[:, 0], rows[:, 1], model)
    pairs = vectors.add_column(0, "left_row", pa.array(rows[:, 0])).add_column(1, "right_row", pa.array(rows[:, 1]))
    return pairs.filter(pc.greater_equal(pairs["score"], at))


class Records:
    """A table of records, encoded for the passes."""

    def __init__(self, table: pa.Table) -> None:
        self.first, self.first_code = _dictionary(table[COLUMNS["first_name"]])
        self.last, self.last_code = _dictionary(table[COLUMNS["last_name"]])
        written = texts(_whole(table[COLUMNS["address"]]))
        ordered = np.empty_like(written.data)
        sort_tokens(written.data, written.start, ordered)
        self.addresses = Addresses(written, with_data(written, ordered))

    def index(self, by: str, rows: Rows) -> Index:
        """The given rows in the order of their `first` or `last` name."""
        sides = (self.first, self.first_code), (self.last, self.last_code)
        (driver, driver_code), (follower, follower_code) = sides if by == "first" else sides[::-1]
        driver_count, follower_count = len(driver.values.known), len(follower.values.known)
        leading = np.where(driver_code[rows] == NONE, driver_count, driver_code[rows])
        key = leading * (follower_count + 1) + follower_code[rows] + 1
        order = np.argsort(key)
        key = key[order]
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        driver_of, follower_of = np.divmod(key[begins], follower_count + 1)
        follower_of -= 1
        lengths = np.append(np.diff(follower.values.start), 0)
        return Index(
            driver,
            follower,
            np.searchsorted(driver_of, np.arange(driver_count + 2)),
            np.where(driver_of == driver_count, NONE, driver_of),
            follower_of,
            np.append(follower.values.signature, np.uint64(0))[follower_of],
            np.append(follower.values.prefix, np.uint32(0))[follower_of],
            lengths[follower_of],
            np.append(begins, len(rows)),
            rows[order],
        )


def passes(left: Records, right: Records, model: LinkageModel, least: float, within: bool) -> Iterator[Pass]:
    """The passes that together find every pair of at least so many log-odds."""
    first, last = _steps(model.curves["first_name"]), _steps(model.curves["last_name"])
    address_best = _steps(model.curves["address"]).best
    everyone = np.arange(len(right.first_code))
    by_first, by_last = right.index("first", everyone), right.index("last", everyone)
    no_first, no_last = left.first_code == NONE, left.last_code == NONE
    complete = np.flatnonzero(~no_first & ~no_last)
    lefts = left.index("first", complete), left.index("last", complete)

    for swapped in (False, True):
        rights = (by_last, by_first) if swapped else (by_first, by_last)
        needed = least - model.swapped if swapped else least
        names = needed - address_best
        best = (first.y[-1], last.y[-1]) if swapped else (first.best, last.best)
        lowest = names - best[1]
        split = 0.5 * (lowest + best[0])
        if split <= best[0]:
            goal = Goal(needed, max(split, lowest), math.inf, not swapped, within)
            yield Pass(lefts[0], rights[0], first, last, goal)
        if split > lowest:
            goal = Goal(needed, max(names - split, names - best[0]), split, not swapped, within)
            yield Pass(lefts[1], rights[1], last, first, goal)

    names = least - address_best
    goal = Goal(least, names - first.missing, math.inf, True, within)
    yield Pass(left.index("last", np.flatnonzero(no_first & ~no_last)), by_last, last, first, goal)
    goal = Goal(least, names - last.missing, math.inf, True, within)
    yield Pass(left.index("first", np.flatnonzero(no_last)), by_first, first, last, goal)


def _run(step: Pass, left: Addresses, right: Addresses, address: Steps, cores: int) -> Rows:
    """Row pairs that a pass finds, as an n x 2 array."""
    count = len(step.left.driver_code)
    bounds = np.unique(np.linspace(0, count, min(count, 16 * cores) + 1).astype(np.int64))

    def part(begin: int, end: int) -> Rows:
        return find(begin, end, *step[:2], left, right, *step[2:4], address, step.goal)

    with ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(part, bounds[:-1], bounds[1:]))
    return np.concatenate([np.empty((0, 2), np.int64), *parts])


def _steps(curve: Curve) -> Steps:
    y = np.asarray(curve.log_odds, np.float64)
    return Steps(np.asarray(curve.similarities, np.float64), y, float(curve.missing), max(float(y[-1]), curve.missing))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([pa.nulls(0, pa.large_string()), *column.cast(pa.large_string()).chunks])


def _dictionary(column: pa.ChunkedArray) -> tuple[Dictionary, Rows]:
    """The distinct values of a name, and the code of every row."""
    encoded = _whole(column).dictionary_encode()
    values = encoded.dictionary
    found = texts(values)
    key = np.diff(found.start) * 256 + (found.prefix & 255)
    order = np.argsort(key, kind="stable")
    rank = np.empty(len(order) + 1, np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = NONE
    groups = np.flatnonzero(np.diff(key[order], prepend=-1))
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return Dictionary(texts(values.take(pa.array(order))), np.append(groups, len(order))), rank[codes]


def with_data(values: Texts, data: npt.NDArray[np.uint8]) -> Texts:
    """The same values with other characters: of the same lengths."""
    return describe(data, values.start, values.known)


@compiled
def contribution(curve, similarity):  # type: ignore[no-untyped-def]
    """Log-odds that a curve gives to a similarity."""
    x, y = curve.x, curve.y
    if similarity >= x[-1]:
        return y[-1]
    if similarity <= x[0]:
        return y[0]
    k = 1
    while x[k] < similarity:
        k += 1
    return y[k - 1] + (y[k] - y[k - 1]) * ((similarity - x[k - 1]) / (x[k] - x[k - 1]))


@compiled
def least_similarity(curve, needed):  # type: ignore[no-untyped-def]
    """Least similarity that contributes `needed` log-odds, a little less to be safe: -1 for any, 2 for none."""
    x, y = curve.x, curve.y
    if needed <= y[0]:
        return -1.0
    if needed > y[-1]:
        return 2.0
    k = 1
    while y[k] < needed:
        k += 1
    return x[k - 1] + (x[k] - x[k - 1]) * ((needed - y[k - 1]) / (y[k] - y[k - 1])) - 2 * SLACK


@compiled
def similar_values(code, left, right, curve, goal, masks, codes, log_odds):  # type: ignore[no-untyped-def]
    """Write the values on the right that contribute enough, and their log-odds; return how many."""
    count = 0
    everyone = len(right.group) and len(right.values.known)
    if code != NONE:
        least = least_similarity(curve, goal.driver_least)
        data, start, signatures, prefixes = (
            right.values.data,
            right.values.start,
            right.values.signature,
            right.values.prefix,
        )
        value = left.values.data[left.values.start[code] : left.values.start[code + 1]]
        bits, head, length = left.values.signature[code], left.values.prefix[code], len(value)
        prepare(masks, value)
        for g in range(len(right.group) - 1):
            begin, end = right.group[g], right.group[g + 1]
            other_length = start[begin + 1] - start[begin]
            shorter = min(length, other_length)
            prefix = min(4, shorter) if (prefixes[begin] ^ head) & np.uint32(255) == 0 else 0
            matches = 0
            while matches <= shorter and most_similar(matches, length, other_length, prefix) < least:
                matches += 1
            if matches > shorter:
                continue
            spare = length - matches
            for j in range(begin, end):
                if np.int64(popcount(bits & ~signatures[j])) <= spare:
                    prefix = common_prefix(head, prefixes[j], shorter)
                    found = similarity(masks, value, data, start[j], start[j + 1], prefix, least)
                    if found >= least:
                        codes[count], log_odds[count] = j, contribution(curve, found + SLACK)
                        count += 1
        forget(masks, value)
    if goal.missing and curve.missing >= goal.driver_least:
        for j in range(0 if code == NONE else everyone, everyone + 1):
            codes[count], log_odds[count] = j, curve.missing
            count += 1
    return count


CAPACITY = 4096


@compiled
def find(begin, end, left, right, left_addresses, right_addresses, driver, follower, address, goal):  # type: ignore[no-untyped-def]
    """Row pairs of the left name pairs `begin` to `end` that can reach the goal."""
    everyone = len(right.driver.values.known)
    codes, log_odds = np.empty(everyone + 1, np.int64), np.empty(everyone + 1, np.float64)
    masks, address_masks, ordered_masks = np.zeros(256, np.uint64), np.zeros(256, np.uint64), np.zeros(256, np.uint64)
    asked, needed = np.empty(CAPACITY, np.int64), np.empty(CAPACITY, np.float64)
    names, row_start = right.names, right.row_start
    signatures, prefixes, lengths, follower_codes = (
        right.follower_signature,
        right.follower_prefix,
        right.follower_length,
        right.follower_code,
    )
    data, start = right.follower.values.data, right.follower.values.start
    pairs, found, near = np.empty((1024, 2), np.int64), 0, 0
    names_least = goal.least - address.best
    for name in range(begin, end):
        code = left.driver_code[name]
        if name == begin or code != left.driver_code[name - 1]:
            near = similar_values(code, left.driver, right.driver, driver, goal, masks, codes, log_odds)
        other = left.follower_code[name]
        value = left.follower.values.data[0:0]
        if other != NONE:
            value = left.follower.values.data[left.follower.values.start[other] : left.follower.values.start[other + 1]]
        bits, head, length = left.follower_signature[name], left.follower_prefix[name], len(value)
        prepare(masks, value)
        waiting = 0
        for n in range(near):
            least = least_similarity(follower, names_least - log_odds[n])
            missing = (
                goal.missing
                and log_odds[n] + follower.missing >= names_least
                and follower.missing < goal.follower_below
            )
            if least > 1 and not missing:
                continue
            for k in range(names[codes[n]], names[codes[n] + 1]):
                if other == NONE or follower_codes[k] == NONE:
                    if not missing:
                        continue
                    both = log_odds[n] + follower.missing
                else:
                    shorter = min(length, lengths[k])
                    matches = min(length - np.int64(popcount(bits & ~signatures[k])), shorter)
                    prefix = common_prefix(head, prefixes[k], shorter)
                    if most_similar(matches, length, lengths[k], prefix) < least:
                        continue
                    j = follower_codes[k]
                    alike = similarity(masks, value, data, start[j], start[j + 1], prefix, least)
                    if alike < least:
                        continue
                    worth = contribution(follower, alike + SLACK)
                    if worth >= goal.follower_below:
                        continue
                    both = log_odds[n] + worth
                asked[waiting], needed[waiting] = k, goal.least - both
                waiting += 1
                if waiting == CAPACITY:
                    pairs, found = compare_addresses(
                        name,
                        asked[:waiting],
                        needed[:waiting],
                        left,
                        right,
                        left_addresses,
                        right_addresses,
                        address,
                        goal,
                        address_masks,
                        ordered_masks,
                        pairs,
                        found,
                    )
                    waiting = 0
        forget(masks, value)
        pairs, found = compare_addresses(
            name,
            asked[:waiting],
            needed[:waiting],
            left,
            right,
            left_addresses,
            right_addresses,
            address,
            goal,
            address_masks,
            ordered_masks,
            pairs,
            found,
        )
    return pairs[:found]


@compiled
def compare_addresses(
    name, asked, needed, left, right, left_addresses, right_addresses, curve, goal, masks, ordered_masks, pairs, found
):  # type: ignore[no-untyped-def]
    """Compare the addresses of all rows of a left name pair with those of the right name pairs asked for."""
    rows, row_start = right.rows, right.row_start
    start, known, signatures = (
        right_addresses.written.start,
        right_addresses.written.known,
        right_addresses.written.signature,
    )
    data, prefixes = right_addresses.written.data, right_addresses.written.prefix
    ordered_data, ordered_prefixes = right_addresses.ordered.data, right_addresses.ordered.prefix
    for row in left.rows[left.row_start[name] : left.row_start[name + 1]]:
        begin, end = left_addresses.written.start[row], left_addresses.written.start[row + 1]
        value, ordered = left_addresses.written.data[begin:end], left_addresses.ordered.data[begin:end]
        head, ordered_head = left_addresses.written.prefix[row], left_addresses.ordered.prefix[row]
        bits, length = left_addresses.written.signature[row], end - begin
        prepare(masks, value)
        prepare(ordered_masks, ordered)
        for n in range(len(asked)):
            least = least_similarity(curve, needed[n])
            for k in range(row_start[asked[n]], row_start[asked[n] + 1]):
                other = rows[k]
                if goal.within and other <= row:
                    continue
                if not left_addresses.written.known[row] or not known[other]:
                    if curve.missing < needed[n]:
                        continue
                elif least > 0:
                    other_length = start[other + 1] - start[other]
                    shorter = min(length, other_length)
                    matches = min(length - np.int64(popcount(bits & ~signatures[other])), shorter)
                    prefix = common_prefix(head, prefixes[other], shorter)
                    ordered_prefix = common_prefix(ordered_head, ordered_prefixes[other], shorter)
                    if most_similar(matches, length, other_length, max(prefix, ordered_prefix)) < least:
                        continue
                    if (
                        similarity(masks, value, data, start[other], start[other + 1], prefix, least) < least
                        and similarity(
                            ordered_masks, ordered, ordered_data, start[other], start[other + 1], ordered_prefix, least
                        )
                        < least
                    ):
                        continue
                if found == len(pairs):
                    pairs = np.concatenate((pairs, pairs))
                pairs[found, 0], pairs[found, 1] = row, other
                found += 1
        forget(masks, value)
        forget(ordered_masks, ordered)
    return pairs, found
