"""The compiled Jaro-Winkler, held against jellyfish, and its bounds against itself."""

import numpy as np
import pyarrow as pa
from common.linkage import comparison
from common.linkage.search.jaro_winkler import (
    common_prefix,
    forget,
    long_similarity,
    matches_wanted,
    memory,
    ordered_texts,
    prepare,
    similarity,
    texts,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from jellyfish import jaro_winkler_similarity

ascii_text = st.one_of(
    st.text("ab", max_size=12),
    st.text("abcdefghijklmnopqrstuvwxyz 0123456789", max_size=64),
    st.text(st.characters(max_codepoint=127), max_size=140),
    st.text("abc", min_size=60, max_size=70),
)


def compiled_similarities(one: str, other: str, wanted: float) -> list[float]:
    """By each of the compiled ways that may compare the two."""
    values = texts(pa.array([one, other]))
    room = memory(values)
    value, prefix = values.data[: values.start[1]], common_prefix(values.prefix[0], values.prefix[1])
    prepare(room, value)
    results = [long_similarity(room, value, values.data, values.start[1], values.start[2], prefix)]
    if max(len(one), len(other)) <= 64:
        results.append(similarity(room, value, values.data, values.start[1], values.start[2], prefix, wanted))
    forget(room, value)
    assert not room[:256].any()
    return results


@settings(max_examples=500, deadline=None)
@given(ascii_text, ascii_text)
def test_similarity_is_that_of_jellyfish_to_the_last_bit(one: str, other: str) -> None:
    expected = jaro_winkler_similarity(one, other)
    assert compiled_similarities(one, other, wanted=-1.0) == [expected] * (1 + (max(len(one), len(other)) <= 64))


@settings(max_examples=500, deadline=None)
@given(ascii_text, ascii_text, st.integers(1, 3))
def test_bound_is_never_below_the_similarity(one: str, other: str, words: int) -> None:
    """What a similarity wants of two values is never more than they have, by length, signature and prefix."""
    values, wanted = texts(pa.array([one, other]), words), np.empty(5)
    matches_wanted(jaro_winkler_similarity(one, other), wanted)
    first, second = values.signature.reshape(2, words)
    lacking = sum(int(bits).bit_count() for bits in first & ~second)
    shares = (len(one) - lacking) * (1 / max(len(one), 1) + 1 / max(len(other), 1))
    assert shares >= wanted[common_prefix(values.prefix[0], values.prefix[1])]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("ab cdefghij\t\x00", max_size=40), max_size=5))
def test_words_are_ordered_as_in_the_reference(values: list[str]) -> None:
    ordered = ordered_texts(texts(pa.array(values, pa.string())))
    result = [ordered.data[a:b].tobytes().decode() for a, b in zip(ordered.start, ordered.start[1:], strict=False)]
    assert result == [comparison.sort_tokens(value) for value in values]


def test_more_words_than_room() -> None:
    many = " ".join(f"w{n % 7}" for n in range(300))
    ordered = ordered_texts(texts(pa.array([many, "b a"])))
    assert ordered.data.tobytes().decode() == comparison.sort_tokens(many) + "a b"
