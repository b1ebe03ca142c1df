"""A file of labelled pairs, which somebody has prepared for the training."""

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import SourceError
from common.settings import ALLOWED_SOURCE_ROOTS
from common.sources import rows as incoming
from common.sources.columns import REQUIRED_COLUMNS, squeezed, told
from common.sources.parquet import BROKEN, as_texts
from common.sources.places import MAX_SOURCE_BYTES, opened_source, shown
from common.sources.records import known_suffixes
from common.sources.text import Bounded

_COLUMNS = (*(f"{side}_{name}" for side in ("left", "right") for name in REQUIRED_COLUMNS), "is_match")
_IS_MATCH = {"1": True, "true": True, "0": False, "false": False}

PAIRS = pa.schema([*((name, pa.string()) for name in _COLUMNS[:-1]), pa.field("is_match", pa.bool_(), False)])
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
        suffixes = known_suffixes(source)
        if suffixes[0] not in (".csv", ".parquet"):
            raise SourceError("labelled pairs are CSV or Parquet")
        with opened_source(source, allowed_roots, max_bytes) as file:
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
        raise SourceError(f"Cannot read source {shown(source)}: it is not UTF-8") from None
    except SourceError as error:
        raise SourceError(f"Cannot read source {shown(source)}: {error}") from None


def _taken(header: Sequence[str]) -> dict[str, int]:
    """Position of each of `_COLUMNS` in a header."""
    names = [squeezed(name) for name in header]
    doubled = [column for column in _COLUMNS if names.count(squeezed(column)) > 1]
    missing = [column for column in _COLUMNS if squeezed(column) not in names]
    if doubled:
        raise SourceError(f"its column {doubled[0]} is there twice")
    if missing:
        raise SourceError(f"it lacks the columns {', '.join(missing)}: {told(header)}")
    return {column: names.index(squeezed(column)) for column in _COLUMNS}


def _csv_pairs(file: IO[bytes], max_bytes: int) -> dict[str, list[Any]]:
    text = io.TextIOWrapper(io.BufferedReader(Bounded(file, max_bytes)), encoding="utf-8-sig", newline="")
    try:
        header, *rows = [fields for fields in csv.reader(text, strict=True) if fields] or [[]]
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise SourceError("it is not a whole gzip file") from None
    except csv.Error:
        raise SourceError("it is not CSV, or a field of it is too long") from None
    taken = _taken(header)
    uneven = next((number for number, row in enumerate(rows, 1) if len(row) != len(header)), None)
    if uneven:
        raise SourceError(f"its row {uneven:,} has more or fewer fields than the header")
    return {column: [row[position] for row in rows] for column, position in taken.items()}


def _parquet_pairs(file: IO[bytes]) -> dict[str, list[Any]]:
    try:
        header = pq.read_schema(file).names
        taken = _taken(header)
        if pq.read_metadata(file).num_rows > incoming.MAX_ROWS:
            raise SourceError(f"it has more than {incoming.MAX_ROWS:,} rows")
        table = pq.read_table(file, columns=[header[position] for position in taken.values()])
    except SourceError:
        raise
    except BROKEN as error:
        raise SourceError(f"it is not a whole Parquet file ({type(error).__name__})") from None
    return {
        column: [value for chunk in table[header[position]].chunks for value in as_texts(chunk)]
        for column, position in taken.items()
    }
