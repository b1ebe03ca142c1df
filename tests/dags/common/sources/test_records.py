import csv
import gzip
import hashlib
import io
import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from common import sources
from common.errors import SourceError
from common.linkage.standardise import MAX_FIELD_CHARACTERS, standardise
from common.linkage.validation import QuarantineReason, add_quarantine_reason
from common.sources import INCOMING, Layout, batch_id
from common.sources.text import Lines
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HEADER = b"first_name,last_name,address\n"


ReadParquet = Callable[[dict[str, Any]], pa.Table]


class Read(Protocol):
    def __call__(self, content: bytes, name: str = ..., **options: Any) -> pa.Table: ...


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads bytes as a file of the given name."""

    def read(content: bytes, name: str = "new.csv", **options: Any) -> pa.Table:
        path = tmp_path / name
        path.write_bytes(content)
        return sources.read_records(str(path), allowed_roots=[str(tmp_path)], **options)

    return read


@pytest.fixture
def read_parquet(tmp_path: Path) -> ReadParquet:
    """Reads columns by way of a Parquet file."""

    def read(columns: dict[str, Any]) -> pa.Table:
        path = tmp_path / "new.parquet"
        pq.write_table(pa.table(columns), path)
        return sources.read_records(str(path), allowed_roots=[str(tmp_path)])

    return read


def people(table: pa.Table) -> list[Any]:
    """What was read, as tuples: names and address, or the problem."""
    return [row["problem"] or (row["first_name"], row["last_name"], row["address"]) for row in table.to_pylist()]


def raws(table: pa.Table) -> list[Any]:
    return [raw and json.loads(raw) for raw in table["raw"].to_pylist()]


# What a CSV file holds below its header, and what becomes of it.
CSV_CASES = [
    ("plain", b"Ann,Lee,1 Elm Road\n", [("Ann", "Lee", "1 Elm Road")]),
    ("no line end at the end", b"Ann,Lee,1 Elm Road", [("Ann", "Lee", "1 Elm Road")]),
    ("Windows line ends", b"Ann,Lee,1 Elm Road\r\nBob,Roe,\r\n", [("Ann", "Lee", "1 Elm Road"), ("Bob", "Roe", None)]),
    ("old Mac line ends", b"Ann,Lee,1 Elm Road\rBob,Roe,\r", [("Ann", "Lee", "1 Elm Road"), ("Bob", "Roe", None)]),
    ("blank lines", b"\n\nAnn,Lee,\n\n", [("Ann", "Lee", None)]),
    ("quoted comma and quote", b'Ann,"Lee, ""Bo""",x\n', [("Ann", 'Lee, "Bo"', "x")]),
    ("address of two lines", b'Ann,Lee,"1 Elm Road\nSalem"\n', [("Ann", "Lee", "1 Elm Road\nSalem")]),
    ("empty fields are missing", b'Ann,"",\n', [("Ann", None, None)]),
    ("spaces stay", b" Ann ,Lee,\n", [(" Ann ", "Lee", None)]),
    ("nothing but commas", b",,\n", [(None, None, None)]),
    ("too few fields", b"Ann,Lee\nBob,Roe,x\n", ["MALFORMED_ROW", ("Bob", "Roe", "x")]),
    ("too many fields", b"Ann,Lee,x,y\nBob,Roe,x\n", ["MALFORMED_ROW", ("Bob", "Roe", "x")]),
    ("stray quote at the end", b'Ann,Lee,"x', ["MALFORMED_ROW"]),
    (
        "stray quote costs its row only",
        b'Ann,"Lee,x\n' + b"Bob,Roe,x\n" * 99,
        ["MALFORMED_ROW", *[("Bob", "Roe", "x")] * 99],
    ),
    (
        "stray quote before a quoted field",
        b'Ann,"Lee,x\nBob,Roe,x\nCy,"Poe",x\n',
        ["MALFORMED_ROW", ("Bob", "Roe", "x"), ("Cy", "Poe", "x")],
    ),
    ("text after a quote", b'Ann,"Lee"x,y\nBob,Roe,x\n', ["MALFORMED_ROW", ("Bob", "Roe", "x")]),
    ("not UTF-8", b"Jos\xe9,Lee,x\nBob,Roe,x\n", ["NOT_UTF8", ("Bob", "Roe", "x")]),
    ("encoded surrogate", b"\xed\xa0\x80,Lee,x\n", ["NOT_UTF8"]),
    ("NUL", b"Ann\0,Lee,x\nBob,Roe,x\n", ["NUL_BYTE", ("Bob", "Roe", "x")]),
    (
        "a million characters",
        b"Ann,Lee," + b"x" * 1_000_000 + b"\nBob,Roe,x\n",
        ["FIELD_TOO_LONG", ("Bob", "Roe", "x")],
    ),
    ("ten million characters in quotes", b'Ann,"' + b"x" * 10_000_000 + b'",x\n', ["FIELD_TOO_LONG"]),
    ("longest field", b"Ann,Lee," + b"x" * MAX_FIELD_CHARACTERS, [("Ann", "Lee", "x" * MAX_FIELD_CHARACTERS)]),
    (
        "SQL, HTML, formula and right-to-left are text",
        "'; DROP TABLE people; --,<script>alert(1)</script>,=1+1\u202e\U0001f600\n".encode(),
        [("'; DROP TABLE people; --", "<script>alert(1)</script>", "=1+1\u202e\U0001f600")],
    ),
]


