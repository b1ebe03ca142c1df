"""Incoming rows, and any columns as text, of a Parquet file."""

from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from common.errors import SourceError
from common.sources import rows as incoming
from common.sources.columns import COLUMNS, Mapped, columns_taken, picker
from common.sources.rows import Rows

BROKEN = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
"""What Arrow raises about a file that is damaged."""


def read_parquet(file: IO[bytes], rows: Rows, mapped: Mapped = ()) -> None:
    """Add all rows of a Parquet file to `rows`.

    Raises:
        SourceError: it is not whole, or lacks a column of ours.
    """
    try:
        schema = pq.read_schema(file)
    except BROKEN as error:
        raise SourceError(f"it is not a whole Parquet file ({type(error).__name__})") from None
    header = schema.names
    taken = columns_taken(header, mapped)
    places = sorted({place for several in taken.values() for place in several})
    names = [header[place] for place in places]
    values = picker({column: tuple(map(places.index, several)) for column, several in taken.items()}, len(places))
    try:
        # As dictionaries, so that a long text that repeats a million times is in memory once.
        flat = [header[place] for place in places if not pa.types.is_nested(schema.types[place])]
        parquet = pq.ParquetFile(file, read_dictionary=flat)
        if parquet.metadata.num_rows > incoming.MAX_ROWS:
            raise SourceError(f"it has more than {incoming.MAX_ROWS:,} rows")
        for batch in parquet.iter_batches(batch_size=10_000, columns=names):
            given = [as_texts(batch.column(name)) for name in names]
            for fields in zip(*given, [None] * len(batch), strict=True):
                row = values(fields)
                rows.add(row, COLUMNS, row)
    except SourceError:
        raise
    except BROKEN as error:
        raise SourceError(f"it is a broken Parquet file ({type(error).__name__})") from None


def as_texts(column: pa.Array) -> list[object]:
    """Values as text, null, or what is nested as it is. Bytes that are no UTF-8 become lone surrogates."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        # Only what this batch uses: the dictionary is that of a whole row group.
        used = column.indices.unique().drop_null()
        distinct: dict[int | None, object] = dict(
            zip(used.to_pylist(), as_texts(column.dictionary.take(used)), strict=True)
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
    # pandas writes a missing number as NaN.
    return [None if text == "nan" else text for text in texts] if pa.types.is_floating(kind) else texts
