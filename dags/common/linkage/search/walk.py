# mypy: disable-error-code="no-untyped-def"
"""The compiled walk behind `candidates`: from a left name to similar right names, to their records.

A pass is led by one of the two names, its **driver**; the other one is the **follower**. The walk goes through
the distinct driver values on the left, finds the similar ones among the distinct values on the right, and
follows only these to the records that bear them. There the follower must make up what is missing, and then the
address. Before two values are compared, their lengths, characters and first letters must allow the similarity
that is needed; that test takes a nanosecond and removes nearly all.

Plain arrays only, so that threads run side by side; nothing here knows a model beyond its curves.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.linkage.comparison import COLUMNS, Rows
from common.linkage.model import Curve, Floats
from common.linkage.search.address_parts import Meetings, number_bits, numbers_similarity, words_similarity
from common.linkage.search.dictionary import COMPARISON, NONE, Dictionary, dictionary, similar_values
from common.linkage.search.jaro_winkler import (
    WORD,
    Texts,
    common_prefix,
    compiled,
    forget,
    inlined,
    long_similarity,
    matches_wanted,
    ordered_texts,
    popcount,
    prepare,
    similarity,
    texts,
)
from common.linkage.search.word_sieve import NO_WORDS, Alike, Words, cover, most_covered, uncover, words_at, words_of

SLACK = 1e-9
"""Log-odds and similarities by which the walk is more generous than the reference."""

WORDS = 3
"""Words in the signature of an address: room for five occurrences of each character."""

LEVELS = 512
"""Steps in which what addresses must contribute is told apart, before they are compared."""

NUMBERS, SHARE, PREFIXES, PLACE, ADDRESS_WORDS = range(WORDS, WORDS + 5)
"""Places in `Index.address`, and how many there are."""

LENGTH = 44
"""Bits of `PLACE` below the length of an address."""

WAITING = 4096
"""Name pairs that are collected before their addresses are compared."""

VALUE, PAIR, ADDRESS = 40, 8, 8
"""What one of each takes in ns, roughly, beside a `COMPARISON`: a driver value, a name pair, an address pair."""

ANY, ASCENDING, ONCE = range(3)
"""Which pairs of a table with itself a pass looks at: both orders, left row < right row, or either order once."""


class Steps(NamedTuple):
    """A `Curve` as compiled code takes it; `least` and `best` are what the comparison can contribute."""

    x: Floats
    y: Floats
    missing: float
    least: float
    best: float


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
        address: of each of these rows, `ADDRESS_WORDS` words side by side, since memory is what takes time: three of
            signature, the bits of its numbers, its share as in `share` (NaN where it is missing), the two prefixes, as
            written below and with ordered words above, and where it begins below its length.
        address_share: the same memory as floats.
        words: the words of these addresses, likewise in this order.
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
    address: npt.NDArray[np.uint64]
    address_share: Floats
    words: Words


class Addresses(NamedTuple):
    """All addresses of a table, as written and with ordered words; their words and the bits of their numbers."""

    written: Texts
    ordered: Texts
    words: Words
    numbers: npt.NDArray[np.uint64]


class AddressCurves(NamedTuple):
    """The three comparisons of addresses."""

    whole: Steps
    words: Steps
    numbers: Steps


class Goal(NamedTuple):
    """What the pairs of a pass must reach, in log-odds without the model's intercept.

    Attributes:
        least: by the whole pair.
        driver_least: by the driver alone.
        address_most: what the three comparisons of addresses contribute at most, in the pairs that this pass is for.
        follower_below: pairs whose follower contributes this much or more belong to another pass.
        missing: whether missing names count as such; otherwise they rule a pair out.
        order: `ANY`, `ASCENDING` or `ONCE`.
    """

    least: float
    driver_least: float
    address_most: float
    follower_below: float
    missing: bool
    order: int


class AddressComparison(NamedTuple):
    """What it takes to compare the addresses of two tables."""

    left: Addresses
    right: Addresses
    curves: AddressCurves
    alike: Alike
    memory: npt.NDArray[np.uint64]  # empty, see `memory`


class Pass(NamedTuple):
    """One walk: who is compared with whom, by which curves, towards what."""

    left: Index
    right: Index
    driver: Steps
    follower: Steps
    addresses: AddressComparison
    goal: Goal


class Names(NamedTuple):
    """A name of every record of a table."""

    values: Texts
    code: Rows


class Meeting(NamedTuple):
    """Records that share a number of their addresses: `first` are the left first names and whom they meet."""

    rows: Rows  # on the left
    meetings: Meetings
    left_first: Names
    left_last: Names
    right_first: Names
    right_last: Names
    first: Steps
    last: Steps
    addresses: AddressComparison
    goal: Goal  # driver_least: of both names together


class Near(NamedTuple):
    """Right rows whose addresses are worth comparing with that of a left row."""

    rows: Rows
    numbers: npt.NDArray[np.uint64]  # these as in `Index.address`
    prefixes: npt.NDArray[np.uint64]
    place: npt.NDArray[np.uint64]
    needed: Floats  # log-odds that the addresses must contribute
    words: Floats  # what their words contribute at most
    both: Floats  # shares of matching characters, NaN where an address is missing


class Room(NamedTuple):
    """What addresses are compared in; masks are empty in between, see `memory`."""

    near: Near
    wanted: Floats  # see `wanted_of_addresses`
    covers: npt.NDArray[np.float32]  # see `cover`
    masks: npt.NDArray[np.uint64]
    words_masks: npt.NDArray[np.uint64]
    word_masks: npt.NDArray[np.uint64]
    best: Floats


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

    def __init__(self, table: pa.Table, with_words: bool) -> None:
        """Encode, the words of addresses only if they count; raises ValueError where a value is not ASCII."""
        with ThreadPoolExecutor(3) as pool:
            first = pool.submit(dictionary, _whole(table, "first_name"))
            last = pool.submit(dictionary, _whole(table, "last_name"))
            addresses = pool.submit(_addresses, _whole(table, "address"), with_words)
        self.first, self.first_code = first.result()
        self.last, self.last_code = last.result()
        self.addresses, self.words = addresses.result()

    def texts(self) -> tuple[Texts, ...]:
        """All values of the table."""
        return self.first.values, self.last.values, self.addresses.written

    def names(self, which: str) -> "Names":
        """The `first` or the `last` name of every row."""
        return (
            Names(self.first.values, self.first_code) if which == "first" else Names(self.last.values, self.last_code)
        )

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
        address = np.empty((len(rows), ADDRESS_WORDS), np.uint64)
        address[:, :WORDS] = addresses.signature.reshape(-1, WORDS)[rows]
        address[:, NUMBERS] = self.addresses.numbers[rows]
        address[:, SHARE] = (1 / lengths[rows]).view(np.uint64)
        address[:, PLACE] = addresses.start[rows].astype(np.uint64) | (
            np.diff(addresses.start)[rows].astype(np.uint64) << np.uint64(LENGTH)
        )
        address[:, PREFIXES] = addresses.prefix[rows] | (
            self.addresses.ordered.prefix[rows].astype(np.uint64) << np.uint64(32)
        )
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
            address=address.ravel(),
            address_share=address.ravel().view(np.float64),
            words=words_at(self.addresses.words, rows),
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


def _addresses(column: pa.Array, with_words: bool) -> tuple[Addresses, Dictionary]:
    """All addresses, in the order of the rows, and their distinct words."""
    written = texts(column, words=WORDS)
    ordered = ordered_texts(written)
    known, words = words_of(ordered) if with_words else (dictionary(column[:0])[0], NO_WORDS)
    return Addresses(written, ordered, words, number_bits(written.data, written.start)), known


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
        mine = step.left.driver.values
        value, head, bits = mine.data[mine.start[code] : mine.start[code + 1]], mine.prefix[code], mine.signature[code]
        least, lowest = least_similarity(step.driver, goal.driver_least), code if goal.order == ONCE else 0
        count = similar_values(value, bits, head, least, dictionary, lowest, masks, codes, log_odds, work)
        for n in range(count):
            log_odds[n] = contribution(step.driver, log_odds[n] + SLACK)
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
    masks, room = step.addresses.memory.copy(), room_for(step.addresses)
    codes, log_odds = np.empty(len(names), np.int64), np.empty(len(names), np.float64)
    asked, needed, wanted = np.empty(WAITING, np.int64), np.empty(WAITING), np.empty(5)
    pairs, work, near = np.empty((64, 2), np.int64), np.zeros(4, np.int64), 0
    names_least = goal.least - goal.address_most
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
                    pairs = compare_addresses(name, asked, needed, step, room, pairs, work)
                    waiting = 0
                    if work[2] > most_addresses or work[3] > most_pairs:
                        return pairs[: work[3]], work
        forget(masks, value)
        if waiting:
            pairs = compare_addresses(name, asked[:waiting], needed[:waiting], step, room, pairs, work)
        if work[2] > most_addresses or work[3] > most_pairs:
            break
    return pairs[: work[3]], work


@compiled
def compare_addresses(name, asked, needed, step, room, pairs, work):
    """Compare the addresses of all rows of a left name pair with those of the right name pairs asked for."""
    rows, row_start, order = step.right.rows, step.right.row_start, step.goal.order
    addresses, shares = step.right.address, step.right.address_share
    mine, wanted, near = step.addresses.left.written, room.wanted, room.near
    words_curve, covers, sieve = step.addresses.curves.words, room.covers, len(step.addresses.alike.start) > 1
    word_start, stream = step.right.words.start, step.right.words.stream
    low, scale = address_scale(step.addresses.curves)
    for row in step.left.rows[step.left.row_start[name] : step.left.row_start[name + 1]]:
        length = mine.start[row + 1] - mine.start[row]
        head, words_head = mine.prefix[row], step.addresses.left.ordered.prefix[row]
        first_bits, more_bits, last_bits = mine.signature[WORDS * row : WORDS * row + WORDS]
        share = 1 / max(length, 1) if mine.known[row] else np.nan
        my_numbers, count, covered = step.addresses.left.numbers[row], 0, NONE
        for n in range(len(asked)):
            level = address_step(needed[n], low, scale)
            first, last = row_start[asked[n]], row_start[asked[n] + 1]
            work[1] += PAIR + ADDRESS * (last - first)
            work[2] += last - first
            for k in range(first, last):
                at = ADDRESS_WORDS * k
                known = number_level(my_numbers, addresses[at + NUMBERS])
                matches = length - np.int64(
                    popcount(first_bits & ~addresses[at])
                    + popcount(more_bits & ~addresses[at + 1])
                    + popcount(last_bits & ~addresses[at + 2])
                )
                both = matches * (share + shares[at + SHARE])  # NaN where an address is missing: not less than anything
                if both < wanted[known, level, 4]:
                    continue
                prefix = common_prefix(head, np.uint32(addresses[at + PREFIXES]))
                words_prefix = common_prefix(words_head, np.uint32(addresses[at + PREFIXES] >> np.uint64(32)))
                if both < wanted[known, level, max(prefix, words_prefix)]:
                    continue
                most = words_curve.best
                if sieve and not np.isnan(both):
                    if covered == NONE:
                        covered = cover(covers, row, step.addresses.left.words, step.addresses.alike)
                    most = words_most(words_curve, covers, covered, stream, word_start[k], word_start[k + 1])
                    lower = address_step(needed[n] + words_curve.best - most, low, scale)
                    if both < wanted[known, lower, max(prefix, words_prefix)]:
                        continue
                other = rows[k]
                if other <= row and (order == ASCENDING or (order == ONCE and asked[n] == name)):
                    continue
                near.rows[count], near.needed[count], near.both[count] = other, needed[n], both
                near.words[count] = most
                near.numbers[count], near.prefixes[count] = addresses[at + NUMBERS], addresses[at + PREFIXES]
                near.place[count] = addresses[at + PLACE]
                count += 1
                if count == WAITING:
                    pairs = compare_near(row, count, step.addresses, room, pairs, work)
                    count = 0
        pairs = compare_near(row, count, step.addresses, room, pairs, work)
        if covered != NONE:
            uncover(covers, row, step.addresses.left.words, step.addresses.alike)
    return pairs


@compiled
def words_most(curve, covers, length, stream, begin, end):
    """What the words of two addresses contribute at most; arguments as of `most_covered`."""
    most = most_covered(covers, length, stream, begin, end)
    return curve.missing if np.isnan(most) else contribution(curve, most + SLACK)


@compiled
def compare_near(row, count, addresses, room, pairs, work):
    """Compare the address of a left row with those that the sieve let through, and note the pairs that reach the goal.

    What a comparison cannot change any more is not compared.
    """
    if count == 0:
        return pairs
    near, wanted, masks, words_masks = room.near, room.wanted, room.masks, room.words_masks
    whole_curve, words_curve, numbers_curve = addresses.curves.whole, addresses.curves.words, addresses.curves.numbers
    low, scale = address_scale(addresses.curves)
    mine, theirs = addresses.left, addresses.right
    data, words_data = theirs.written.data, theirs.ordered.data
    numbers_most = (numbers_curve.y[0], numbers_curve.y[-1], numbers_curve.missing)  # by `number_level`
    numbers_doubt = numbers_curve.y[-1] - numbers_curve.y[0]
    begin, end = mine.written.start[row], mine.written.start[row + 1]
    value, words = mine.written.data[begin:end], mine.ordered.data[begin:end]
    head, words_head, my_numbers = mine.written.prefix[row], mine.ordered.prefix[row], mine.numbers[row]
    prepare(masks, value)
    prepare(words_masks, words)
    for n in range(count):
        other, needed, both = near.rows[n], near.needed[n], near.both[n]
        work[1] += COMPARISON
        if np.isnan(both):
            if whole_curve.missing + words_curve.missing + numbers_curve.missing >= needed:
                pairs = with_pair(pairs, work, row, other)
            continue
        begin = np.int64(near.place[n] & ((np.uint64(1) << np.uint64(LENGTH)) - np.uint64(1)))
        length = int(near.place[n] >> np.uint64(LENGTH))
        end = begin + length
        known = number_level(my_numbers, near.numbers[n])
        words_most = near.words[n]
        level = address_step(needed + words_curve.best - words_most, low, scale)
        needed -= numbers_most[known]
        least = least_similarity(whole_curve, needed - words_most)
        if least > 1:
            continue
        prefix = common_prefix(head, np.uint32(near.prefixes[n]))
        words_prefix = common_prefix(words_head, np.uint32(near.prefixes[n] >> np.uint64(32)))
        alike = -1.0
        if max(len(value), length) > WORD:
            work[1] += 100 * COMPARISON
            alike = max(
                long_similarity(masks, value, data, begin, end, prefix),
                long_similarity(words_masks, words, words_data, begin, end, words_prefix),
            )
        else:
            if both >= wanted[known, level, prefix]:
                work[1] += 2 * COMPARISON
                alike = similarity(masks, value, data, begin, end, prefix, wanted[known, level, prefix])
            sure_of = contribution(whole_curve, alike) + words_curve.least - (numbers_doubt if known == 1 else 0.0)
            if (alike < least or sure_of < needed) and both >= wanted[known, level, words_prefix]:
                work[1] += 2 * COMPARISON
                least_shares = wanted[known, level, words_prefix]
                alike = max(alike, similarity(words_masks, words, words_data, begin, end, words_prefix, least_shares))
        if alike < least:
            continue
        needed -= contribution(whole_curve, alike + SLACK)
        if known == 1 and numbers_doubt > 0:
            work[1] += 2 * COMPARISON
            alike = numbers_similarity(words, words_data[begin:end])
            needed += numbers_most[1]
            needed -= contribution(numbers_curve, alike + SLACK)
        if words_curve.least < needed <= words_most:
            work[1] += 10 * COMPARISON
            alike = words_similarity(room.word_masks, room.best, words, words_data[begin:end])
            needed -= words_curve.missing if np.isnan(alike) else contribution(words_curve, alike + SLACK)
        else:
            needed -= words_curve.least
        if needed <= 0:
            pairs = with_pair(pairs, work, row, other)
    forget(masks, value)
    forget(words_masks, words)
    return pairs


@compiled
def with_pair(pairs, work, row, other):
    """The pairs, in a larger array where it is full, with one more."""
    if work[3] == len(pairs):
        pairs = np.concatenate((pairs, pairs))
    pairs[work[3], 0], pairs[work[3], 1] = row, other
    work[3] += 1
    return pairs


@compiled
def both_prefixes(written, ordered):
    """The prefixes of an address as in `Index.address`."""
    return np.uint64(written) | np.uint64(ordered) << np.uint64(32)


@compiled
def number_level(mine, theirs):
    """What the bits of two addresses' numbers tell: 0 none in common, 1 perhaps some, 2 missing on a side."""
    if mine == 0 or theirs == 0:
        return 2
    return np.int64(mine & theirs != 0)


