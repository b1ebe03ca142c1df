"""The compiled Jaro-Winkler, held against jellyfish, and its bounds against itself."""

import pyarrow as pa
from common.linkage import comparison
from common.linkage.search.jaro_winkler import (
    LAST_STEP,
    STEPS,
    clear,
    common_prefix,
    highest_similarities,
    long_similarity,
    prepare,
    scratch,
    shares_step,
    similarity_at_least,
)
from common.linkage.search.text import ordered_words, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from jellyfish import jaro_winkler_similarity

ascii_text = st.one_of(
    st.text("ab", max_size=12),
    st.text("abcdefghijklmnopqrstuvwxyz 0123456789", max_size=64),
    st.text(st.characters(max_codepoint=127), max_size=140),
    st.text("abc", min_size=60, max_size=70),
    st.text("abcde 12", min_size=900, max_size=1_000),
)
HIGHEST = highest_similarities()


def compiled_similarities(one: str, other: str) -> list[float]:
    """By each of the compiled ways that may compare the two."""
    values = texts(pa.array([one, other]))
    masks = scratch(max(len(one), len(other)))
    prefix = common_prefix(values.prefix[0], values.prefix[1])
    prepared = prepare(masks, values.data[: values.start[1]])
    place = values.data, values.start[1], values.start[2], prefix
    results = [long_similarity(prepared.masks, prepared.value, *place)]
    if max(len(one), len(other)) <= 64:
        results.append(similarity_at_least(prepared, *place, 0))
    clear(prepared)
    assert not masks[:256].any()
    return results


@settings(max_examples=500, deadline=None)
@given(ascii_text, ascii_text)
def test_similarity_is_that_of_jellyfish_to_the_last_bit(one: str, other: str) -> None:
    expected = jaro_winkler_similarity(one, other)
    assert compiled_similarities(one, other) == [expected] * (1 + (max(len(one), len(other)) <= 64))


def step_of(one: str, other: str, words: int) -> tuple[int, int]:
    """The step of shares and the prefix that the search knows of two values before it compares them."""
    values = texts(pa.array([one, other]), words)
    first, second = values.signature.reshape(2, words)
    different = sum(int(bits).bit_count() for bits in first & ~second)
    shares = (len(one) - different) * (1 / max(len(one), 1) + 1 / max(len(other), 1))
    return min(int(shares * STEPS), LAST_STEP), int(common_prefix(values.prefix[0], values.prefix[1]))


@settings(max_examples=500, deadline=None)
@given(ascii_text, ascii_text, st.integers(1, 3))
def test_no_similarity_is_above_its_bound(one: str, other: str, words: int) -> None:
    """What length, characters and prefix allow."""
    step, prefix = step_of(one, other, words)
    assert jaro_winkler_similarity(one, other) <= HIGHEST[prefix, step] + 1e-9


@settings(max_examples=500, deadline=None)
@given(st.text("abcd", min_size=1, max_size=12), st.text("abcd", min_size=1, max_size=12))
def test_similarity_that_cannot_reach_a_step_is_cut_short_and_others_are_not(one: str, other: str) -> None:
    values = texts(pa.array([one, other]))
    prefix = common_prefix(values.prefix[0], values.prefix[1])
    prepared = prepare(scratch(12), values.data[: values.start[1]])
    for step in range(0, LAST_STEP + 2, 16):
        found = similarity_at_least(prepared, values.data, values.start[1], values.start[2], prefix, step)
        exact = jaro_winkler_similarity(one, other)
        assert found == exact or (found == -1 and (step > LAST_STEP or exact <= HIGHEST[prefix, step]))


def test_more_matches_than_characters_are_still_a_step() -> None:
    """As signatures may say of a long value and a short one; without a clamp the bound would be read elsewhere."""
    assert shares_step(9, 1 / 9, 1 / 3) == LAST_STEP


def test_bounds_are_narrow() -> None:
    """Values that are equal, and values of which two thirds match in order."""
    assert HIGHEST[4, step_of("anna", "anna", 1)[0]] == 1
    jaro = (2 * 4 / 6 + 1) / 3
    assert jaro <= HIGHEST[0, step_of("abcdxy", "abcdvw", 1)[0]] <= jaro + 1 / STEPS


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("ab cdefghij\t\x00", max_size=40), max_size=5))
def test_words_are_ordered_as_in_the_reference(values: list[str]) -> None:
    written = texts(pa.array(values, pa.string()))
    ordered = ordered_words(written.data, written.start)
    result = [ordered[a:b].tobytes().decode() for a, b in zip(written.start, written.start[1:], strict=False)]
    assert result == [comparison.sort_tokens(value) for value in values]


def test_more_words_than_room() -> None:
    many = " ".join(f"w{n % 7}" for n in range(300))
    written = texts(pa.array([many, "b a"]))
    ordered = ordered_words(written.data, written.start)
    assert ordered.tobytes().decode() == comparison.sort_tokens(many) + "a b"
