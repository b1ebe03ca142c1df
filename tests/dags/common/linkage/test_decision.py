"""Decisions: golden cases named by their idea, and what must hold for any pairs."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from common.linkage.decision import DECISIONS, KNOWN, decide
from common.linkage.model import SIMILARITIES, STARTING_MODEL
from common.linkage.rarity import COMMONNESS
from common.linkage.verdict import Decision, Reason
from hypothesis import assume, given, settings
from hypothesis import strategies as st

ACCEPT, REVIEW = STARTING_MODEL.accept_at, STARTING_MODEL.review_at
SURE, LIKELY, HALF = 0.99, 0.93, 0.5
"""Two scores that reach ACCEPT, and one for review."""

Pair = tuple[str, int | str, float]


def batch(*keys: str, quarantined: tuple[str, ...] = ()) -> pa.Table:
    """Records with all fields alike, so that among twins the smallest key survives."""
    return pa.table(
        {
            "record_key": pa.array(keys, pa.string()),
            **{f"{name}_std": ["same"] * len(keys) for name in ("first_name", "last_name", "address")},
            "quarantine_reason": pa.array(["NO_NAME" if key in quarantined else None for key in keys], pa.string()),
        }
    )


def pairs(*rows: Pair) -> pa.Table:
    """Candidate pairs: (record, person id or other record, score); the vector tells from which pair it comes."""
    people = [other if isinstance(other, int) else None for _, other, _ in rows]
    return pa.table(
        {
            "record_key": pa.array([key for key, _, _ in rows], pa.string()),
            "person_id": pa.array(people, pa.int64()),
            "question_id": pa.nulls(len(rows), pa.int64()),
            "first_spelling": pa.array([person is not None or None for person in people], pa.bool_()),
            "via_batch_id": pa.nulls(len(rows), pa.string()),
            "via_record_key": pa.nulls(len(rows), pa.string()),
            "other_record_key": pa.array([o if isinstance(o, str) else None for _, o, _ in rows], pa.string()),
            "first_name": pa.array([score for _, _, score in rows], pa.float64()),
            "last_name": pa.array([1.0] * len(rows), pa.float64()),
            **{name: pa.array([None] * len(rows), pa.float64()) for name in SIMILARITIES[2:]},
            "swapped": pa.array([False] * len(rows), pa.bool_()),
            **{name: pa.array([0.0] * len(rows), pa.float64()) for name in COMMONNESS},
            "score": pa.array([score for _, _, score in rows], pa.float64()),
            "household": pa.array([False] * len(rows), pa.bool_()),
        }
    )


def known(**people: int) -> pa.Table:
    columns = [list(people), list(people.values()), [None] * len(people)]
    columns += [["KNOWN_RECORD"] * len(people), [True] * len(people)]
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, KNOWN.types, strict=True)], schema=KNOWN)


def decided_with_relatives(records: pa.Table, *rows: Pair, relatives: tuple[Pair, ...]) -> dict[str, dict[str, Any]]:
    """As a model decides that inserts relatives without a question; `relatives` are pairs of a household."""
    table = pairs(*rows, *relatives)
    household = pa.array([False] * len(rows) + [True] * len(relatives))
    table = table.set_column(table.column_names.index("household"), "household", household)
    decisions = decide(records, table, known(), replace(STARTING_MODEL, inserts_relatives=True))
    return {row["record_key"]: row for row in decisions.to_pylist()}


def decided(records: pa.Table, *rows: Pair, **already: int) -> dict[str, dict[str, Any]]:
    table = decide(records, pairs(*rows), known(**already), STARTING_MODEL)
    assert table.schema == DECISIONS
    return {row["record_key"]: row for row in table.to_pylist()}


def outcome(row: dict[str, Any]) -> tuple[Any, ...]:
    """Decision, reason, and whom or what it belongs to."""
    return row["decision"], row["reason"], row["person_id"] or row["survivor_key"]


# Golden cases ----------------------------------------------------------------------------------------------------


def test_an_empty_batch_has_no_decisions() -> None:
    assert decided(batch()) == {}
    assert decided(batch("a", quarantined=("a",))) == {}


def test_nobody_near_is_new() -> None:
    row = decided(batch("a", "b"), ("b", 7, SURE))["a"]
    assert outcome(row) == ("NEW", "NO_CANDIDATE", None)
    assert [row[name] for name in ("score", "first_name", "runner_up_person_id", "margin")] == [None] * 4


def test_a_sure_match_is_a_duplicate_and_the_distractor_is_the_runner_up() -> None:
    row = decided(batch("a"), ("a", 8, HALF), ("a", 7, SURE), ("a", 9, 0.31))["a"]
    assert outcome(row) == ("DUPLICATE", "MATCH", 7)
    assert (row["score"], row["first_name"], row["address"], row["swapped"]) == (SURE, SURE, None, False)
    assert (row["runner_up_person_id"], row["runner_up_score"]) == (8, HALF)
    assert row["margin"] == pytest.approx(math.log(SURE / (1 - SURE)))


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (ACCEPT, ("DUPLICATE", "MATCH", 7)),
        (math.nextafter(ACCEPT, 0), ("REVIEW", "BORDERLINE", 7)),
        (REVIEW, ("REVIEW", "BORDERLINE", 7)),
    ],
)
def test_the_cut_offs_are_inclusive(score: float, expected: tuple[Any, ...]) -> None:
    assert outcome(decided(batch("a"), ("a", 7, score))["a"]) == expected


def test_two_who_fit_equally_well_go_to_review_and_the_older_person_is_named() -> None:
    row = decided(batch("a"), ("a", 9, SURE), ("a", 8, SURE))["a"]
    assert outcome(row) == ("REVIEW", "THIN_MARGIN", 8)
    assert (row["runner_up_person_id"], row["margin"]) == (9, 0)


def test_two_perfect_scores_are_a_thin_margin_too() -> None:
    """Log-odds of a score of 1 are infinite, and the difference of two infinities is no number."""
    assert outcome(decided(batch("a"), ("a", 9, 1.0), ("a", 8, 1.0))["a"]) == ("REVIEW", "THIN_MARGIN", 8)
    assert outcome(decided(batch("a"), ("a", 9, 1.0), ("a", 8, SURE))["a"]) == ("DUPLICATE", "MATCH", 9)


def test_a_clear_margin_is_enough() -> None:
    thin, wide = (1 / (1 + math.exp(-(3 + by))) for by in (0.49, 0.51))
    second = 1 / (1 + math.exp(-3))
    assert decided(batch("a"), ("a", 7, thin), ("a", 8, second))["a"]["decision"] == "REVIEW"
    assert decided(batch("a"), ("a", 7, wide), ("a", 8, second))["a"]["decision"] == "DUPLICATE"


def test_of_twins_in_a_batch_one_is_inserted() -> None:
    rows = decided(batch("b", "a", "c"), ("b", "a", SURE))
    assert outcome(rows["a"]) == ("NEW", "SURVIVOR", None)
    assert outcome(rows["b"]) == ("DUPLICATE", "WITHIN_BATCH", "a")
    assert (rows["b"]["matched_record_key"], rows["b"]["score"]) == ("a", SURE)
    assert outcome(rows["c"]) == ("NEW", "NO_CANDIDATE", None), "a distractor"


def test_the_most_complete_twin_survives_then_the_longest_then_the_smallest_key() -> None:
    records = pa.table(
        {
            "record_key": ["a", "b", "c", "d"],
            "first_name_std": ["jo", "joanna", "jo", "joanna"],
            "last_name_std": ["ek", "ek", "ek", "ek"],
            "address_std": [None, None, "1 st", "1 st"],
            "quarantine_reason": pa.nulls(4, pa.string()),
        }
    )
    chain: list[Pair] = [("a", "b", SURE), ("b", "c", SURE), ("c", "d", SURE)]
    for survivor in ("d", "c", "b", "a"):
        rows = decided(records, *(p for p in chain if p[0] <= survivor and str(p[1]) <= survivor))
        new = {key for key, row in rows.items() if row["reason"] == Reason.SURVIVOR}
        assert new == ({survivor} if survivor != "a" else set())
        records = records.filter(pa.array([True] * (records.num_rows - 1) + [False]))
    assert outcome(decided(batch("y", "x"), ("x", "y", SURE))["x"])[0] == "NEW"


def test_a_chain_is_one_person_even_where_its_ends_are_no_candidates() -> None:
    rows = decided(batch("a", "b", "c"), ("a", "b", SURE), ("b", "c", LIKELY))
    assert [outcome(rows[key]) for key in "abc"] == [
        ("NEW", "SURVIVOR", None),
        ("DUPLICATE", "WITHIN_BATCH", "a"),
        ("DUPLICATE", "WITHIN_BATCH", "a"),
    ]
    assert rows["c"]["matched_record_key"] == "b", "the pair that decided"


def test_twins_share_the_person_that_one_of_them_matches() -> None:
    rows = decided(batch("a", "b"), ("a", "b", SURE), ("b", 7, SURE))
    assert outcome(rows["b"]) == ("DUPLICATE", "MATCH", 7)
    assert outcome(rows["a"]) == ("DUPLICATE", "WITHIN_BATCH", 7)
    assert rows["a"]["matched_record_key"] == "b"


def test_twins_share_a_review() -> None:
    rows = decided(batch("a", "b"), ("a", "b", SURE), ("b", 7, HALF))
    assert {outcome(row) for row in rows.values()} == {("REVIEW", "BORDERLINE", 7)}
    assert rows["a"]["matched_record_key"] == "b"


def test_twins_who_match_two_people_go_to_review() -> None:
    rows = decided(batch("a", "b"), ("a", "b", SURE), ("a", 7, SURE), ("b", 8, SURE))
    assert {row["decision"] for row in rows.values()} == {"REVIEW"}
    assert {row["reason"] for row in rows.values()} == {"THIN_MARGIN"}


def test_a_new_record_near_another_new_one_goes_to_review() -> None:
    """As it would had the other come a batch earlier."""
    rows = decided(batch("a", "b"), ("a", "b", HALF))
    assert outcome(rows["a"]) == ("NEW", "NO_CANDIDATE", None)
    assert outcome(rows["b"]) == ("REVIEW", "BORDERLINE", "a")
    assert (rows["b"]["matched_record_key"], rows["b"]["score"]) == ("a", HALF)


def test_a_new_record_near_one_in_review_waits_too() -> None:
    """It would be compared with the spelling of the waiting one, had that come a batch earlier."""
    rows = decided(batch("a", "b", "c"), ("a", "b", HALF), ("b", "c", HALF))
    assert [rows[key]["decision"] for key in "abc"] == ["NEW", "REVIEW", "REVIEW"]
    assert (rows["c"]["survivor_key"], rows["c"]["matched_record_key"]) == ("a", "b")
    assert rows["b"]["question_key"] != rows["c"]["question_key"]


def test_relatives_are_inserted_by_a_model_that_inserts_them() -> None:
    rows = decided_with_relatives(batch("a", "b"), relatives=(("a", "b", SURE), ("a", 7, SURE)))
    assert [outcome(rows[key]) for key in "ab"] == [("NEW", "NO_CANDIDATE", None)] * 2


def test_a_record_between_two_relatives_joins_neither_though_the_model_inserts_relatives() -> None:
    rows = decided_with_relatives(
        batch("a", "b", "c"), ("a", "c", SURE), ("b", "c", SURE), relatives=(("a", "b", SURE),)
    )
    assert [rows[key]["decision"] for key in "abc"] == ["NEW", "NEW", "REVIEW"]


def test_a_relative_by_one_spelling_of_a_person_is_asked_though_the_model_inserts_relatives() -> None:
    rows = decided_with_relatives(batch("a"), ("a", 7, SURE), relatives=(("a", 7, LIKELY),))
    assert outcome(rows["a"]) == ("REVIEW", "HOUSEHOLD", 7)
    rows = decided_with_relatives(batch("a"), ("a", 8, SURE), relatives=(("a", 7, SURE),))
    assert outcome(rows["a"]) == ("DUPLICATE", "MATCH", 8), "a relative by every spelling is nobody to ask about"


def test_a_record_that_was_inserted_before_is_known_whatever_it_resembles() -> None:
    rows = decided(batch("a", "b"), ("a", 7, HALF), ("a", 8, SURE), ("b", 8, HALF), a=7)
    assert outcome(rows["a"]) == ("DUPLICATE", "KNOWN_RECORD", 7)
    assert rows["a"]["score"] is None
    assert outcome(rows["b"]) == ("REVIEW", "BORDERLINE", 8), "a distractor"


def test_a_twin_of_a_known_record_belongs_to_the_same_person() -> None:
    rows = decided(batch("a", "b"), ("a", "b", SURE), ("b", 8, LIKELY), a=7)
    assert outcome(rows["a"]) == ("DUPLICATE", "KNOWN_RECORD", 7)
    assert outcome(rows["b"]) == ("DUPLICATE", "WITHIN_BATCH", 7)


def test_known_records_stay_with_their_own_people_even_as_twins() -> None:
    """Two people by an older model, twins by this one."""
    rows = decided(batch("a", "b"), ("a", "b", SURE), ("a", 8, SURE), a=7, b=8)
    assert outcome(rows["a"]) == ("DUPLICATE", "KNOWN_RECORD", 7)
    assert outcome(rows["b"]) == ("DUPLICATE", "KNOWN_RECORD", 8)
    assert rows["b"]["matched_record_key"] is None


def test_quarantined_records_are_passed_over() -> None:
    assert list(decided(batch("a", "b", quarantined=("b",)))) == ["a"]


def test_ids_beyond_two_to_the_53_stay_exact() -> None:
    """As a float, which is what a column with gaps easily becomes, they would be one off."""
    big = 2**53 + 1
    rows = decided(batch("a", "b"), ("a", big, SURE), ("a", big + 2, HALF))
    assert (rows["a"]["person_id"], rows["a"]["runner_up_person_id"]) == (big, big + 2)


# What holds for any pairs ----------------------------------------------------------------------------------------

KEYS = [f"r{number}" for number in range(7)]
scores = st.one_of(st.floats(REVIEW, 1, exclude_max=True), st.sampled_from([REVIEW, ACCEPT, HALF, LIKELY, SURE]))


@st.composite
def situations(draw: st.DrawFn) -> tuple[pa.Table, list[Pair], dict[str, int]]:
    quarantined = tuple(draw(st.sets(st.sampled_from(KEYS), max_size=2)))
    usable = [key for key in KEYS if key not in quarantined]
    possible = [(key, person) for key in usable for person in range(1, 6)]
    possible += [(key, other) for key in usable for other in usable if key < other]
    chosen = draw(st.lists(st.sampled_from(possible), unique=True, max_size=12))
    rows = [(*pair, draw(scores)) for pair in chosen]
    already = draw(st.dictionaries(st.sampled_from(usable), st.integers(1, 5), max_size=2))
    return batch(*KEYS, quarantined=quarantined), rows, already


def groups(usable: list[str], rows: list[Pair]) -> list[set[str]]:
    """Records that reach ACCEPT with each other, transitively."""
    found = [{key} for key in usable]
    for key, other, score in rows:
        if isinstance(other, str) and score >= ACCEPT:
            left = next(group for group in found if key in group)
            right = next(group for group in found if other in group)
            if left is not right:
                found.remove(right)
                left |= right
    return found


@settings(max_examples=50)
@given(situations())
def test_every_usable_record_is_decided_once_and_every_decision_explains_itself(
    situation: tuple[pa.Table, list[Pair], dict[str, int]],
) -> None:
    records, rows, already = situation
    usable = [row["record_key"] for row in records.to_pylist() if row["quarantine_reason"] is None]
    by_key = decided(records, *rows, **already)
    assert list(by_key) == usable
    score_of = {frozenset(pair[:2]): pair[2] for pair in rows}
    for key, row in by_key.items():
        other = row["matched_record_key"]
        if row["decision"] == Decision.NEW:
            assert outcome(row)[2] is None
            assert row["score"] is None
        elif key in already:
            assert outcome(row) == ("DUPLICATE", "KNOWN_RECORD", already[key])
            assert (row["score"], other) == (None, None)
        else:
            assert (row["person_id"] is None) != (row["survivor_key"] is None)
            assert row["score"] == score_of[frozenset({key, other if other else row["person_id"]})]
        if row["survivor_key"] is not None:
            assert by_key[row["survivor_key"]]["decision"] == Decision.NEW

    near = {key for key, other, _ in rows if isinstance(other, int)} | set(already)
    for group in groups(usable, rows):
        kinds = Counter(by_key[key]["decision"] for key in group - set(already))
        assert kinds["NEW"] <= 1, "one person is inserted once"
        assert not (kinds["NEW"] and group & near), "nobody near an existing person is inserted"
        assert len(kinds - Counter({"NEW": 1})) <= 1, "all of a group share one fate"


@settings(max_examples=20)
@given(situations(), st.randoms())
def test_neither_the_order_of_rows_nor_of_pairs_matters(
    situation: tuple[pa.Table, list[Pair], dict[str, int]], random: Any
) -> None:
    records, rows, already = situation
    expected = decided(records, *rows, **already)
    places = list(range(records.num_rows))
    random.shuffle(places)
    random.shuffle(rows)
    turned = [(o, k, s) if isinstance(o, str) and random.random() < 0.5 else (k, o, s) for k, o, s in rows]
    people = list(already.items())
    random.shuffle(people)
    assert decided(records.take(places), *turned, **dict(people)) == expected


@settings(max_examples=20)
@given(situations(), scores)
def test_a_better_best_candidate_never_makes_a_weaker_decision(
    situation: tuple[pa.Table, list[Pair], dict[str, int]], score: float
) -> None:
    records, rows, already = situation
    candidates = [pair for pair in rows if isinstance(pair[1], int)]
    assume(candidates)
    best = max(candidates, key=lambda pair: (pair[2], -int(pair[1])))
    raised = [(*pair[:2], max(score, pair[2])) if pair is best else pair for pair in rows]
    rank = ["NEW", "REVIEW", "DUPLICATE"].index
    before, after = (decided(records, *some, **already)[best[0]]["decision"] for some in (rows, raised))
    assert rank(after) >= rank(before)


@settings(max_examples=20)
@given(situations())
def test_one_record_more_that_resembles_nobody_changes_nothing(
    situation: tuple[pa.Table, list[Pair], dict[str, int]],
) -> None:
    records, rows, already = situation
    with_stranger = pa.concat_tables([batch("a stranger"), records])
    after = decided(with_stranger, *rows, **already)
    assert outcome(after.pop("a stranger"))[:2] == ("NEW", "NO_CANDIDATE")
    assert after == decided(records, *rows, **already)
