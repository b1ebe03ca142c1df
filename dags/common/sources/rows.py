"""Incoming rows as one Arrow table: every row once, in order, each with a key that follows from its content."""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from common.errors import SourceError
from common.linkage.standardise import MAX_FIELD_CHARACTERS
from common.linkage.validation import QuarantineReason, raw_json
from common.sources.columns import COLUMNS

MAX_ROWS = 10_000_000
"""Most rows in one source."""

# More rows at a time would outlive the young generations of Python's garbage collector, and reading would take half
# as long again.
_ROWS_PER_BATCH = 1_000

_MIN_UNDECODED = 3  # rows: fewer may be stray bytes in a file whose encoding is right

INCOMING = pa.schema(
    [
        pa.field("record_key", pa.string(), nullable=False),
        *((name, pa.string()) for name in (*COLUMNS, "problem", "raw")),
    ]
)
"""The columns of a table of incoming records. `raw` is the row as JSON text, only where `problem` is set."""

_NOTHING: Sequence[object] = (None,) * len(COLUMNS)


class Rows:
    """Collects rows as Arrow batches; every row that is given to it comes out exactly once, in order.

    Each row gets its `record_key`, derived from the content of the row and, among rows that are alike in all of it,
    from their number. So the key is unique in the table, and it is the same on every reading, whatever the order of
    the rows and whatever the name of the file.

    Attributes:
        received: how many rows were added.
    """

    def __init__(self) -> None:
        self._batches: list[pa.RecordBatch] = []
        self._values: list[Sequence[object]] = []
        self._arrived: list[tuple[Iterable[str], Iterable[object]]] = []
        self._problems: dict[int, tuple[str, str]] = {}
        self._occurrences: dict[str, int] = {}
        self._undecoded = self._decoded = self.received = 0

    def add(self, values: Sequence[object], names: Iterable[str], fields: Iterable[object]) -> None:
        """Add a row.

        Args:
            values: what it has in `COLUMNS`: texts, null, or lists and dicts, which are a problem. Bytes that are no
                UTF-8 are expected as lone surrogates.
            names: the names of all fields that arrived.
            fields: all fields that arrived.
        """
        self.received += 1
        self._values.append(values)
        self._arrived.append((names, fields))
        if len(self._values) == _ROWS_PER_BATCH:
            self._flush()
            if self.received > MAX_ROWS:
                raise SourceError(f"it has more than {MAX_ROWS:,} rows")

    def add_malformed(self, names: Iterable[str], fields: Iterable[object]) -> None:
        """Add a row of which nobody can say which field is which."""
        self._problems[len(self._values)] = _told(QuarantineReason.MALFORMED_ROW, names, fields)
        self.add(_NOTHING, (), ())

    def _flush(self) -> None:
        values, problems = self._values, self._problems
        if not _all_clean(values):
            for number, (row, (names, fields)) in enumerate(zip(values, self._arrived, strict=True)):
                if number not in problems and (reason := _problem(row)):
                    problems[number] = _told(reason, names, fields)
                    values[number] = _NOTHING
                    self._undecoded += reason is QuarantineReason.NOT_UTF8
        rows = []
        for number, row in enumerate(values):
            problem = problems.get(number, (None, None))
            rows.append((self._key(row, problem), *[value or None for value in row], *problem))
        columns = zip(*rows, strict=True) if rows else [()] * len(INCOMING)
        arrays = [pa.array(column, pa.string()) for column in columns]
        self._decoded += _not_ascii(arrays[1 : 1 + len(COLUMNS)])
        self._batches.append(pa.record_batch(arrays, schema=INCOMING))
        self._values, self._arrived, self._problems = [], [], {}

    def _key(self, row: Sequence[Any], problem: tuple[str | None, str | None]) -> str:
        key = _digest(*row, *problem)
        occurrence = self._occurrences.get(key, 0)
        self._occurrences[key] = occurrence + 1
        return _digest(key, str(occurrence)) if occurrence else key

    def begin_file(self) -> None:
        """What is added from here on comes from another file."""
        self._flush()
        self._undecoded = self._decoded = 0

    def mostly_undecoded(self) -> bool:
        """Whether another encoding would fit better: of the rows with other than ASCII text, most cannot be read."""
        self._flush()
        return self._undecoded >= _MIN_UNDECODED and self._undecoded > self._decoded

    def table(self) -> pa.Table:
        """All rows, schema `INCOMING`."""
        self._flush()
        return pa.Table.from_batches(self._batches, schema=INCOMING).combine_chunks()


def batch_id(table: pa.Table, system: str) -> str:
    """32 hex characters for a batch: the same for the same records of a system, in any order, from any file."""
    return _digest(system, *sorted(table["record_key"].to_pylist()))


def _digest(*texts: str | None) -> str:
    """32 hex characters of the SHA-256 of texts; null and empty are the same, and none holds a NUL."""
    return hashlib.sha256("\0".join([text or "" for text in texts]).encode()).hexdigest()[:32]


def _told(reason: QuarantineReason, names: Iterable[str], fields: Iterable[object]) -> tuple[str, str]:
    return reason.value, raw_json(dict(zip(names, fields, strict=False)))


def _all_clean(rows: Sequence[Sequence[object]]) -> bool:
    """Whether no row has a `_problem`, found quicker than row by row."""
    for column in zip(*rows, strict=True):
        # Lengths come first: a long text that stands in every row is in memory once, but Arrow would copy it for each.
        if max(map(len, filter(None, column)), default=0) > MAX_FIELD_CHARACTERS:
            return False
        try:
            texts = pa.array(column, pa.string())
        except (UnicodeEncodeError, pa.ArrowException):
            return False
        if pc.any(pc.match_substring(texts, "\0")).as_py():
            return False
    return True


def _not_ascii(columns: Sequence[pa.Array]) -> int:
    """How many rows hold text that is not all ASCII."""
    found = [pc.fill_null(pc.invert(pc.string_is_ascii(column)), False) for column in columns]
    return int(pc.sum(functools.reduce(pc.or_, found)).as_py() or 0)


def _problem(row: Sequence[object]) -> QuarantineReason | None:
    texts = [value for value in row if isinstance(value, str)]
    if len(texts) + row.count(None) < len(row):
        return QuarantineReason.NESTED_VALUE
    if any(len(text) > MAX_FIELD_CHARACTERS for text in texts):
        return QuarantineReason.FIELD_TOO_LONG
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return QuarantineReason.NOT_UTF8
    if any("\0" in text for text in texts):
        return QuarantineReason.NUL_BYTE
    return None
