"""Compiled Jaro-Winkler: the same numbers as jellyfish, bit for bit, and upper bounds that cost a nanosecond.

Only `candidates` uses it, to find pairs; what is stored comes from jellyfish (see `comparison`). Text is ASCII
and held as one byte array, so that the compiled loops touch no Python object.

Jaro-Winkler matches each character with the first free equal one within a window. That outcome is the same
from either side, so one side may be prepared once (a bit mask of positions for every character) and compared
with many others: a machine word then answers "first free equal one within the window" in four instructions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., Any])

WORD = 64
"""Bits of a machine word: longer text takes a slower path."""

CODES = 37
"""Letters, digits and anything else: the character classes of a signature."""


class Texts(NamedTuple):
    """Distinct or repeated values as bytes, with what the bounds need.

    Attributes:
        data: all characters, one value behind the other; uint8.
        start: where each value starts, and a last one where they end; int64.
        signature: 64 bits a value, see `signature`; uint64.
        prefix: the first four characters as a little-endian number, 0 where there are fewer; uint32.
        known: false where a value is missing.
    """

    data: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    signature: npt.NDArray[np.uint64]
    prefix: npt.NDArray[np.uint32]
    known: npt.NDArray[np.bool_]


def compiled(function: Function) -> Function:
    """Compile on first use, without the GIL; keep the machine code on disk where there is a place for it."""
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")  # type: ignore[no-any-return]
    except RuntimeError:  # a read-only checkout and no home folder: compile again in every process
        return numba.njit(function, nogil=True, error_model="numpy")  # type: ignore[no-any-return]


@intrinsic
def popcount(typing: Any, word: Any) -> Any:
    """Number of bits set in a uint64."""
    return numba.uint64(numba.uint64), lambda context, builder, signature, words: builder.ctpop(words[0])


@intrinsic
def lowest_bit(typing: Any, word: Any) -> Any:
    """Position of the lowest bit set in a uint64, 64 if there is none."""

    def emit(context: Any, builder: Any, signature: Any, words: Any) -> Any:
        return builder.cttz(words[0], context.get_constant(numba.boolean, False))

    return numba.uint64(numba.uint64), emit


def texts(values: pa.Array) -> Texts:
    """Values of an Arrow string array.

    Raises:
        ValueError: a value is not ASCII.
    """
    values = values.cast(pa.large_string())
    _, offsets, content = values.buffers()
    # copies, since an Arrow buffer is read-only: another type to the compiler, which would compile all again
    start = np.zeros(len(values) + 1, np.int64)
    if len(values):
        start[:] = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    data = np.frombuffer(content or b"", np.uint8)[start[0] : start[-1]].copy()
    start -= start[0]
    if data.size and data.max() > 127:
        raise ValueError("standardised text must be ASCII")
    return describe(data, start, values.is_valid().to_numpy(zero_copy_only=False))


def describe(data: npt.NDArray[np.uint8], start: npt.NDArray[np.int64], known: npt.NDArray[np.bool_]) -> Texts:
    """Values that lie in `data`, with their signatures and prefixes."""
    signatures, prefixes = np.empty(len(known), np.uint64), np.empty(len(known), np.uint32)
    _describe(data, start, signatures, prefixes)
    return Texts(data, start, signatures, prefixes, known)


@compiled
def _describe(data, start, signatures, prefixes):  # type: ignore[no-untyped-def]
    seen = np.zeros(CODES, np.uint8)
    for i in range(len(signatures)):
        signatures[i] = signature(data, start[i], start[i + 1], seen)
        prefix = np.uint32(0)
        for j in range(min(4, start[i + 1] - start[i])):
            prefix |= np.uint32(data[start[i] + j]) << np.uint32(8 * j)
        prefixes[i] = prefix


@compiled
def signature(data, begin, end, seen):  # type: ignore[no-untyped-def]
    """A bit for every (character, how many times before) of a value.

    A bit set in one signature and not in another is a character without a partner there, however many
    characters share a bit: so `length - popcount(one & ~other)` is never less than the number of matches.
    """
    seen[:] = 0
    bits = np.uint64(0)
    for j in range(begin, end):
        character = data[j]
        code = CODES - 1
        if 97 <= character <= 122:
            code = character - 97
        elif 48 <= character <= 57:
            code = 26 + character - 48
        bits |= np.uint64(1) << np.uint64((code + CODES * seen[code]) & 63)
        seen[code] += 1
    return bits


@compiled
def sort_tokens(data, start, result):  # type: ignore[no-untyped-def]
    """Write the values with their space-separated words in alphabetical order; lengths stay the same."""
    begins, ends = np.empty(1 << 10, np.int64), np.empty(1 << 10, np.int64)
    for i in range(len(start) - 1):
        count, begin = 0, start[i]
        for j in range(start[i], start[i + 1] + 1):
            if j == start[i + 1] or data[j] == 32:
                if count == len(begins):
                    begins, ends = np.append(begins, begins), np.append(ends, ends)
                k = count  # insertion sort: addresses have few words
                while k > 0 and _before(data, begin, j, begins[k - 1], ends[k - 1]):
                    begins[k], ends[k] = begins[k - 1], ends[k - 1]
                    k -= 1
                begins[k], ends[k] = begin, j
                count += 1
                begin = j + 1
        position = start[i]
        for k in range(count):
            if k:
                result[position] = 32
                position += 1
            for j in range(begins[k], ends[k]):
                result[position] = data[j]
                position += 1


@compiled
def _before(data, a, a_end, b, b_end):  # type: ignore[no-untyped-def]
    while a < a_end and b < b_end:
        if data[a] != data[b]:
            return data[a] < data[b]
        a += 1
        b += 1
    return a == a_end and b < b_end


@compiled
def common_prefix(a_prefix, b_prefix, shorter):  # type: ignore[no-untyped-def]
    """Equal characters at the start, at most 4, of two values of which one has `shorter` characters."""
    return min(np.int64(lowest_bit(np.uint64(a_prefix ^ b_prefix) | np.uint64(1 << 32))) >> 3, shorter)


@compiled
def most_similar(matches, a_length, b_length, prefix):  # type: ignore[no-untyped-def]
    """Jaro-Winkler similarity of two values with so many matches if none of them is transposed."""
    jaro = (matches / a_length + matches / b_length + 1.0) / 3.0
    return jaro + 0.1 * prefix * (1.0 - jaro) if jaro > 0.7 else jaro


@compiled
def prepare(masks, value):  # type: ignore[no-untyped-def]
    """Note in `masks`, empty before, where each character stands in a value of at most 64 characters."""
    if len(value) <= WORD:
        for k in range(len(value)):
            masks[value[k]] |= np.uint64(1) << np.uint64(k)


@compiled
def forget(masks, value):  # type: ignore[no-untyped-def]
    """Empty `masks` again."""
    for k in range(len(value)):
        masks[value[k]] = np.uint64(0)


@compiled
def similarity(masks, value, data, begin, end, prefix, least):  # type: ignore[no-untyped-def]
    """Jaro-Winkler similarity of a value and the one that lies in `data` from `begin` to `end`.

    Args:
        masks: what `prepare` noted of the value.
        prefix: what `common_prefix` says of the two.
        least: -1 is returned, quickly, where the similarity is less than this.
    """
    a_length, b_length = len(value), end - begin
    shorter, longer = min(a_length, b_length), max(a_length, b_length)
    if shorter == 0:
        return 0.0
    if most_similar(shorter, a_length, b_length, prefix) < least:
        return -1.0
    reach = max(longer // 2 - 1, 0)
    if longer > WORD:
        matches, transposed = _compare_long(value, data[begin:end], reach)
    else:
        a_matched, b_matched = _match(masks, data, begin, b_length, reach)
        matches = np.int64(popcount(a_matched))
        if most_similar(matches, a_length, b_length, prefix) < least:
            return -1.0
        transposed = _transposed(masks, data, begin, a_matched, b_matched)
    if matches == 0:
        return 0.0
    in_order = matches - transposed // 2
    jaro = (matches / a_length + matches / b_length + in_order / matches) / 3.0
    return jaro + prefix * 0.1 * (1.0 - jaro) if jaro > 0.7 else jaro


@compiled
def _match(masks, data, begin, length, reach):  # type: ignore[no-untyped-def]
    """Bit sets of the characters matched in the prepared value and in this one."""
    window = (np.uint64(1) << np.uint64(reach + 1)) - np.uint64(1)
    free, matched = ~np.uint64(0), np.uint64(0)
    for j in range(length):
        hit = masks[data[begin + j]] & window & free
        hit &= ~hit + np.uint64(1)  # its lowest bit
        free ^= hit
        matched |= np.uint64(hit != np.uint64(0)) << np.uint64(j)
        window = (window << np.uint64(1)) | np.uint64(j < reach)
    return ~free, matched


@compiled
def _transposed(masks, data, begin, a_matched, b_matched):  # type: ignore[no-untyped-def]
    """Matched characters that are out of order: the n-th one here is not the n-th one there."""
    count = 0
    while b_matched != np.uint64(0):
        character = data[np.uint64(begin) + lowest_bit(b_matched)]
        lowest = a_matched & (~a_matched + np.uint64(1))
        count += (masks[character] & lowest) == np.uint64(0)
        a_matched ^= lowest
        b_matched &= b_matched - np.uint64(1)
    return count


@compiled
def _compare_long(one, other, reach):  # type: ignore[no-untyped-def]
    """Matches and characters out of order, by plain loops: for values of more than 64 characters."""
    free, matched = np.ones(len(one), np.bool_), np.zeros(len(other), np.bool_)
    for k in range(len(other)):
        for m in range(max(0, k - reach), min(len(one), k + reach + 1)):
            if free[m] and one[m] == other[k]:
                free[m], matched[k] = False, True
                break
    transposed, m = 0, 0
    for k in range(len(other)):
        if matched[k]:
            while free[m]:
                m += 1
            transposed += one[m] != other[k]
            m += 1
    return matched.sum(), transposed
