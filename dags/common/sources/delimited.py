"""Incoming rows of a text file with a delimiter: CSV and its kin."""

import csv
import io
import re
from collections.abc import Sequence
from itertools import count

from common.errors import SourceError
from common.sources.columns import Mapped, columns_taken, picker, positions
from common.sources.rows import Rows
from common.sources.text import MAX_LINE_CHARACTERS, NOT_DECODED, Lines

DELIMITERS = (",", ";", "\t", "|")


def read_delimited(
    text: io.TextIOBase, rows: Rows, mapped: Mapped = (), delimiters: Sequence[str] = DELIMITERS
) -> None:
    """Add all rows of a file to `rows`; its header tells its delimiter.

    Raises:
        SourceError: it has no header that could be read, or a column of ours is not in it.
    """
    # The limit holds for the whole process. Ours is MAX_FIELD_CHARACTERS, a problem of the row and not of the file.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_CHARACTERS))
    lines = Lines(text)
    delimiter, header = _header(lines, mapped, delimiters)
    taken = columns_taken(header, mapped)
    values = picker(taken, len(header))
    # Strict, since otherwise a quote that never closes swallows the rest of the file without a word.
    reader = csv.reader(lines, strict=True, delimiter=delimiter)
    while True:
        lines.begin_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            # One stray quote costs the row it stands in, not those that follow.
            rows.add_malformed(["line"], [lines.give_back_all_but_first()])
            continue
        if not fields:
            continue  # a blank line
        if len(fields) != len(header):
            rows.add_malformed(map(str, count()), fields)
            continue
        rows.add(values([*fields, None]), header, fields)  # the null is what a column that is not there holds


def _header(lines: Lines, mapped: Mapped, delimiters: Sequence[str]) -> tuple[str, list[str]]:
    """The delimiter of a file, and its header: the one which more of our columns stand in, or else more columns."""
    first = ""
    while not first.strip():
        lines.begin_record()
        if (line := next(lines, None)) is None:
            raise SourceError("it is empty: not even a header")
        first = line
    if any("\udc00" <= character <= "\udcff" for character in first):
        raise SourceError(NOT_DECODED)
    if said := re.fullmatch(r"sep=(.)\s*", first):  # Excel writes and obeys such a line
        lines.begin_record()
        return said[1], _read_header(lines, said[1])
    headers = {}
    for delimiter in delimiters:
        lines.give_back()
        try:
            headers[delimiter] = _read_header(lines, delimiter)
        except SourceError:
            continue
    chosen = max(
        headers, key=lambda delimiter: (_ours(headers[delimiter], mapped), len(headers[delimiter])), default=""
    )
    if len(headers) < len(delimiters) and not (chosen and _ours(headers[chosen], mapped)):
        raise SourceError("its header is not CSV")
    lines.give_back()
    return chosen, _read_header(lines, chosen)


def _read_header(lines: Lines, delimiter: str) -> list[str]:
    try:
        return next(csv.reader(lines, strict=True, delimiter=delimiter))
    except StopIteration:
        raise SourceError("it is empty: not even a header") from None
    except csv.Error:
        raise SourceError("its header is not CSV") from None


def _ours(header: list[str], mapped: Mapped) -> int:
    try:
        return len(positions(tuple(header), mapped))
    except SourceError:
        return 0