@pytest.mark.parametrize(("rows", "expected"), [pytest.param(rows, e, id=idea) for idea, rows, e in CSV_CASES])
def test_csv(read: Read, rows: bytes, expected: list[Any]) -> None:
    table = read(HEADER + rows)
    assert table.schema == INCOMING
    assert people(table) == expected
    assert [raw is not None for raw in raws(table)] == [isinstance(row, str) for row in expected]


HEADERS = [
    ("byte order mark", b"\xef\xbb\xbffirst_name,last_name,address\n"),
    ("case and spaces", b"First Name, LAST_NAME ,Address\n"),
    ("hyphens", b"first-name,lastName,ADDRESS\n"),
    ("quoted", b'"first_name","last_name","address"\n'),
    ("after blank lines", b"\n\nfirst_name,last_name,address\n"),
]


@pytest.mark.parametrize("header", [pytest.param(header, id=idea) for idea, header in HEADERS])
def test_csv_header(read: Read, header: bytes) -> None:
    assert people(read(header + b"Ann,Lee,x\n")) == [("Ann", "Lee", "x")]


DELIMITED = [
    ("semicolons", "new.csv", "first_name;last_name;address\nAnn;Lee;1 Elm Road, Salem\n"),
    ("tabs", "new.tsv", "first_name\tlast_name\taddress\nAnn\tLee\t1 Elm Road, Salem\n"),
    ("bars", "new.txt", "first_name|last_name|address\nAnn|Lee|1 Elm Road, Salem\n"),
    ("commas in a text file", "NEW.TXT", 'first_name,last_name,address\nAnn,Lee,"1 Elm Road, Salem"\n'),
    (
        "other columns with other delimiters",
        "new.csv",
        'a|b|c|d,first_name,last_name,address\n,Ann,Lee,"1 Elm Road, Salem"\n',
    ),
    (
        "Excel's line about the delimiter",
        "new.csv",
        "sep=;\r\nfirst_name;last_name;address\r\nAnn;Lee;1 Elm Road, Salem\r\n",
    ),
    ("header of two lines", "new.csv", '"first\nname";last_name;address\nAnn;Lee;1 Elm Road, Salem\n'),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(("name", "text"), [pytest.param(*case, id=idea) for idea, *case in DELIMITED])
def test_delimiters_and_encodings_tell_themselves(read: Read, name: str, text: str, encoding: str) -> None:
    assert people(read(text.encode(encoding), name)) == [("Ann", "Lee", "1 Elm Road, Salem")]
    assert people(read(gzip.compress(text.encode(encoding)), name + ".gz")) == [("Ann", "Lee", "1 Elm Road, Salem")]


def test_param_encoding(read: Read) -> None:
    content = HEADER + "Jos\u00e9,\u0160vec,\u20ac\n".encode("cp1252") * 5 + b"Bob,Roe,x\n" * 50
    assert people(read(content, layout=Layout(encoding="cp1252")))[:2] == [("Jos\u00e9", "\u0160vec", "\u20ac")] * 2
    with pytest.raises(SourceError, match=r"param encoding says another.*cp1252"):
        read(content)
    for unknown in ("klingon", "base64", "unicode_escape", "utf-8\0", "\u00e9"):
        with pytest.raises(SourceError, match="no encoding such as"):
            read(content, layout=Layout(encoding=unknown))
    japanese = HEADER + "\u82b1\u5b50,\u5c71\u7530,x\n".encode("shift_jis") + b"\x82,x,y\n"
    assert people(read(japanese, layout=Layout(encoding="shift_jis")))[0] == ("\u82b1\u5b50", "\u5c71\u7530", "x")


def test_stray_bytes_cost_their_rows_only(read: Read) -> None:
    good, bad = "Jos\u00e9,Lee,x\n".encode(), b"Jos\xe9,Lee,x\n"
    assert people(read(HEADER + good * 5 + bad * 4)).count("NOT_UTF8") == 4
    assert people(read(HEADER + bad * 2)) == ["NOT_UTF8"] * 2
    with pytest.raises(SourceError, match="param encoding"):
        read(HEADER + good * 4 + bad * 5)


def test_broken_utf16_costs_its_row_only(read: Read) -> None:
    lone = (
        "first_name,last_name,address\nA".encode("utf-16") + b"\x41\xd8" + "nn,Lee,x\nBob,Roe,x\n".encode("utf-16-le")
    )
    assert people(read(lone)) == ["NOT_UTF8", ("Bob", "Roe", "x")]
    cut = (HEADER.decode() + "Bob,Roe,x\nAnn,Lee,").encode("utf-16") + b"x"
    assert people(read(cut)) == [("Bob", "Roe", "x"), "NOT_UTF8"]


def test_quotes_that_never_close_cost_in_proportion_to_the_file(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line opens a quote: 50 lines would be read for every one."""
    monkeypatch.setattr("common.sources.text._FREE_AGAIN", 1_000)
    lines = 20_000
    fetched = 0

    class Counted(Lines):
        def __next__(self) -> str:
            nonlocal fetched
            fetched += 1
            return super().__next__()

    monkeypatch.setattr("common.sources.delimited.Lines", Counted)
    assert people(read(HEADER + b'"Ann,Lee,x\n' * lines)) == ["MALFORMED_ROW"] * lines
    assert fetched < 6 * lines
    after = read(HEADER + b'"Ann,Lee,x\n' * lines + b'Ann,Lee,"1 Elm Road\nSalem"\n' * lines)
    assert people(after)[-1] == ("Ann", "Lee", "1 Elm Road\nSalem")


def test_blank_lines_have_an_end(read: Read) -> None:
    for name, content in (("new.csv.gz", HEADER), ("new.jsonl.gz", ANN.encode() + b"\n")):
        with pytest.raises(SourceError, match="more than 1,000,000 blank lines"):
            read(gzip.compress(content + b"\n" * 1_000_001), name)


def test_columns_in_any_order_with_others_between(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="common.sources.columns")
    table = read(b"address,born,source_key,last_name,first_name,\nx,1970,7,Lee,Ann,secret\n")
    assert people(table) == [("Ann", "Lee", "x")]
    assert table["source_key"].to_pylist() == ["7"]
    assert "'born'" in caplog.text
    assert "secret" not in caplog.text


NO_ROWS = io.BytesIO()
pq.write_table(pa.table({name: pa.array([], pa.string()) for name in ("first_name", "last_name", "address")}), NO_ROWS)

# Each refused with one line that says so.
REFUSED = [
    ("empty", "new.csv", b"", "is empty"),
    ("only a byte order mark", "new.csv", b"\xef\xbb\xbf", "is empty"),
    ("only blank lines", "new.csv", b"\n\n\n", "is empty"),
    ("missing columns", "new.csv", b"first_name,city\nAnn,Salem\n", "lacks the columns last_name, address"),
    ("another separator", "new.csv", b"first_name/last_name/address\n", "lacks the columns"),
    ("column twice", "new.csv", b"first_name,last_name,address,Address\n", "address is there twice"),
    ("ignored column twice", "new.csv", HEADER[:-1] + b",x,x\n", "two columns of the same name"),
    ("broken header", "new.csv", b'first_name,"last_name\n', "header is not CSV"),
    ("header of another encoding", "new.csv", "first_name,last_name,stra\u00dfe\n".encode("cp1252"), "param encoding"),
    ("Parquet called CSV", "new.csv", b"PAR1\x15\x04\x15", "lacks the columns"),
    ("unknown format", "new.doc", HEADER, "must end in"),
    ("no format", "new", HEADER, "must end in"),
    ("gzip of nothing known", "new.gz", HEADER, "must end in"),
    ("gzip of Parquet", "new.parquet.gz", HEADER, "must end in"),
    ("not gzip", "new.csv.gz", HEADER, "not a whole gzip"),
    ("cut gzip", "new.csv.gz", gzip.compress(HEADER + b"Ann,Lee,x\n" * 99)[:-20], "not a whole gzip"),
    ("broken gzip", "new.csv.gz", gzip.compress(HEADER * 99)[:20] + b"\xff" * 99, "not a whole gzip"),
    ("empty gzip", "new.csv.gz", b"", "is empty"),
    ("no rows", "new.csv", HEADER, "but no rows"),
    ("no rows in Parquet", "new.parquet", NO_ROWS.getvalue(), "but no rows"),
    ("empty JSON Lines", "new.jsonl", b"\n", "is empty"),
    ("JSON array", "new.jsonl", b'[{"first_name": "Ann",\n"last_name": "Lee"}]\n', "none of its lines"),
    (
        "JSON Lines without a column",
        "new.jsonl",
        b'{"first_name": "Ann", "address": "x"}\n',
        "lacks the columns last_name",
    ),
    ("not Parquet", "new.parquet", HEADER, "not a whole Parquet"),
    ("empty Parquet", "new.parquet", b"", "not a whole Parquet"),
]


@pytest.mark.parametrize(("name", "content", "reason"), [pytest.param(*case, id=idea) for idea, *case in REFUSED])
def test_refused(read: Read, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        read(content, name)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("Cannot read source ")


@pytest.mark.parametrize("content", [b"Wilhelmina,Secret,1 Elm Road\n", b"first_name,Wilhelmina,Secret\n"])
def test_a_missing_header_shows_nobodys_name(read: Read, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SourceError) as caught:
        read(content * 3)
    assert "Wilhelmina" not in str(caught.value) + caplog.text
    assert "Secret" not in str(caught.value) + caplog.text


def test_cut_parquet(read: Read) -> None:
    whole = io.BytesIO()
    pq.write_table(pa.table({"first_name": ["Ann"] * 999, "last_name": ["Lee"] * 999, "address": ["x"] * 999}), whole)
    for length in range(0, len(whole.getvalue()) - 1, 40):
        with pytest.raises(SourceError, match="not a whole Parquet"):
            read(whole.getvalue()[:length], "new.parquet")


def test_gzip_bomb(read: Read) -> None:
    bomb = gzip.compress(HEADER + b"\n" * 999_999 + b"Ann,Lee,x\n")
    assert len(bomb) < 10_000
    with pytest.raises(SourceError, match="more than 900,000 bytes"):
        read(bomb, "new.csv.gz", max_bytes=900_000)
    assert read(bomb, "new.csv.gz", max_bytes=1_100_000).num_rows == 1


def test_a_line_without_an_end(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.sources.text.MAX_LINE_CHARACTERS", 5_000)
    with pytest.raises(SourceError, match="line longer than 5,000"):
        read(HEADER + b"Ann,Lee," + b"x" * 10_000)


def test_too_many_rows(read: Read, read_parquet: ReadParquet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.sources.rows.MAX_ROWS", 3)
    monkeypatch.setattr("common.sources.rows._ROWS_PER_BATCH", 2)
    with pytest.raises(SourceError, match="more than 3 rows"):
        read(HEADER + b"Ann,Lee,x\n" * 9)
    with pytest.raises(SourceError, match="more than 3 rows"):
        read_parquet({"first_name": ["Ann"] * 9, "last_name": ["Lee"] * 9, "address": ["x"] * 9})


def test_a_million_rows(tmp_path: Path) -> None:
    with (tmp_path / "new.csv").open("w") as file:
        file.write("first_name,last_name,address\n")
        file.writelines(f"Ann,Lee,{number} Elm Road Apt 4 Springfield IL 62701\n" for number in range(1_000_000))
    code = (
        "from common.sources import read_records;"
        f"table = read_records('{tmp_path}/new.csv', allowed_roots=['{tmp_path}']);"
        # Not by getrusage, which tells of the process that started this one, too.
        "print(table.num_rows, open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    env = {**os.environ, "PYTHONPATH": "dags"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    rows, peak_kib = map(int, found.stdout.split()[-2:])
    assert rows == 1_000_000
    assert peak_kib < 1_024 * 1_024


def test_raw_text_of_problems(read: Read) -> None:
    table = read(
        HEADER
        + b"Jos\xe9,Lee,x\n"
        + b"A\0nn,Lee,x\n"
        + b"Ann,Lee\n"
        + b'Ann,"Lee\n'
        + b"Ann,Lee,"
        + b"x" * 5_000
        + b"\n"
    )
    assert table["problem"].to_pylist() == [
        "NOT_UTF8",
        "NUL_BYTE",
        "MALFORMED_ROW",
        "MALFORMED_ROW",
        "FIELD_TOO_LONG",
    ]
    assert raws(table) == [
        {"first_name": r"Jos\xe9", "last_name": "Lee", "address": "x"},
        {"first_name": r"A\x00nn", "last_name": "Lee", "address": "x"},
        {"0": "Ann", "1": "Lee"},
        {"line": 'Ann,"Lee\n'},
        {
            "first_name": "Ann",
            "last_name": "Lee",
            "address": {
                "starts_with": "x" * MAX_FIELD_CHARACTERS,
                "characters": 5_000,
                "sha256": hashlib.sha256(b"x" * 5_000).hexdigest(),
            },
        },
    ]


ANN = '{"first_name": "Ann", "last_name": "Lee", "address": "x"}'
JSON_CASES = [
    ("plain", ANN, [("Ann", "Lee", "x")]),
    ("other names", '{"First Name": "Ann", "lastName": "Lee", "ADDRESS": "x", "born": []}', [("Ann", "Lee", "x")]),
    ("blank lines", f"\n{ANN}\n \n{ANN}\n", [("Ann", "Lee", "x")] * 2),
    ("null or not there", f'{{"first_name": "B", "last_name": null}}\n{ANN}', [("B", None, None), ("Ann", "Lee", "x")]),
    ("numbers", '{"first_name": 1e2, "last_name": true, "address": 99999999999999999999}', [("1e2", "true", "9" * 20)]),
    ("list", f'{{"first_name": [], "last_name": "Lee"}}\n{ANN}', ["NESTED_VALUE", ("Ann", "Lee", "x")]),
    ("object", f'{{"address": {{"street": "x"}}}}\n{ANN}', ["NESTED_VALUE", ("Ann", "Lee", "x")]),
    ("not JSON", f"Ann,Lee,x\n{ANN}", ["MALFORMED_ROW", ("Ann", "Lee", "x")]),
    ("cut", f"{ANN}\n{ANN[:-9]}", [("Ann", "Lee", "x"), "MALFORMED_ROW"]),
    ("no object", f"[1]\nnull\n{ANN}", ["MALFORMED_ROW", "MALFORMED_ROW", ("Ann", "Lee", "x")]),
    ("NaN", f'{{"first_name": NaN}}\n{ANN}', ["MALFORMED_ROW", ("Ann", "Lee", "x")]),
    ("key twice", f'{{"first_name": "A", "first_name": "B"}}\n{ANN}', ["MALFORMED_ROW", ("Ann", "Lee", "x")]),
    ("column twice", f'{{"first_name": "A", "First Name": "B"}}\n{ANN}', ["MALFORMED_ROW", ("Ann", "Lee", "x")]),
    ("deep nesting", f"{'[' * 100_000}\n{ANN}", ["MALFORMED_ROW", ("Ann", "Lee", "x")]),
    ("many digits", f'{{"first_name": {"9" * 100_000}}}\n{ANN}', ["FIELD_TOO_LONG", ("Ann", "Lee", "x")]),
    ("escaped NUL", ANN.replace("Ann", r"A\u0000nn"), ["NUL_BYTE"]),
    ("NUL", ANN.replace("Ann", "A\0nn"), ["NUL_BYTE"]),
    ("lone surrogate", ANN.replace("Ann", r"\ud800"), ["NOT_UTF8"]),
    ("escaped pair of surrogates", ANN.replace("Ann", r"\ud83d\ude00"), [("\U0001f600", "Lee", "x")]),
]  # fmt: skip


@pytest.mark.parametrize("name", ["new.jsonl", "NEW.NDJSON", "new.jsonl.gz"])
@pytest.mark.parametrize(("lines", "expected"), [pytest.param(lines, e, id=idea) for idea, lines, e in JSON_CASES])
def test_json_lines(read: Read, name: str, lines: str, expected: list[Any]) -> None:
    content = lines.encode()
    table = read(gzip.compress(content) if name.endswith(".gz") else content, name)
    assert people(table) == expected
    assert [raw is not None for raw in raws(table)] == [isinstance(row, str) for row in expected]


def test_json_lines_not_utf8(read: Read) -> None:
    assert people(read(ANN.encode().replace(b"Ann", b"\xff"), "new.jsonl")) == ["NOT_UTF8"]


BROKEN = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"Ann"]).buffers())
PARQUET_CASES = [
    ("string", pa.array(["Ann", "", None]), ["Ann", None, None]),
    ("large string", pa.array(["Ann"], pa.large_string()), ["Ann"]),
    ("string view", pa.array(["Ann"], pa.string_view()), ["Ann"]),
    ("dictionary", pa.array(["Ann", None, "Ann"]).dictionary_encode(), ["Ann", None, "Ann"]),
    ("bytes", pa.array([b"Ann", b"\xff", None], pa.binary()), ["Ann", "NOT_UTF8", None]),
    ("bytes of one length", pa.array([b"Ann"], pa.binary(3)), ["Ann"]),
    ("integers", pa.array([7, None]), ["7", None]),
    ("floats", pa.array([7.0, 1.5, float("nan"), None]), ["7", "1.5", None, None]),
    ("half floats", pa.array([1.5], pa.float16()), ["1.5"]),
    ("booleans", pa.array([True]), ["true"]),
    ("decimals", pa.array([Decimal("1.50")]), ["1.50"]),
    ("dates", pa.array([date(2026, 11, 1)]), ["2026-11-01"]),
    ("times", pa.array([datetime(2026, 11, 1, 12)]), ["2026-11-01 12:00:00.000000"]),  # noqa: DTZ001
    ("durations", pa.array([5], pa.duration("s")), ["5"]),
    ("nothing", pa.nulls(2), [None, None]),
    ("lists", pa.array([["Ann"], [], None]), ["NESTED_VALUE", "NESTED_VALUE", None]),
    ("structures", pa.array([{"street": "x"}, None]), ["NESTED_VALUE", None]),
    ("maps", pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string())), ["NESTED_VALUE"]),
    ("NUL", pa.array(["A\0nn", "Ann"]), ["NUL_BYTE", "Ann"]),
    ("long", pa.array(["x" * 1_000_000, "Ann"]), ["FIELD_TOO_LONG", "Ann"]),
    ("broken UTF-8 as string", BROKEN, ["NOT_UTF8", "Ann"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "expected"), [pytest.param(column, e, id=idea) for idea, column, e in PARQUET_CASES]
)
@pytest.mark.parametrize("name", ["first_name", "address"])
def test_parquet(read_parquet: ReadParquet, name: str, column: pa.Array, expected: list[Any]) -> None:
    known = {"first_name": pa.array(["Ann"] * len(column)), "last_name": pa.array(["Lee"] * len(column))}
    rows = read_parquet({"address": pa.nulls(len(column)), **known, name: column}).to_pylist()
    assert [row["problem"] or row[name] for row in rows] == expected


def test_parquet_with_a_long_text_many_times_stays_small(read_parquet: ReadParquet) -> None:
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 2_000, pa.int32()), ["x" * 1_000_000])
    table = read_parquet({"first_name": many, "last_name": many, "address": many})
    assert set(people(table)) == {"FIELD_TOO_LONG"}
    assert table.num_rows == 2_000


def test_record_keys_and_batch_id(read: Read) -> None:
    rows = [b"Ann,Lee,x\n", b"Bob,Roe,x\n", b"Ann,Lee,x\n", b"Cy,\xff,x\n", b"Ann,Lee,x\n", b"x\n", b"Ann,Leex,\n"]
    first = read(HEADER + b"".join(rows))
    keys = first["record_key"].to_pylist()
    assert len(set(keys)) == len(rows)
    assert all(len(key) == 32 and set(key) <= set("0123456789abcdef") for key in keys)
    assert read(HEADER + b"".join(rows)) == first

    turned = read(HEADER + b"".join(rows[::-1]))
    assert set(turned["record_key"].to_pylist()) == set(keys)
    assert batch_id(turned, "crm") == batch_id(first, "crm")
    assert len(batch_id(first, "crm")) == 32
    assert batch_id(first, "shop") != batch_id(first, "crm"), "another system's records are another batch"
    assert batch_id(first.slice(1), "crm") != batch_id(first, "crm")
    # A record is its content, whatever file it comes in.
    assert set(read(HEADER + b"".join(rows), "other.csv")["record_key"].to_pylist()) == set(keys)


def test_rows_in_several_batches_are_the_same_rows(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    content = HEADER + b"".join(b"\xc3\x84nn,Lee,%d\nBob,\xff,x\nx\n" % (number % 5) for number in range(20))
    once = read(content)
    monkeypatch.setattr("common.sources.rows._ROWS_PER_BATCH", 7)
    assert read(content).to_pylist() == once.to_pylist()


fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(fields, fields, fields), min_size=1, max_size=10))
def test_what_a_csv_writer_wrote_is_read_back(read: Read, rows: list[tuple[str, str, str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["first_name", "last_name", "address"])
    writer.writerows(rows)
    assert people(read(text.getvalue().encode())) == [tuple(field or None for field in row) for row in rows]


def _fuzzed_field(rng: random.Random) -> bytes:
    return rng.choice(
        [
            b"Ann", b"O'Brien", b"1 Elm Road, Apt 4", b"", b" ", b'"', b'""', b",", b"\0", b"\xff\xfe", b"\xe9",
            b"\xed\xa0\x80", b"\r", b"\n", b"\r\n", b"x" * 2_000, b"[1]", b"{}", b"null", b"NaN", b"1e999", b"\\u0000",
            "\u202e\u05d0\u200f".encode(), "\U0001f600".encode(), "\u0430nna".encode(), b"=cmd|' /C calc'!A0",
            b"'; DROP TABLE people; --", b"<img src=x onerror=alert(1)>", b"\xef\xbb\xbf", b"\x1a", b"\x7f\x1b[31m",
            bytes(rng.randrange(256) for _ in range(rng.randrange(12))),
        ]
    )  # fmt: skip


def _fuzzed_arrow(rng: random.Random, rows: int) -> pa.Array:
    makers = [
        lambda: pa.array([rng.choice(["Ann", "", None, "A\0", "x" * 2_000]) for _ in range(rows)], pa.string()),
        lambda: pa.array([_fuzzed_field(rng) for _ in range(rows)], pa.binary()),
        lambda: pa.array([rng.choice([None, 1, -7]) for _ in range(rows)], pa.int64()),
        lambda: pa.array([rng.choice([None, 0.5, float("inf"), float("nan")]) for _ in range(rows)], pa.float64()),
        lambda: pa.array([rng.choice([None, Decimal("1.50")]) for _ in range(rows)], pa.decimal128(9, 2)),
        lambda: pa.array([rng.choice([None, ["Ann"], []]) for _ in range(rows)], pa.list_(pa.string())),
        lambda: pa.array([rng.choice([None, {"a": 1}]) for _ in range(rows)], pa.struct([("a", pa.int64())])),
        lambda: pa.array([rng.choice([None, 2**62]) for _ in range(rows)], pa.timestamp("ns")),
        lambda: pa.array([rng.choice([None, 2**50]) for _ in range(rows)], pa.timestamp("s", "UTC")),
        lambda: pa.array([rng.choice([None, 1]) for _ in range(rows)], pa.time64("ns")),
        lambda: pa.array([rng.choice(["Ann", None]) for _ in range(rows)], pa.string()).dictionary_encode(),
        lambda: pa.nulls(rows),
    ]
    return rng.choice(makers)()


def _fuzzed_file(rng: random.Random) -> tuple[str, bytes]:
    """A file that is nearly right: its name and its bytes."""
    names = rng.choice(
        [[b"first_name", b"last_name", b"address"]] * 6 + [[b"first_name", b"address"], [_fuzzed_field(rng)]]
    )
    names = names + [_fuzzed_field(rng) for _ in range(rng.choice([0, 0, 0, 1, 2]))]
    rows = rng.randrange(8)
    kind = rng.choice(["csv", "csv", "jsonl", "parquet"])
    if kind == "csv":
        separator = rng.choice([b","] * 9 + [b";"])
        quote = rng.choice([b"", b"", b'"'])
        lines = [separator.join(names)]
        for _ in range(rows):
            width = len(names) if rng.random() < 0.9 else rng.randrange(6)
            lines.append(separator.join(quote + _fuzzed_field(rng) + quote for _ in range(width)))
        content = rng.choice([b"\n", b"\n", b"\r\n", b"\r"]).join(lines)
        content = rng.choice(
            [content] * 8 + [content.decode("latin-1").encode(rng.choice(["utf-16", "utf-8-sig", "utf-32"]))]
        )
    elif kind == "jsonl":
        lines = []
        for _ in range(rows):
            values = (rng.choice([b'"%s"', b'"%s"', b"%s", b'["%s"]']) % _fuzzed_field(rng) for _ in names)
            lines.append(b"{" + b", ".join(b'"%s": %s' % pair for pair in zip(names, values, strict=True)) + b"}")
        content = b"\n".join(lines)
    else:
        columns = [_fuzzed_arrow(rng, rows) for _ in names]
        file = io.BytesIO()
        table = pa.Table.from_arrays(columns, names=[name.decode("latin-1") for name in names])
        pq.write_table(
            table, file, compression=rng.choice(["none", "snappy", "zstd"]), use_dictionary=rng.random() < 0.5
        )
        content = file.getvalue()
    if rng.random() < 0.15:
        content = content[: rng.randrange(len(content) + 1)]
    if rng.random() < 0.15:
        noisy = bytearray(content)
        for _ in range(rng.randrange(4) if content else 0):
            noisy[rng.randrange(len(noisy))] = rng.randrange(256)
        content = bytes(noisy)
    if kind != "parquet" and rng.random() < 0.2:
        kind, content = f"{kind}.gz", gzip.compress(content)
        if rng.random() < 0.2:
            content = content[: rng.randrange(len(content))]
    return f"new.{kind}", content


def test_fuzz(tmp_path: Path) -> None:
    """Whatever a file holds: each row is usable or quarantined, or the file is refused with one line."""
    counts = dict.fromkeys(["files", "refused", "rows", "usable", "quarantined"], 0)
    reasons, lines = set(), []
    for seed in range(1_500):
        name, content = _fuzzed_file(random.Random(seed))  # noqa: S311
        (tmp_path / name).write_bytes(content)
        counts["files"] += 1
        try:
            table = sources.read_records(str(tmp_path / name), allowed_roots=[str(tmp_path)])
        except SourceError as error:
            counts["refused"] += 1
            lines.append(len(str(error).splitlines()))
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}, {name}: {error!r}")
        table.validate(full=True)
        assert len(set(table["record_key"].to_pylist())) == table.num_rows, seed
        assert not any("\0" in (text or "") for column in table.columns for text in column.to_pylist()), seed
        checked = add_quarantine_reason(standardise(table))
        counts["rows"] += table.num_rows
        counts["usable"] += checked["quarantine_reason"].null_count
        counts["quarantined"] += table.num_rows - checked["quarantine_reason"].null_count
        reasons |= set(checked["quarantine_reason"].to_pylist())
    assert set(lines) == {1}
    assert counts["rows"] == counts["usable"] + counts["quarantined"]
    assert min(counts.values()) > 300, counts
    assert reasons == {None, *map(str, QuarantineReason)} - {"TOO_COMMON", "ERASED"}, "which no source can tell"
