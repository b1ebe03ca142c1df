"""The words and numbers of addresses: by the reference what they should be, and compiled the same."""

import math

import numpy as np
import pyarrow as pa
import pytest
from common.linkage import comparison
from common.linkage.search import tokens
from common.linkage.search.jaro_winkler import scratch
from common.linkage.search.text import ordered_words, texts
from common.linkage.search.tokens import numbers_similarity, same_numbers, tokens_of, words_similarity
from hypothesis import given, settings
from hypothesis import strategies as st

addresses = st.one_of(
    st.lists(st.sampled_from(["12", "21", "4a", "oak", "oka", "st", "street", "salem", "97301"]), max_size=6).map(
        " ".join
    ),
    st.text("ab1 ", max_size=12),
    st.text("abcdefghijklmnopqrstuvwxyz 0123456789", max_size=140),
)


@pytest.mark.parametrize(
    ("one", "other", "words", "numbers"),
    [
        ("12 oak st salem", "12 oak st salem", 1.0, 1.0),
        ("salem oak st 12", "12 oak st salem", 1.0, 1.0),
        ("12 oak st", "12 oak st salem or 97301", 1.0, 1.0),  # what is left out does no harm
        ("12 oak st 97301", "14 oak st 97301", 1.0, 0.5),
        ("12 oak st", "90 elm rd", 0.0, 0.0),
        ("12 oak rd", "90 elm rd", 2 / 5, 0.0),
        ("oak st", "12 oak st", 1.0, math.nan),
        ("12", "12 oak st", math.nan, 1.0),
        ("oak oak st", "oak", 1.0, math.nan),
        ("", "12 oak st", math.nan, math.nan),
    ],
)
def test_what_they_say(one: str, other: str, words: float, numbers: float) -> None:
    for a, b in ((one, other), (other, one)):
        assert comparison.words_similarity(a, b) == pytest.approx(words, nan_ok=True)
        assert comparison.numbers_similarity(a, b) == pytest.approx(numbers, nan_ok=True)


@settings(max_examples=500, deadline=None)
@given(addresses, addresses)
def test_compiled_is_the_same(one: str, other: str) -> None:
    written = texts(pa.array([one, other]))
    ordered = ordered_words(written.data, written.start)
    left, right = ordered[: written.start[1]], ordered[written.start[1] :]
    masks = scratch(max(len(one), len(other)))
    words = words_similarity(masks, np.empty(len(other)), left, right)
    assert words == pytest.approx(comparison.words_similarity(one, other), rel=1e-12, nan_ok=True)
    assert not masks[:256].any()
    assert numbers_similarity(left, right) == pytest.approx(comparison.numbers_similarity(one, other), nan_ok=True)


def numbers_of(address: str | None) -> set[str]:
    return {word for word in (address or "").split(" ") if any(character.isdigit() for character in word)}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | addresses, max_size=8), st.lists(st.none() | addresses, max_size=8))
def test_holders_are_all_that_share_a_number(left: list[str | None], right: list[str | None]) -> None:
    ours, theirs = (tokens_of(pa.array(side, pa.large_string())).numbers for side in (left, right))
    same = same_numbers(ours, theirs)
    met = {
        (row, int(other))
        for row in range(len(left))
        for number in ours.code[ours.start[row] : ours.start[row + 1]]
        if same[number] >= 0
        for other in theirs.holder[theirs.holder_start[same[number]] : theirs.holder_start[same[number] + 1]]
    }
    assert met == {
        (a, b) for a, one in enumerate(left) for b, other in enumerate(right) if numbers_of(one) & numbers_of(other)
    }


@settings(max_examples=200, deadline=None)
@given(addresses, addresses)
def test_addresses_without_a_bit_in_common_share_no_number(one: str, other: str) -> None:
    bits = tokens_of(pa.array([one, other], pa.large_string())).numbers.bits
    assert [bool(bit) for bit in bits] == [bool(numbers_of(one)), bool(numbers_of(other))]
    assert bits[0] & bits[1] or not numbers_of(one) & numbers_of(other)


def test_numbers_of_one_hash_count_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is lost by it: who has either of them is found for both."""
    monkeypatch.setattr(tokens, "_hashes", lambda data, start: np.zeros(len(start) - 1, np.uint64))
    numbers = tokens_of(pa.array(["12 oak", "14 oak", "elm"], pa.large_string())).numbers
    assert numbers.holder.tolist() == [0, 1]
    assert same_numbers(numbers, numbers).tolist() == [0]
