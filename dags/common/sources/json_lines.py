"""Incoming rows of a JSON Lines file."""

import io
import json
from collections.abc import Mapping
from typing import NoReturn

from common.errors import SourceError
from common.sources.columns import COLUMNS, Mapped, Taken, check_complete, joined, positions
from common.sources.rows import Rows
from common.sources.text import Lines

_MAX_NAMES = 1_000
"""Most names of keys that are remembered: for an error, and for where our columns stand."""
_MAX_NAME_CHARACTERS = 100


def read_json_lines(text: io.TextIOBase, rows: Rows, mapped: Mapped = ()) -> None:
    """Add all rows of a JSON Lines file to `rows`.

    Raises:
        SourceError: none of its lines is an object, or none has one of our columns.
    """
    seen: set[str] = set()
    names: dict[str, None] = {}
    objects = received = 0
    for line in (lines := Lines(text)):
        lines.begin_record()
        if not line.strip():
            continue
        received += 1
        try:
            fields = _fields(line)
            taken = _taken(fields, mapped)
        except (ValueError, TypeError, RecursionError, SourceError):
            rows.add_malformed(["line"], [line])
            continue
        objects += 1
        seen.update(taken)
        if len(names) < _MAX_NAMES:
            names.update(dict.fromkeys(name[:_MAX_NAME_CHARACTERS] for name in list(fields)[:_MAX_NAMES]))
        values = [_json_text(value) for value in fields.values()]
        rows.add(
            [joined([values[place] for place in taken[column]]) if column in taken else None for column in COLUMNS],
            fields.keys(),
            fields.values(),
        )
    if not received:
        raise SourceError("it is empty")
    if not objects:
        raise SourceError("none of its lines is a JSON object")
    check_complete(names, seen)


def _taken(fields: Mapping[str, object], mapped: Mapped) -> Taken:
    """Where our columns stand in an object; the same few sets of keys are met again and again."""
    header = tuple(name[:_MAX_NAME_CHARACTERS] for name in fields)
    find = positions if len(header) <= _MAX_NAMES else positions.__wrapped__
    return find(header, mapped, partial=True)


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
