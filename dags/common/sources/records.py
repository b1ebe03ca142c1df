"""A file of incoming records, from its place to its table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from common.errors import SourceError
from common.settings import ALLOWED_SOURCE_ROOTS
from common.sources.delimited import read_csv
from common.sources.json_lines import read_json_lines
from common.sources.parquet import read_parquet
from common.sources.places import MAX_SOURCE_BYTES, opened_source, shown
from common.sources.rows import Rows
from common.sources.text import opened_text

_TEXT_FORMATS: dict[str, Callable[[Any, Rows], None]] = {
    ".csv": read_csv,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
}


def read_records(
    source: str, *, allowed_roots: Sequence[str] = ALLOWED_SOURCE_ROOTS, max_bytes: int = MAX_SOURCE_BYTES
) -> pa.Table:
    """The incoming records of a CSV, Parquet or JSON Lines file: a table of schema `INCOMING`, in file order.

    Needed are the columns first_name, last_name and address, and source_key is taken if there; the case and
    spaces of their names do not matter, other columns are ignored. Empty text is null. Blank lines are no rows.

    Args:
        source: path below the project, absolute path, or URL that Airflow's ObjectStoragePath knows
            (`s3://connection@bucket/new.csv`). CSV and JSON Lines may be packed by gzip.
        allowed_roots: folders (relative ones below the project) and beginnings of URLs where it may lie,
            besides object stores whose connection is named.
        max_bytes: largest size, unpacked.

    Raises:
        SourceError: the source as a whole cannot be used.
        OSError: an object store did not answer as it should; a retry may help.
    """
    try:
        suffixes = known_suffixes(source)
        rows = Rows(source)
        with opened_source(source, allowed_roots, max_bytes) as file:
            if suffixes == [".parquet"]:
                read_parquet(file, rows)
            else:
                with opened_text(file, packed=suffixes[-1] == ".gz", max_bytes=max_bytes) as text:
                    _TEXT_FORMATS[suffixes[0]](text, rows)
        return rows.table()
    except SourceError as error:
        raise SourceError(f"Cannot read source {shown(source)}: {error}") from None


def known_suffixes(name: str) -> list[str]:
    """The one or two endings that tell the format, in lower case.

    Raises:
        SourceError: they tell no format that is known.
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    if suffixes[-1:] == [".gz"] and suffixes[0] in _TEXT_FORMATS:
        return suffixes
    if suffixes and suffixes[-1] in (*_TEXT_FORMATS, ".parquet"):
        return suffixes[-1:]
    raise SourceError("its name must end in .csv, .jsonl, .ndjson (also with .gz) or .parquet")
