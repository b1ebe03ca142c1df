# mypy: disable-error-code="no-untyped-def"
"""The distinct values of a column, grouped so that most of them need not be looked at to find the similar ones."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from common.linkage.search.bounds import contribution, least_step
from common.linkage.search.compiled import compiled, inlined, popcount
from common.linkage.search.jaro_winkler import (
    WORD,
    clear,
    common_prefix,
    fewest_matches,
    long_similarity,
    prepare,
    short_similarity,
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
    follow from the bounds, and so how many may be without a partner. That test takes half a nanosecond a value and
    leaves few to be compared.
    """
    length, codes, count = len(query.value), similar.codes, 0
    data, start, prefixes = dictionary.values.data, dictionary.values.start, dictionary.values.prefix
    step_of, fewest, share = np.empty(5, np.int64), np.empty(5, np.int64), 1 / max(length, 1)
    for prefix in range(5):
        step_of[prefix] = least_step(term, prefix, least)
    prepared = prepare(similar.masks, query.value)
    for g in range(len(dictionary.group) - 1):
        begin, end = max(dictionary.group[g], query.lowest), dictionary.group[g + 1]
        if begin >= end:
            continue
        other_length = start[begin + 1] - start[begin]
        for prefix in range(5):
            fewest[prefix] = fewest_matches(step_of[prefix], share + 1 / max(other_length, 1))
        is_short = max(length, other_length) <= WORD
        same_letter = (prefixes[begin] ^ query.prefix) & np.uint32(255) == 0
        least_matches = fewest[4 if same_letter else 0]
        if least_matches > min(length, other_length):
            continue
        similar.work[0] += end - begin
        near = sharing(query.signature, dictionary.values.signature, begin, end, length - least_matches, codes, count)
        for n in range(count, near):
            j = codes[n]
            prefix = common_prefix(query.prefix, prefixes[j])
            different = np.int64(popcount(query.signature & ~dictionary.values.signature[j]))
            if length - different < fewest[prefix]:
                continue
            similar.work[1] += 1
            if is_short:
                alike = short_similarity(similar.masks, length, data, start[j], other_length, prefix, fewest[prefix])
            else:
                alike = long_similarity(similar.masks, query.value, data, start[j], start[j + 1], prefix)
            log_odds = contribution(term, alike)
            if log_odds >= least:
                codes[count], similar.log_odds[count] = j, log_odds
                count += 1
    clear(prepared)
    return count


@inlined
def sharing(signature, signatures, begin, end, spare, codes, count):
    """Write to `codes`, from the place `count` on, the values that lack at most `spare` characters of a signature.

    Returns the place behind the last one. Each code is written and only then kept or overwritten: a branch here, which
    no processor can foresee, would take twice the time.
    """
    for j in range(begin, end):
        # an unsigned index need not be tested for being negative, which takes a third of this loop
        codes[np.uint64(count)] = j
        count += np.int64(popcount(signature & ~signatures[np.uint64(j)])) <= spare
    return count
