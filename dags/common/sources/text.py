"""The text of a file: unpacked, of bounded size and decoded, and its lines."""

import codecs
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
MAX_BLANK_LINES = 1_000_000
"""Most blank lines in one file: a small gzip file can hold a billion."""

NOT_DECODED = (
    "it is not in the encoding that was tried, UTF-8 unless param encoding says another: name the right one there "
    "(a CSV file from Excel is mostly cp1252)"
)

# Characters that may be read again, at first and for each one read, because quotes do not close.
_FREE_AGAIN, _AGAIN_PER_CHARACTER = 2**20, 2

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is the beginning of this one
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NO_TEXT = {"idna", "punycode", "undefined", "raw-unicode-escape", "unicode-escape"}


def _mark_broken(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are no text become lone surrogates, so that they cost their row and not the file.

    Python's own `surrogateescape` does the same, but not for what is broken in UTF-16.
    """
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("common.sources.text.broken", _mark_broken)


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
def opened_text(file: IO[bytes], *, packed: bool, encoding: str | None, max_bytes: int) -> Iterator[io.TextIOWrapper]:
    """The text of a file.

    Args:
        file: its bytes.
        packed: by gzip.
        encoding: of the text; None for UTF-8, or UTF-16 or UTF-32 where the file begins like that.
        max_bytes: most bytes that may come out of it, unpacked.

    Raises:
        SourceError: the encoding is unknown, or the file is not whole or too large; also while the block reads it.
    """
    try:
        binary = io.BufferedReader(Bounded(gzip.GzipFile(fileobj=file) if packed else file, max_bytes))  # type: ignore[arg-type]
        codec = _checked(encoding) if encoding else _told_by_its_start(binary.peek(1_000)[:1_000])
        yield io.TextIOWrapper(binary, encoding=codec, errors="common.sources.text.broken", newline="")
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise SourceError("it is not a whole gzip file") from None


def _checked(encoding: str) -> str:
    try:
        codec = codecs.lookup(encoding.strip())
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.name.replace("_", "-") in _NO_TEXT or not getattr(codec, "_is_text_encoding", True):
        raise SourceError(f"param encoding is {ascii(encoding)[:50]}: no encoding such as utf-8, cp1252 or utf-16")
    return "utf-8-sig" if codec.name == "utf-8" else codec.name


def _told_by_its_start(start: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if start.startswith(mark):
            return encoding
    for first, encoding in ((0, "utf-16-be"), (1, "utf-16-le")):
        # Without a mark: every other byte of text in Latin letters is zero.
        zeros = start[first::2].count(0)
        if zeros > len(start) / 4 and zeros > 2 * start[1 - first :: 2].count(0):
            return encoding
    return "utf-8-sig"


class Lines(Iterator[str]):
    """Lines of a text; those of the record being read can be given back, to be read again."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self._record: list[str] = []
        self._characters = 0
        self._blank = 0
        self._allowed_again = _FREE_AGAIN

    def __next__(self) -> str:
        if len(self._record) == self._most_lines() or self._characters > MAX_LINE_CHARACTERS:
            raise csv.Error("record without an end")
        line = self._again.popleft() if self._again else self._fresh()
        self._record.append(line)
        self._characters += len(line)
        return line

    def _most_lines(self) -> int:
        # Where many quotes do not close, each record is given up at the end of its line: the work stays in proportion
        # to the size of the file.
        return MAX_LINES_PER_RECORD if self._allowed_again > 0 else 1

    def _fresh(self) -> str:
        line = self._text.readline(MAX_LINE_CHARACTERS)
        if not line:
            raise StopIteration
        if len(line) == MAX_LINE_CHARACTERS and not line.endswith(("\n", "\r")):
            raise SourceError(f"it has a line longer than {MAX_LINE_CHARACTERS:,} characters")
        if line.isspace():
            self._blank += 1
            if self._blank > MAX_BLANK_LINES:
                raise SourceError(f"it has more than {MAX_BLANK_LINES:,} blank lines")
        self._allowed_again += _AGAIN_PER_CHARACTER * len(line)
        return line

    def begin_record(self) -> None:
        """What is read from here on is another record."""
        self._record.clear()
        self._characters = 0

    def give_back(self) -> None:
        """The whole record will be read again."""
        self._again.extendleft(reversed(self._record))
        self.begin_record()

    def give_back_all_but_first(self) -> str:
        """The record's first line; the others will be read again."""
        first, *others = self._record
        self._again.extendleft(reversed(others))
        self._allowed_again -= self._characters - len(first)
        return first
