# mypy: disable-error-code="no-untyped-def"
"""The join: from left records to the right records that may reach the goal, led by a name or by a shared number.

A leader leads from the name pairs on the left to records on the right, with a contribution that is known from then on:
a name to all records with a similar name, a number to all records that have it too. What is left must make up for the
rest: the follower, which is the other name, and then the address. At every step the bounds of what is not yet known
are added to what is (see `bounds`), and whoever cannot reach the goal any more is dropped before the next, dearer step:

1. `similar_leaders`: the distinct right names that are similar enough to a left one, each looked at once.
2. `follow`: of their records, the name pairs whose other name is similar enough; each name pair is looked at once,
   however many records have it. Or `share_number`: of the records with a number, which are gathered once for all left
   records that have it, those with such names.
3. `compare_addresses`: of these name pairs, the records whose addresses could be similar enough by their characters,
   first letters, numbers and words.
4. `confirm`: of these, the pairs that reach the goal. Only here are addresses compared letter by letter.

Everything in here is compiled, takes plain arrays, and knows of a model only its terms.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.linkage.model import Floats
from common.linkage.search.bounds import SLACK, Term, contribution, least_step
from common.linkage.search.compiled import compiled, inlined, merged, popcount
from common.linkage.search.jaro_winkler import (
    clear,
    common_prefix,
    prepare,
    scratch,
    shares_step,
    similarity_at_least,
)
from common.linkage.search.segment import (
    ADDRESS_WORDS,
    KINDS,
    LENGTH,
    NUMBER_BITS,
    PLACE,
    PREFIXES,
    SHARE,
    WITH_NUMBERS,
    WITHOUT_ADDRESS,
    Addresses,
    Ordered,
)
from common.linkage.search.tokens import Codes, Numbers, numbers_similarity, words_similarity
from common.linkage.search.values import Dictionary, Query, Similar, missing_code, similar_values, value_of
from common.linkage.search.words import AlikeWords, cover, most_covered, uncover

KINDS_COUNT = len(KINDS)

ANY, ASCENDING, ONCE = range(3)
"""Which pairs of a table with itself a pass looks at: both orders, left row < right row, or either order once."""

ANY_NUMBER = 2**62
"""No limit for the pairs of one left record."""

SCANNED, VALUES_COMPARED, LEADERS, NAME_PAIRS, RECORDS, COMPARED, FOUND, WORK = range(8)
"""Places in the work of a join, and how many there are: distinct values looked at and compared, similar leaders,
name pairs and pairs of records looked at, comparisons of texts, pairs found."""


class Side(NamedTuple):
    """One side of a join: records in the order of their leader, and what they refer to.

    Attributes:
        leader_code: of each row of the table; int32.
        follower_code: likewise.
        leader_worth: of each leading name, and at last of the missing one, what agreement on it is worth at most, as a
            share of what the term says; in (0, 1].
        follower_worth: likewise of the other name.
    """

    ordered: Ordered
    leader: Dictionary
    follower: Dictionary
    leader_code: Codes
    follower_code: Codes
    leader_worth: Floats
    follower_worth: Floats
    addresses: Addresses
    numbers: Numbers


class AddressTerms(NamedTuple):
    """The three comparisons of addresses."""

    whole: Term
    words: Term
    numbers: Term


class Goal(NamedTuple):
    """What the pairs of a pass must reach, in log-odds without the model's intercept.

    Attributes:
        least: by the whole pair.
        leader_least: by the leader; pairs whose leader contributes less belong to another pass.
        follower_below: pairs whose follower contributes this much or more belong to another pass.
        address_most: what addresses contribute at most, by the kind of the left and of the right one; 3 x 3.
        missing: whether a missing name counts as a value; otherwise it rules a pair out.
        order: `ANY`, `ASCENDING` or `ONCE`.
    """

    least: float
    leader_least: float
    follower_below: float
    address_most: Floats
    missing: bool
    order: int


class Pass(NamedTuple):
    """One join: who is compared with whom, by which terms, towards what.

    Attributes:
        leader: the term of the leading name.
        follower: the term of the other name.
        by_number: whether a shared number leads; then the leading name is compared like the other one.
        same_number: for each left number its code on the right, or -1; int64.
        alike: see `AlikeWords`.
        longest: characters of the longest value of both sides.
    """

    left: Side
    right: Side
    leader: Term
    follower: Term
    address: AddressTerms
    goal: Goal
    by_number: bool
    same_number: npt.NDArray[np.int64]
    alike: AlikeWords
    longest: int

    @property
    def length(self) -> int:
        """How many left leaders there are to begin with: name pairs, or numbers."""
        return len(self.left.numbers.hashes) if self.by_number else len(self.left.ordered.leader)


class Spans(NamedTuple):
    """Right records that are next to each other in their order, and what their addresses must contribute.

    Attributes:
        begin: place of the first record; int64.
        end: place behind the last one; int64.
        kind: of their addresses; int8.
        needed: log-odds that their addresses must contribute.
    """

    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int8]
    needed: Floats


class Survivors(NamedTuple):
    """Right records whose addresses are compared letter by letter with that of a left record.

    Attributes:
        place: of the right record; int64.
        needed: log-odds that the addresses must contribute.
        words: what their words contribute at most.
        step: of the shares of characters that may match; int64.
    """

    place: npt.NDArray[np.int64]
    needed: Floats
    words: Floats
    step: npt.NDArray[np.int64]


class ComparedName(NamedTuple):
    """What bounds need to know of a left name: signature, prefix and share as of `HeldNames`, worth as of `Side`."""

    length: int
    signature: np.uint64
    prefix: np.uint32
    share: float
    worth: float
    is_missing: bool


class HeldNames(NamedTuple):
    """A name of right records that have the same number, side by side: `code`, and what bounds need to know of it.

    Attributes:
        code: int32.
        signature: as of `Texts`, 0 where the name is missing; likewise the next.
        prefix: likewise.
        share: what one character is of it, 1 / length; 0 where it is missing.
    """

    code: Codes
    signature: npt.NDArray[np.uint64]
    prefix: npt.NDArray[np.uint32]
    share: Floats


class Holders(NamedTuple):
    """Right records that have the same number.

    Attributes:
        row: ascending; int32.
        leader: their leading names.
        follower: their other names.
    """

    row: Codes
    leader: HeldNames
    follower: HeldNames


class Workspace(NamedTuple):
    """Memory of one join. All of it is taken once, as large as it could be needed; pages never used cost nothing.

    Attributes:
        similar: the similar leaders.
        spans: what the follower lets through.
        survivors: what the filters of addresses let through.
        covers: see `words.cover`.
        masks: see `jaro_winkler.scratch`; likewise the next two.
        more_masks: for the second value that is prepared at a time.
        word_masks: for words.
        best: see `tokens.words_similarity`.
        numbers_most: what numbers contribute at most, by `numbers_known`.
        work: what was done, by `SCANNED` and the others; int64.
    """

    similar: Similar
    spans: Spans
    survivors: Survivors
    covers: npt.NDArray[np.uint32]
    masks: npt.NDArray[np.uint64]
    more_masks: npt.NDArray[np.uint64]
    word_masks: npt.NDArray[np.uint64]
    best: Floats
    numbers_most: Floats
    work: npt.NDArray[np.int64]


@compiled
def join(begin, end, step, most_records, most_found, most_of_one):
    """Pairs of rows (n x 2) of some left records that may reach the goal of a `Pass`; the work.

    Stops early, with the work done so far, soon after it has looked at `most_records` pairs of records or found
    `most_found`. Of a left record that has more than `most_of_one` pairs, one pair more than that is kept, or as many
    for each of its numbers.

    Args:
        begin: of the left leaders, see `Pass.length`, the first one to begin with.
        end: the one behind the last.
        step: the `Pass`.
        most_records: see above; likewise the next two.
        most_found: likewise.
        most_of_one: likewise.
    """
    room, found = workspace(step), np.empty((64, 2), np.int64)
    if step.by_number:
        found = join_by_number(begin, end, step, room, found, most_records, most_found, most_of_one)
    else:
        found = join_by_name(begin, end, step, room, found, most_records, most_found, most_of_one)
    return found[: room.work[FOUND]], room.work


@merged
def join_by_name(begin, end, step, room, found, most_records, most_found, most_of_one):
    """`found` with the pairs of the left name pairs from `begin` to `end`, see `join`."""
    left, near, sought = step.left.ordered, 0, -1
    no_leader, no_follower = missing_code(step.left.leader), missing_code(step.left.follower)
    for pair in range(begin, end):
        leader = left.leader[pair]
        if not step.goal.missing and (leader == no_leader or left.follower[pair] == no_follower):
            continue
        if leader != sought:
            near, sought = similar_leaders(leader, step, room), leader
        spans = follow(pair, near, step, room)
        if spans == 0:
            continue
        for place in range(left.record_start[pair], left.record_start[pair + 1]):
            before = room.work[FOUND]
            found = compare_addresses(place, spans, step, room, found)
            room.work[FOUND] = min(room.work[FOUND], before + most_of_one + 1)
            if room.work[RECORDS] > most_records or room.work[FOUND] > most_found:
                return found
    return found


@merged
def join_by_number(begin, end, step, room, found, most_records, most_found, most_of_one):
    """`found` with the pairs of those who have one of the left numbers from `begin` to `end`, see `join`."""
    ours, theirs = step.left.numbers, step.right.numbers
    holders = holders_of_one(np.diff(theirs.holder_start).max() if len(theirs.hashes) else 0)
    for number in range(begin, end):
        same = step.same_number[number]
        first, last = ours.holder_start[number], ours.holder_start[number + 1]
        if same < 0 or first == last:
            continue
        count = gather(theirs.holder[theirs.holder_start[same] : theirs.holder_start[same + 1]], step, holders)
        room.work[VALUES_COMPARED] += 2 * count
        later = 0
        for row in ours.holder[first:last]:
            while step.goal.order == ASCENDING and later < count and holders.row[later] <= row:
                later += 1
            spans = share_number(row, later, count, holders, step, room)
            if spans == 0:
                continue
            before = room.work[FOUND]
            found = compare_addresses(np.int64(step.left.ordered.place[row]), spans, step, room, found)
            room.work[FOUND] = min(room.work[FOUND], before + most_of_one + 1)
            if room.work[RECORDS] > most_records or room.work[FOUND] > most_found:
                return found
    return found


@compiled
def workspace(step):
    """The `Workspace` of a `Pass`."""
    leaders, records, longest = missing_code(step.right.leader) + 1, len(step.right.ordered.rows), step.longest
    masks = scratch(longest)
    similar = Similar(masks.copy(), np.empty(leaders, np.int64), np.empty(leaders), np.zeros(2, np.int64))
    # a record is at most one span
    spans = Spans(
        np.empty(records, np.int64), np.empty(records, np.int64), np.empty(records, np.int8), np.empty(records)
    )
    places = np.empty(records, np.int64)
    survivors = Survivors(places, np.empty(records), np.empty(records), np.empty(records, np.int64))
    numbers = step.address.numbers
    return Workspace(
        similar,
        spans,
        survivors,
        step.alike.covers.copy(),
        masks,
        masks.copy(),
        masks.copy(),
        np.empty(longest),
        np.array([numbers.log_odds[0], numbers.log_odds[-1], numbers.missing]),
        np.zeros(WORK, np.int64),
    )


@merged
def similar_leaders(leader, step, room):
    """Write to `room.similar` the right names that contribute enough beside a left one; return how many."""
    goal, similar, values = step.goal, room.similar, step.left.leader.values
    no_leader, no_other = missing_code(step.left.leader), missing_code(step.right.leader)
    lowest, count = leader if goal.order == ONCE else 0, 0
    if leader != no_leader:
        value = value_of(step.left.leader, leader)
        query = Query(value, values.signature[leader], values.prefix[leader], np.int64(lowest))
        similar.work[:] = 0
        worth = step.left.leader_worth[leader]
        least = goal.leader_least / worth - SLACK if goal.leader_least > 0 else goal.leader_least
        count = similar_values(query, step.right.leader, step.leader, least, similar)
        for n in range(count):
            similar.log_odds[n] *= min(worth, step.right.leader_worth[similar.codes[n]])
        room.work[SCANNED] += similar.work[0]
        room.work[VALUES_COMPARED] += similar.work[1]
    if goal.missing and step.leader.missing >= goal.leader_least:
        for other in range(lowest if leader == no_leader else no_other, no_other + 1):
            similar.codes[count], similar.log_odds[count] = other, step.leader.missing
            count += 1
    return count


@merged
def follow(pair, near, step, room):
    """Write to `room.spans` the records of the first `near` similar leaders whose follower lets them reach the goal.

    Returns how many spans. Each name pair is one.
    """
    left, right, goal, spans, work = step.left.ordered, step.right.ordered, step.goal, room.spans, room.work
    other, follower, left_kind = left.follower[pair], step.follower, left.kind[pair]
    is_missing, missing_other = other == missing_code(step.left.follower), missing_code(step.right.follower)
    value, missing = value_of(step.left.follower, other), follower.missing if goal.missing else -np.inf
    signature, prefix, share, length = left.signature[pair], left.prefix[pair], left.share[pair], len(value)
    our_worth = step.left.follower_worth[other]
    data, start = step.right.follower.values.data, step.right.follower.values.start
    prepared, count = prepare(room.masks, value), 0
    for n in range(KINDS_COUNT * near):
        known, kind = room.similar.log_odds[n // KINDS_COUNT], n % KINDS_COUNT
        group = KINDS_COUNT * room.similar.codes[n // KINDS_COUNT] + kind
        first, last = right.group[group], right.group[group + 1]
        if goal.order == ONCE:
            first = max(first, pair)
        needed = goal.least - known - goal.address_most[left_kind, kind]
        if first >= last or needed > follower.best or needed >= goal.follower_below:
            continue
        work[LEADERS] += 1
        work[NAME_PAIRS] += last - first
        for k in range(first, last):
            gained = missing
            if not is_missing and right.follower[k] != missing_other:
                same = common_prefix(prefix, right.prefix[k])
                matches = length - np.int64(popcount(signature & ~right.signature[k]))
                j = right.follower[k]
                worth = min(our_worth, step.right.follower_worth[j])
                most = follower.most[same, shares_step(matches, share, right.share[k])]
                gained = worth * most
                if gained >= needed and most > follower.log_odds[0]:
                    work[COMPARED] += 1
                    least = least_step(follower, same, needed / worth - SLACK if needed > 0 else needed)
                    alike = similarity_at_least(prepared, data, start[j], start[j + 1], same, least)
                    gained = worth * contribution(follower, alike)
            if needed <= gained < goal.follower_below:
                spans.begin[count], spans.end[count] = right.record_start[k], right.record_start[k + 1]
                spans.kind[count], spans.needed[count] = kind, goal.least - known - gained
                count += 1
    clear(prepared)
    return count


@compiled
def holders_of_one(most):
    """Memory for so many `Holders` of a number."""
    return Holders(np.empty(most, np.int32), held_names(most), held_names(most))


@compiled
def held_names(most):
    """Memory for so many `HeldNames`."""
    return HeldNames(
        np.empty(most, np.int32), np.empty(most, np.uint64), np.empty(most, np.uint32), np.empty(most, np.float64)
    )


@merged
def gather(rows, step, holders):
    """Write to `holders` the right records of these rows, without those that a missing name rules out; return how many.

    Their names stand all over memory. They are read once here, and then side by side for each left record.
    """
    right, count = step.right, 0
    no_leader, no_follower = missing_code(right.leader), missing_code(right.follower)
    for row in rows:
        leader, follower = right.leader_code[row], right.follower_code[row]
        if step.goal.missing or (leader != no_leader and follower != no_follower):
            holders.row[count] = row
            hold(holders.leader, count, right.leader.values, leader)
            hold(holders.follower, count, right.follower.values, follower)
            count += 1
    return count


@inlined
def hold(names, place, values, code):
    """Write a name, by its code in `values`, to a place of `HeldNames`."""
    names.code[place], names.signature[place], names.prefix[place], names.share[place] = code, 0, 0, 0.0
    if code < len(values.prefix):
        names.signature[place], names.prefix[place] = values.signature[code], values.prefix[code]
        names.share[place] = 1 / max(values.start[code + 1] - values.start[code], 1)


@merged
def share_number(row, begin, end, holders, step, room):
    """Write to `room.spans` those of some right records whose names let them reach the goal with a left row.

    Args:
        row: of a left record.
        begin: the first one of `holders`.
        end: the one behind the last.
        holders: right records that have a number of the left one.
        step: the `Pass`.
        room: the `Workspace`.

    Returns:
        How many spans. Each record is one.
    """
    left, right, goal, count = step.left, step.right, step.goal, 0
    leader_code, follower_code = left.leader_code[row], left.follower_code[row]
    if begin == end or (
        not goal.missing and (leader_code == missing_code(left.leader) or follower_code == missing_code(left.follower))
    ):
        return 0
    needed = goal.least - goal.address_most[WITH_NUMBERS, WITH_NUMBERS]
    leader = compared_name(left.leader.values, leader_code, left.leader_worth)
    follower = compared_name(left.follower.values, follower_code, left.follower_worth)
    room.work[LEADERS] += 1
    room.work[NAME_PAIRS] += 2 * (end - begin)
    for k in range(begin, end):
        first = name_bound(step.leader, leader, holders.leader, k)
        if first + name_bound(step.follower, follower, holders.follower, k) >= needed:
            room.spans.begin[count] = k
            count += 1
    if count == 0:
        return 0
    near, count = count, 0
    ours = prepare(room.masks, value_of(left.leader, leader_code))
    others = prepare(room.more_masks, value_of(left.follower, follower_code))
    for n in range(near):
        k = room.spans.begin[n]
        last = name_bound(step.follower, follower, holders.follower, k)
        room.work[COMPARED] += 1
        first = name_contribution(step.leader, leader, ours, holders.leader, k, right.leader.values, right.leader_worth)
        if first + last < needed:
            continue
        room.work[COMPARED] += 1
        last = name_contribution(
            step.follower, follower, others, holders.follower, k, right.follower.values, right.follower_worth
        )
        if first + last < needed:
            continue
        place = right.ordered.place[holders.row[k]]
        room.spans.begin[count], room.spans.end[count] = place, place + 1
        room.spans.kind[count], room.spans.needed[count] = WITH_NUMBERS, goal.least - first - last
        count += 1
    clear(ours)
    clear(others)
    return count


@inlined
def compared_name(values, code, worths):
    """A left name, by its code in `values`: `ComparedName`."""
    known = code < len(values.prefix)
    length = values.start[code + 1] - values.start[code] if known else 0
    signature = values.signature[code] if known else np.uint64(0)
    prefix = values.prefix[code] if known else np.uint32(0)
    name = ComparedName(length, signature, prefix, 1 / max(length, 1), worths[code], not known)
    return name


@inlined
def name_bound(term, name, held, k):
    """What a left name, `ComparedName`, and the one at place k of `HeldNames` contribute at most, by their characters.

    Exactly where one is missing: where that rules a pair out, it is not here.
    """
    bound = term.missing
    if not name.is_missing and held.share[k] > 0:
        matches = name.length - np.int64(popcount(name.signature & ~held.signature[k]))
        step = shares_step(matches, name.share, held.share[k])
        bound = name.worth * term.most[common_prefix(name.prefix, held.prefix[k]), step]
    return bound


@inlined
def name_contribution(term, name, prepared, held, k, values, worths):
    """What they contribute; `prepared` is the left name, `values` and `worths` are those of the right ones by code."""
    gained, code = term.missing, held.code[k]
    if not name.is_missing and held.share[k] > 0:
        prefix = common_prefix(name.prefix, held.prefix[k])
        alike = similarity_at_least(prepared, values.data, values.start[code], values.start[code + 1], prefix, 0)
        gained = min(name.worth, worths[code]) * contribution(term, alike)
    return gained


@merged
def compare_addresses(place, count, step, room, found):
    """Compare the address of the left record at `place` with those in the first `count` spans, by their bounds.

    Returns `found` with the pairs that reach the goal, see `with_pair`.
    """
    left, right, goal, spans, survivors = step.left.ordered, step.right.ordered, step.goal, room.spans, room.survivors
    address, shares, whole, words = right.address, right.address_share, step.address.whole, step.address.words
    at, row, sieve, covered, filled = ADDRESS_WORDS * place, left.rows[place], len(step.alike.start) > 1, -1, 0
    kind = left.kind[left.name_pair[place]]
    one, two, three = left.address[at], left.address[at + 1], left.address[at + 2]
    numbers, prefixes, share = (
        left.address[at + NUMBER_BITS],
        left.address[at + PREFIXES],
        left.address_share[at + SHARE],
    )
    length = np.int64(left.address[at + PLACE] >> np.uint64(LENGTH))
    for span in range(count):
        begin, end, needed = spans.begin[span], spans.end[span], spans.needed[span]
        if goal.order == ONCE and begin <= place:  # the records of the same name pair, of a table with itself
            begin = place + 1
        room.work[RECORDS] += max(end - begin, 0)
        if max(kind, spans.kind[span]) == WITHOUT_ADDRESS:
            found = with_pairs(row, begin, end, step, room, found)
            continue
        for k in range(begin, end):
            other = ADDRESS_WORDS * k
            rest = room.numbers_most[numbers_known(numbers, address[other + NUMBER_BITS])]
            matches = length - np.int64(
                popcount(one & ~address[other])
                + popcount(two & ~address[other + 1])
                + popcount(three & ~address[other + 2])
            )
            most_step = shares_step(matches, share, shares[other + SHARE])
            if whole.most[4, most_step] + words.best + rest < needed:
                continue
            most = rest + whole.most[longest_prefix(prefixes, address[other + PREFIXES]), most_step]
            if most + words.best < needed:
                continue
            words_most = words.best
            if sieve:
                if covered < 0:
                    covered = cover(room.covers, place, left.words, step.alike)
                words_most = most_of_words(words, room.covers, covered, right.words, k)
            if most + words_most >= needed:
                survivors.place[filled], survivors.needed[filled] = k, needed
                survivors.words[filled], survivors.step[filled] = words_most, most_step
                filled += 1
    if covered >= 0:
        uncover(room.covers, place, left.words, step.alike)
    return confirm(place, filled, step, room, found) if filled else found


@inlined
def numbers_known(bits, other_bits):
    """What the bits of two addresses' numbers tell: 0 none in common, 1 perhaps some, 2 missing on a side."""
    known = 2 if bits == 0 or other_bits == 0 else np.int64(bits & other_bits != 0)
    return known


