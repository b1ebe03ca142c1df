"""The bound by the words of addresses lets nothing fall that the reference finds similar."""

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from common.linkage.comparison import words_similarity
from common.linkage.search import words as words_module
from common.linkage.search.tokens import Words, tokens_of, words_at
from common.linkage.search.values import Dictionary
from common.linkage.search.words import alike_words, cover, most_covered, uncover
from common.linkage.standardise import MAX_FIELD_CHARACTERS
from hypothesis import given, settings
from hypothesis import strategies as st

addresses = st.one_of(
    st.lists(st.sampled_from(["12", "4a", "oak", "oaks", "oka", "maple", "mapel", "st", "salem"]), max_size=6).map(
        " ".join
    ),
    st.text("ab1 ", max_size=12),
    st.text("abcdefghijklmnopqrstuvwxyz 0123456789", max_size=140),
)
columns = st.lists(st.none() | addresses, min_size=1, max_size=8)

words = st.text("ab", min_size=4, max_size=6).map("abcdefgh".__add__)
long_addresses = st.lists(words, min_size=60, max_size=125, unique=True).map(
    lambda words: " ".join(words)[:MAX_FIELD_CHARACTERS]
)


def words_of(column: list[str | None]) -> tuple[Dictionary, Words]:
    tokens = tokens_of(pa.array(column, pa.large_string()))
    return tokens.distinct_words, tokens.words


def bounds(ours: list[str | None], theirs: list[str | None]) -> list[list[float]]:
    """The bound on each left address and each right one."""
    (known, left), (others, right) = words_of(ours), words_of(theirs)
    alike = alike_words(known, others, cores=2)
    result = []
    for row in range(len(ours)):
        covers = alike.covers.copy()
        length = cover(covers, row, left, alike)
        result.append([most_covered(covers, length, right, other) for other in range(len(theirs))])
        uncover(covers, row, left, alike)
        assert not covers.any()
    return result


@settings(max_examples=300, deadline=None)
@given(columns, columns)
def test_nothing_is_more_similar_than_its_bound(ours: list[str | None], theirs: list[str | None]) -> None:
    for one, row in zip(ours, bounds(ours, theirs), strict=True):
        for bound, other in zip(row, theirs, strict=True):
            exact = words_similarity(one or "", other or "")
            assert math.isnan(bound) == math.isnan(exact)
            assert not bound < exact


@settings(max_examples=30, deadline=None)
@given(long_addresses, long_addresses)
def test_nothing_is_more_similar_than_its_bound_at_the_length_that_validation_allows(one: str, other: str) -> None:
    """Many words that are all alike: their characters add up in one place."""
    for bound, right in zip(bounds([one], [other, "abcdefghaaaa"])[0], [other, "abcdefghaaaa"], strict=True):
        assert bound >= words_similarity(one, right)


@pytest.mark.parametrize("count", [2, 100, 111])
def test_the_bound_holds_where_equal_similarities_add_up(count: int) -> None:
    """111 words of eight letters are the longest valid address; their sum in 32-bit floats was too small."""
    letters = "jklmnopqrstu"
    address = " ".join(["abcdef" + one + other for one in letters for other in letters][:count])
    assert len(address) < MAX_FIELD_CHARACTERS
    other = "abcdefz unlike"
    [[bound]] = bounds([address], [other])
    assert words_similarity(address, other) <= bound <= 1


def test_an_address_too_long_to_count_has_no_bound() -> None:
    long = " ".join(f"abcd{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}{chr(97 + n // 676)}" for n in range(15_000))
    assert len(long.replace(" ", "")) > words_module.LONGEST
    assert bounds([long, "abcd"], ["abcd", long]) == [[1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("one", "other", "bound"),
    [
        ("12 oak st salem", "14 oak st salem", 1.0),
        ("12 oak street", "14 elm road", 0.0),
        ("oak maple", "oak cedar", 3 / 8),
        ("oak", "oak cedar", 1.0),
    ],
)
def test_the_bound_is_narrow(one: str, other: str, bound: float) -> None:
    assert bounds([one], [other]) == [[pytest.approx(bound, abs=1e-5)]]


def test_words_are_known_once_however_many_there_are() -> None:
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    column = [" ".join("".join(rng.choice(letters, 4)) for _ in range(4)) for _ in range(5_000)]
    dictionary, words = words_of(column)
    known = dictionary.values
    texts_of = [known.data[a:b].tobytes().decode() for a, b in pairwise(known.start)]
    assert len(texts_of) == len(set(texts_of)) > 10_000
    for row in (0, 4_999):
        total, *codes = words.stream[words.start[row] : words.start[row + 1]].tolist()
        assert sorted(texts_of[code] for code in codes) == sorted(set(column[row].split(" ")))
        assert total == 4 * len(codes)


def test_words_of_some_rows() -> None:
    _, words = words_of(["oak st", None, "elm", "12"])
    some = words_at(words, np.array([2, 0, 0, 1]))
    streams = [words.stream[words.start[row] : words.start[row + 1]].tolist() for row in (2, 0, 0, 1)]
    assert [some.stream[a:b].tolist() for a, b in pairwise(some.start)] == streams


def test_too_many_words_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    known, _ = words_of(["oak st"])
    monkeypatch.setattr(words_module, "MOST_COMPARED", 3)
    assert alike_words(known, known, cores=1) is words_module.NOT_COMPARED
