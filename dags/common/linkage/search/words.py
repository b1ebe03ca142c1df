# mypy: disable-error-code="no-untyped-def"
"""How similar the words of two addresses can be at most, without reading them: a few nanoseconds a word.

The distinct words of both tables are compared once, each with each. After that, an address is a list of word codes: a
left one is spread over a table of all right words, which says of each how many characters it can cover and have
covered, and for a right one these are added up. No more than that can be covered: `comparison.words_similarity` takes
the best partner of each word of one address, and here all its partners are added.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.linkage.comparison import ALIKE
from common.linkage.search.compiled import compiled
from common.linkage.search.jaro_winkler import scratch
from common.linkage.search.tokens import SIMILARITY
from common.linkage.search.values import Dictionary, Query, Similar, similar_values

MOST_COMPARED = 10_000_000_000
"""Pairs of words that are worth comparing, at about a nanosecond each; where there are more, there is no bound."""

CHARACTER = 1 << 16
"""Covered characters are counted in whole parts of this size, rounded up: sums of whole numbers have no error."""

LONGEST = (1 << 32) // CHARACTER - 1
"""Characters of words up to which the counts fit into 32 bits; a longer address has no bound."""

ROUNDING = 1e-12
"""Relative; the reference adds floating-point numbers."""

Counts = npt.NDArray[np.uint32]


class AlikeWords(NamedTuple):
    """Left words -> the right words that are alike (see `comparison.ALIKE`), and how many characters each covers.

    Attributes:
        start: where those of each left word start; of length 1 if words are not compared; int64.
        word: code of the right word; uint32.
        left_covered: characters of the left word, times their similarity, in parts of 1 / `CHARACTER`, rounded up.
        right_covered: characters of the right word, likewise.
        covers: zeros, two for each right word, see `cover`.
    """

    start: npt.NDArray[np.int64]
    word: Counts
    left_covered: Counts
    right_covered: Counts
    covers: Counts


_NONE: Counts = np.empty(0, np.uint32)

NOT_COMPARED = AlikeWords(np.zeros(1, np.int64), _NONE, _NONE, _NONE, _NONE)


def alike_words(left: Dictionary, right: Dictionary, cores: int) -> AlikeWords:
    """Which words are alike, or `NOT_COMPARED` where comparing them takes too long."""
    count, others = left.missing, right.missing
    if count * others > MOST_COMPARED:
        return NOT_COMPARED
    covers = np.zeros(2 * others, np.uint32)
    if not count or not others:
        return AlikeWords(np.zeros(count + 1, np.int64), _NONE, _NONE, _NONE, covers)
    bounds = np.linspace(0, count, min(count, 16 * cores) + 1).astype(np.int64)
    with ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(lambda part: _alike_words(*part, left, right), pairwise(bounds)))
    counts, words, left_covered, right_covered = (np.concatenate(column) for column in zip(*parts, strict=True))
    return AlikeWords(np.append(0, np.cumsum(counts)), words, left_covered, right_covered, covers)


@compiled
def _alike_words(begin, end, left, right):
    """How many right words are alike to each left one from a code to another; of these the arrays of `AlikeWords`."""
    values, start = left.values, right.values.start
    longest = max(np.diff(values.start).max(), np.diff(start).max())
    similar = Similar(
        scratch(longest),
        np.empty(len(start), np.int64),
        np.empty(len(start), np.float64),
        np.zeros(2, np.int64),
    )
    counts, filled = np.zeros(end - begin, np.int64), 0
    words, left_covered, right_covered = np.empty(64, np.uint32), np.empty(64, np.uint32), np.empty(64, np.uint32)
    for code in range(begin, end):
        value = values.data[values.start[code] : values.start[code + 1]]
        query = Query(value, values.signature[code], values.prefix[code], np.int64(0))
        count = similar_values(query, right, SIMILARITY, ALIKE, similar)
        while filled + count > len(words):
            words, left_covered = np.concatenate((words, words)), np.concatenate((left_covered, left_covered))
            right_covered = np.concatenate((right_covered, right_covered))
        for n in range(count):
            word = similar.codes[n]
            words[filled] = word
            parts = CHARACTER * similar.log_odds[n]  # of each character: this term contributes the similarity
            left_covered[filled] = math.ceil(min(len(value), LONGEST) * parts)
            right_covered[filled] = math.ceil(min(start[word + 1] - start[word], LONGEST) * parts)
            filled += 1
        counts[code - begin] = count
    return counts, words[:filled].copy(), left_covered[:filled].copy(), right_covered[:filled].copy()


@compiled
def cover(covers, row, words, alike):
    """Note in `covers`, all 0 before, what the words of a left row cover; return how many characters they have.

    Of each right word two figures: how many characters of the left address it may cover, and how many of its own the
    left address may cover. `words` are `Words` of left addresses, `alike` are `AlikeWords`.
    """
    for k in range(words.start[row] + 1, words.start[row + 1]):
        for n in range(alike.start[words.stream[k]], alike.start[words.stream[k] + 1]):
            other = 2 * np.int64(alike.word[n])
            covers[other] += alike.left_covered[n]
            covers[other + 1] = max(covers[other + 1], alike.right_covered[n])
    return np.int64(words.stream[words.start[row]])


@compiled
def uncover(covers, row, words, alike):
    """Make `covers` 0 again after `cover`."""
    for k in range(words.start[row] + 1, words.start[row + 1]):
        for n in range(alike.start[words.stream[k]], alike.start[words.stream[k] + 1]):
            other = 2 * np.int64(alike.word[n])
            covers[other] = covers[other + 1] = 0


@compiled
def most_covered(covers, length, words, row):
    """What `words_similarity` is at most, NaN where an address has no words.

    `covers` and `length` as of `cover`, for a left address; `words` are `Words` of right addresses.
    """
    begin, end = words.start[row], words.start[row + 1]
    if length == 0 or end - begin == 1:
        return np.nan
    other_length = np.int64(words.stream[begin])
    if max(length, other_length) > LONGEST:
        return 1.0
    left, right = np.int64(0), np.int64(0)
    for k in range(begin + 1, end):
        word = 2 * np.int64(words.stream[k])
        left += np.int64(covers[word])
        right += np.int64(covers[word + 1])
    return min(max(left / length, right / other_length) / CHARACTER * (1 + ROUNDING), 1.0)
