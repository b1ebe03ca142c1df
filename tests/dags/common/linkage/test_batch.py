"""Candidate pairs of a batch, held against comparing everything with everything."""

import math
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from common.linkage.batch import (
    Effort,
    Known,
    Originals,
    batch_pairs,
    block_pairs,
    certificate_of,
    mark_too_common,
)
from common.linkage.comparison import comparison_vectors, numbers_similarity, words_similarity
from common.linkage.decision import KNOWN
from common.linkage.household import clear_differences
from common.linkage.model import COMPARISON_VECTOR, STARTING_MODEL
from common.linkage.search import Budget, CandidateExplosion, Segment
from common.linkage.standardise import STANDARDISED
from common.linkage.validation import usable
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st
from jellyfish import jaro_winkler_similarity

MODEL = STARTING_MODEL
STD = ("first_name_std", "last_name_std", "address_std")

Person = tuple[str | None, str | None, str | None]
people_lists = st.lists(
    st.tuples(
        st.sampled_from(["ann", "anna", "anne", "smith", None]),
        st.sampled_from(["smith", "smyth", "ann", "jones", None]),
        st.sampled_from(["12 main st troy", "troy 12 main st", "12 main st", "7 oak ave", None]),
    ),
    max_size=6,
)


def columns(people: list[Person]) -> dict[str, pa.Array]:
    values = {name: pa.array([person[place] for person in people], pa.string()) for place, name in enumerate(STD)}
    return {name: values.get(name, pa.nulls(len(people), pa.string())) for name in STANDARDISED}


def batch(people: list[Person], quarantined: set[int]) -> pa.Table:
    reasons = ["NO_NAME" if place in quarantined else None for place in range(len(people))]
    return pa.table(
        {
            "record_key": pa.array([f"r{place}" for place in range(len(people))], pa.string()),
            **columns(people),
            "quarantine_reason": pa.array(reasons, pa.string()),
        }
    )


def existing(people: list[Person]) -> pa.Table:
    ids = [2**60 + 7 * place for place in range(len(people))]
    return pa.table({"person_id": pa.array(ids, pa.int64()), **columns(people)})


def expected_score(left: Person, right: Person) -> float:
    """The score of a pair, written down once more in plain Python."""

    def term(name: str, a: str | None, b: str | None) -> float:
        curve = MODEL.curves[name]
        if a is None or b is None:
            return curve.missing
        words = [" ".join(sorted(text.split(" "))) for text in (a, b)]
        similarity = jaro_winkler_similarity(a, b)
        return float(curve([max(similarity, jaro_winkler_similarity(*words)) if name == "address" else similarity])[0])

    def parts(a: str | None, b: str | None) -> float:
        similarities = (words_similarity, numbers_similarity)
        of = [math.nan if a is None or b is None else similarity(a, b) for similarity in similarities]
        return float(sum(MODEL.curves[name](of[n]) for n, name in enumerate(("address_words", "address_numbers"))))

    def log_odds(first: str | None, last: str | None) -> float:
        return term("first_name", left[0], first) + term("last_name", left[1], last)

    names = log_odds(right[0], right[1])
    if None not in (*left[:2], *right[:2]):
        names = max(names, log_odds(right[1], right[0]) + MODEL.swapped)
    return 1 / (
        1 + math.exp(-(MODEL.intercept + names + term("address", left[2], right[2]) + parts(left[2], right[2])))
    )


def apart(left: Person, right: Person) -> bool:
    """Whether a pair is clearly two people, and so no candidate."""
    one, other = (pa.table(columns([person])) for person in (left, right))
    row = np.zeros(1, np.int64)
    vectors = comparison_vectors(one, other, row, row, MODEL)
    arrays = {name: vectors[name].to_numpy() for name in COMPARISON_VECTOR}
    return bool(clear_differences(one, other, row, row, arrays).apart[0])


def found(pairs: pa.Table) -> dict[tuple[str, Any], float]:
    result = {}
    for row in pairs.to_pylist():
        assert (row["person_id"] is None) != (row["other_record_key"] is None)
        other = row["person_id"] if row["other_record_key"] is None else row["other_record_key"]
        key = (row["record_key"], other) if isinstance(other, int) else tuple(sorted((row["record_key"], other)))
        assert key not in result, "each pair once"
        result[key] = row["score"]
    return result


def same_pairs(pairs: dict[tuple[str, Any], float], expected: dict[tuple[str, Any], float]) -> bool:
    return pairs.keys() == expected.keys() and all(math.isclose(pairs[key], expected[key]) for key in pairs)


