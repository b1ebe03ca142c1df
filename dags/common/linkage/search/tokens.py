# mypy: disable-error-code="no-untyped-def"
"""The tokens of addresses: words, and numbers, which are tokens with a digit.

A number is compared exactly, so that an index finds who shares one. `words_similarity` and `numbers_similarity` are
those of `comparison`, compiled, on addresses whose tokens are in alphabetical order, so that equal ones stand side by
side.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.comparison import ALIKE
from common.linkage.model import Curve
from common.linkage.search.bounds import Term, least_step, term
from common.linkage.search.compiled import compiled
from common.linkage.search.jaro_winkler import (
    clear,
    prepare,
    shares_step,
    similarity_at_least,
)
from common.linkage.search.text import SPACE, texts
from common.linkage.search.values import Dictionary, dictionary

SIMILARITY: Term = term(Curve((0.0, 1.0), (0.0, 1.0)))
"""A term that contributes the similarity itself."""

ALIKE_STEPS = np.array([least_step(SIMILARITY, prefix, ALIKE) for prefix in range(5)])
"""The lowest step of shares, by prefix, with which two words may be alike."""

Codes = npt.NDArray[np.int32]


class Words(NamedTuple):
    """The words of addresses.

    Attributes:
        start: where the words of each address start in `stream`, and where the last ones end; int64.
        stream: of each address, the number of characters of its distinct words, and then their codes; uint32.
    """

    start: npt.NDArray[np.int64]
    stream: npt.NDArray[np.uint32]


class Numbers(NamedTuple):
    """The numbers of addresses, and who has them.

    Attributes:
        hashes: of the distinct numbers, ascending; their places are the codes. Two numbers of one hash count as one,
            which finds a pair too many and misses none. uint64.
        start: where the numbers of each address start in `code`; int64.
        code: of each number of each address; int32.
        holder_start: where the rows with each number start in `holder`; int64.
        holder: rows; int32.
        bits: one bit of 64 for each number of an address; without a common bit two addresses share no number; uint64.
    """

    hashes: npt.NDArray[np.uint64]
    start: npt.NDArray[np.int64]
    code: Codes
    holder_start: npt.NDArray[np.int64]
    holder: Codes
    bits: npt.NDArray[np.uint64]


class Tokens(NamedTuple):
    """The words and the numbers of all addresses of a table, in the order of its rows."""

    distinct_words: Dictionary
    words: Words
    numbers: Numbers


def tokens_of(addresses: pa.Array) -> Tokens:
    """The tokens of addresses, an Arrow string array; a missing address has none."""
    lists = pc.split_pattern(pc.fill_null(addresses, ""), " ")
    encoded = lists.flatten().dictionary_encode()
    distinct = encoded.dictionary
    is_number = pc.match_substring_regex(distinct, "[0-9]").to_numpy(zero_copy_only=False)
    is_word = ~is_number & pc.not_equal(distinct, "").to_numpy(zero_copy_only=False)
    # of each distinct token its code as a word or as a number, -1 where it is not one
    word_code, number_code = np.full((2, len(distinct)), -1, np.int32)
    known, word_code[is_word] = dictionary(distinct.filter(pa.array(is_word)))
    number_texts = texts(distinct.filter(pa.array(is_number)))
    hashes, number_code[is_number] = np.unique(_hashes(number_texts.data, number_texts.start), return_inverse=True)
    offsets, token = lists.offsets.to_numpy().astype(np.int64), encoded.indices.to_numpy()
    lengths = np.diff(known.values.start)
    words = Words(*_words_by_row(offsets, token, word_code, lengths))
    start, code = _numbers_by_row(offsets, token, number_code)
    holder_start, holder = _holders(start, code, len(hashes))
    bits = _number_bits(start, code, hashes)
    return Tokens(known, words, Numbers(hashes, start, code, holder_start, holder, bits))


def no_tokens(rows: int) -> Tokens:
    """Where the tokens of addresses do not count: none of them."""
    known, codes = dictionary(pa.nulls(0, pa.large_string()))
    start, nothing = np.zeros(rows + 1, np.int64), np.zeros(rows, np.uint64)
    numbers = Numbers(nothing[:0], start, codes, start[:1], codes, nothing)
    return Tokens(known, Words(start, np.empty(0, np.uint32)), numbers)


def words_at(words: Words, rows: npt.NDArray[np.integer]) -> Words:
    """The words of these rows, in their order."""
    return Words(*_words_at(words.start, words.stream, rows))


def same_numbers(left: Numbers, right: Numbers) -> npt.NDArray[np.int64]:
    """For each left number its code on the right, -1 where nobody has it."""
    place = np.searchsorted(right.hashes, left.hashes)
    found = np.append(right.hashes, np.uint64(0))[place] == left.hashes
    found[place == len(right.hashes)] = False
    return np.where(found, place, -1)


@compiled
def _hashes(data, start):
    """A hash of each value (FNV-1a); arrays as in `Texts`."""
    hashes = np.empty(len(start) - 1, np.uint64)
    for i in range(len(hashes)):
        value = np.uint64(14695981039346656037)
        for j in range(start[i], start[i + 1]):
            value = (value ^ np.uint64(data[j])) * np.uint64(1099511628211)
        hashes[i] = value ^ (value >> np.uint64(29))
    return hashes


@compiled
def _words_by_row(offsets, token, word_code, lengths):
    """`Words` of rows.

    Args:
        offsets: where the tokens of each row start in `token`.
        token: of each token of each row, which of the distinct ones it is.
        word_code: of each distinct token, its code as a word, or -1.
        lengths: characters of each word.
    """
    start, stream, filled = np.zeros(len(offsets), np.int64), np.empty(len(token) + len(offsets), np.uint32), 0
    for row in range(len(offsets) - 1):
        total = filled
        stream[total], filled = 0, filled + 1
        for k in range(offsets[row], offsets[row + 1]):
            code = word_code[token[k]]
            if code >= 0 and not _holds(stream, total + 1, filled, code):
                stream[total] += np.uint32(lengths[code])
                stream[filled] = code
                filled += 1
        start[row + 1] = filled
    return start, stream[:filled].copy()


@compiled
def _numbers_by_row(offsets, token, number_code):
    """Where the distinct numbers of each row start, and their codes; arguments as of `_words_by_row`."""
    start, codes, filled = np.zeros(len(offsets), np.int64), np.empty(len(token), np.int32), 0
    for row in range(len(offsets) - 1):
        for k in range(offsets[row], offsets[row + 1]):
            code = number_code[token[k]]
            if code >= 0 and not _holds(codes, start[row], filled, code):
                codes[filled] = code
                filled += 1
        start[row + 1] = filled
    return start, codes[:filled].copy()


@compiled
def _holds(codes, begin, end, code):
    """Whether a code is among those from `begin` to `end`."""
    for k in range(begin, end):  # noqa: SIM110 - compiled
        if codes[k] == code:
            return True
    return False


@compiled
def _holders(start, code, distinct):
    """`Numbers.holder_start` and `Numbers.holder`, from where the numbers of each row start and their codes."""
    first, holder = np.zeros(distinct + 1, np.int64), np.empty(len(code), np.int32)
    for k in range(len(code)):
        first[code[k] + 1] += 1
    first = np.cumsum(first)
    filled = first[:-1].copy()
    for row in range(len(start) - 1):
        for k in range(start[row], start[row + 1]):
            holder[filled[code[k]]] = row
            filled[code[k]] += 1
    return first, holder


@compiled
def _number_bits(start, code, hashes):
    """`Numbers.bits`, from the other arrays of `Numbers`."""
    bits = np.zeros(len(start) - 1, np.uint64)
    for row in range(len(bits)):
        for k in range(start[row], start[row + 1]):
            bits[row] |= np.uint64(1) << (hashes[code[k]] >> np.uint64(58))
    return bits


@compiled
def _words_at(start, stream, rows):
    """See `words_at`; arrays as in `Words`."""
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
def next_token(data, position, end):
    """Where the first token from a position on begins and ends, both `end` if there is none; whether it is a number."""
    while position < end and data[position] == SPACE:
        position += 1
    begin, number = position, False
    while position < end and data[position] != SPACE:
        number |= 48 <= data[position] <= 57
        position += 1
    return begin, position, number


@compiled
def equal_tokens(data, begin, end, other_data, other_begin, other_end):
    """Whether two tokens are the same."""
    if end - begin != other_end - other_begin:
        return False
    for k in range(end - begin):  # noqa: SIM110 - compiled
        if data[begin + k] != other_data[other_begin + k]:
            return False
    return True


@compiled
def numbers_similarity(left, right):
    """As in `comparison`, of the characters of two addresses with ordered tokens; NaN where one has no number."""
    shared, left_count, right_count = 0, 0, 0
    last_begin, last_end, begin, end = 0, 0, 0, 0
    while end < len(left):
        begin, end, number = next_token(left, end, len(left))
        if number and not equal_tokens(left, begin, end, left, last_begin, last_end):
            last_begin, last_end = begin, end
            left_count += 1
            shared += _stands_in(left, begin, end, right)
    last_begin, last_end, begin, end = 0, 0, 0, 0
    while end < len(right):
        begin, end, number = next_token(right, end, len(right))
        if number and not equal_tokens(right, begin, end, right, last_begin, last_end):
            last_begin, last_end = begin, end
            right_count += 1
    if left_count == 0 or right_count == 0:
        return np.nan
    return shared / min(left_count, right_count)


@compiled
def _stands_in(data, begin, end, other):
    """Whether a token of `data` is one of the tokens of `other`."""
    other_end = 0
    while other_end < len(other):
        other_begin, other_end, _ = next_token(other, other_end, len(other))
        if equal_tokens(data, begin, end, other, other_begin, other_end):
            return True
    return False


@compiled
def words_similarity(masks, best, left, right):
    """As in `comparison`, of two addresses with ordered tokens; NaN where one has no word.

    Args:
        masks: see `jaro_winkler.scratch`.
        best: memory for a number for each character of `right`: where a word begins, the similarity of its partner.
        left: the characters of one address.
        right: those of the other.
    """
    best[: len(right)] = 0.0
    covered, length = 0.0, 0
    last_begin, last_end, begin, end = 0, 0, 0, 0
    while end < len(left):
        begin, end, number = next_token(left, end, len(left))
        if begin == end or number or equal_tokens(left, begin, end, left, last_begin, last_end):
            continue
        last_begin, last_end = begin, end
        covered += (end - begin) * _best_partner(masks, best, left[begin:end], right)
        length += end - begin
    right_covered, right_length = 0.0, 0
    last_begin, last_end, begin, end = 0, 0, 0, 0
    while end < len(right):
        begin, end, number = next_token(right, end, len(right))
        if begin == end or number or equal_tokens(right, begin, end, right, last_begin, last_end):
            continue
        last_begin, last_end = begin, end
        right_covered += (end - begin) * best[begin]
        right_length += end - begin
    if length == 0 or right_length == 0:
        return np.nan
    return max(covered / length, right_covered / right_length)


@compiled
def _best_partner(masks, best, word, other):
    """The similarity of a word to the one most like it, 0 where none is alike; notes in `best` what it is to them."""
    prepared, most, end = prepare(masks, word), 0.0, 0
    while end < len(other):
        begin, end, number = next_token(other, end, len(other))
        shorter = min(len(word), end - begin)
        if begin == end or number or shares_step(shorter, 1 / len(word), 1 / (end - begin)) < ALIKE_STEPS[4]:
            continue
        prefix = 0
        while prefix < min(4, shorter) and word[prefix] == other[begin + prefix]:
            prefix += 1
        alike = similarity_at_least(prepared, other, begin, end, prefix, ALIKE_STEPS[prefix])
        if alike >= ALIKE:
            most, best[begin] = max(most, alike), max(best[begin], alike)
    clear(prepared)
    return most
