# mypy: disable-error-code="no-untyped-def"
"""The distinct values of a column, grouped so that most of them need not be looked at to find the similar ones."""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.linkage.search.bounds import contribution, least_step
from common.linkage.search.compiled import compiled, popcount
from common.linkage.search.jaro_winkler import (
    STEPS,
    clear,
    common_prefix,
    prepare,
    shares_step,
    similarity_at_least,
)
from common.linkage.search.text import Texts, texts

Codes = npt.NDArray[np.int32]


class Dictionary(NamedTuple):
    """Distinct values; the code of each is its place. Missing is a value too, with the code behind the last.

    Attributes:
        values: those that are there, ordered by length and first letter.
        group: where each group of values of one length and first letter starts, and where the last one ends; int64.
    """

    values: Texts
    group: npt.NDArray[np.int64]

    @property
    def missing(self) -> int:
        """The code of a missing value: how many values are there."""
        return len(self.values.prefix)


class Query(NamedTuple):
    """A value whose similar ones are looked for in a dictionary, from the code `lowest` on."""

    value: npt.NDArray[np.uint8]
    signature: np.uint64
    prefix: np.uint32
    lowest: np.int64


class Similar(NamedTuple):
    """Where the similar values go that `similar_values` finds.

    Attributes:
        masks: see `jaro_winkler.scratch`.
        codes: of the values found; int64, with room for all and the missing one.
        log_odds: what each contributes.
        work: how many values were looked at, and how many of them compared; int64.
    """

    masks: npt.NDArray[np.uint64]
    codes: npt.NDArray[np.int64]
    log_odds: npt.NDArray[np.float64]
    work: npt.NDArray[np.int64]


def dictionary(column: pa.Array) -> tuple[Dictionary, Codes]:
    """The distinct values of an Arrow string array, and the code of every row."""
    encoded = column.dictionary_encode()
    found = texts(encoded.dictionary)
    kind = np.diff(found.start) * 256 + (found.prefix & 255)
    order = np.argsort(kind, kind="stable")
    group = np.append(np.flatnonzero(np.diff(kind[order], prepend=-1)), len(order))
    rank = np.empty(len(order) + 1, np.int32)
    rank[order] = np.arange(len(order))
    rank[-1] = len(order)  # the code of a missing value
    codes = encoded.indices.fill_null(len(order)).to_numpy(zero_copy_only=False)
    return Dictionary(texts(encoded.dictionary.take(pa.array(order))), group), rank[codes]


@compiled
def missing_code(dictionary):
    """As `Dictionary.missing`."""
    return len(dictionary.values.prefix)


@compiled
def value_of(dictionary, code):
    """The characters of a value, none of the missing one."""
    if code == len(dictionary.values.prefix):
        return dictionary.values.data[:0]
    return dictionary.values.data[dictionary.values.start[code] : dictionary.values.start[code + 1]]


@compiled
def similar_values(query, dictionary, term, least, similar):
    """Write to `similar` the values of a dictionary that contribute at least `least` log-odds; return how many.

    Of a group, whose values have one length and mostly one prefix with the query, the least matching characters
    follow from the bounds, and so how many may be without a partner. That test takes a nanosecond a value and leaves
    few to be compared.
    """
    length, count = len(query.value), 0
    data, start, prefixes = dictionary.values.data, dictionary.values.start, dictionary.values.prefix
    signatures, group = dictionary.values.signature, dictionary.group
    step_of, share = np.empty(5, np.int64), 1 / max(length, 1)
    for prefix in range(5):
        step_of[prefix] = least_step(term, prefix, least)
    prepared = prepare(similar.masks, query.value)
    for g in range(len(group) - 1):
        begin, end = max(group[g], query.lowest), group[g + 1]
        if begin >= end:
            continue
        other_length = start[begin + 1] - start[begin]
        other_share = 1 / max(other_length, 1)
        same_letter = (prefixes[begin] ^ query.prefix) & np.uint32(255) == 0
        matches = math.ceil(step_of[4 if same_letter else 0] / (STEPS * (share + other_share)) - 1e-9)
        if matches > min(length, other_length):
            continue
        spare = length - matches
        similar.work[0] += end - begin
        for j in range(begin, end):
            # an unsigned index need not be tested for being negative, which takes a third of this loop
            different = np.int64(popcount(query.signature & ~signatures[np.uint64(j)]))
            if different > spare:
                continue
            prefix = common_prefix(query.prefix, prefixes[j])
            if shares_step(length - different, share, other_share) < step_of[prefix]:
                continue
            similar.work[1] += 1
            alike = similarity_at_least(prepared, data, start[j], start[j + 1], prefix, step_of[prefix])
            log_odds = contribution(term, alike)
            if log_odds >= least:
                similar.codes[count], similar.log_odds[count] = j, log_odds
                count += 1
    clear(prepared)
    return count
