"""Which rows cannot be used, and why: they go to quarantine with a reason code and the raw row.

Bad rows are data, so nothing here raises because of what a row holds.
"""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from common.linkage.standardise import MAX_FIELD_CHARACTERS

MAX_RAW_FIELDS = 50
"""Most fields of one row that its raw text shows; how many more there were is said."""

_NUL_SHOWN = r"\x00"
_FIELDS = ("source_key", "first_name", "last_name", "address")


class QuarantineReason(StrEnum):
    """Why a row is not used, by the first reason in this order that holds."""

    MALFORMED_ROW = "MALFORMED_ROW"
    """The row has another number of fields than the header, or quotes or brackets that do not close."""
    NESTED_VALUE = "NESTED_VALUE"
    """A field holds a list or a structure where one text belongs."""
    FIELD_TOO_LONG = "FIELD_TOO_LONG"
    """A field is longer than `MAX_FIELD_CHARACTERS`."""
    NOT_UTF8 = "NOT_UTF8"
    """The row holds bytes that are not UTF-8 text."""
    NUL_BYTE = "NUL_BYTE"
    """A field holds a NUL character, which Postgres cannot store as text."""
    NO_NAME = "NO_NAME"
    """First and last name are both missing after standardising."""
    TOO_COMMON = "TOO_COMMON"
    """More candidates come near than anybody could choose among, as with placeholders; see `batch.mark_too_common`."""
    ERASED = "ERASED"
    """The record is of somebody who was erased and is kept out: nothing of it is kept."""


def raw_json(fields: Mapping[str, object]) -> str:
    r"""A row as it arrived, as JSON text that Postgres can store: no NUL, no broken Unicode, of bounded length.

    Longer texts are cut to `MAX_FIELD_CHARACTERS`, with their length and the SHA-256 of all of it; bytes that
    are no text and NUL show as `\xff` and `\x00`.
    """
    shown: dict[str, object] = {}
    for number, (name, value) in enumerate(fields.items()):
        if number == MAX_RAW_FIELDS:
            shown["more_fields"] = len(fields) - MAX_RAW_FIELDS
            break
        shown[_storable(str(name))[:MAX_FIELD_CHARACTERS]] = None if value is None else _shown(value)
    return json.dumps(shown, ensure_ascii=False)


def _shown(value: object) -> object:
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= MAX_FIELD_CHARACTERS:
        return _storable(text)
    return _shortened(text)


@lru_cache(4)  # a source can repeat a text of many megabytes in every row
def _shortened(text: str) -> dict[str, object]:
    return {
        "starts_with": _storable(text[:MAX_FIELD_CHARACTERS]),
        "characters": len(text),
        "sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
    }


def _storable(text: str) -> str:
    try:
        # Readers mark a byte that is not UTF-8 with a lone surrogate (PEP 383). It becomes that byte again, and is then
        # shown as \xff.
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # There is a lone surrogate of another origin, such as "\ud800" in JSON.
        text = text.encode("utf-8", "backslashreplace").decode()
    return text.replace("\0", _NUL_SHOWN)


def _any_field(standardised: pa.Table, test: str, *arguments: object) -> pa.ChunkedArray:
    """Whether some raw field of a row passes `test`, a function of pyarrow.compute; never null."""
    found = None
    for name in _FIELDS:
        passes = pc.fill_null(getattr(pc, test)(standardised[name], *arguments), False)
        found = passes if found is None else pc.or_(found, passes)
    return found


def quarantine_reasons(standardised: pa.Table) -> pa.ChunkedArray:
    """The `QuarantineReason` of each row (string), null where the row is usable.

    A missing address is usable: names alone can be compared. So is a single name.
    """
    has_nul = _any_field(standardised, "match_substring", "\0")
    lengths = [pc.fill_null(pc.utf8_length(standardised[name]), 0) for name in _FIELDS]
    too_long = pc.greater(pc.max_element_wise(*lengths), MAX_FIELD_CHARACTERS)
    no_name = pc.and_(pc.is_null(standardised["first_name_std"]), pc.is_null(standardised["last_name_std"]))
    reasons = pc.case_when(
        pc.make_struct(too_long, has_nul, no_name),
        *(pa.scalar(r) for r in (QuarantineReason.FIELD_TOO_LONG, QuarantineReason.NUL_BYTE, QuarantineReason.NO_NAME)),
    )
    return pc.coalesce(standardised["problem"], reasons).cast(pa.string())


def add_quarantine_reason(standardised: pa.Table) -> pa.Table:
    """`standardised` with its column `quarantine_reason`."""
    return standardised.append_column("quarantine_reason", quarantine_reasons(standardised))


def usable(records: pa.Table) -> pa.Table:
    """The records of a standardised batch that are not quarantined."""
    return records.filter(pc.is_null(records["quarantine_reason"]))


def quarantined(standardised: pa.Table) -> pa.Table:
    """The rows for the table `quarantine`: record_key, source_key, reason, raw (JSON text or null), all strings."""
    rows = standardised.filter(pc.is_valid(standardised["quarantine_reason"]))
    raws = [
        row["raw"]
        if row["raw"] is not None or row["quarantine_reason"] == QuarantineReason.ERASED
        else raw_json({name: row[name] for name in _FIELDS})
        for row in rows.select([*_FIELDS, "raw", "quarantine_reason"]).to_pylist()
    ]
    return pa.table(
        {
            "record_key": rows["record_key"],
            "source_key": rows["source_key"],
            "reason": rows["quarantine_reason"],
            "raw": pa.array(raws, pa.string()),
        }
    )


def without(standardised: pa.Table, kept_out: Mapping[str, str]) -> pa.Table:
    """A standardised batch in which nothing is left of records of people who are kept out, but that they were there.

    Args:
        standardised: the batch.
        kept_out: by the record key of those records, the key that stands in its place.
    """
    if not kept_out:
        return standardised
    keys = standardised["record_key"].to_pylist()
    gone = pa.array([key in kept_out for key in keys], pa.bool_())
    columns: dict[str, pa.ChunkedArray] = {}
    for field in standardised.schema:
        columns[field.name] = pc.if_else(gone, pa.scalar(None, field.type), standardised[field.name])
    columns["record_key"] = pa.array([kept_out.get(key, key) for key in keys], pa.string())
    reasons = standardised["quarantine_reason"]
    columns["quarantine_reason"] = pc.if_else(gone, pa.scalar(QuarantineReason.ERASED.value), reasons)
    return pa.table(columns, metadata=standardised.schema.metadata)
