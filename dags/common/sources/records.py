"""A file of incoming records, from its place to its table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from common.errors import SourceError
from common.settings import ALLOWED_SOURCE_ROOTS
from common.sources.columns import Mapped, as_mapped
from common.sources.delimited import read_delimited
from common.sources.json_lines import read_json_lines
from common.sources.parquet import read_parquet
from common.sources.places import MAX_SOURCE_BYTES, opened_source, shown
from common.sources.rows import Rows
from common.sources.text import NOT_DECODED, opened_text
from common.sources.workbook import read_workbook

_TEXT_FORMATS: dict[str, Callable[[Any, Rows, Mapped], None]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_delimited),
    **dict.fromkeys((".jsonl", ".ndjson"), read_json_lines),
}
_OTHER_FORMATS = (".parquet", ".xlsx")


def read_records(
    source: str,
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
    allowed_roots: Sequence[str] = ALLOWED_SOURCE_ROOTS,
    max_bytes: int = MAX_SOURCE_BYTES,
) -> pa.Table:
    """The incoming records of a file: a table of schema `INCOMING`, in file order.

    It is CSV (with commas, semicolons, tabs or bars), JSON Lines, Parquet or an Excel workbook, of which the first
    sheet counts. Needed are the columns first_name, last_name and address, or synonyms of them (`columns.SYNONYMS`);
    source_key is taken if there, other columns are ignored. Empty text is null. Blank lines are no rows.

    Args:
        source: path below the project, absolute path, or URL that Airflow's ObjectStoragePath knows
            (`s3://connection@bucket/new.csv`). CSV and JSON Lines may be packed by gzip.
        columns: which columns of the file are ours, where their names do not tell; several are joined by `+`:
            {"address": "street + zip + city"}.
        encoding: of CSV and JSON Lines; None for UTF-8, or UTF-16 where the file begins like that.
        allowed_roots: folders (relative ones below the project) and beginnings of URLs where it may lie,
            besides object stores whose connection is named.
        max_bytes: largest size, unpacked.

    Raises:
        SourceError: the source as a whole cannot be used.
        OSError: an object store did not answer as it should; a retry may help.
    """
    try:
        suffixes, mapped = known_suffixes(source), as_mapped(columns)
        rows = Rows(source)
        with opened_source(source, allowed_roots, max_bytes) as file:
            _read(file, suffixes, rows, mapped, encoding, max_bytes)
        return rows.table()
    except SourceError as error:
        raise SourceError(f"Cannot read source {shown(source)}: {error}") from None


def _read(
    file: IO[bytes], suffixes: list[str], rows: Rows, mapped: Mapped, encoding: str | None, max_bytes: int
) -> None:
    """Add all rows of a file to `rows`; its name tells the format."""
    if suffixes == [".parquet"]:
        read_parquet(file, rows, mapped)
    elif suffixes == [".xlsx"]:
        read_workbook(file, rows, mapped, max_bytes)
    else:
        with opened_text(file, packed=suffixes[-1] == ".gz", encoding=encoding, max_bytes=max_bytes) as text:
            _TEXT_FORMATS[suffixes[0]](text, rows, mapped)
        if rows.mostly_undecoded():
            raise SourceError(NOT_DECODED)


def known_suffixes(name: str) -> list[str]:
    """The one or two endings that tell the format, in lower case.

    Raises:
        SourceError: they tell no format that is known.
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    if suffixes[-1:] == [".gz"] and suffixes[0] in _TEXT_FORMATS:
        return suffixes
    if suffixes and suffixes[-1] in (*_TEXT_FORMATS, *_OTHER_FORMATS):
        return suffixes[-1:]
    raise SourceError("its name must end in .csv, .tsv, .txt, .jsonl, .ndjson (also with .gz), .parquet or .xlsx")