@inlined
def longest_prefix(prefixes, other_prefixes):
    """The longer common prefix of two addresses, as written or with ordered tokens; see `Ordered.address`."""
    different = prefixes ^ other_prefixes
    written = common_prefix(np.uint32(different), np.uint32(0))
    ordered = common_prefix(np.uint32(different >> np.uint64(32)), np.uint32(0))
    return max(written, ordered)


@inlined
def most_of_words(term, covers, covered, words, place):
    """What the words of two addresses contribute at most; arguments as of `most_covered`."""
    share = most_covered(covers, covered, words, place)
    return term.missing if np.isnan(share) else contribution(term, share)


@merged
def confirm(place, count, step, room, found):
    """Compare the address of a left record letter by letter with those of the first `count` survivors.

    Bounds fall, term by term, until a pair misses the goal or cannot miss it any more; returns as `compare_addresses`.
    """
    left, right, addresses, survivors = step.left, step.right, step.right.addresses, room.survivors
    whole, words, numbers = step.address.whole, step.address.words, step.address.numbers
    row = left.ordered.rows[place]
    first, last = left.addresses.start[row], left.addresses.start[row + 1]
    written = prepare(room.masks, left.addresses.data[first:last])
    ordered = prepare(room.more_masks, left.addresses.ordered[first:last])
    at = ADDRESS_WORDS * place
    bits, prefixes = left.ordered.address[at + NUMBER_BITS], left.ordered.address[at + PREFIXES]
    for n in range(count):
        k, needed, words_most = survivors.place[n], survivors.needed[n], survivors.words[n]
        other, other_row = ADDRESS_WORDS * k, right.ordered.rows[k]
        if step.goal.order == ASCENDING and other_row <= row:
            continue
        position = right.ordered.address[other + PLACE]
        begin = np.int64(position & ((np.uint64(1) << np.uint64(LENGTH)) - np.uint64(1)))
        end = begin + np.int64(position >> np.uint64(LENGTH))
        known = numbers_known(bits, right.ordered.address[other + NUMBER_BITS])
        numbers_most = room.numbers_most[known]
        numbers_least = room.numbers_most[0] if known == 1 else numbers_most
        different = prefixes ^ right.ordered.address[other + PREFIXES]
        whole_needed, most_step = needed - words_most - numbers_most, survivors.step[n]
        room.work[COMPARED] += 1
        gained, prefix = whole.log_odds[0], common_prefix(np.uint32(different), np.uint32(0))
        least = least_step(whole, prefix, whole_needed)
        if most_step >= least:
            room.work[COMPARED] += 2
            alike = similarity_at_least(written, addresses.data, begin, end, prefix, least)
            gained = contribution(whole, alike)
        if gained + words.least + numbers_least < needed:
            prefix = common_prefix(np.uint32(different >> np.uint64(32)), np.uint32(0))
            least = least_step(whole, prefix, whole_needed)
            if most_step >= least:
                room.work[COMPARED] += 2
                alike = similarity_at_least(ordered, addresses.ordered, begin, end, prefix, least)
                gained = max(gained, contribution(whole, alike))
        if gained < whole_needed:
            continue
        if known == 1 and gained + words.least + numbers_least < needed:
            room.work[COMPARED] += 2
            alike = numbers_similarity(ordered.value, addresses.ordered[begin:end])
            numbers_least = numbers_most = contribution(numbers, alike)
        if gained + words_most + numbers_most < needed:
            continue
        if gained + words.least + numbers_least < needed:
            room.work[COMPARED] += 10
            alike = words_similarity(room.word_masks, room.best, ordered.value, addresses.ordered[begin:end])
            gained += words.missing if np.isnan(alike) else contribution(words, alike)
            if gained + numbers_most < needed:
                continue
        found = with_pair(found, room.work, row, other_row)
    clear(written)
    clear(ordered)
    return found


@compiled
def with_pair(found, work, row, other_row):
    """The pairs found (n x 2, of which `work` says how many are filled) with one more, in a larger array if need be."""
    count = work[FOUND]
    if count == len(found):
        found = np.concatenate((found, found))
    found[count, 0], found[count, 1] = row, other_row
    work[FOUND] = count + 1
    return found


@compiled
def with_pairs(row, begin, end, step, room, found):
    """The pairs found with one more for each right record from the place `begin` to `end`; see `with_pair`."""
    for k in range(begin, end):
        other_row = step.right.ordered.rows[k]
        if step.goal.order != ASCENDING or other_row > row:
            found = with_pair(found, room.work, row, other_row)
    return found
