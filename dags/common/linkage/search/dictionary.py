# mypy: disable-error-code="no-untyped-def"
"""The distinct values of a column, grouped so that most of them need not be looked at to find the similar ones."""

import math
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from common.linkage.comparison import Rows
from common.linkage.search.jaro_winkler import (
    WORD,
    Texts,
    common_prefix,
    compiled,
    forget,
    long_similarity,
    matches_wanted,
    popcount,
    prepare,
    similarity,
    texts,
)

NONE = -1
"""Code of a missing value."""

COMPARISON = 60
"""What a comparison of two values takes in ns, roughly."""


class Dictionary(NamedTuple):
    """Distinct values, numbered by their place. Those of one length and first letter stand together, as a group."""

    values: Texts
    group: Rows  # where each group starts, and where the last one ends


def dictionary(column: pa.Array) -> tuple[Dictionary, Rows]:
    """The distinct values of an Arrow string array, and the code of every row (`NONE` where it is null)."""
    encoded = column.dictionary_encode()
    found = texts(encoded.dictionary)
    kind = np.diff(found.start) * 256 + (found.prefix & 255)
    order = np.argsort(kind, kind="stable")
    group = np.append(np.flatnonzero(np.diff(kind[order], prepend=-1)), len(order))
    rank = np.full(len(order) + 1, NONE, np.int64)
    rank[order] = np.arange(len(order))
    codes = encoded.indices.fill_null(NONE).to_numpy(zero_copy_only=False)
    return Dictionary(texts(encoded.dictionary.take(pa.array(order))), group), rank[codes]


@compiled
def similar_values(value, bits, head, least, dictionary, lowest, masks, codes, alike, work):
    """Find the values of a dictionary that are similar to a given one.

    Args:
        value: its characters.
        bits: its signature.
        head: its prefix.
        least: least Jaro-Winkler similarity.
        dictionary: where to look.
        lowest: the first code to look at.
        masks: empty, see `memory`.
        codes: the codes found are written here.
        alike: and here their similarities.
        work: nanoseconds are added to the first place; a rough figure.

    Returns:
        How many were found.
    """
    wanted, length, count = np.empty(5), len(value), 0
    matches_wanted(least, wanted)
    data, start, prefixes = dictionary.values.data, dictionary.values.start, dictionary.values.prefix
    signatures = dictionary.values.signature
    prepare(masks, value)
    for g in range(len(dictionary.group) - 1):
        begin, end = max(dictionary.group[g], lowest), dictionary.group[g + 1]
        if begin >= end:
            continue
        other_length = start[begin + 1] - start[begin]
        same_letter = (prefixes[begin] ^ head) & np.uint32(255) == 0
        shares = 1 / max(length, 1) + 1 / max(other_length, 1)
        matches = math.ceil(wanted[4 if same_letter else 0] / shares)
        if matches > min(length, other_length):
            continue
        spare = length - matches
        work[0] += end - begin
        for j in range(begin, end):
            # an unsigned index need not be tested for being negative, which takes a third of this loop
            different = np.int64(popcount(bits & ~signatures[np.uint64(j)]))
            if different <= spare:
                prefix = common_prefix(head, prefixes[j])
                if (length - different) * shares < wanted[prefix]:
                    continue
                work[0] += COMPARISON
                if max(length, other_length) <= WORD:
                    found = similarity(masks, value, data, start[j], start[j + 1], prefix, wanted[prefix])
                else:
                    found = long_similarity(masks, value, data, start[j], start[j + 1], prefix)
                if found >= least:
                    codes[count], alike[count] = j, found
                    count += 1
    forget(masks, value)
    return count
