"""The only reader of incoming data: files, object stores, and records that Faker invents.

A row that cannot be read is data: it stays in the table with its `problem` and its `raw` text, and goes to
quarantine later. A file that cannot be read is an error: `SourceError`, with one line that says what to do.

The modules, in the order in which a source passes through them:

    places      where a source may lie, and its bytes
    text        the bytes of a text file, unpacked, bounded and decoded
    columns     which columns of a file are ours
    delimited, json_lines, parquet, workbook
                one reader for each format
    rows        the rows that all of them give, as one Arrow table with a key for each record
    records     a file of incoming records, from its place to its table
    pairs       a file of labelled pairs
    invented    people and records that Faker invents
"""

from common.sources.invented import fake_people, fake_records
from common.sources.pairs import PAIRS, read_pairs
from common.sources.records import Layout, read_records
from common.sources.rows import INCOMING, batch_id

__all__ = ["INCOMING", "PAIRS", "Layout", "batch_id", "fake_people", "fake_records", "read_pairs", "read_records"]
