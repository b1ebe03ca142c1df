"""The only reader of incoming data: files, object stores, and Faker.

A row that cannot be read is data: it stays in the table with its `problem` and its `raw` text, and goes to
quarantine later. A file that cannot be read is an error: `SourceError`, with one line that says what to do.
"""

import csv
import gzip
import hashlib
import io
import json
import logging
import re
import tempfile
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate, count
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import IO, Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from common.errors import SourceError
from common.linkage.corruption import Record, corrupt
from common.linkage.standardise import MAX_FIELD_CHARACTERS
from common.linkage.validation import QuarantineReason, raw_json
from common.settings import ALLOWED_SOURCE_ROOTS, PROJECT_ROOT

OBJECT_STORES = frozenset({"s3", "gs", "abfs", "abfss", "wasb", "wasbs", "oss"})
"""URL schemes that may be read where an Airflow connection is named, which bounds what can be reached."""

MAX_SOURCE_BYTES = 4 * 2**30
"""Largest source, in bytes, unpacked: what a gzip file holds counts, not its own size."""
MAX_ROWS = 10_000_000
"""Most rows in one source."""
MAX_LINE_CHARACTERS = 32 * 2**20
"""Longest line of a text format, in characters."""
MAX_LINES_PER_RECORD = 50
"""Most lines that one CSV record may span; a quote that never closes is found after so many."""

REQUIRED_COLUMNS = ("first_name", "last_name", "address")
OPTIONAL_COLUMNS = ("source_key",)
_COLUMNS = OPTIONAL_COLUMNS + REQUIRED_COLUMNS
_PAIR_COLUMNS = (*(f"{side}_{name}" for side in ("left", "right") for name in REQUIRED_COLUMNS), "is_match")
_IS_MATCH = {"1": True, "true": True, "0": False, "false": False}

# More rows would outlive the garbage collector's young generations: reading would take half as long again.
_ROWS_PER_BATCH = 1_000
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)

INCOMING = pa.schema(
    [
        pa.field("record_key", pa.string(), nullable=False),
        *((name, pa.string()) for name in (*_COLUMNS, "problem", "raw")),
    ]
)
"""The columns of a table of incoming records. `raw` is the row as JSON text, only where `problem` is set."""

log = logging.getLogger(__name__)


