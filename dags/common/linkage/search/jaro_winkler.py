# mypy: disable-error-code="no-untyped-def"
"""Compiled Jaro-Winkler: the same numbers as jellyfish, bit for bit, and how high it can be at most.

Only the search uses it, to find pairs; what is stored comes from jellyfish (see `comparison`).

Jaro-Winkler matches each character with the first free equal one within a window. That outcome is the same from either
side, so one value may be prepared once (for every character a bit mask of its positions) and compared with many
others: a machine word then answers "first free equal one within the window" in four instructions.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from common.linkage.search.compiled import compiled, inlined, lowest_bit, merged, popcount

WORD = 64
"""Bits of a machine word: values with more characters take a slower path."""

STEPS = 256
"""Steps for each unit of `shares`, in which tables of bounds are made."""

LAST_STEP = 2 * STEPS
"""The step of two values whose characters all match."""


class Prepared(NamedTuple):
    """A value that is compared with many others, and the memory that it takes.

    Attributes:
        masks: see `scratch`; uint64.
        value: its characters; uint8.
    """

    masks: npt.NDArray[np.uint64]
    value: npt.NDArray[np.uint8]


def highest_similarities() -> npt.NDArray[np.float64]:
    """The highest similarity by length of the common prefix (0 to 4) and by step of `shares`: 5 x (LAST_STEP + 1).

    Jaro is a third of (shares + 1) if no character is out of order, and Winkler adds above 0.7 a tenth of the rest for
    each character of the prefix. Of the shares that fall in one step the largest counts, so that the bound holds.
    """
    shares = np.minimum((np.arange(LAST_STEP + 1) + 1) / STEPS, 2.0)
    jaro = (shares + 1) / 3
    prefix = np.arange(5)[:, None]
    return np.where(jaro > 0.7 - 1e-9, jaro + 0.1 * prefix * (1 - jaro), jaro)


@compiled
def scratch(longest):
    """Memory in which similarities of values of at most `longest` characters are worked out.

    For each character a mask of its positions in the prepared value, all zero in between, and behind these two flags
    for each character of a long value.
    """
    return np.zeros(256 + 2 * longest, np.uint64)


@compiled
def common_prefix(prefix, other_prefix):
    """Equal characters at the start, at most 4; too many where both values are shorter than that and equal."""
    return np.int64(lowest_bit(np.uint64(prefix ^ other_prefix) | np.uint64(1 << 32))) >> 3


@inlined
def shares_step(matches, share, other_share):
    """The step of `highest_similarities` for so many matching characters.

    `share` is what one character is of a value, 1 / length. The step is clamped: characters without a partner are
    counted from one side only, so that the matches may seem to be more than the other value has characters.
    """
    return min(np.int64(matches * (share + other_share) * STEPS), LAST_STEP)


@compiled
def prepare(masks, value):
    """The value, `Prepared`: `masks`, all zero before, note where each character stands, if they are at most 64."""
    if len(value) <= WORD:
        for k in range(len(value)):
            masks[value[k]] |= np.uint64(1) << np.uint64(k)
    return Prepared(masks, value)


@compiled
def clear(prepared):
    """Make the masks zero again after `prepare`."""
    for k in range(len(prepared.value)):
        prepared.masks[prepared.value[k]] = np.uint64(0)


@inlined
def similarity_at_least(prepared, data, begin, end, prefix, least_step):
    """Jaro-Winkler similarity of a prepared value and the one in `data` from `begin` to `end`.

    Args:
        prepared: the one value.
        data: the characters of the other one, among others.
        begin: where it begins there.
        end: where it ends.
        prefix: what `common_prefix` says of the two.
        least_step: where the matching characters make less than this step, -1 may be returned, which is quicker.
    """
    length, other_length = len(prepared.value), end - begin
    if max(length, other_length) <= WORD:
        fewest = fewest_matches(least_step, 1 / max(length, 1) + 1 / max(other_length, 1))
        alike = short_similarity(prepared.masks, length, data, begin, other_length, prefix, fewest)
    else:
        alike = long_similarity(prepared.masks, prepared.value, data, begin, end, prefix)
    return alike


@inlined
def fewest_matches(least_step, shares):
    """The fewest matching characters of a step of `shares_step`; `shares` is the sum of what one is of each value."""
    return math.ceil(least_step / (STEPS * shares) - 1e-9)


@merged
def short_similarity(masks, length, data, begin, other_length, prefix, fewest):
    """As `similarity_with_matches`, of two values of at most 64 characters; the prepared one by masks and length.

    Handing over the named tuple instead would count references to its arrays, on all cores, at each call.
    """
    if length == 0 or other_length == 0:
        return 0.0
    reach = max(max(length, other_length) // 2 - 1, 0)
    matched, other_matched = _match(masks, data, begin, other_length, reach)
    matches = np.int64(popcount(matched))
    if matches < fewest:
        return -1.0
    transposed = _transposed(masks, data, begin, matched, other_matched)
    return _jaro_winkler(length, other_length, matches, transposed, prefix)


@compiled
def _jaro_winkler(length, other_length, matches, transposed, prefix):
    """The similarity by its definition, in the order of jellyfish's operations."""
    if matches == 0:
        return 0.0
    jaro = (matches / length + matches / other_length + (matches - transposed // 2) / matches) / 3.0
    return jaro + min(prefix, length, other_length) * 0.1 * (1.0 - jaro) if jaro > 0.7 else jaro


@compiled
def _match(masks, data, begin, length, reach):
    """Bit sets of the characters matched in the prepared value and in the one of `data` from `begin` on."""
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
def _transposed(masks, data, begin, matched, other_matched):
    """Matched characters that are out of order: the n-th one here is not the n-th one there; bit sets of `_match`."""
    count = 0
    while other_matched != np.uint64(0):
        character = data[np.uint64(begin) + lowest_bit(other_matched)]
        lowest = matched & (~matched + np.uint64(1))
        count += (masks[character] & lowest) == np.uint64(0)
        matched ^= lowest
        other_matched &= other_matched - np.uint64(1)
    return count


@compiled
def long_similarity(masks, value, data, begin, end, prefix):
    """As `similarity_at_least`, of values of any length, by plain loops; the masks lend their flags, see `scratch`."""
    length = end - begin
    if len(value) == 0 or length == 0:
        return 0.0
    taken, matched = 256, 256 + len(value)
    masks[taken : matched + length] = 0
    reach = max(max(len(value), length) // 2 - 1, 0)
    matches, transposed, k = 0, 0, 0
    for j in range(length):
        for i in range(max(0, j - reach), min(len(value), j + reach + 1)):
            if masks[taken + i] == 0 and value[i] == data[begin + j]:
                masks[taken + i] = masks[matched + j] = np.uint64(1)
                matches += 1
                break
    for j in range(length):
        if masks[matched + j] != 0:
            while masks[taken + k] == 0:
                k += 1
            transposed += value[k] != data[begin + j]
            k += 1
    return _jaro_winkler(len(value), length, matches, transposed, prefix)
