# mypy: disable-error-code="no-untyped-def"
"""Compiled Jaro-Winkler: the same numbers as jellyfish, bit for bit, and upper bounds that cost a nanosecond.

Only `candidates` uses it, to find pairs; what is stored comes from jellyfish (see `comparison`). Text is ASCII
and held as one byte array, so that the compiled loops touch no Python object.

Jaro-Winkler matches each character with the first free equal one within a window. That outcome is the same
from either side, so one side may be prepared once (a bit mask of positions for every character) and compared
with many others: a machine word then answers "first free equal one within the window" in four instructions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba.extending import intrinsic

WORD = 64
"""Bits of a machine word: longer text takes a slower path."""

SPACE = 32

CODES = 37
"""Letters, digits and anything else: the character classes of a signature."""


class Texts(NamedTuple):
    """Distinct or repeated values as bytes, with what the bounds need.

    Attributes:
        data: all characters, one value behind the other; uint8.
        start: where each value starts, and a last one where they end; int64.
        signature: one or more words a value, see `_signatures`; uint64.
        prefix: the first four characters as a little-endian number, 0 where there are fewer; uint32.
        known: false where a value is missing.
    """

    data: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    signature: npt.NDArray[np.uint64]
    prefix: npt.NDArray[np.uint32]
    known: npt.NDArray[np.bool_]


def compiled(function: Callable[..., Any]) -> Any:
    """Compile on first use, without the GIL; keep the machine code on disk where there is a place for it."""
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # a read-only checkout and no home folder: compile again in every process
        return numba.njit(function, nogil=True, error_model="numpy")


def inlined(function: Callable[..., Any]) -> Any:
    """Compile into each caller: a call would copy every array of a nested tuple, which takes a microsecond."""
    return numba.njit(function, nogil=True, error_model="numpy", inline="always")


def _popcount(typing: Any, word: Any) -> Any:
    """Number of bits set in a uint64."""
    return numba.uint64(numba.uint64), lambda context, builder, signature, words: builder.ctpop(words[0])


def _lowest_bit(typing: Any, word: Any) -> Any:
    """Position of the lowest bit set in a uint64, 64 if there is none."""

    def emit(context: Any, builder: Any, signature: Any, words: Any) -> Any:
        return builder.cttz(words[0], context.get_constant(numba.boolean, False))

    return numba.uint64(numba.uint64), emit


popcount: Any = intrinsic(_popcount)
lowest_bit: Any = intrinsic(_lowest_bit)


def texts(values: pa.Array, words: int = 1) -> Texts:
    """Values of an Arrow string array, with signatures of so many words.

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
    known = values.is_valid().to_numpy(zero_copy_only=False)
    return Texts(data, start, _signatures(data, start, words), _prefixes(data, start), known)


def ordered_texts(written: Texts) -> Texts:
    """The same values with their words in alphabetical order: same places, same characters."""
    data = sort_tokens(written.data, written.start)
    return written._replace(data=data, prefix=_prefixes(data, written.start))


@compiled
def _prefixes(data, start):
    result = np.zeros(len(start) - 1, np.uint32)
    for i in range(len(result)):
        for j in range(min(4, start[i + 1] - start[i])):
            result[i] |= np.uint32(data[start[i] + j]) << np.uint32(8 * j)
    return result


@compiled
def _signatures(data, start, words):
    """A bit for every (character, how many times before) of a value, in so many words a value.

    A bit set in one signature and not in another is a character without a partner there, however many
    characters share a bit: so `length - bits in one and not in the other` is never less than the matches.
    """
    result, seen = np.zeros((len(start) - 1) * words, np.uint64), np.empty(CODES, np.int64)
    for i in range(len(start) - 1):
        seen[:] = 0
        for j in range(start[i], start[i + 1]):
            code = CODES - 1
            if 97 <= data[j] <= 122:
                code = data[j] - 97
            elif 48 <= data[j] <= 57:
                code = 26 + data[j] - 48
            bit = (code + CODES * seen[code]) % (64 * words)
            result[i * words + (bit >> 6)] |= np.uint64(1) << np.uint64(bit & 63)
            seen[code] += 1
    return result


@compiled
def sort_tokens(data, start):
    """The values with their space-separated words in alphabetical order, in the same places."""
    result = np.empty_like(data)
    words, begins = np.empty(64, np.uint64), np.empty(64, np.int64)
    for i in range(len(start) - 1):
        count, begin, word, room = 0, start[i], np.uint64(0), 8
        for j in range(start[i], start[i + 1] + 1):
            if j < start[i + 1] and data[j] != SPACE:
                if room:  # eight characters as a number order words as the characters do
                    room -= 1
                    word |= np.uint64(data[j]) << np.uint64(8 * room)
                continue
            if count == len(words):
                words, begins = np.append(words, words), np.append(begins, begins)
            k = count  # insertion sort: addresses have few words
            while k > 0 and (
                word < words[k - 1] or (word == words[k - 1] and _before(data, begin, begins[k - 1], start[i + 1]))
            ):
                words[k], begins[k] = words[k - 1], begins[k - 1]
                k -= 1
            words[k], begins[k] = word, begin
            count, begin, word, room = count + 1, j + 1, np.uint64(0), 8
        position = start[i]
        for k in range(count):
            if k:
                result[position] = SPACE
                position += 1
            j = begins[k]
            while j < start[i + 1] and data[j] != SPACE:
                result[position] = data[j]
                position, j = position + 1, j + 1
    return result