class _Rows:
    """Collects rows as Arrow batches; every row that is given to it comes out exactly once, in order.

    Each gets its `record_key`, derived from `source`, the content of the row, and, among rows that are alike in
    all of it, their number. So it is unique in the table, and the same on every reading, whatever the order.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._batches: list[pa.RecordBatch] = []
        self._values: list[Sequence[object]] = []
        self._arrived: list[tuple[Iterable[str], Iterable[object]]] = []
        self._problems: dict[int, tuple[str, str]] = {}
        self._occurrences: dict[str, int] = {}

    def add(self, values: Sequence[object], names: Iterable[str], fields: Iterable[object]) -> None:
        """Add a row by its values of `_COLUMNS`: texts, null, or lists and dicts, which are a problem.

        Bytes that were no UTF-8 are expected as lone surrogates. All that arrived is `fields` under `names`.
        """
        self._values.append(values)
        self._arrived.append((names, fields))
        if len(self._values) == _ROWS_PER_BATCH:
            self._flush()
            if len(self._batches) * _ROWS_PER_BATCH > MAX_ROWS:
                raise SourceError(f"it has more than {MAX_ROWS:,} rows")

    def add_malformed(self, names: Iterable[str], fields: Iterable[object]) -> None:
        """Add a row of which nobody can say which field is which."""
        self._problems[len(self._values)] = self._problem(QuarantineReason.MALFORMED_ROW, names, fields)
        self.add(_NOTHING, (), ())

    @staticmethod
    def _problem(reason: QuarantineReason, names: Iterable[str], fields: Iterable[object]) -> tuple[str, str]:
        return reason.value, raw_json(dict(zip(names, fields, strict=False)))

    def _flush(self) -> None:
        values, problems = self._values, self._problems
        if not _all_clean(values):
            for number, (row, (names, fields)) in enumerate(zip(values, self._arrived, strict=True)):
                if number not in problems and (reason := _problem(row)):
                    problems[number] = self._problem(reason, names, fields)
                    values[number] = _NOTHING
        rows = []
        for number, row in enumerate(values):
            problem = problems.get(number, (None, None))
            rows.append((self._key(row, problem), *[value or None for value in row], *problem))
        columns = zip(*rows, strict=True) if rows else [()] * len(INCOMING)
        arrays = [pa.array(column, pa.string()) for column in columns]
        self._batches.append(pa.record_batch(arrays, schema=INCOMING))
        self._values, self._arrived, self._problems = [], [], {}

    def _key(self, row: Sequence[Any], problem: tuple[str | None, str | None]) -> str:
        key = _digest(self._source, *row, *problem)
        occurrence = self._occurrences.get(key, 0)
        self._occurrences[key] = occurrence + 1
        return _digest(key, str(occurrence)) if occurrence else key

    def table(self) -> pa.Table:
        """All rows, schema `INCOMING`."""
        self._flush()
        return pa.Table.from_batches(self._batches, schema=INCOMING).combine_chunks()


_NOTHING: Sequence[object] = (None,) * len(_COLUMNS)


def _digest(*texts: str | None) -> str:
    """32 hex characters of the SHA-256 of texts; null and empty are the same, and none holds a NUL."""
    return hashlib.sha256("\0".join([text or "" for text in texts]).encode()).hexdigest()[:32]


def _all_clean(rows: Sequence[Sequence[object]]) -> bool:
    """Whether no row has a `_problem`, found quicker than row by row."""
    for column in zip(*rows, strict=True):
        # Lengths first: one long text that stands in every row is in memory once, until Arrow copies it.
        if max(map(len, filter(None, column)), default=0) > MAX_FIELD_CHARACTERS:
            return False
        try:
            texts = pa.array(column, pa.string())
        except (UnicodeEncodeError, pa.ArrowException):
            return False
        if pc.any(pc.match_substring(texts, "\0")).as_py():
            return False
    return True


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


@lru_cache(1_000)
def _column(name: str, columns: tuple[str, ...] = _COLUMNS) -> str | None:
    """Which of our columns a header means, or null: " First-Name" is first_name."""
    squeezed = re.sub(r"[\s_-]+", "", name).casefold()
    return next((column for column in columns if column.replace("_", "") == squeezed), None)


def _columns_taken(
    header: Sequence[str], columns: tuple[str, ...] = _COLUMNS, required: tuple[str, ...] = REQUIRED_COLUMNS
) -> dict[str, int]:
    """Position of each of our columns in `header`.

    Raises:
        SourceError: a column is missing or there twice. It names no column of the file that is not ours: a
            file without a header begins with somebody's name.
    """
    taken: dict[str, int] = {}
    for position, name in enumerate(header):
        column = _column(name, columns)
        if column in taken:
            raise SourceError(f"its column {column} is there twice")
        if column is not None:
            taken[column] = position
    missing = [column for column in required if column not in taken]
    if missing:
        raise SourceError(
            f"it lacks the columns {', '.join(missing)}: the names of {len(header)} columns were read from its start"
        )
    ignored = [name for position, name in enumerate(header) if position not in taken.values()]
    named = [name for name in ignored if name.strip()]
    if len(set(named)) < len(named):
        raise SourceError("it has two columns of the same name")
    if ignored:
        log.info("Ignored %d other columns: %s", len(ignored), ", ".join(ascii(name[:50]) for name in ignored[:50]))
    return taken


class _Lines(Iterator[str]):
    """Lines of a text; those of the record being read can be given back, to be read again."""

    def __init__(self, text: io.TextIOBase) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self.record: list[str] = []
        self._characters = 0

    def __next__(self) -> str:
        if len(self.record) == MAX_LINES_PER_RECORD or self._characters > MAX_LINE_CHARACTERS:
            raise csv.Error("record without an end")
        line = self._again.popleft() if self._again else self._text.readline(MAX_LINE_CHARACTERS)
        if not line:
            raise StopIteration
        if len(line) == MAX_LINE_CHARACTERS and not line.endswith(("\n", "\r")):
            raise SourceError(f"it has a line longer than {MAX_LINE_CHARACTERS:,} characters")
        self.record.append(line)
        self._characters += len(line)
        return line

    def begin_record(self) -> None:
        self.record.clear()
        self._characters = 0

    def give_back_all_but_first(self) -> str:
        """The record's first line; the others will be read again."""
        first, *others = self.record
        self._again.extendleft(reversed(others))
        return first


