# mypy: disable-error-code="no-untyped-def"
"""Compiled comparisons of the words and the numbers of addresses, and an index of who shares a number with whom.

The same similarities as in `comparison`, on addresses whose words are in alphabetical order, so that equal words
stand side by side. A number is a word with a digit; it is compared exactly, which is what makes an index of it.
"""

from typing import NamedTuple

import numpy as np

from common.linkage.comparison import ALIKE, Rows
from common.linkage.search.jaro_winkler import (
    SPACE,
    WORD,
    Texts,
    compiled,
    forget,
    long_similarity,
    matches_wanted,
    prepare,
    similarity,
)


class Meetings(NamedTuple):
    """Left rows -> the numbers in their addresses -> right rows with the same number.

    Attributes:
        number_start: where the numbers of each left row start in `number`.
        number: of the left addresses, counted from 0.
        start: where the right rows of each number start in `rows`.
        rows: right rows.
    """

    number_start: Rows
    number: Rows
    start: Rows
    rows: Rows


def meetings(left: Texts, right: Texts) -> Meetings:
    """The index, from the addresses of two tables."""
    hashes, number_start = _hashes(left.data, left.start)
    known, number = np.unique(hashes, return_inverse=True)
    start, rows = _bearers(right.data, right.start, known)
    return Meetings(number_start, number.astype(np.int64), start, rows)


@compiled
def number_bits(data, start):
    """One bit for every number of each value; two values without a bit in common share no number."""
    bits = np.zeros(len(start) - 1, np.uint64)
    for i in range(len(bits)):
        end = start[i]
        while end < start[i + 1]:
            _, end, value, number = next_word(data, end, start[i + 1])
            if number:
                bits[i] |= np.uint64(1) << (value >> np.uint64(58))
    return bits


@compiled
def _hashes(data, start):
    """The hashes of all numbers, one value behind the other, and where those of each value start."""
    hashes, first, count = np.empty(len(start) + 2, np.uint64), np.zeros(len(start), np.int64), 0
    for i in range(len(start) - 1):
        end = start[i]
        while end < start[i + 1]:
            _, end, value, number = next_word(data, end, start[i + 1])
            if number:
                if count == len(hashes):
                    hashes = np.concatenate((hashes, hashes))
                hashes[count] = value
                count += 1
        first[i + 1] = count
    return hashes[:count], first


@compiled
def _bearers(data, start, known):
    """The rows of the values with each known number: where they start, and the rows."""
    perhaps = np.zeros(1 << 16, np.bool_)  # by the hash's first bits: looking a number up takes long
    for value in known:
        perhaps[value >> np.uint64(48)] = True
    found, count = np.empty((2, 1024), np.int64), 0  # numbers, and their rows
    for i in range(len(start) - 1):
        end = start[i]
        while end < start[i + 1]:
            _, end, value, number = next_word(data, end, start[i + 1])
            if not number or not perhaps[value >> np.uint64(48)]:
                continue
            place = np.searchsorted(known, value)
            if place == len(known) or known[place] != value:
                continue
            if count == found.shape[1]:
                found = np.concatenate((found, found), axis=1)
            found[0, count], found[1, count] = place, i
            count += 1
    first = np.zeros(len(known) + 1, np.int64)
    for n in range(count):
        first[found[0, n] + 1] += 1
    first = np.cumsum(first)
    rows, filled = np.empty(count, np.int64), first[:-1].copy()
    for n in range(count):
        number = found[0, n]
        rows[filled[number]] = found[1, n]
        filled[number] += 1
    return first, rows


@compiled
def next_word(data, position, end):
    """The first word from a position on: begin and end (both `end` where there is none), hash, whether it is a number.

    Equal words have equal hashes (FNV-1a), different ones nearly always others.
    """
    while position < end and data[position] == SPACE:
        position += 1
    begin, number, value = position, False, np.uint64(14695981039346656037)
    while position < end and data[position] != SPACE:
        number |= 48 <= data[position] <= 57
        value = (value ^ np.uint64(data[position])) * np.uint64(1099511628211)
        position += 1
    return begin, position, value ^ (value >> np.uint64(29)), number


@compiled
def equal_words(data, begin, end, other_data, other_begin, other_end):
    """Whether two words are the same."""
    if end - begin != other_end - other_begin:
        return False
    for k in range(end - begin):  # noqa: SIM110 - compiled
        if data[begin + k] != other_data[other_begin + k]:
            return False
    return True


@compiled
def numbers_similarity(mine, theirs):
    """As in `comparison`, of two addresses with ordered words; NaN where one has no number."""
    my_count, their_count, shared = 0, 0, 0
    last_begin, last_end, word, end = 0, 0, 0, 0
    while end < len(mine):
        word, end, _, number = next_word(mine, end, len(mine))
        if not number or equal_words(mine, word, end, mine, last_begin, last_end):
            continue
        last_begin, last_end = word, end
        my_count += 1
        other, other_end = 0, 0
        while other_end < len(theirs):
            other, other_end, _, _ = next_word(theirs, other_end, len(theirs))
            if equal_words(mine, word, end, theirs, other, other_end):
                shared += 1
                break
    last_begin, last_end, word, end = 0, 0, 0, 0
    while end < len(theirs):
        word, end, _, number = next_word(theirs, end, len(theirs))
        if number and not equal_words(theirs, word, end, theirs, last_begin, last_end):
            last_begin, last_end = word, end
            their_count += 1
    if my_count == 0 or their_count == 0:
        return np.nan
    return shared / min(my_count, their_count)


@compiled
def words_similarity(masks, best, mine, theirs):
    """As in `comparison`, of two addresses with ordered words; NaN where one has no word without digits.

    Args:
        masks: empty, see `memory`.
        best: room for a number for each character of `theirs`.
        mine: the characters of one address.
        theirs: those of the other.
    """
    wanted = np.empty(5)
    matches_wanted(ALIKE, wanted)
    best[: len(theirs)] = 0.0
    covered, length = 0.0, 0
    last_begin, last_end, word, end = 0, 0, 0, 0
    while end < len(mine):
        word, end, _, number = next_word(mine, end, len(mine))
        if word == end or number or equal_words(mine, word, end, mine, last_begin, last_end):
            continue
        last_begin, last_end = word, end
        value, most = mine[word:end], 0.0
        prepare(masks, value)
        other, other_end = 0, 0
        while other_end < len(theirs):
            other, other_end, _, number = next_word(theirs, other_end, len(theirs))
            shorter, longer = min(end - word, other_end - other), max(end - word, other_end - other)
            if other == other_end or number or 1 + shorter / longer < wanted[4]:
                continue
            prefix = 0
            while prefix < min(4, shorter) and mine[word + prefix] == theirs[other + prefix]:
                prefix += 1
            if longer <= WORD:
                alike = similarity(masks, value, theirs, other, other_end, prefix, wanted[prefix])
            else:
                alike = long_similarity(masks, value, theirs, other, other_end, prefix)
            if alike >= ALIKE:
                most, best[other] = max(most, alike), max(best[other], alike)
        forget(masks, value)
        covered += len(value) * most
        length += len(value)
    their_covered, their_length = 0.0, 0
    last_begin, last_end, word, end = 0, 0, 0, 0
    while end < len(theirs):
        word, end, _, number = next_word(theirs, end, len(theirs))
        if word == end or number or equal_words(theirs, word, end, theirs, last_begin, last_end):
            continue
        last_begin, last_end = word, end
        their_covered += (end - word) * best[word]
        their_length += end - word
    if length == 0 or their_length == 0:
        return np.nan
    return max(covered / length, their_covered / their_length)