@settings(max_examples=60)
@given(people_lists, people_lists, st.sets(st.integers(0, 5), max_size=2))
def test_the_pairs_are_those_of_comparing_everything(
    records: list[Person], people: list[Person], quarantined: set[int]
) -> None:
    good = [place for place in range(len(records)) if place not in quarantined]
    with_people = {
        (f"r{place}", 2**60 + 7 * other): expected_score(records[place], people[other])
        for place, other in product(good, range(len(people)))
        if not apart(records[place], people[other])
    }
    first = {records[place]: place for place in reversed(good)}  # records that say the same are compared as one
    originals = sorted(first.values())
    within = {
        (f"r{a}", f"r{b}"): expected_score(records[a], records[b])
        for a, b in combinations(originals, 2)
        if not apart(records[a], records[b])
    }
    with_people, within = (
        {key: score for key, score in pairs.items() if score >= MODEL.review_at} for pairs in (with_people, within)
    )
    within |= {
        (f"r{first[records[place]]}", f"r{place}"): expected_score(records[place], records[place])
        for place in good
        if place not in originals
    }
    table = batch(records, quarantined)
    assert usable(table)["record_key"].to_pylist() == [f"r{place}" for place in good]
    alone = batch_pairs(table, existing(people), MODEL, with_batch=False)
    assert same_pairs(found(alone), with_people)
    both = batch_pairs(table, existing(people), MODEL, with_batch=True)
    assert same_pairs(found(both), with_people | within)
    assert alone.schema == both.schema, "shards are concatenated"