def _read_csv(text: io.TextIOBase, rows: _Rows) -> None:
    # The limit is the process's; ours is MAX_FIELD_CHARACTERS, a problem of the row and not of the file.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_CHARACTERS))
    lines = _Lines(text)
    # Strict, since otherwise a quote that never closes swallows the rest of the file without a word.
    reader = csv.reader(lines, strict=True)
    header: list[str] = []
    while not header:
        lines.begin_record()
        try:
            header = next(reader)
        except StopIteration:
            raise SourceError("it is empty: not even a header") from None
        except csv.Error:
            raise SourceError("its header is not CSV") from None
    taken = _columns_taken(header)
    values = itemgetter(*(taken.get(column, len(header)) for column in _COLUMNS))
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


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a key is there twice")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _read_json_lines(text: io.TextIOBase, rows: _Rows) -> None:
    seen: set[str] = set()
    objects = received = 0
    for line in (lines := _Lines(text)):
        lines.begin_record()
        if not line.strip():
            continue
        received += 1
        try:
            # Numbers stay the text they are: 1.50 does not become 1.5, and none has too many digits.
            fields = json.loads(
                line,
                strict=False,
                object_pairs_hook=_object,
                parse_int=str,
                parse_float=str,
                parse_constant=_no_constant,
            )
            if not isinstance(fields, dict):
                raise TypeError("not an object")
            ours = _object([(column, value) for name, value in fields.items() if (column := _column(name))])
        except (ValueError, TypeError, RecursionError):
            rows.add_malformed(["line"], [line])
            continue
        objects += 1
        seen.update(ours)
        rows.add([_json_text(ours.get(column)) for column in _COLUMNS], fields.keys(), fields.values())
    if not received:
        raise SourceError("it is empty")
    if not objects:
        raise SourceError("none of its lines is a JSON object")
    missing = [column for column in REQUIRED_COLUMNS if column not in seen]
    if missing:
        raise SourceError(f"it lacks the columns {', '.join(missing)}: none of its lines has them")


def _json_text(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _read_parquet(file: IO[bytes], rows: _Rows) -> None:
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise SourceError(f"it is not a whole Parquet file ({type(error).__name__})") from None
    header = schema.names
    taken = _columns_taken(header)
    names = [header[position] for position in taken.values()]
    try:
        # As dictionaries, so that a long text that repeats a million times is in memory once.
        flat = [header[position] for position in taken.values() if not pa.types.is_nested(schema.types[position])]
        parquet = pq.ParquetFile(file, read_dictionary=flat)
        if parquet.metadata.num_rows > MAX_ROWS:
            raise SourceError(f"it has more than {MAX_ROWS:,} rows")
        for batch in parquet.iter_batches(batch_size=10_000, columns=names):
            given = {column: _texts(batch.column(header[position])) for column, position in taken.items()}
            for values in zip(*(given.get(column, [None] * len(batch)) for column in _COLUMNS), strict=True):
                rows.add(values, _COLUMNS, values)
    except SourceError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise SourceError(f"it is a broken Parquet file ({type(error).__name__})") from None


def _texts(column: pa.Array) -> list[object]:
    """Values as text, null, or what is nested as it is. Bytes that are no UTF-8 become lone surrogates."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Only what this batch uses: the dictionary is that of a whole row group.
        used = column.indices.unique().drop_null()
        distinct: dict[int | None, object] = dict(
            zip(used.to_pylist(), _texts(column.dictionary.take(used)), strict=True)
        )
        distinct[None] = None
        return [distinct[index] for index in column.indices.to_pylist()]
    if pa.types.is_nested(kind):
        return list(column.to_pylist())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        # Arrow does not check what it reads from Parquet, and would raise for all rows because of one.
        column = column.cast(pa.large_binary())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return [value if value is None else value.decode("utf-8", "surrogateescape") for value in column.to_pylist()]
    try:
        texts = column.cast(pa.string()).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        texts = [v if v is None else str(v) for v in column.to_pylist()]
    # A missing number, as pandas writes it.
    return [None if text == "nan" else text for text in texts] if pa.types.is_floating(kind) else texts


class _Bounded(io.RawIOBase):
    """A binary file that raises `SourceError` when more than `limit` bytes come out of it."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = self._left = limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise SourceError(f"it holds more than {self._limit:,} bytes")
        buffer[: len(data)] = data
        return len(data)


def _read_text(file: IO[bytes], suffixes: Sequence[str], rows: _Rows, max_bytes: int) -> None:
    packed = suffixes[-1] == ".gz"
    try:
        binary = io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=file) if packed else file, max_bytes))  # type: ignore[arg-type]
        if binary.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise SourceError("it is UTF-16 text: save it as UTF-8")
        # Bytes that are no UTF-8 become lone surrogates, so that they cost their row and not the file.
        text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline="")
        _FORMATS[suffixes[0]](text, rows)
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise SourceError("it is not a whole gzip file") from None


