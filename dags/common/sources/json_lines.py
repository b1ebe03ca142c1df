"""Incoming rows of a JSON Lines file."""

import io
import json
from typing import NoReturn

from common.errors import SourceError
from common.sources.columns import COLUMNS, REQUIRED_COLUMNS, column_of
from common.sources.rows import Rows
from common.sources.text import Lines


def read_json_lines(text: io.TextIOBase, rows: Rows) -> None:
    """Add all rows of a JSON Lines file to `rows`.

    Raises:
        SourceError: none of its lines is an object, or none has one of our columns.
    """
    seen: set[str] = set()
    objects = received = 0
    for line in (lines := Lines(text)):
        lines.begin_record()
        if not line.strip():
            continue
        received += 1
        try:
            fields = _fields(line)
            ours = _object([(column, value) for name, value in fields.items() if (column := column_of(name))])
        except (ValueError, TypeError, RecursionError):
            rows.add_malformed(["line"], [line])
            continue
        objects += 1
        seen.update(ours)
        rows.add([_json_text(ours.get(column)) for column in COLUMNS], fields.keys(), fields.values())
    if not received:
        raise SourceError("it is empty")
    if not objects:
        raise SourceError("none of its lines is a JSON object")
    missing = [column for column in REQUIRED_COLUMNS if column not in seen]
    if missing:
        raise SourceError(f"it lacks the columns {', '.join(missing)}: none of its lines has them")


def _fields(line: str) -> dict[str, object]:
    """The object in a line; numbers stay the text they are: 1.50 does not become 1.5, and none has too many digits."""
    fields = json.loads(
        line, strict=False, object_pairs_hook=_object, parse_int=str, parse_float=str, parse_constant=_no_constant
    )
    if not isinstance(fields, dict):
        raise TypeError("not an object")
    return fields


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is there twice")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _json_text(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