@settings(max_examples=30)
@given(people_lists, people_lists, st.integers(1, 7))
def test_shards_together_find_what_the_whole_table_does(
    records: list[Person], people: list[Person], shards: int
) -> None:
    table, everybody = batch(records, set()), existing(people)
    whole = found(batch_pairs(table, everybody, MODEL, with_batch=True))
    size = max(1, -(-len(people) // shards))
    starts = range(0, max(len(people), 1), size)
    parts = [batch_pairs(table, everybody.slice(s, size), MODEL, with_batch=s == 0) for s in starts]
    assert found(pa.concat_tables(parts)) == whole


@settings(max_examples=30)
@given(people_lists, people_lists, st.integers(1, 7), st.integers(1, 7))
def test_blocks_and_segments_together_find_what_the_whole_does(
    records: list[Person], people: list[Person], block_size: int, segment_size: int
) -> None:
    table, everybody = batch(records, set()), existing(people)
    whole = batch_pairs(table, everybody, MODEL, with_batch=True, effort=Effort(certified=2))
    originals = Originals.of(table)
    blocks = ranges(len(originals.records), block_size)
    segments = [everybody.slice(part.start, len(part)) for part in ranges(len(people), segment_size)]
    known = [Known(part, Segment.of(part.select(STANDARDISED))) for part in segments]
    parts = [
        block_pairs(
            originals, block, part, block if place == 0 else None, MODEL, Effort(certified=2 * (block == blocks[0]))
        )
        for block in blocks
        for place, part in enumerate(known)
    ] + [
        block_pairs(originals, one, None, other, MODEL, Effort(certified=2 * (one == blocks[0])))
        for one, other in combinations(blocks, 2)
    ]
    assert found(pa.concat_tables(parts)) == found(whole)
    certificate = certificate_of(parts)
    assert certificate.records == min(2, len(blocks[0]))
    assert certificate.people == (len(people) + len(originals.records)) * (len(blocks[0]) > 0)
    assert certificate.missed == 0


def ranges(length: int, size: int) -> list[range]:
    return [range(start, min(start + size, length)) for start in range(0, length, size)] or [range(0)]


@settings(max_examples=30)
@example([("ann", "smyth", "12 main st"), ("smith", "ann", "12 main st")], [])
@given(people_lists, people_lists)
def test_the_order_of_the_rows_does_not_matter(records: list[Person], people: list[Person]) -> None:
    """Not even for crosswise names, which score differently the other way round."""
    table, everybody = batch(records, set()), existing(people)
    backwards = table.take(pa.array(range(len(records))[::-1], pa.int64()))
    expected = found(batch_pairs(table, everybody, MODEL, with_batch=True))
    assert found(batch_pairs(backwards, everybody, MODEL, with_batch=True)) == expected


def test_relatives_are_candidates_whatever_the_model_does_with_them() -> None:
    """Where it inserts relatives, `decide` still has to know who is one."""
    records = batch([("laura", "smith", "12 main st")], set())
    people = existing([("david", "smith", "12 main st"), ("laura", "smith", "12 main st")])
    for model in (MODEL, replace(MODEL, inserts_relatives=True)):
        pairs = batch_pairs(records, people, model, with_batch=False)
        assert dict(zip(pairs["person_id"].to_pylist(), pairs["household"].to_pylist(), strict=True)) == {
            2**60: True,
            2**60 + 7: False,
        }


# Too common -------------------------------------------------------------------------------------------------------


def marked(records: pa.Table, *pairs: pa.Table, most: int, known: pa.Table | None = None) -> dict[str, str | None]:
    known = KNOWN.empty_table() if known is None else known
    table = mark_too_common(records, pa.concat_tables(pairs), known, most)
    return dict(zip(table["record_key"].to_pylist(), table["quarantine_reason"].to_pylist(), strict=True))


@settings(max_examples=60)
@given(
    *(people_lists, people_lists, st.integers(1, 7), st.integers(1, 7)), st.sampled_from([1, 2, 3]), st.integers(1, 40)
)
def test_who_is_too_common_depends_neither_on_shards_nor_on_blocks_nor_on_the_budget(
    records: list[Person], people: list[Person], shards: int, block_size: int, most: int, budget: int
) -> None:
    table, everybody = batch(records, set()), existing(people)
    unlimited = batch_pairs(table, everybody, MODEL, with_batch=True, effort=Effort(candidates=most))
    expected = marked(table, unlimited, most=most)
    size = max(1, -(-len(people) // shards))
    limited = Effort(candidates=most, budget=Budget(pairs=budget))
    originals = Originals.of(table)
    blocks = ranges(len(originals.records), block_size)
    try:
        parts = [
            block_pairs(originals, block, Known(everybody.slice(at, size)), block if at == 0 else None, MODEL, limited)
            for at in range(0, max(len(people), 1), size)
            for block in blocks
        ] + [block_pairs(originals, one, None, other, MODEL, limited) for one, other in combinations(blocks, 2)]
    except CandidateExplosion:
        reject()  # there is not even room for the pairs of the others
    assert marked(table, *parts, most=most) == expected
    kept = {key for key, reason in expected.items() if reason is None}

    def of_kept(*tables: pa.Table) -> dict[tuple[str, Any], float]:
        pairs = pa.concat_tables(tables)
        return {
            pair: score
            for pair, score in found(pairs.filter(pc.is_null(pairs["left_out"]))).items()
            if {end for end in pair if isinstance(end, str)} <= kept
        }

    assert of_kept(*parts) == of_kept(unlimited), "nobody else has lost a pair"


def test_a_placeholder_costs_itself_alone() -> None:
    """The pairs of sixty of them are more than the budget allows."""
    tests: list[Person] = [("test", "test", f"{number} main st troy") for number in range(60)]
    others: list[Person] = [("ann", "smith", "12 main st"), ("anna", "smith", "12 main st")]
    records = batch([*tests, *others], set())
    effort = Effort(candidates=40, budget=Budget(pairs=100), certified=2)
    with pytest.raises(CandidateExplosion):
        batch_pairs(records, existing([]), MODEL, with_batch=True, effort=replace(effort, candidates=None))
    pairs = batch_pairs(records, existing([]), MODEL, with_batch=True, effort=effort)
    reasons = marked(records, pairs, most=40)
    assert [key for key, reason in reasons.items() if reason is None] == ["r60", "r61"]
    assert found(pairs.filter(pc.is_null(pairs["left_out"]))).keys() == {("r60", "r61")}


def test_the_limit_itself_is_not_too_common_and_copies_share_their_original_s_fate() -> None:
    tests: list[Person] = [("test", "test", f"{number} main st troy") for number in range(5)]
    records = batch([*tests, tests[0], tests[0]], set())
    pairs = batch_pairs(records, existing([]), MODEL, with_batch=True, effort=Effort(candidates=3))
    assert set(marked(records, pairs, most=4).values()) == {None}
    assert set(marked(records, pairs, most=3).values()) == {"TOO_COMMON"}


def test_who_was_here_before_is_never_too_common() -> None:
    tests: list[Person] = [("test", "test", f"{number} main st troy") for number in range(5)]
    records = batch(tests, set())
    pairs = batch_pairs(records, existing([]), MODEL, with_batch=True, effort=Effort(candidates=3))
    rows = [("r0", 7, None, "KNOWN_RECORD", True), ("r1", 7, None, "KNOWN_RECORD", False)]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), KNOWN.types, strict=True)]
    reasons = marked(records, pairs, most=3, known=pa.table(columns, schema=KNOWN))
    assert [key for key, reason in reasons.items() if reason is None] == ["r0"]
