import hashlib
import json

import pyarrow as pa
import pytest
from common.linkage.standardise import MAX_FIELD_CHARACTERS, standardise
from common.linkage.validation import (
    MAX_RAW_FIELDS,
    QuarantineReason,
    add_quarantine_reason,
    quarantine_reasons,
    quarantined,
    raw_json,
)
from hypothesis import given
from hypothesis import strategies as st

FIELDS = ("record_key", "source_key", "first_name", "last_name", "address", "problem", "raw")


def _standardised(**row: str | None) -> pa.Table:
    return standardise(
        pa.table(
            {name: pa.array([row.get(name, "k" if name == "record_key" else None)], pa.string()) for name in FIELDS}
        )
    )


CASES = [
    ("complete", {"first_name": "Ann", "last_name": "Lee", "address": "1 Elm Road"}, None),
    ("names without an address", {"first_name": "Ann", "last_name": "Lee"}, None),
    ("first name only", {"first_name": "Ann", "address": "1 Elm Road"}, None),
    ("last name only", {"last_name": "Lee"}, None),
    ("longest name", {"last_name": "x" * MAX_FIELD_CHARACTERS}, None),
    ("nothing", {}, "NO_NAME"),
    ("address only", {"address": "1 Elm Road"}, "NO_NAME"),
    ("names of punctuation", {"first_name": "-", "last_name": "?", "address": "1 Elm Road"}, "NO_NAME"),
    ("NUL in a name", {"first_name": "A\0nn"}, "NUL_BYTE"),
    ("NUL in the source key", {"first_name": "Ann", "source_key": "\0"}, "NUL_BYTE"),
    ("long name", {"first_name": "Ann", "last_name": "x" * (MAX_FIELD_CHARACTERS + 1)}, "FIELD_TOO_LONG"),
    ("long address", {"first_name": "Ann", "address": "9" * 1_000_000}, "FIELD_TOO_LONG"),
    ("what the reader found comes first", {"problem": "NOT_UTF8", "raw": "{}"}, "NOT_UTF8"),
]


@pytest.mark.parametrize(("row", "reason"), [pytest.param(row, reason, id=idea) for idea, row, reason in CASES])
def test_reason(row: dict[str, str], reason: str | None) -> None:
    assert quarantine_reasons(_standardised(**row)).to_pylist() == [reason]


def test_reason_of_no_rows_is_a_string_column() -> None:
    empty = add_quarantine_reason(_standardised().slice(0, 0))
    assert empty.schema.field("quarantine_reason").type == pa.string()
    assert quarantined(empty).num_rows == 0


def test_every_reason_is_explained_in_the_source() -> None:
    import inspect

    source = inspect.getsource(QuarantineReason)
    for reason in QuarantineReason:
        assert f'{reason.name} = "{reason.value}"\n    """' in source


def test_quarantined_rows_carry_what_arrived() -> None:
    rows = [
        _standardised(record_key="a", first_name="Ann"),
        _standardised(record_key="b", source_key="7", address="1 Elm Road"),
        _standardised(record_key="c", problem="MALFORMED_ROW", raw='{"line": "x"}'),
    ]
    found = quarantined(add_quarantine_reason(pa.concat_tables(rows))).to_pylist()
    assert [(row["record_key"], row["source_key"], row["reason"]) for row in found] == [
        ("b", "7", "NO_NAME"),
        ("c", None, "MALFORMED_ROW"),
    ]
    assert json.loads(found[0]["raw"]) == {
        "source_key": "7",
        "first_name": None,
        "last_name": None,
        "address": "1 Elm Road",
    }
    assert found[1]["raw"] == '{"line": "x"}'


def test_raw_text_of_a_long_field_says_its_length_and_hash() -> None:
    long = "\u00e9" * 1_000_000
    shown = json.loads(raw_json({"address": long}))["address"]
    assert shown["characters"] == 1_000_000
    assert shown["sha256"] == hashlib.sha256(long.encode()).hexdigest()
    assert shown["starts_with"] == long[:MAX_FIELD_CHARACTERS]


def test_raw_text_shows_bytes_that_are_no_text() -> None:
    latin1 = b"Jos\xe9\0".decode("utf-8", "surrogateescape")
    assert json.loads(raw_json({"first_name": latin1, "last_name": "\ud800"})) == {
        "first_name": r"Jos\xe9\x00",
        "last_name": r"\ud800",
    }


def test_raw_text_of_a_wide_row_is_bounded() -> None:
    shown = json.loads(raw_json({f"column {n}": "x" for n in range(10_000)}))
    assert len(shown) == MAX_RAW_FIELDS + 1
    assert shown["more_fields"] == 10_000 - MAX_RAW_FIELDS


@given(st.dictionaries(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=()))))
def test_raw_text_can_always_be_stored(fields: dict[str, str]) -> None:
    raw = raw_json(fields)
    assert "\0" not in raw
    assert "\\u0000" not in raw.replace("\\\\", "")  # what Postgres's jsonb refuses
    raw.encode()
    json.loads(raw)
