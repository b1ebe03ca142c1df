"""Households: relatives at one address are two people, whatever the score says."""

import numpy as np
import pyarrow as pa
import pytest
from common.linkage.comparison import comparison_vectors
from common.linkage.household import clear_differences, first_names_differ
from common.linkage.model import COMPARISON_VECTOR, STARTING_MODEL
from common.linkage.standardise import standardise

HOME = "8 Cliff Road, Bend, OR 97701"
Raw = tuple[str | None, str | None, str | None]


def table(records: list[Raw]) -> pa.Table:
    names = ("first_name", "last_name", "address")
    return standardise(pa.table({n: pa.array([r[i] for r in records], pa.string()) for i, n in enumerate(names)}))


def differences(*pairs: tuple[Raw, Raw]) -> list[str]:
    """What each pair is: household, apart, or nothing."""
    left, right = (table([pair[side] for pair in pairs]) for side in (0, 1))
    rows = np.arange(len(pairs))
    vectors = comparison_vectors(left, right, rows, rows, STARTING_MODEL)
    arrays = {name: vectors[name].to_numpy() for name in COMPARISON_VECTOR}
    household, apart = clear_differences(left, right, rows, rows, arrays)
    assert not (household & apart).any()
    return ["household" if one else "apart" if other else "" for one, other in zip(household, apart, strict=True)]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("laura", "david", True),
        ("daniel", "david", True),
        ("robert", "bob", False),
        ("bob", "robert", False),
        ("elizabeth", "liz", False),
        ("j", "james", False),
        ("james", "james edward", False),
        ("margaret", "margret", False),
        ("jayden", "jaylen", False),
        ("anna maria", "maria", False),
        ("james edward", "ted", False),
        ("j r", "robert", False),
        ("anna maria", "laura", True),
    ],
)
def test_first_names_differ(one: str, other: str, expected: bool) -> None:
    assert first_names_differ(one, other) is expected
    assert first_names_differ(other, one) is expected


ELSEWHERE = "500 Dock Street, Erie, PA 16501"


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (("Laura", "Moore", HOME), ("David", "Moore", HOME), "household"),
        (("Laura", "Moor", HOME), ("David", "Moore", "8 Cliff Rd, Bend, OR 97701"), "household"),
        (("Laura", "Moore", "Bend"), ("David", "Moore", "Bend"), "household"),
        (("Laura", "Moore", HOME), ("Laura", "Moore", HOME), ""),
        (("Laura", "Moore", HOME), ("David", "Baker", HOME), "apart"),
        (("Laura", "Moore", HOME), ("David", "Moore", ELSEWHERE), "apart"),
        (("Laura", "Moore", "8 Cliff Road, Bend"), ("David", "Moore", "19 Cliff Road, Bend"), "apart"),
        (("Laura", "Moore", "Bend"), ("David", "Moore", "Erie"), "apart"),
        (("Laura", "Moore", HOME), ("Laura", "Moore", ELSEWHERE), ""),
        (("Moore", "Laura", HOME), ("Laura", "Moore", HOME), ""),
        ((None, "Moore", HOME), ("David", "Moore", HOME), ""),
        (("Laura", None, HOME), ("David", "Moore", HOME), "household"),
        (("Laura", None, HOME), ("David", None, HOME), "household"),
        (("Laura", None, HOME), ("David", "Moore", ELSEWHERE), "apart"),
        (("Laura", "Moore", None), ("David", "Moore", HOME), "apart"),
        (("John", "Moore Jr.", HOME), ("John", "Moore Sr.", HOME), "household"),
        (("John", "Moore III", "1 Elm Road"), ("John", "Moore II", HOME), "household"),
        (("John Jr.", "Moore", HOME), ("John", "Moore, Sr", HOME), "household"),
        (("John", "Moore Jr", HOME), ("John", "Moore, Jr.", HOME), ""),
        (("John", "Moore Jr", HOME), ("John", "Moore", HOME), ""),
    ],
)
def test_clear_differences(left: Raw, right: Raw, expected: str) -> None:
    assert differences((left, right)) == [expected]
    assert differences((right, left)) == [expected], "whoever came first"


def test_each_pair_is_told_by_itself() -> None:
    laura, david, son, father = (
        ("Laura", "Moore", HOME),
        ("David", "Moore", HOME),
        ("John", "Moore Jr", HOME),
        ("John", "Moore Sr", HOME),
    )
    pairs = [(laura, laura), (laura, david), (son, son), (son, father), (david, david), (david, laura)]
    assert differences(*pairs) == ["", "household", "", "household", "", "household"]
    assert differences() == []
