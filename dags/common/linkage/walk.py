# mypy: disable-error-code="no-untyped-def"
"""The compiled walk behind `candidates`: from a left name to similar right names, to their records.

A pass is led by one of the two names, its **driver**; the other one is the **follower**. The walk goes through
the distinct driver values on the left, finds the similar ones among the distinct values on the right, and
follows only these to the records that bear them. There the follower must make up what is missing, and then the
address. Before two values are compared, their lengths, characters and first letters must allow the similarity
that is needed; that test takes a nanosecond and removes nearly all.

Plain arrays only, so that threads run side by side; nothing here knows a model beyond its curves.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.linkage.comparison import COLUMNS, Rows
from common.linkage.jaro_winkler import (
    WORD,
    Texts,
    common_prefix,
    compiled,
    forget,
    long_similarity,
    matches_wanted,
    ordered_texts,
    popcount,
    prepare,
    similarity,
    texts,
)
from common.linkage.model import Curve, Floats

SLACK = 1e-9
"""Log-odds and similarities by which the walk is more generous than the reference."""

NONE = -1
"""Code of a missing value."""

WORDS = 3
"""Words in the signature of an address: room for five occurrences of each character."""

WAITING = 4096
"""Name pairs that are collected before their addresses are compared."""

COMPARISON, VALUE, PAIR, ADDRESS = 60, 40, 8, 8
"""What one of each takes in ns, roughly: a name similarity, a driver value, a name pair, an address pair."""

ANY, ASCENDING, ONCE = range(3)
"""Which pairs of a table with itself a pass looks at: both orders, left row < right row, or either order once."""


class Steps(NamedTuple):
    """A `Curve` as compiled code takes it; `least` and `best` are what the comparison can contribute."""

    x: Floats
    y: Floats
    missing: float
    least: float
    best: float


class Dictionary(NamedTuple):
    """The distinct values of a name. Values of one length and first letter stand together, as a group."""

    values: Texts
    group: Rows  # where each group starts, and where the last one ends


class Index(NamedTuple):
    """Records in the order of their driver: driver values -> pairs of names -> rows.

    Attributes:
        driver: the distinct values of the leading name.
        follower: the distinct values of the other name.
        names: where the name pairs of each driver value start; those without a driver come last.
        driver_code: of each name pair, `NONE` where it is missing.
        follower_code: likewise.
        signature: of each name pair's follower, side by side for speed; likewise its prefix.
        share: of each name pair's follower, what one character is of it: 1 / length.
        row_start: where the rows of each name pair start in `rows`.
        rows: row numbers of the table.
        address_signature: of the address of each of these rows, three words side by side.
        address_share: of the address of each of these rows, as `share`; NaN where it is missing.
        address_prefix: of the address of each of these rows.
        words_prefix: likewise, with ordered words.
    """

    driver: Dictionary
    follower: Dictionary
    names: Rows
    driver_code: Rows
    follower_code: Rows
    signature: npt.NDArray[np.uint64]
    prefix: npt.NDArray[np.uint32]
    share: Floats
    row_start: Rows
    rows: Rows
    address_signature: npt.NDArray[np.uint64]
    address_share: Floats
    address_prefix: npt.NDArray[np.uint32]
    words_prefix: npt.NDArray[np.uint32]


class Addresses(NamedTuple):
    """The addresses of all rows of a table, as written and with ordered words."""

    written: Texts
    ordered: Texts


class Goal(NamedTuple):
    """What the pairs of a pass must reach, in log-odds without the model's intercept.

    Attributes:
        least: by the whole pair.
        driver_least: by the driver alone.
        follower_below: pairs whose follower contributes this much or more belong to another pass.
        missing: whether missing names count as such; otherwise they rule a pair out.
        order: `ANY`, `ASCENDING` or `ONCE`.
    """

    least: float
    driver_least: float
    follower_below: float
    missing: bool
    order: int


class Pass(NamedTuple):
    """One walk: who is compared with whom, by which curves, towards what."""

    left: Index
    right: Index
    left_addresses: Addresses
    right_addresses: Addresses
    driver: Steps
    follower: Steps
    address: Steps
    goal: Goal
    memory: npt.NDArray[np.uint64]  # empty, see `memory`


class Work(NamedTuple):
    """What a walk did, or will do.

    Attributes:
        scanning: looking for similar driver values, in ns on one core; a rough figure, counted, not timed.
        comparing: everything after that, likewise.
        addresses: pairs of addresses looked at.
        pairs: row pairs found.
    """

    scanning: float
    comparing: float
    addresses: float
    pairs: float


class Records:
    """A table of standardised records, encoded for walks."""

    def __init__(self, table: pa.Table) -> None:
        """Encode; raises ValueError where a value is not ASCII."""
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(_dictionary, _whole(table, "first_name"))
            last = pool.submit(_dictionary, _whole(table, "last_name"))
            addresses = pool.submit(_addresses, _whole(table, "address"))
        self.first, self.first_code = first.result()
        self.last, self.last_code = last.result()
        self.addresses = addresses.result()

    def texts(self) -> tuple[Texts, ...]:
        """All values of the table."""
        return self.first.values, self.last.values, self.addresses.written

    def index(self, by: str, rows: Rows) -> Index:
        """The given rows in the order of their `first` or their `last` name."""
        names = (self.first, self.first_code), (self.last, self.last_code)
        (driver, driver_code), (follower, follower_code) = names if by == "first" else names[::-1]
        drivers, followers = len(driver.values.known), len(follower.values.known)
        lead = driver_code[rows]
        key = np.where(lead == NONE, drivers, lead) * (followers + 1) + follower_code[rows] + 1
        order = np.argsort(key)
        key = key[order]
        begins = np.flatnonzero(np.diff(key, prepend=-1))
        lead, follow = np.divmod(key[begins], followers + 1)
        follow -= 1
        values, rows, addresses = follower.values, rows[order], self.addresses.written
        lengths = np.where(addresses.known, np.maximum(np.diff(addresses.start), 1), np.nan)
        return Index(
            driver=driver,
            follower=follower,
            names=np.searchsorted(lead, np.arange(drivers + 2)),
            driver_code=np.where(lead == drivers, NONE, lead),
            follower_code=follow,
            signature=np.append(values.signature, np.uint64(0))[follow],  # NONE takes the last
            prefix=np.append(values.prefix, np.uint32(0))[follow],
            share=np.append(1 / np.maximum(np.diff(values.start), 1), 0)[follow],
            row_start=np.append(begins, len(rows)),
            rows=rows,
            address_signature=addresses.signature.reshape(-1, WORDS)[rows].ravel(),
            address_share=1 / lengths[rows],
            address_prefix=addresses.prefix[rows],
            words_prefix=self.addresses.ordered.prefix[rows],
        )


def some_of(index: Index, rows: Rows) -> Index:
    """A few records of an index, for the left side of a walk; `rows` are ascending positions in `index.rows`."""
    name, count = np.unique(np.searchsorted(index.row_start, rows, side="right") - 1, return_counts=True)
    return index._replace(
        driver_code=index.driver_code[name],
        follower_code=index.follower_code[name],
        signature=index.signature[name],
        prefix=index.prefix[name],
        share=index.share[name],
        row_start=np.append(0, np.cumsum(count)),
        rows=index.rows[rows],
    )


def steps(curve: Curve) -> Steps:
    """A curve for compiled code."""
    x, y = np.array(curve.similarities, np.float64), np.array(curve.log_odds, np.float64)
    levels = float(y[0]), float(y[-1]), float(curve.missing)
    return Steps(x, y, levels[2], min(levels), max(levels))


def _whole(table: pa.Table, field: str) -> pa.Array:
    chunks = table[COLUMNS[field]].cast(pa.large_string()).chunks
    return pa.concat_arrays([pa.nulls(0, pa.large_string()), *chunks])


def _dictionary(column: pa.Array) -> tuple[Dictionary, Rows]:
    """The distinct values of a name, and the code of every row."""
    encoded = column.dictionary_encode()
    found = texts(encoded.dictionary)
    kind = np.diff(found.start) * 256 + (found.prefix & 255)
    order = np.argsort(kind, kind="stable")
    group = np.append(np.flatnonzero(np.diff(kind[order], prepend=-1)), len(order))
    rank = np.full(len(order) + 1, NONE, np.int64)
    rank[order] = np.arange(len(order))
    codes = encoded.indices.fill_null(NONE).to_numpy(zero_copy_only=False)
    return Dictionary(texts(encoded.dictionary.take(pa.array(order))), group), rank[codes]


def _addresses(column: pa.Array) -> Addresses:
    """All addresses, in the order of the rows."""
    written = texts(column, words=WORDS)
    return Addresses(written, ordered_texts(written))


@compiled
def contribution(curve, alike):
    """Log-odds that a similarity contributes."""
    x, y = curve.x, curve.y
    if alike >= x[-1]:
        return y[-1]
    if alike <= x[0]:
        return y[0]
    k = 1
    while x[k] < alike:
        k += 1
    return y[k - 1] + (y[k] - y[k - 1]) * ((alike - x[k - 1]) / (x[k] - x[k - 1]))


@compiled
def least_similarity(curve, needed):
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
def rise(curve):
    """Similarity below which a curve contributes its least, a little less to be safe; 2 if it never rises."""
    for k in range(len(curve.x) - 1):
        if curve.y[k + 1] > curve.y[0]:
            return curve.x[k] - 2 * SLACK
    return 2.0


@compiled
def similar_drivers(code, step, masks, codes, log_odds, work):
    """Note the right driver values that contribute enough beside a left one, and their log-odds; return how many."""
    goal, dictionary, count = step.goal, step.right.driver, 0
    if code != NONE:
        wanted = np.empty(5)
        least = least_similarity(step.driver, goal.driver_least)
        matches_wanted(least, wanted)
        mine = step.left.driver.values
        value, head = mine.data[mine.start[code] : mine.start[code + 1]], mine.prefix[code]
        bits, length = mine.signature[code], len(value)
        data, start, prefixes = dictionary.values.data, dictionary.values.start, dictionary.values.prefix
        signatures = dictionary.values.signature
        prepare(masks, value)
        for g in range(len(dictionary.group) - 1):
            begin, end = dictionary.group[g], dictionary.group[g + 1]
            if goal.order == ONCE:
                begin = max(begin, code)
            if begin >= end:
                continue
            other_length = start[begin + 1] - start[begin]
            same_letter = (prefixes[begin] ^ head) & np.uint32(255) == 0
            shares = 1 / max(length, 1) + 1 / max(other_length, 1)
            matches = math.ceil(wanted[4 if same_letter else 0] / shares)
            if matches > min(length, other_length):
                continue
            spare = length - matches
            work[0] += end - begin
            for j in range(begin, end):
                different = np.int64(popcount(bits & ~signatures[j]))
                if different <= spare:
                    prefix = common_prefix(head, prefixes[j])
                    if (length - different) * shares < wanted[prefix]:
                        continue
                    work[0] += COMPARISON
                    if max(length, other_length) <= WORD:
                        alike = similarity(masks, value, data, start[j], start[j + 1], prefix, wanted[prefix])
                    else:
                        alike = long_similarity(masks, value, data, start[j], start[j + 1], prefix)
                    if alike >= least:
                        codes[count], log_odds[count] = j, contribution(step.driver, alike + SLACK)
                        count += 1
        forget(masks, value)
    if goal.missing and step.driver.missing >= goal.driver_least:
        missing = len(dictionary.values.known)  # the place behind the last value, see Index.names
        for j in range(0 if code == NONE else missing, missing + 1):
            codes[count], log_odds[count] = j, step.driver.missing
            count += 1
    return count


@compiled
def walk(begin, end, step, most_addresses, most_pairs):
    """Row pairs (n x 2) of the left name pairs from `begin` to `end` that can reach the goal, and the `Work` done.

    Stops early, with the work done so far, soon after it has looked at `most_addresses` pairs of addresses or
    found `most_pairs`.
    """
    left, right, goal = step.left, step.right, step.goal
    names, signatures, prefixes, shares = right.names, right.signature, right.prefix, right.share
    follower_codes, data, start = right.follower_code, right.follower.values.data, right.follower.values.start
    mine = left.follower.values
    masks, address_masks, words_masks = step.memory.copy(), step.memory.copy(), step.memory.copy()
    codes, log_odds = np.empty(len(names), np.int64), np.empty(len(names), np.float64)
    asked, needed, wanted = np.empty(WAITING, np.int64), np.empty(WAITING), np.empty(5)
    pairs, work, near = np.empty((64, 2), np.int64), np.zeros(4, np.int64), 0
    names_least = goal.least - step.address.best
    floor, rising = step.follower.y[0], np.empty(5)  # up to the similarity where its curve rises, a follower adds this
    matches_wanted(rise(step.follower), rising)
    for name in range(begin, end):
        code, other = left.driver_code[name], left.follower_code[name]
        if name == begin or code != left.driver_code[name - 1]:
            near = similar_drivers(code, step, masks, codes, log_odds, work)
        value = mine.data[mine.start[other] : mine.start[other + 1]] if other != NONE else mine.data[:0]
        bits, head, share, length = left.signature[name], left.prefix[name], left.share[name], len(value)
        prepare(masks, value)
        waiting = 0
        for n in range(near):
            first, last = names[codes[n]], names[codes[n] + 1]
            if goal.order == ONCE:
                first = max(first, name)
            follower_least = names_least - log_odds[n]
            least = least_similarity(step.follower, follower_least)
            missing = step.follower.missing
            missing_will_do = goal.missing and follower_least <= missing < goal.follower_below
            if first >= last or (least > 1 and not missing_will_do):
                continue
            matches_wanted(least, wanted)
            work[1] += VALUE + PAIR * (last - first)
            for k in range(first, last):
                if other == NONE or follower_codes[k] == NONE:
                    if not missing_will_do:
                        continue
                    gained = missing
                else:
                    prefix = common_prefix(head, prefixes[k])
                    both = (length - np.int64(popcount(bits & ~signatures[k]))) * (share + shares[k])
                    if both < wanted[prefix]:
                        continue
                    gained = floor
                    if both >= rising[prefix]:
                        work[1] += COMPARISON
                        j = follower_codes[k]
                        if max(length, start[j + 1] - start[j]) <= WORD:
                            alike = similarity(masks, value, data, start[j], start[j + 1], prefix, wanted[prefix])
                        else:
                            alike = long_similarity(masks, value, data, start[j], start[j + 1], prefix)
                        if alike < least:
                            continue
                        gained = contribution(step.follower, alike + SLACK)
                    if gained >= goal.follower_below:
                        continue
                asked[waiting], needed[waiting] = k, goal.least - log_odds[n] - gained
                waiting += 1
                if waiting == WAITING:
                    pairs = compare_addresses(name, asked, needed, step, address_masks, words_masks, pairs, work)
                    waiting = 0
                    if work[2] > most_addresses or work[3] > most_pairs:
                        return pairs[: work[3]], work
        forget(masks, value)
        if waiting:
            pairs = compare_addresses(
                name, asked[:waiting], needed[:waiting], step, address_masks, words_masks, pairs, work
            )
        if work[2] > most_addresses or work[3] > most_pairs:
            break
    return pairs[: work[3]], work


@compiled
def compare_addresses(name, asked, needed, step, masks, words_masks, pairs, work):
    """Compare the addresses of all rows of a left name pair with those of the right name pairs asked for."""
    rows, row_start, order, curve = step.right.rows, step.right.row_start, step.goal.order, step.address
    written = step.right_addresses.written
    signatures, shares, wanted = step.right.address_signature, step.right.address_share, np.empty(5)
    start, data, words_data = written.start, written.data, step.right_addresses.ordered.data
    prefixes, words_prefixes = step.right.address_prefix, step.right.words_prefix
    mine, mine_ordered = step.left_addresses.written, step.left_addresses.ordered
    least, missing_will_do = 0.0, False
    for row in step.left.rows[step.left.row_start[name] : step.left.row_start[name + 1]]:
        begin, end = mine.start[row], mine.start[row + 1]
        value, words, length = mine.data[begin:end], mine_ordered.data[begin:end], end - begin
        head, words_head = mine.prefix[row], mine_ordered.prefix[row]
        first_bits, more_bits, last_bits = mine.signature[WORDS * row : WORDS * row + WORDS]
        share = 1 / max(length, 1) if mine.known[row] else np.nan
        prepare(masks, value)
        prepare(words_masks, words)
        for n in range(len(asked)):
            if n == 0 or needed[n] != needed[n - 1]:
                work[1] += VALUE
                least = least_similarity(curve, needed[n])
                missing_will_do = curve.missing >= needed[n]
                matches_wanted(least, wanted)
            first, last, least_wanted = row_start[asked[n]], row_start[asked[n] + 1], wanted[4]
            work[1] += PAIR + ADDRESS * (last - first)
            work[2] += last - first
            for k in range(first, last):
                matches = length - np.int64(
                    popcount(first_bits & ~signatures[WORDS * k])
                    + popcount(more_bits & ~signatures[WORDS * k + 1])
                    + popcount(last_bits & ~signatures[WORDS * k + 2])
                )
                both = matches * (share + shares[k])  # NaN where an address is missing: not less than anything
                if both < least_wanted:
                    continue
                prefix = common_prefix(head, prefixes[k])
                words_prefix = common_prefix(words_head, words_prefixes[k])
                if both < wanted[max(prefix, words_prefix)]:
                    continue
                other = rows[k]
                if other <= row and (order == ASCENDING or (order == ONCE and asked[n] == name)):
                    continue
                if np.isnan(both):
                    if not missing_will_do:
                        continue
                else:
                    begin, end = start[other], start[other + 1]
                    alike = -1.0
                    if max(length, end - begin) > WORD:
                        work[1] += 100 * COMPARISON
                        alike = max(
                            long_similarity(masks, value, data, begin, end, prefix),
                            long_similarity(words_masks, words, words_data, begin, end, words_prefix),
                        )
                    else:
                        work[1] += COMPARISON
                        if both >= wanted[prefix]:
                            work[1] += 2 * COMPARISON
                            alike = similarity(masks, value, data, begin, end, prefix, wanted[prefix])
                        if alike < least and both >= wanted[words_prefix]:
                            work[1] += 2 * COMPARISON
                            alike = similarity(
                                words_masks, words, words_data, begin, end, words_prefix, wanted[words_prefix]
                            )
                    if alike < least:
                        continue
                if work[3] == len(pairs):
                    pairs = np.concatenate((pairs, pairs))
                pairs[work[3], 0], pairs[work[3], 1] = row, other
                work[3] += 1
        forget(masks, value)
        forget(words_masks, words)
    return pairs