@compiled
def address_scale(curves):
    """The least that addresses contribute, and steps of `wanted_of_addresses` for each of the log-odds above that."""
    low = curves.whole.least + curves.words.least + curves.numbers.least
    high = curves.whole.best + curves.words.best + curves.numbers.best
    return low, LEVELS / max(high - low, SLACK)


@compiled
def address_step(needed, low, scale):
    """The step of `wanted_of_addresses` for what addresses must contribute: the next lower one."""
    return np.int64(min(max((needed - low) * scale, 0), LEVELS))


@compiled
def wanted_of_addresses(curves):
    """Shares of matching characters that two whole addresses must have, as by `matches_wanted`.

    By `number_level`, by what they must contribute (see `address_step`), and by prefix: 3 x (LEVELS + 1) x 5.
    """
    wanted, (low, scale) = np.empty((3, LEVELS + 1, 5)), address_scale(curves)
    numbers = (curves.numbers.y[0], curves.numbers.y[-1], curves.numbers.missing)
    for level in range(3):
        for k in range(LEVELS + 1):
            # the first step is for whatever is less, too
            needed = low + k / scale - SLACK if k else -np.inf
            least = least_similarity(curves.whole, needed - numbers[level] - curves.words.best)
            matches_wanted(least, wanted[level, k])
    return wanted


