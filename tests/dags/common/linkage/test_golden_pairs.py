"""Golden pairs: what the shipped model makes of one idea each, from raw text to the decision, among distractors."""

from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from common import sources
from common.linkage.batch import batch_pairs
from common.linkage.decision import decide
from common.linkage.model import STARTING_MODEL
from common.linkage.standardise import standardise

FIELDS = ("first_name", "last_name", "address")
CROWD = sources.fake_people(200, 5).select(FIELDS)


class Golden(NamedTuple):
    """One line of the file; the first of the people is the one it is about."""

    idea: str
    expected: str
    incoming: tuple[str | None, ...]
    people: list[tuple[str | None, ...]]
    not_yet: bool


def golden_pairs() -> list[Golden]:
    lines = Path(__file__).with_name("golden_pairs.txt").read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines:
        if line and not line.startswith("#"):
            idea, expected, *records = map(str.strip, line.split("|"))
            incoming, *people = [tuple(field.strip() or None for field in record.split(";")) for record in records]
            found.append(
                Golden(idea, expected.removeprefix("not yet "), incoming, people, expected.startswith("not yet "))
            )
    return found


GOLDEN = golden_pairs()


def standardised(records: list[tuple[str | None, ...]], crowd: pa.Table = CROWD) -> pa.Table:
    columns = {name: pa.array([record[n] for record in records], pa.string()) for n, name in enumerate(FIELDS)}
    return standardise(pa.concat_tables([pa.table(columns), crowd]))


def decided(golden: Golden) -> dict[str, Any]:
    """The decision on the incoming record, person ids counting from 1 as in the file, those of the crowd after."""
    one = standardised([golden.incoming], CROWD.slice(0, 0)).append_column("record_key", pa.array(["a"]))
    batch = one.append_column("quarantine_reason", pa.nulls(1, pa.string()))
    people = standardised(golden.people)
    people = people.append_column("person_id", pa.array(range(1, len(people) + 1), pa.int64()))
    known = pa.table({"record_key": pa.array([], pa.string()), "person_id": pa.array([], pa.int64())})
    (row,) = decide(
        batch, batch_pairs(batch, people, STARTING_MODEL, with_batch=True), known, STARTING_MODEL
    ).to_pylist()
    return dict(row)


def outcome(row: dict[str, Any]) -> tuple[str, int | None]:
    return "HOUSEHOLD" if row["reason"] == "HOUSEHOLD" else row["decision"], row["person_id"]


@pytest.mark.parametrize(
    "golden",
    [
        pytest.param(
            golden,
            id=golden.idea,
            marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason="not yet")] if golden.not_yet else [],
        )
        for golden in GOLDEN
    ],
)
def test_golden_pair(golden: Golden) -> None:
    expected = (golden.expected, None if golden.expected == "NEW" else 1)
    row = decided(golden)
    found = outcome(row)
    if golden.expected == "REVIEW" and found[0] == "HOUSEHOLD":
        found = ("REVIEW", found[1])  # for whatever reason
    assert found == expected, row


def test_the_file_has_each_idea_once_and_every_outcome() -> None:
    assert len({golden.idea for golden in GOLDEN}) == len(GOLDEN)
    assert {golden.expected for golden in GOLDEN} == {"DUPLICATE", "REVIEW", "HOUSEHOLD", "NEW"}
    assert all(len(record) == len(FIELDS) for golden in GOLDEN for record in (golden.incoming, *golden.people))
