"""Nobody can be told from what is shown of a name or an address."""

import re

import pyarrow as pa
import pytest
from common.errors import CandidateExplosion
from common.linkage.model import STARTING_MODEL
from common.linkage.search import Budget, candidate_pairs
from common.linkage.standardise import standardise
from common.masking import masked
from hypothesis import given
from hypothesis import strategies as st

LETTERS = re.compile(r"[^\W\d_]{2,}")
WORDS = st.text(st.characters(categories=["L", "M", "N", "Cf", "Pd"]), min_size=1)


@given(st.text(), st.text())
def test_no_two_letters_in_a_row_and_no_digit_survive(first: str, second: str) -> None:
    shown = masked(first, second)
    assert not LETTERS.search(shown)
    assert not any(character.isnumeric() for character in shown)
    # As many characters as there were, so that a placeholder can be told from a name.
    assert len(shown) == len(first) + len(second) + 2 * bool(first and second)


@given(WORDS)
def test_a_word_shows_its_first_character_at_most(word: str) -> None:
    assert masked(word) in (word[0] + "*" * (len(word) - 1), "*" * len(word))


@given(WORDS.filter(lambda word: sum(character.isalnum() for character in word) <= 2))
def test_a_word_of_two_letters_shows_nothing(word: str) -> None:
    assert masked(word) == "*" * len(word)


@pytest.mark.parametrize(
    ("texts", "shown"),
    [
        (("Jane", None, "St. John", "12 Main St"), "J***, *** J***, ** M*** **"),
        (("敏", "周", "成都市锦江区"), "*, *, ******"),
        (("Wu", "Li", "5 Elm"), "**, **, * E**"),
        (("O'B", "A\u0301\u0302", "(J)"), "***, ***, ***"),  # characters, but no three letters
        (("12b", "Ⅳ", "٣٤٥", "½"), "***, *, ***, *"),
        (("", None), ""),
    ],
)
def test_by_example(texts: tuple[str | None, ...], shown: str) -> None:
    assert masked(*texts) == shown


def test_a_search_that_gives_up_masks_likewise() -> None:
    people = [
        {"first_name": "Xanthippe", "last_name": "Wu", "address": f"{number} Main Street"} for number in range(99)
    ]
    records = standardise(pa.Table.from_pylist(people))
    with pytest.raises(CandidateExplosion, match=re.escape("x********, ** in ")):
        candidate_pairs(records, records, STARTING_MODEL, 0.1, Budget(pairs=10, comparisons=10))
