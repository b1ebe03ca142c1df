"""Households: pairs that look like one person because they live together, but are known to be two.

Relatives share the last name and the address, so a model that forgives a changed first name would merge them. Such a
pair is never a duplicate without somebody looking at it.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from jellyfish import jaro_winkler_similarity

from common.linkage.nicknames import nicknames_of

SAME_LAST_NAME = 0.9
SAME_ADDRESS = 0.9
OTHER_FIRST_NAME = 0.8
"""Similarities that make a household: last name and address at least, first name below this."""


def first_names_differ(one: str, other: str) -> bool:
    """Whether two standardised first names are clearly two: neither alike, nor an initial or a nickname."""
    if one.startswith(other) or other.startswith(one) or other in nicknames_of(one):
        return False
    return jaro_winkler_similarity(one, other) < OTHER_FIRST_NAME


def households(
    left: pa.Table,
    right: pa.Table,
    left_rows: npt.NDArray[np.int64],
    right_rows: npt.NDArray[np.int64],
    vectors: Mapping[str, npt.NDArray[np.float64]],
) -> npt.NDArray[np.bool_]:
    """Which pairs are two people of one household, or father and son (jr, sr, ii ...).

    Args:
        left: standardised records, with `first_name_std` and `generation_std`.
        right: standardised records or people, with the same columns.
        left_rows: row in `left` of each pair.
        right_rows: row in `right` of each pair.
        vectors: the comparison vectors of the pairs, NaN for a missing similarity.
    """
    together = (vectors["last_name"] >= SAME_LAST_NAME) & (vectors["address"] >= SAME_ADDRESS)
    together &= (vectors["first_name"] < OTHER_FIRST_NAME) & ~np.asarray(vectors["swapped"], bool)
    first = [left["first_name_std"].take(left_rows[together]), right["first_name_std"].take(right_rows[together])]
    names = zip(*(column.to_pylist() for column in first), strict=True)
    together[together] = [first_names_differ(one, other) for one, other in names]
    generations = [left["generation_std"].take(left_rows), right["generation_std"].take(right_rows)]
    return np.asarray(together | pc.fill_null(pc.not_equal(*generations), False).to_numpy())
