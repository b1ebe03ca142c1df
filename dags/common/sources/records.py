"""A file of incoming records, from its place to its table."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from common.errors import SourceError, SourceIsChanging
from common.settings import ALLOWED_SOURCE_ROOTS
from common.sources.columns import Mapped, as_mapped
from common.sources.delimited import read_delimited
from common.sources.json_lines import read_json_lines
from common.sources.parquet import read_parquet
from common.sources.places import MAX_SOURCE_BYTES, content_hash, opened_source, several, shown
from common.sources.rows import Rows
from common.sources.text import NOT_DECODED, opened_text
from common.sources.workbook import read_workbook

_TEXT_FORMATS: dict[str, Callable[[Any, Rows, Mapped], None]] = {
    **dict.fromkeys((".csv", ".tsv", ".txt"), read_delimited),
    **dict.fromkeys((".jsonl", ".ndjson"), read_json_lines),
}
_OTHER_FORMATS = (".parquet", ".xlsx")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """How to read what files themselves do not tell.

    Attributes:
        columns: which columns of a file are ours, where their names do not tell; several are joined by `+`:
            {"address": "street + zip + city"}.
        encoding: of CSV and JSON Lines; None for UTF-8, or UTF-16 or UTF-32 where a file begins like that.
    """

    columns: Mapping[str, str] | None = None
    encoding: str | None = None

    def mapped(self) -> Mapped:
        """The columns as the readers take them.

        Raises:
            SourceError: they name what is no column of ours.
        """
        return as_mapped(self.columns)


AS_IT_COMES = Layout()


def read_records(
    source: str,
    layout: Layout = AS_IT_COMES,
    *,
    taken: Callable[[str], bool] = lambda content: True,
    allowed_roots: Sequence[str] = ALLOWED_SOURCE_ROOTS,
    max_bytes: int = MAX_SOURCE_BYTES,
) -> pa.Table:
    """The incoming records of a file, or of all files of a folder that are `taken`: a table of schema `INCOMING`.

    A file is CSV (with commas, semicolons, tabs or bars), JSON Lines, Parquet or an Excel workbook, of which the first
    sheet counts. Needed are the columns first_name, last_name and address, or synonyms of them (`columns.SYNONYMS`);
    source_key is taken if there, other columns are ignored. Empty text is null. Blank lines are no rows.

    Args:
        source: path below the project, absolute path, or URL that Airflow's ObjectStoragePath knows
            (`s3://connection@bucket/new.csv`). CSV and JSON Lines may be packed by gzip. Or, of such files, a folder,
            a glob or an object-store prefix that ends in a slash: all of them are one batch. Files of other formats
            are left out, and what is in folders inside.
        layout: how to read what the files themselves do not tell.
        taken: whether to take a file of a folder, by the SHA-256 of its bytes.
        allowed_roots: folders (relative ones below the project) and beginnings of URLs where it may lie,
            besides object stores whose connection is named.
        max_bytes: largest size of a file, unpacked.

    Returns:
        The records in the order of the files, and in it as metadata `files`: the files by the SHA-256 of their bytes,
        as JSON. A folder without a file that is taken has none.

    Raises:
        SourceError: a file as a whole cannot be used, or is not there, or has no rows.
        SourceIsChanging: somebody wrote to a file meanwhile.
        OSError: an object store did not answer as it should; a retry may help.
    """
    rows, files = Rows(), dict[str, str]()
    with _named(source):
        layout.mapped()  # else a folder without new files would not tell what is wrong
        places = several(source, allowed_roots)
    if places is None:
        with _named(source), opened_source(source, allowed_roots, max_bytes) as file:
            files[content_hash(file)] = source
            _read(file, source, rows, layout, max_bytes)
            if not rows.received:
                raise SourceError("it has the columns that are needed, but no rows")
    else:
        known = [place for place in places if _is_known(place)]
        for place in known:
            with _named(place), opened_source(place, allowed_roots, max_bytes) as file:
                content = content_hash(file)
                if content not in files and taken(content):
                    files[content] = place
                    _read(file, place, rows, layout, max_bytes)
        log.info("Took %d of %d files in %s", len(files), len(known), shown(source))
        if len(known) < len(places):
            log.warning("Left out %d files of formats that are not known", len(places) - len(known))
    return rows.table().replace_schema_metadata({"files": json.dumps(files)})


@contextmanager
def _named(source: str) -> Iterator[None]:
    """Let what is wrong with a source name it."""
    try:
        yield
    except (SourceError, SourceIsChanging) as error:
        raise type(error)(f"Cannot read source {shown(source)}: {error}") from None


def _read(file: IO[bytes], name: str, rows: Rows, layout: Layout, max_bytes: int) -> None:
    """Add all rows of a file to `rows`; its name tells the format."""
    suffixes, mapped = known_suffixes(name), layout.mapped()
    if suffixes == [".parquet"]:
        read_parquet(file, rows, mapped)
    elif suffixes == [".xlsx"]:
        read_workbook(file, rows, mapped, max_bytes)
    else:
        encoding, packed = layout.encoding, suffixes[-1] == ".gz"
        rows.begin_file()
        with opened_text(file, packed=packed, encoding=encoding, max_bytes=max_bytes) as text:
            _TEXT_FORMATS[suffixes[0]](text, rows, mapped)
        if rows.mostly_undecoded():
            raise SourceError(NOT_DECODED)


def _is_known(name: str) -> bool:
    try:
        return bool(known_suffixes(name))
    except SourceError:
        return False


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