@compiled
def room_for(addresses):
    """Room to work in for `compare_addresses`."""
    numbers, prefixes, place = np.empty(WAITING, np.uint64), np.empty(WAITING, np.uint64), np.empty(WAITING, np.uint64)
    needed, words, both = np.empty(WAITING), np.empty(WAITING), np.empty(WAITING)
    near = Near(np.empty(WAITING, np.int64), numbers, prefixes, place, needed, words, both)
    masks, words_masks, word_masks = addresses.memory.copy(), addresses.memory.copy(), addresses.memory.copy()
    return Room(
        near,
        wanted_of_addresses(addresses.curves),
        addresses.alike.covers.copy(),
        masks,
        words_masks,
        word_masks,
        np.empty(len(addresses.memory)),
    )


@compiled
def meet(begin, end, step, most_addresses, most_pairs):
    """Row pairs (n x 2) that share a number and can reach the goal, of the left rows from one place to another.

    Like `walk`, with the same limits; pairs that share two numbers come twice.
    """
    goal, index, first_curve, last_curve = step.goal, step.meetings, step.first, step.last
    first_masks, last_masks, room = step.addresses.memory.copy(), step.addresses.memory.copy(), room_for(step.addresses)
    first_rising, last_rising, (low, scale) = np.empty(5), np.empty(5), address_scale(step.addresses.curves)
    near, wanted = room.near, room.wanted
    matches_wanted(rise(first_curve), first_rising)
    matches_wanted(rise(last_curve), last_rising)
    names_least = goal.driver_least
    written, mine = step.addresses.right.written, step.addresses.left.written
    words_curve, theirs, sieve = (
        step.addresses.curves.words,
        step.addresses.right.words,
        len(step.addresses.alike.start) > 1,
    )
    pairs, work = np.empty((64, 2), np.int64), np.zeros(4, np.int64)
    for place in range(begin, end):
        row, count, covered = step.rows[place], 0, NONE
        first, last = step.left_first.code[row], step.left_last.code[row]
        first_text, last_text = step.left_first.values, step.left_last.values
        prepare(first_masks, first_text.data[first_text.start[first] : first_text.start[first + 1]])
        prepare(last_masks, last_text.data[last_text.start[last] : last_text.start[last + 1]])
        for number in index.number[index.number_start[row] : index.number_start[row + 1]]:
            work[1] += VALUE + 2 * PAIR * (index.start[number + 1] - index.start[number])
            for other in index.rows[index.start[number] : index.start[number + 1]]:
                if goal.order == ASCENDING and other <= row:
                    continue
                other_first, other_last = step.right_first.code[other], step.right_last.code[other]
                if (other_first == NONE or other_last == NONE) and not goal.missing:
                    continue
                # what cannot be decided by characters alone counts as the best at first
                gained, more = at_most(first_curve, step.left_first, first, step.right_first, other_first, first_rising)
                added, yet_more = at_most(last_curve, step.left_last, last, step.right_last, other_last, last_rising)
                if gained + added < names_least:
                    continue
                if more:
                    work[1] += COMPARISON
                    gained = name_gain(first_curve, first_masks, step.left_first, first, step.right_first, other_first)
                    if gained + added < names_least:
                        continue
                if yet_more:
                    work[1] += COMPARISON
                    added = name_gain(last_curve, last_masks, step.left_last, last, step.right_last, other_last)
                    if gained + added < names_least:
                        continue
                work[1] += ADDRESS + COMPARISON
                work[2] += 1
                needed = goal.least - gained - added
                length, other_length = (
                    mine.start[row + 1] - mine.start[row],
                    written.start[other + 1] - written.start[other],
                )
                matches = length
                for k in range(WORDS):
                    matches -= np.int64(
                        popcount(mine.signature[WORDS * row + k] & ~written.signature[WORDS * other + k])
                    )
                both = matches * (1 / length + 1 / other_length)
                if both < wanted[1, address_step(needed, low, scale), 4]:
                    continue
                most = words_curve.best
                if sieve:
                    if covered == NONE:
                        covered = cover(room.covers, row, step.addresses.left.words, step.addresses.alike)
                    word, last_word = theirs.start[other], theirs.start[other + 1]
                    most = words_most(words_curve, room.covers, covered, theirs.stream, word, last_word)
                    if both < wanted[1, address_step(needed + words_curve.best - most, low, scale), 4]:
                        continue
                near.rows[count], near.needed[count], near.both[count] = other, needed, both
                near.words[count] = most
                near.numbers[count] = step.addresses.right.numbers[other]
                near.prefixes[count] = both_prefixes(written.prefix[other], step.addresses.right.ordered.prefix[other])
                near.place[count] = np.uint64(written.start[other]) | np.uint64(other_length) << np.uint64(LENGTH)
                count += 1
                if count == WAITING:
                    pairs = compare_near(row, count, step.addresses, room, pairs, work)
                    count = 0
        pairs = compare_near(row, count, step.addresses, room, pairs, work)
        if covered != NONE:
            uncover(room.covers, row, step.addresses.left.words, step.addresses.alike)
        forget(first_masks, first_text.data[first_text.start[first] : first_text.start[first + 1]])
        forget(last_masks, last_text.data[last_text.start[last] : last_text.start[last + 1]])
        if work[2] > most_addresses or work[3] > most_pairs:
            break
    return pairs[: work[3]], work


@inlined
def at_most(curve, left, code, right, other, rising):
    """The most that a pair of names contributes, by its characters, and whether it may be less."""
    if other == NONE:
        return curve.missing, False
    length, other_length = (
        left.values.start[code + 1] - left.values.start[code],
        (right.values.start[other + 1] - right.values.start[other]),
    )
    matches = length - np.int64(popcount(left.values.signature[code] & ~right.values.signature[other]))
    both = matches * (1 / max(length, 1) + 1 / max(other_length, 1))
    if both < rising[common_prefix(left.values.prefix[code], right.values.prefix[other])]:
        return curve.y[0], False
    return curve.y[-1], True


@inlined
def name_gain(curve, masks, left, code, right, other):
    """What a pair of names contributes, a little more to be safe."""
    value = left.values.data[left.values.start[code] : left.values.start[code + 1]]
    begin, end = right.values.start[other], right.values.start[other + 1]
    prefix = common_prefix(left.values.prefix[code], right.values.prefix[other])
    if max(len(value), end - begin) <= WORD:
        alike = similarity(masks, value, right.values.data, begin, end, prefix, -1.0)
    else:
        alike = long_similarity(masks, value, right.values.data, begin, end, prefix)
    return contribution(curve, alike + SLACK)
