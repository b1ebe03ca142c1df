"""Text as bytes: values one behind the other, with a signature and the first letters of each, for quick bounds.

Standardised text is ASCII, one byte a character, so that compiled loops touch no Python object.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.linkage.search.compiled import compiled

SPACE = 32

CHARACTER_CLASSES = 37
"""Letters, digits and anything else: what a signature tells apart."""

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


class Texts(NamedTuple):
    """Values of a column as bytes, with what bounds need to know of each. A missing value has no characters.

    Attributes:
        data: all characters, one value behind the other; uint8.
        start: where each value starts, and at last where they end; int64.
        signature: one or more words a value, see `signatures`; uint64.
        prefix: the first four characters as a little-endian number, with zeros where there are fewer; uint32.
    """

    data: Bytes
    start: Offsets
    signature: npt.NDArray[np.uint64]
    prefix: npt.NDArray[np.uint32]


def texts(values: pa.Array, signature_words: int = 1) -> Texts:
    """Values of an Arrow string array, with signatures of so many words.

    Raises:
        ValueError: a value is not ASCII.
    """
    values = values.cast(pa.large_string())
    _, offsets, content = values.buffers()
    start = np.zeros(len(values) + 1, np.int64)
    if len(values):
        start[:] = np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]
    # a copy, so that the compiler sees one flavour of arrays: an Arrow buffer is read-only
    data = np.frombuffer(content or b"", np.uint8)[start[0] : start[-1]].copy()
    start -= start[0]
    if data.size and data.max() > 127:
        raise ValueError("standardised text must be ASCII")
    return Texts(data, start, signatures(data, start, signature_words), prefixes(data, start))


def strings(values: Texts) -> pa.Array:
    """The values as an Arrow string array: what `texts` was made of."""
    return pa.LargeStringArray.from_buffers(len(values.start) - 1, *map(pa.py_buffer, (values.start, values.data)))


def prefixes(data: Bytes, start: Offsets) -> npt.NDArray[np.uint32]:
    """`Texts.prefix` of values."""
    result: npt.NDArray[np.uint32] = _prefixes(data, start)
    return result


def signatures(data: Bytes, start: Offsets, words: int) -> npt.NDArray[np.uint64]:
    """A bit for every (character, how many times before) of a value, in so many words a value.

    A bit that is set in one signature and not in another stands for a character without a partner there, however many
    characters share a bit. So the matching characters are never more than the length less the bits that only one has.
    """
    result: npt.NDArray[np.uint64] = _signatures(data, start, words)
    return result


def ordered_words(data: Bytes, start: Offsets) -> Bytes:
    """The values with their space-separated words in alphabetical order, in the same places."""
    result: Bytes = _ordered_words(data, start)
    return result


@compiled
def _prefixes(data, start):  # type: ignore[no-untyped-def]
    """See `prefixes`; arrays as in `Texts`."""
    result = np.zeros(len(start) - 1, np.uint32)
    for i in range(len(result)):
        for j in range(min(4, start[i + 1] - start[i])):
            result[i] |= np.uint32(data[start[i] + j]) << np.uint32(8 * j)
    return result


@compiled
def _signatures(data, start, words):  # type: ignore[no-untyped-def]
    """See `signatures`; arrays as in `Texts`."""
    result, seen = np.zeros((len(start) - 1) * words, np.uint64), np.empty(CHARACTER_CLASSES, np.int64)
    for i in range(len(start) - 1):
        seen[:] = 0
        for j in range(start[i], start[i + 1]):
            kind = CHARACTER_CLASSES - 1
            if 97 <= data[j] <= 122:
                kind = data[j] - 97
            elif 48 <= data[j] <= 57:
                kind = 26 + data[j] - 48
            bit = (kind + CHARACTER_CLASSES * seen[kind]) % (64 * words)
            result[i * words + (bit >> 6)] |= np.uint64(1) << np.uint64(bit & 63)
            seen[kind] += 1
    return result


@compiled
def _ordered_words(data, start):  # type: ignore[no-untyped-def]
    """See `ordered_words`; arrays as in `Texts`. Words are put in order by insertion: addresses have few."""
    result = np.empty_like(data)
    heads, begins = np.empty(64, np.uint64), np.empty(64, np.int64)
    for i in range(len(start) - 1):
        count, begin, head, room = 0, start[i], np.uint64(0), 8
        for j in range(start[i], start[i + 1] + 1):
            if j < start[i + 1] and data[j] != SPACE:
                if room:  # the first eight characters as a number put words in the order of their characters
                    room -= 1
                    head |= np.uint64(data[j]) << np.uint64(8 * room)
                continue
            if count == len(heads):
                heads, begins = np.append(heads, heads), np.append(begins, begins)
            k = count
            while k > 0 and (
                head < heads[k - 1] or (head == heads[k - 1] and _before(data, begin, begins[k - 1], start[i + 1]))
            ):
                heads[k], begins[k] = heads[k - 1], begins[k - 1]
                k -= 1
            heads[k], begins[k] = head, begin
            count, begin, head, room = count + 1, j + 1, np.uint64(0), 8
        position = start[i]
        for k in range(count):
            position = _copy_word(data, begins[k], start[i + 1], result, position, k > 0)
    return result


@compiled
def _before(data, a, b, end):  # type: ignore[no-untyped-def]
    """Whether the word that begins at a sorts before the one at b; the value of both ends at `end`."""
    while a < end and b < end and data[a] == data[b] != SPACE:
        a, b = a + 1, b + 1
    a_letter = np.int64(data[a]) if a < end and data[a] != SPACE else -1
    b_letter = np.int64(data[b]) if b < end and data[b] != SPACE else -1
    return a_letter < b_letter


@compiled
def _copy_word(data, j, end, result, position, with_space):  # type: ignore[no-untyped-def]
    """Copy the word of `data` that begins at j to a position of `result`; return where the next one goes."""
    if with_space:
        result[position] = SPACE
        position += 1
    while j < end and data[j] != SPACE:
        result[position] = data[j]
        position, j = position + 1, j + 1
    return position