_FORMATS = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}


def _suffixes(name: str) -> list[str]:
    """The one or two endings that tell the format.

    Raises:
        SourceError: they tell no format that is known.
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    if suffixes[-1:] == [".gz"] and suffixes[0] in _FORMATS:
        return suffixes
    if suffixes and suffixes[-1] in (*_FORMATS, ".parquet"):
        return suffixes[-1:]
    raise SourceError("its name must end in .csv, .jsonl, .ndjson (also with .gz) or .parquet")


def _located(source: str, allowed_roots: Sequence[str]) -> Path | str:
    """The local path, links resolved, or the URL that `source` means.

    Raises:
        SourceError: it lies outside of all `allowed_roots`.
    """
    if not source.strip() or not source.isprintable():
        raise SourceError("it is not a path or URL")
    local_roots = [root for root in allowed_roots if not _URL.fullmatch(root)]
    if (url := _URL.fullmatch(source)) and url[1].lower() != "file":
        # fsspec chains file systems by "::", and the last one may be the local disk.
        if "::" in source or ".." in source.split("/"):
            raise SourceError("its URL holds '::' or '..'")
        scheme, rest = url[1].lower(), url[2]
        address = f"{scheme}://{rest}"
        roots = [root.rstrip("/") + "/" for root in allowed_roots if root not in local_roots]
        if any(address.startswith(root) for root in roots):
            return address
        if scheme in OBJECT_STORES and re.match(r"[^/@:]+@", rest):
            return address
    else:
        try:
            path = (PROJECT_ROOT / (url[2] if url else source)).resolve()
            folders = [(PROJECT_ROOT / root).resolve() for root in local_roots]
        except (OSError, RuntimeError) as error:
            raise SourceError(f"its path cannot be followed ({type(error).__name__})") from None
        if any(path.is_relative_to(folder) for folder in folders) and not (url and not url[2].startswith("/")):
            return path
    raise SourceError(
        f"it lies outside of the allowed places: {', '.join(map(str, allowed_roots)) or 'none'}, "
        "or an object store with its connection, as in s3://connection@bucket/key"
    )


@contextmanager
def _opened(place: Path | str, max_bytes: int) -> Iterator[IO[bytes]]:
    """The bytes of a source, seekable.

    A remote one is first copied to an unnamed temporary file: then what raises while it is read is the file's
    fault, not the network's, which is worth a retry and raises whatever it raises.
    """
    if isinstance(place, Path):
        try:
            if place.is_dir():
                raise SourceError("it is a directory")
            if place.exists() and not place.is_file():
                raise SourceError("it is not a regular file")
            file = place.open("rb")
        except (OSError, ValueError) as error:
            if isinstance(error, SourceError):
                raise
            reason = "there is no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
            raise SourceError(f"it cannot be opened: {reason}") from None
        with file:
            yield file
    else:
        from airflow.sdk import ObjectStoragePath

        with tempfile.TemporaryFile() as copy:
            try:
                remote = ObjectStoragePath(place).open("rb")  # type: ignore[no-untyped-call]
            except FileNotFoundError:
                raise SourceError("there is no such object") from None
            except (IsADirectoryError, ImportError, ValueError) as error:
                raise SourceError(f"it cannot be opened: {' '.join(str(error).split())[:200]}") from None
            with remote:
                left = max_bytes
                while block := remote.read(2**20):
                    left -= len(block)
                    if left < 0:
                        raise SourceError(f"it holds more than {max_bytes:,} bytes")
                    copy.write(block)
            copy.seek(0)
            yield copy


def _masked(source: str) -> str:
    """A source as messages may show it: one line, without a password."""
    return ascii(re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", source))[1:-1][:300]


def read_records(
    source: str, *, allowed_roots: Sequence[str] = ALLOWED_SOURCE_ROOTS, max_bytes: int = MAX_SOURCE_BYTES
) -> pa.Table:
    """The incoming records of a CSV, Parquet or JSON Lines file: a table of schema `INCOMING`, in file order.

    Args:
        source: path below the project, absolute path, or URL that Airflow's ObjectStoragePath knows
            (`s3://connection@bucket/new.csv`). CSV and JSON Lines may be packed by gzip.
        allowed_roots: folders (relative ones below the project) and beginnings of URLs where it may lie,
            besides object stores whose connection is named.
        max_bytes: largest size, unpacked.

    Needed are the columns first_name, last_name and address, and source_key is taken if there; the case and
    spaces of their names do not matter, other columns are ignored. Empty text is null. Blank lines are no rows.

    Raises:
        SourceError: the source as a whole cannot be used.
        OSError: an object store did not answer as it should; a retry may help.
    """
    try:
        suffixes = _suffixes(source)
        rows = _Rows(source)
        with _opened(_located(source, allowed_roots), max_bytes) as file:
            if suffixes == [".parquet"]:
                _read_parquet(file, rows)
            else:
                _read_text(file, suffixes, rows, max_bytes)
        return rows.table()
    except SourceError as error:
        raise SourceError(f"Cannot read source {_masked(source)}: {error}") from None


PAIRS = pa.schema([*((name, pa.string()) for name in _PAIR_COLUMNS[:-1]), pa.field("is_match", pa.bool_(), False)])
"""The columns of labelled pairs: the raw fields of both records, and whether they are the same person."""


def read_pairs(
    source: str, *, allowed_roots: Sequence[str] = ALLOWED_SOURCE_ROOTS, max_bytes: int = MAX_SOURCE_BYTES
) -> pa.Table:
    """The labelled pairs of a CSV (also with .gz) or Parquet file: a table of schema `PAIRS`, in file order.

    Somebody prepared them, so unlike incoming records one bad row condemns them all. `is_match` is a boolean, or
    0, 1, true or false as number or text. Names of columns and places are treated as in `read_records`.

    Raises:
        SourceError: the source cannot be used, or a row of it.
        OSError: an object store did not answer as it should; a retry may help.
    """
    try:
        suffixes = _suffixes(source)
        if suffixes[0] not in (".csv", ".parquet"):
            raise SourceError("labelled pairs are CSV or Parquet")
        with _opened(_located(source, allowed_roots), max_bytes) as file:
            if suffixes == [".parquet"]:
                columns = _parquet_pairs(file)
            else:
                columns = _csv_pairs(gzip.GzipFile(fileobj=file) if suffixes[1:] else file, max_bytes)  # type: ignore[arg-type]
        verdicts = [_IS_MATCH.get(str(text).strip().lower()) for text in columns.pop("is_match")]
        if not verdicts:
            raise SourceError("it holds no pairs")
        if None in verdicts:
            raise SourceError(f"is_match of its row {verdicts.index(None) + 1:,} is not 0, 1, true or false")
        if any(not isinstance(value, str | None) for column in columns.values() for value in column):
            raise SourceError("it has nested values")
        texts = {name: pa.array([value or None for value in column], pa.string()) for name, column in columns.items()}
        return pa.table({**texts, "is_match": pa.array(verdicts)}).select(PAIRS.names).cast(PAIRS)
    except (UnicodeError, pa.ArrowInvalid):
        raise SourceError(f"Cannot read source {_masked(source)}: it is not UTF-8") from None
    except SourceError as error:
        raise SourceError(f"Cannot read source {_masked(source)}: {error}") from None


def _csv_pairs(file: IO[bytes], max_bytes: int) -> dict[str, list[Any]]:
    text = io.TextIOWrapper(io.BufferedReader(_Bounded(file, max_bytes)), encoding="utf-8-sig", newline="")
    try:
        header, *rows = [fields for fields in csv.reader(text, strict=True) if fields] or [[]]
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise SourceError("it is not a whole gzip file") from None
    except csv.Error:
        raise SourceError("it is not CSV, or a field of it is too long") from None
    taken = _columns_taken(header, _PAIR_COLUMNS, _PAIR_COLUMNS)
    uneven = next((number for number, row in enumerate(rows, 1) if len(row) != len(header)), None)
    if uneven:
        raise SourceError(f"its row {uneven:,} has more or fewer fields than the header")
    return {column: [row[position] for row in rows] for column, position in taken.items()}


def _parquet_pairs(file: IO[bytes]) -> dict[str, list[Any]]:
    try:
        header = pq.read_schema(file).names
        taken = _columns_taken(header, _PAIR_COLUMNS, _PAIR_COLUMNS)
        if pq.read_metadata(file).num_rows > MAX_ROWS:
            raise SourceError(f"it has more than {MAX_ROWS:,} rows")
        table = pq.read_table(file, columns=[header[position] for position in taken.values()])
    except SourceError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise SourceError(f"it is not a whole Parquet file ({type(error).__name__})") from None
    return {
        column: [value for chunk in table[header[position]].chunks for value in _texts(chunk)]
        for column, position in taken.items()
    }


def batch_id(table: pa.Table, source: str) -> str:
    """32 hex characters for the batch `table` of `source`: the same for the same records in any order."""
    return _digest(source, *sorted(table["record_key"].to_pylist()))


def _fake(rows: int, rng: Random) -> list[Record]:
    """People out of Faker's own American tables, names as frequent as there.

    Drawn in bulk, since Faker itself makes about 3,000 people a second. Zip codes do not lie in their states.
    """
    from faker.providers.address.en_US import Provider as Places
    from faker.providers.person.en_US import Provider as Names

    def draw(table: Mapping[str, float] | Sequence[str]) -> list[str]:
        weights = list(accumulate(table.values() if isinstance(table, Mapping) else [1.0] * len(table)))
        return rng.choices(list(table), cum_weights=weights, k=rows)

    firsts, lasts = draw(Names.first_names), draw(Names.last_names)
    named_after = [rng.choice(pair) for pair in zip(draw(Names.first_names), draw(Names.last_names), strict=True)]
    towns = zip(draw(Places.city_prefixes), draw(Names.last_names), draw(Places.city_suffixes), strict=True)
    parts = zip(named_after, draw(Places.street_suffixes), towns, draw(Places.states_abbr), strict=True)
    addresses = []
    for street, street_word, (before, town, after), state in parts:
        number = rng.randrange(1, 10 ** rng.randint(3, 5))
        unit = rng.choice(("", "", f" Apt. {rng.randrange(1, 1000):03}", f" Suite {rng.randrange(1, 1000):03}"))
        city = rng.choice((f"{before} {town}", f"{town}{after}", f"{before} {town}{after}"))
        addresses.append(f"{number} {street} {street_word}{unit}, {city}, {state} {rng.randrange(501, 99951):05}")
    return [Record(*fields) for fields in zip(firsts, lasts, addresses, strict=True)]


def _faked(records: Sequence[Record], seed: int) -> pa.Table:
    rows = _Rows("faker")
    for number, record in enumerate(records):
        rows.add((f"faker-{seed}-{number}", *record), (), ())
    return rows.table()


def fake_people(rows: int, seed: int) -> pa.Table:
    """`rows` invented people, schema `INCOMING`; the same ones for the same seed."""
    return _faked(_fake(rows, Random(f"people {seed}")), seed)  # noqa: S311


def fake_records(rows: int, returning: float, known: pa.Table, seed: int) -> pa.Table:
    """A batch of `rows` invented records, schema `INCOMING`; the same one for the same arguments.

    Args:
        rows: how many.
        returning: which share of them, in [0, 1], are people of `known`, written differently. No one returns
            twice, so it is fewer if `known` is small.
        known: columns person_id, first_name, last_name and address (raw) of people, in any order.
        seed: of the draw.
    """
    if not 0 <= returning <= 1:
        raise ValueError(f"returning is a share in [0, 1], not {returning}")
    rng = Random(f"records {seed}")  # noqa: S311
    known = known.sort_by("person_id")
    chosen = rng.sample(range(len(known)), min(round(rows * returning), len(known)))
    people = known.select(Record._fields).take(pa.array(chosen, pa.int64())).to_pylist()
    records = [corrupt(Record(**person), rng)[0] for person in people]
    records += _fake(rows - len(records), rng)
    rng.shuffle(records)
    return _faked(records, seed)
