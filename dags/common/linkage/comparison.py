"""The reference: what the similarity of two records is, by jellyfish, one pair of values at a time.

Every score that is stored comes from here. `candidates` finds the pairs worth handing over, and is measured
against this module; it never replaces it.

Two records are compared in two arrangements: straight (first name with first name, last name with last name)
and swapped (the left record's first name with the right one's last name, and the other way round). The
arrangement with the higher log-odds counts. Swapped needs all four names; a tie is straight.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from jellyfish import jaro_winkler_similarity

from common.linkage.model import COMPARISON_VECTOR, Floats, LinkageModel
from common.linkage.rarity import NAMES, commonness

Rows = npt.NDArray[np.int64]
Comparator = Callable[[str, str], float]

COLUMNS = {"first_name": "first_name_std", "last_name": "last_name_std", "address": "address_std"}
"""Where the values that are compared stand in a table of standardised records."""

ALIKE = 0.85
"""Least Jaro-Winkler similarity of two words of addresses that may be the same word."""


def sort_tokens(text: str) -> str:
    """The same words in alphabetical order, and as many characters."""
    return " ".join(sorted(text.split(" ")))


def name_similarity(left: str, right: str) -> float:
    """Jaro-Winkler similarity of two names, in [0, 1]."""
    return jaro_winkler_similarity(left, right)


def address_similarity(left: str, right: str) -> float:
    """Jaro-Winkler similarity of two addresses, in [0, 1]: as written or with sorted words, the better one.

    Sources disagree on the order of street, house number and flat; sorting makes such addresses alike again.
    """
    as_written = jaro_winkler_similarity(left, right)
    return max(as_written, jaro_winkler_similarity(sort_tokens(left), sort_tokens(right)))


def words_similarity(left: str, right: str) -> float:
    """How much of one address stands in the other, by its words without digits: in [0, 1], NaN where there are none.

    Each word counts by its length and by the Jaro-Winkler similarity of the word most like it, if that is at least
    `ALIKE`; the address that the other one covers better decides, so that left-out parts do no harm. After the
    similarity of Monge and Elkan, "The field matching problem" (1996).
    """
    ours, theirs = (sorted({word for word in _words(text) if not _has_digit(word)}) for text in (left, right))
    if not ours or not theirs:
        return math.nan
    alike = [[jaro_winkler_similarity(word, other) for other in theirs] for word in ours]
    return max(_covered(ours, map(max, alike)), _covered(theirs, map(max, zip(*alike, strict=True))))


def numbers_similarity(left: str, right: str) -> float:
    """Share of the numbers of one address that stand in the other: in [0, 1], NaN where there are none.

    A number is a word with a digit: house number, flat, postcode. The address with fewer of them decides.
    """
    ours, theirs = ({word for word in _words(text) if _has_digit(word)} for text in (left, right))
    return len(ours & theirs) / min(len(ours), len(theirs)) if ours and theirs else math.nan


def _words(text: str) -> list[str]:
    return [word for word in text.split(" ") if word]


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)


def _covered(words: Sequence[str], alike: Iterable[float]) -> float:
    """Share of the words' characters that are covered, given the similarity of each word to the one most like it."""
    covered = sum(len(word) * best for word, best in zip(words, alike, strict=True) if best >= ALIKE)
    return covered / sum(map(len, words))


def comparison_vectors(
    left: pa.Table, right: pa.Table, left_rows: npt.ArrayLike, right_rows: npt.ArrayLike, model: LinkageModel
) -> pa.Table:
    """Comparison vectors and match scores of given pairs.

    Args:
        left: standardised records, with the three columns of `COLUMNS`.
        right: standardised records or existing people, with the same columns.
        left_rows: row in `left` of each pair.
        right_rows: row in `right` of each pair.
        model: chooses between the two arrangements, and scores.

    Returns:
        One row a pair, in the given order: `COMPARISON_VECTOR` (similarities null where a side is missing)
        and `score`.
    """
    names = list(COLUMNS.values())
    left_rows, right_rows = (np.asarray(rows, np.int64) for rows in (left_rows, right_rows))
    return compared(left.select(names).take(left_rows), right.select(names).take(right_rows), model)


def compared(left: pa.Table, right: pa.Table, model: LinkageModel) -> pa.Table:
    """As `comparison_vectors`, of two tables of one length: each record with the one in the same row."""

    def compare(left_field: str, right_field: str, comparator: Comparator) -> Floats:
        return _similarities(left[COLUMNS[left_field]], right[COLUMNS[right_field]], comparator)

    ours, theirs = (
        {name: commonness(side[COLUMNS[name]], model.commonness(name)) for name in NAMES} for side in (left, right)
    )

    def commoner(left_field: str, right_field: str) -> Floats:
        return np.maximum(ours[left_field], theirs[right_field])

    address = {
        "address": compare("address", "address", address_similarity),
        "address_words": compare("address", "address", words_similarity),
        "address_numbers": compare("address", "address", numbers_similarity),
    }
    straight = {
        "first_name": compare("first_name", "first_name", name_similarity),
        "last_name": compare("last_name", "last_name", name_similarity),
        **address,
        "swapped": np.zeros(len(left), bool),
        "first_name_commonness": commoner("first_name", "first_name"),
        "last_name_commonness": commoner("last_name", "last_name"),
    }
    swapped = {
        "first_name": compare("first_name", "last_name", name_similarity),
        "last_name": compare("last_name", "first_name", name_similarity),
        **address,
        "swapped": np.ones(len(left), bool),
        "first_name_commonness": commoner("first_name", "last_name"),
        "last_name_commonness": commoner("last_name", "first_name"),
    }
    complete = ~np.isnan(swapped["first_name"]) & ~np.isnan(swapped["last_name"])
    better = complete & (model.log_odds(swapped) > model.log_odds(straight))
    vector = {name: np.where(better, swapped[name], straight[name]) for name in COMPARISON_VECTOR}
    # With from_pandas, NaN becomes null.
    columns = {name: pa.array(values, from_pandas=True) for name, values in vector.items()}
    return pa.table({**columns, "score": model.score(vector)})


def _similarities(left: pa.ChunkedArray, right: pa.ChunkedArray, comparator: Comparator) -> Floats:
    """Similarity of each pair of values, NaN where one is missing; every distinct pair is compared once."""
    left_codes, left_values = _encode(left)
    right_codes, right_values = _encode(right)
    given = (left_codes >= 0) & (right_codes >= 0)
    distinct, position = np.unique(
        left_codes[given] * max(len(right_values), 1) + right_codes[given], return_inverse=True
    )
    pairs = zip(*np.divmod(distinct, max(len(right_values), 1)), strict=True)
    similarity = np.fromiter(
        (comparator(left_values[i], right_values[j]) for i, j in pairs), np.float64, count=len(distinct)
    )
    result = np.full(len(left_codes), np.nan)
    result[given] = similarity[position]
    return result


def _encode(values: pa.ChunkedArray) -> tuple[Rows, list[str]]:
    """Codes (-1 for missing) and the values that they number."""
    encoded = pc.cast(values, pa.string()).combine_chunks().dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy().astype(np.int64), encoded.dictionary.to_pylist()
