"""Incoming rows of a CSV file."""

import csv
import io
from itertools import count
from operator import itemgetter

from common.errors import SourceError
from common.sources.columns import COLUMNS, columns_taken
from common.sources.rows import Rows
from common.sources.text import MAX_LINE_CHARACTERS, Lines


def read_csv(text: io.TextIOBase, rows: Rows) -> None:
    """Add all rows of a CSV file to `rows`.

    Raises:
        SourceError: it has no header that could be read.
    """
    # The limit holds for the whole process. Ours is MAX_FIELD_CHARACTERS, a problem of the row and not of the file.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_CHARACTERS))
    lines = Lines(text)
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
    taken = columns_taken(header)
    values = itemgetter(*(taken.get(column, len(header)) for column in COLUMNS))
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