@compiled
def _before(data, a, b, end):
    """Whether the word at a sorts before the word at b; the value of both ends at `end`."""
    while a < end and b < end and data[a] == data[b] != SPACE:
        a, b = a + 1, b + 1
    a_letter = np.int64(data[a]) if a < end and data[a] != SPACE else -1
    b_letter = np.int64(data[b]) if b < end and data[b] != SPACE else -1
    return a_letter < b_letter


@compiled
def common_prefix(a_prefix, b_prefix):
    """Equal characters at the start, at most 4; too many where both values are shorter than that and equal."""
    return np.int64(lowest_bit(np.uint64(a_prefix ^ b_prefix) | np.uint64(1 << 32))) >> 3


@compiled
def matches_wanted(least, wanted):
    """Write the least sum of both sides' shares of matching characters that allows a similarity of `least`.

    One figure for each length of the common prefix, 0 to 4: Jaro-Winkler is (shares + 1) / 3 if no character is
    out of order, and above 0.7 a tenth of the rest for each character of the prefix on top.
    """
    for prefix in range(5):
        jaro = least
        if least > 0.7:
            jaro = max(0.7, (least - 0.1 * prefix) / (1.0 - 0.1 * prefix))
        wanted[prefix] = 3.0 * jaro - 1.0 - 1e-9  # generous, for the rounding


def memory(*values: Texts) -> npt.NDArray[np.uint64]:
    """What similarities are worked out in: a mask of positions for each character, and room for the longest value."""
    longest = max(int(np.diff(texts.start).max(initial=0)) for texts in values)
    return np.zeros(256 + 2 * longest, np.uint64)


@compiled
def prepare(masks, value):
    """Note in `masks`, empty before, where each character stands in a value of at most 64 characters."""
    if len(value) <= WORD:
        for k in range(len(value)):
            masks[value[k]] |= np.uint64(1) << np.uint64(k)


@compiled
def forget(masks, value):
    """Empty `masks` again."""
    for k in range(len(value)):
        masks[value[k]] = np.uint64(0)


@compiled
def similarity(masks, value, data, begin, end, prefix, wanted):
    """Jaro-Winkler similarity of a value and the one that lies in `data` from `begin` to `end`.

    Both must have at most 64 characters. For longer ones there is `long_similarity`, and the caller must choose:
    hidden behind a branch in here, it makes this function take twice the time.

    Args:
        masks: what `prepare` noted of the value.
        value: its characters.
        data: the characters of the other one, among others.
        begin: where it begins there.
        end: where it ends.
        prefix: what `common_prefix` says of the two.
        wanted: -1 is returned, quickly, where the shares of matching characters do not add up to this.
    """
    a_length, b_length = len(value), end - begin
    if a_length == 0 or b_length == 0:
        return 0.0
    reach = max(max(a_length, b_length) // 2 - 1, 0)
    a_matched, b_matched = _match(masks, data, begin, b_length, reach)
    matches = np.int64(popcount(a_matched))
    if matches / a_length + matches / b_length < wanted:
        return -1.0
    transposed = _transposed(masks, data, begin, a_matched, b_matched)
    return _jaro_winkler(a_length, b_length, matches, transposed, prefix)


@compiled
def _jaro_winkler(a_length, b_length, matches, transposed, prefix):
    if matches == 0:
        return 0.0
    jaro = (matches / a_length + matches / b_length + (matches - transposed // 2) / matches) / 3.0
    return jaro + min(prefix, a_length, b_length) * 0.1 * (1.0 - jaro) if jaro > 0.7 else jaro


@compiled
def _match(masks, data, begin, length, reach):
    """Bit sets of the characters matched in the prepared value and in this one."""
    window = (np.uint64(1) << np.uint64(reach + 1)) - np.uint64(1)
    free, matched = ~np.uint64(0), np.uint64(0)
    for j in range(length):
        hit = masks[data[np.uint64(begin + j)]] & window & free
        hit &= ~hit + np.uint64(1)  # its lowest bit
        free ^= hit
        matched |= np.uint64(hit != np.uint64(0)) << np.uint64(j)
        window = (window << np.uint64(1)) | np.uint64(j < reach)
    return ~free, matched


@compiled
def _transposed(masks, data, begin, a_matched, b_matched):
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
def long_similarity(room, value, data, begin, end, prefix):
    """Jaro-Winkler similarity as by `similarity`, of values of any length, by plain loops."""
    length = end - begin
    if len(value) == 0 or length == 0:
        return 0.0
    taken, matched = 256, 256 + len(value)  # flags, behind the masks
    room[taken : matched + length] = 0
    reach = max(max(len(value), length) // 2 - 1, 0)
    matches, transposed, k = 0, 0, 0
    for j in range(length):
        for i in range(max(0, j - reach), min(len(value), j + reach + 1)):
            if room[taken + i] == 0 and value[i] == data[begin + j]:
                room[taken + i] = room[matched + j] = np.uint64(1)
                matches += 1
                break
    for j in range(length):
        if room[matched + j] != 0:
            while room[taken + k] == 0:
                k += 1
            transposed += value[k] != data[begin + j]
            k += 1
    return _jaro_winkler(len(value), length, matches, transposed, prefix)
