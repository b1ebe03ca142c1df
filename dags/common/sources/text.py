"""The text of a file: unpacked, of bounded size and decoded, and its lines."""

import csv
import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from common.errors import SourceError

MAX_LINE_CHARACTERS = 32 * 2**20
"""Longest line of a text format, in characters."""
MAX_LINES_PER_RECORD = 50
"""Most lines that one CSV record may span; a quote that never closes is found after so many."""


class Bounded(io.RawIOBase):
    """A binary file that raises `SourceError` when more than `limit` bytes come out of it."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = self._left = limit

    def readable(self) -> bool:
        """Yes: io asks for it."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`; returns how many bytes came."""
        data = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise SourceError(f"it holds more than {self._limit:,} bytes")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def opened_text(file: IO[bytes], *, packed: bool, max_bytes: int) -> Iterator[io.TextIOWrapper]:
    """The text of a file, unpacked by gzip if it is `packed`; at most `max_bytes` come out of it.

    Raises:
        SourceError: it is not text that can be read, not whole, or too large; also while the block reads it.
    """
    try:
        binary = io.BufferedReader(Bounded(gzip.GzipFile(fileobj=file) if packed else file, max_bytes))  # type: ignore[arg-type]
        if binary.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise SourceError("it is UTF-16 text: save it as UTF-8")
        # Bytes that are no UTF-8 become lone surrogates, so that they cost their row and not the file.
        yield io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise SourceError("it is not a whole gzip file") from None


class Lines(Iterator[str]):
    """Lines of a text; those of the record being read can be given back, to be read again."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self._characters = 0

    def __next__(self) -> str:
        if len(self._record) == MAX_LINES_PER_RECORD or self._characters > MAX_LINE_CHARACTERS:
            raise csv.Error("record without an end")
        line = self._again.popleft() if self._again else self._text.readline(MAX_LINE_CHARACTERS)
        if not line:
            raise StopIteration
        if len(line) == MAX_LINE_CHARACTERS and not line.endswith(("\n", "\r")):
            raise SourceError(f"it has a line longer than {MAX_LINE_CHARACTERS:,} characters")
        self._record.append(line)
        self._characters += len(line)
        return line

    def begin_record(self) -> None:
        """What is read from here on is another record."""
        self._record.clear()
        self._characters = 0

    def give_back_all_but_first(self) -> str:
        """The record's first line; the others will be read again."""
        first, *others = self._record
        self._again.extendleft(reversed(others))
        return first
