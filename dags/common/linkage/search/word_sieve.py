# mypy: disable-error-code="no-untyped-def"
"""How similar the words of two addresses can be at most, without reading them: a few nanoseconds a word.

The distinct words without digits of both tables are compared once, each with each. After that, an address is a list
of word codes: a left one is spread over a table of all right words, which says of each how many characters it can
cover and have covered, and for a right one these are added up. No more than that can be covered:
`comparison.words_similarity` takes the best partner of each word of one address, and here all its partners are added.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.linkage.comparison import ALIKE, Rows
from common.linkage.search.address_parts import equal_words, next_word
from common.linkage.search.dictionary import NONE, Dictionary, dictionary, similar_values
from common.linkage.search.jaro_winkler import Texts, compiled, memory

MOST_COMPARED = 10_000_000_000
"""Pairs of words that are worth comparing, at about a nanosecond each; where there are more, there is no sieve."""

CHARACTER = 1 << 16
"""Covered characters are counted in whole parts of this size, rounded up: sums of whole numbers have no error."""

LONGEST = (1 << 32) // CHARACTER - 1
"""Characters of words up to which the counts fit into 32 bits; a longer address has no bound."""

ROUNDING = 1e-12
"""Relative; the reference adds floating-point numbers."""


class Words(NamedTuple):
    """The words without digits of the addresses of a table, by their codes in a `Dictionary`; empty where unasked for.

    Attributes:
        start: where the words of each address start in `stream`, and where the last ones end.
        stream: of each address, the number of characters of its distinct words, and then their codes.
    """

    start: Rows
    stream: npt.NDArray[np.uint32]


class Alike(NamedTuple):
    """Left words -> the right words that are alike (see `comparison.ALIKE`), and how many characters each covers.

    Attributes:
        start: where those of each left word start; of length 1 if there is no sieve.
        word: code of the right word.
        ours: characters of the left word, times their similarity, in parts of 1 / `CHARACTER`, rounded up.
        theirs: characters of the right word, likewise.
        covers: zeros, see `cover`.
    """

    start: Rows
    word: npt.NDArray[np.uint32]
    ours: npt.NDArray[np.uint32]
    theirs: npt.NDArray[np.uint32]
    covers: npt.NDArray[np.uint32]


NO_WORDS = Words(np.zeros(1, np.int64), np.empty(0, np.uint32))

NO_SIEVE = Alike(np.zeros(1, np.int64), *np.empty((4, 0), np.uint32))


def words_of(ordered: Texts) -> tuple[Dictionary, Words]:
    """The words of addresses that have them in alphabetical order; `NO_WORDS` if two have the same hash."""
    encoded = pa.array(_hashes(ordered.data, ordered.start)).dictionary_encode()
    code = encoded.indices.to_numpy().copy()
    letters, begins, start, stream, same = _streams(ordered.data, ordered.start, code, len(encoded.dictionary))
    column = pa.LargeStringArray.from_buffers(len(begins) - 1, pa.py_buffer(begins), pa.py_buffer(letters))
    known, rank = dictionary(column)
    _renumber(start, stream, rank)
    return known, Words(start, stream) if same else NO_WORDS


def words_at(words: Words, rows: Rows) -> Words:
    """The words of these rows, in their order."""
    return words if words is NO_WORDS else Words(*_taken(words.start, words.stream, rows))


def alike_words(left: Dictionary, right: Dictionary, cores: int) -> Alike:
    """Which words are alike, or `NO_SIEVE` where comparing them takes too long."""
    count, others = len(left.values.known), len(right.values.known)
    if count * others > MOST_COMPARED:
        return NO_SIEVE
    bounds = np.linspace(0, count, 16 * cores + 1).astype(np.int64)
    room = memory(left.values, right.values)
    with ThreadPoolExecutor(cores) as pool:
        parts = list(pool.map(lambda part: _alike_words(*part, left.values, right, room), pairwise(bounds)))
    counts, words, ours, theirs = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Alike(np.append(0, np.cumsum(counts)), words, ours, theirs, np.zeros(2 * others, np.uint32))


@compiled
def _hashes(data, start):
    """The hash of each word that is no number."""
    hashes, count = np.empty(len(data) // 2 + len(start), np.uint64), 0
    for i in range(len(start) - 1):
        end = start[i]
        while end < start[i + 1]:
            word, end, value, number = next_word(data, end, start[i + 1])
            if word < end and not number:
                hashes[count] = value
                count += 1
    return hashes[:count].copy()


@compiled
def _streams(data, start, code, distinct):
    """The distinct words and where each begins, `Words.start` and `Words.stream`, from the code of each word.

    Also whether all words with one code are really the same.
    """
    letters, begins, known, same = np.empty_like(data), np.zeros(distinct + 1, np.int64), 0, True
    first, stream, filled, k = np.zeros(len(start), np.int64), np.empty(len(code) + len(start), np.uint32), 0, 0
    for i in range(len(start) - 1):
        total, end, last = filled, start[i], NONE
        stream[total] = 0
        filled += 1
        while end < start[i + 1]:
            word, end, _, number = next_word(data, end, start[i + 1])
            if word == end or number:
                continue
            mine = code[k]
            k += 1
            if mine == known:  # codes are in order of appearance
                known += 1
                begins[known] = begins[mine] + end - word
                letters[begins[mine] : begins[known]] = data[word:end]
            same &= equal_words(data, word, end, letters, begins[mine], begins[mine + 1])
            if mine != last:  # equal words stand side by side
                stream[total] += np.uint32(end - word)
                stream[filled] = last = mine
                filled += 1
        first[i + 1] = filled
    return letters[: begins[known]].copy(), begins, first, stream[:filled].copy(), same


@compiled
def _renumber(start, stream, rank):
    for i in range(len(start) - 1):
        for k in range(start[i] + 1, start[i + 1]):
            stream[k] = rank[stream[k]]


@compiled
def _taken(start, stream, rows):
    first = np.zeros(len(rows) + 1, np.int64)
    for i in range(len(rows)):
        first[i + 1] = first[i] + start[rows[i] + 1] - start[rows[i]]
    taken = np.empty(first[-1], np.uint32)
    for i in range(len(rows)):
        begin = start[rows[i]]
        for k in range(first[i + 1] - first[i]):
            taken[first[i] + k] = stream[begin + k]
    return first, taken


@compiled
def _alike_words(begin, end, mine, right, room):
    """How many right words are alike to each left one, and of each the code and the two figures of `Alike`."""
    masks, work, start = room.copy(), np.zeros(1, np.int64), right.values.start
    codes, alike = np.empty(len(right.values.known), np.int64), np.empty(len(right.values.known))
    counts, filled = np.zeros(end - begin, np.int64), 0
    words, ours, theirs = np.empty(1024, np.uint32), np.empty(1024, np.uint32), np.empty(1024, np.uint32)
    for code in range(begin, end):
        value = mine.data[mine.start[code] : mine.start[code + 1]]
        bits, head = mine.signature[code], mine.prefix[code]
        count = similar_values(value, bits, head, ALIKE, right, 0, masks, codes, alike, work)
        while filled + count > len(words):
            words, ours = np.concatenate((words, words)), np.concatenate((ours, ours))
            theirs = np.concatenate((theirs, theirs))
        for n in range(count):
            length = start[codes[n] + 1] - start[codes[n]]
            words[filled + n] = codes[n]
            ours[filled + n] = math.ceil(min(len(value), LONGEST) * CHARACTER * alike[n])
            theirs[filled + n] = math.ceil(min(length, LONGEST) * CHARACTER * alike[n])
        counts[code - begin], filled = count, filled + count
    return counts, words[:filled], ours[:filled], theirs[:filled]


@compiled
def cover(covers, row, words, alike):
    """Note in `covers`, all 0 before, what the words of a left row cover; return how many characters they have.

    Of each right word two figures: how many characters of the left address it may cover, and how many of its own the
    left address may cover.
    """
    for k in range(words.start[row] + 1, words.start[row + 1]):
        for n in range(alike.start[words.stream[k]], alike.start[words.stream[k] + 1]):
            other = 2 * np.int64(alike.word[n])
            covers[other] += alike.ours[n]
            covers[other + 1] = max(covers[other + 1], alike.theirs[n])
    return np.int64(words.stream[words.start[row]])


@compiled
def uncover(covers, row, words, alike):
    """Make `covers` 0 again."""
    for k in range(words.start[row] + 1, words.start[row + 1]):
        for n in range(alike.start[words.stream[k]], alike.start[words.stream[k] + 1]):
            other = 2 * np.int64(alike.word[n])
            covers[other] = covers[other + 1] = 0


@compiled
def most_covered(covers, length, stream, begin, end):
    """What `words_similarity` is at most, NaN where an address has no words; `covers` and `length` as of `cover`."""
    if length == 0 or end - begin == 1:
        return np.nan
    if max(length, np.int64(stream[begin])) > LONGEST:
        return 1.0
    ours, theirs = np.int64(0), np.int64(0)
    for k in range(begin + 1, end):
        word = 2 * np.int64(stream[k])
        ours += np.int64(covers[word])
        theirs += np.int64(covers[word + 1])
    return min(max(ours / length, theirs / stream[begin]) / CHARACTER * (1 + ROUNDING), 1.0)
