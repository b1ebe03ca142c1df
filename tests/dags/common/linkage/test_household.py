"""Households: relatives at one address are two people, whatever the score says."""

import numpy as np
import pyarrow as pa
import pytest
from common.linkage.comparison import comparison_vectors
from common.linkage.household import first_names_differ, households
from common.linkage.model import COMPARISON_VECTOR, STARTING_MODEL
from common.linkage.standardise import standardise

HOME = "8 Cliff Road, Bend, OR 97701"
Raw = tuple[str | None, str | None, str | None]


def table(records: list[Raw]) -> pa.Table:
    names = ("first_name", "last_name", "address")
    return standardise(pa.table({n: pa.array([r[i] for r in records], pa.string()) for i, n in enumerate(names)}))


def together(*pairs: tuple[Raw, Raw]) -> list[bool]:
    left, right = (table([pair[side] for pair in pairs]) for side in (0, 1))
    rows = np.arange(len(pairs))
    vectors = comparison_vectors(left, right, rows, rows, STARTING_MODEL)
    arrays = {name: vectors[name].to_numpy() for name in COMPARISON_VECTOR}
    return list(map(bool, households(left, right, rows, rows, arrays)))


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
    ],
)
def test_first_names_differ(one: str, other: str, expected: bool) -> None:
    assert first_names_differ(one, other) is expected
    assert first_names_differ(other, one) is expected


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (("Laura", "Moore", HOME), ("David", "Moore", HOME), True),
        (("Laura", "Moor", HOME), ("David", "Moore", "8 Cliff Rd, Bend, OR 97701"), True),
        (("Laura", "Moore", HOME), ("Laura", "Moore", HOME), False),
        (("Laura", "Moore", HOME), ("David", "Baker", HOME), False),
        (("Laura", "Moore", HOME), ("David", "Moore", "500 Dock Street, Erie, PA 16501"), False),
        (("Moore", "Laura", HOME), ("Laura", "Moore", HOME), False),
        ((None, "Moore", HOME), ("David", "Moore", HOME), False),
        (("Laura", None, HOME), ("David", "Moore", HOME), False),
        (("Laura", "Moore", None), ("David", "Moore", HOME), False),
        (("John", "Moore Jr.", HOME), ("John", "Moore Sr.", HOME), True),
        (("John", "Moore III", "1 Elm Road"), ("John", "Moore II", HOME), True),
        (("John Jr.", "Moore", HOME), ("John", "Moore, Sr", HOME), True),
        (("John", "Moore Jr", HOME), ("John", "Moore, Jr.", HOME), False),
        (("John", "Moore Jr", HOME), ("John", "Moore", HOME), False),
    ],
)
def test_households(left: Raw, right: Raw, expected: bool) -> None:
    assert together((left, right)) == [expected]
    assert together((right, left)) == [expected], "whoever came first"


def test_each_pair_is_told_by_itself() -> None:
    laura, david, son, father = (
        ("Laura", "Moore", HOME),
        ("David", "Moore", HOME),
        ("John", "Moore Jr", HOME),
        ("John", "Moore Sr", HOME),
    )
    pairs = [(laura, laura), (laura, david), (son, son), (son, father), (david, david), (david, laura)]
    assert together(*pairs) == [False, True, False, True, False, True]
    assert together() == []
