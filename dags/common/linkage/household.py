"""Clear differences: pairs that must not be taken for one person, however much the rest of them agrees.

Two first names that are given and clearly different are those of two people. Relatives share the last name and the
house besides, so that a regression that forgives a typo would merge them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from jellyfish import jaro_winkler_similarity

from common.linkage.nicknames import nicknames_of

Bools = npt.NDArray[np.bool_]

OTHER_FIRST_NAME = 0.8
"""First names below this similarity are clearly different, unless one is short for the other."""

SAME_LAST_NAME, SAME_NUMBERS, SAME_ADDRESS = 0.8, 0.5, 0.9
"""Relatives share a last name and a house: at least half of the numbers of the address, or where no numbers are
given, the address as a whole. A last name that is missing may be the same one."""


class Differences(NamedTuple):
    """Which pairs are two people, one flag a pair; no pair has both.

    Attributes:
        household: they may be relatives: clearly different first names, but one last name, or one that is missing, in
            one house; or one says that it is another generation (jr, sr, ii ...). Such a pair is never accepted as a
            duplicate.
        apart: clearly different first names, and another last name or another house besides. Such a pair is no
            candidate at all.
    """

    household: Bools
    apart: Bools


def first_names_differ(one: str, other: str) -> bool:
    """Whether two standardised first names are clearly two.

    They are not if one begins with the other, as initials do, or if any word of one is like a word of the other or
    a nickname of it: people leave out one of several first names.
    """
    if one.startswith(other) or other.startswith(one):
        return False
    return not any(_alike(word, other_word) for word in one.split(" ") for other_word in other.split(" "))


def _alike(word: str, other: str) -> bool:
    if min(len(word), len(other)) == 1:
        return word[0] == other[0]
    return other in nicknames_of(word) or jaro_winkler_similarity(word, other) >= OTHER_FIRST_NAME


def clear_differences(
    left: pa.Table,
    right: pa.Table,
    left_rows: npt.NDArray[np.int64],
    right_rows: npt.NDArray[np.int64],
    vectors: Mapping[str, npt.NDArray[np.float64]],
) -> Differences:
    """Which pairs are clearly two people.

    Args:
        left: standardised records, with `first_name_std` and `generation_std`.
        right: standardised records or people, with the same columns.
        left_rows: row in `left` of each pair.
        right_rows: row in `right` of each pair.
        vectors: the comparison vectors of the pairs, NaN for a missing similarity.
    """
    differ = (vectors["first_name"] < OTHER_FIRST_NAME) & ~np.asarray(vectors["swapped"], bool)
    first = [left["first_name_std"].take(left_rows[differ]), right["first_name_std"].take(right_rows[differ])]
    names = zip(*(column.to_pylist() for column in first), strict=True)
    differ[differ] = [first_names_differ(one, other) for one, other in names]
    numbers = vectors["address_numbers"]
    one_house = np.where(np.isnan(numbers), vectors["address"] >= SAME_ADDRESS, numbers >= SAME_NUMBERS)
    other_last_name = vectors["last_name"] < SAME_LAST_NAME  # never where it is missing
    relatives = differ & one_house & ~other_last_name
    generations = [left["generation_std"].take(left_rows), right["generation_std"].take(right_rows)]
    other_generation = pc.fill_null(pc.not_equal(*generations), False).to_numpy(zero_copy_only=False)
    household: Bools = relatives | other_generation
    return Differences(household, differ & ~household)
