import gzip
import io
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from common import sources
from common.errors import SourceError

HEADER = b"first_name,last_name,address\n"
BROKEN = pa.Array.from_buffers(pa.string(), 2, pa.array([b"\xff", b"Ann"]).buffers())

PAIR = {
    "left_first_name": "Ann", "left_last_name": "Lee", "left_address": "1 Elm Road",
    "right_first_name": "Anne", "right_last_name": "Lee", "right_address": "", "is_match": "1",
}  # fmt: skip
ANN_IS_ANNE = ("Ann", "Lee", "1 Elm Road", "Anne", "Lee", None)


class ReadPairs(Protocol):
    def __call__(self, content: bytes, name: str = ..., **options: Any) -> pa.Table: ...


@pytest.fixture
def read_pairs(tmp_path: Path) -> ReadPairs:
    """Reads bytes as a file of labelled pairs."""

    def read(content: bytes, name: str = "pairs.csv", **options: Any) -> pa.Table:
        (tmp_path / name).write_bytes(content)
        return sources.read_pairs(str(tmp_path / name), allowed_roots=[str(tmp_path)], **options)

    return read


def pairs_csv(*changes: dict[str, str]) -> bytes:
    lines = [",".join(PAIR), *(",".join({**PAIR, **change}.values()) for change in changes)]
    return "\n".join(lines).encode() + b"\n"


def as_parquet(columns: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize("text", ["1", "true", " TRUE "])
def test_pairs_from_csv(read_pairs: ReadPairs, text: str) -> None:
    no = {"1": "0", "true": "False", " TRUE ": "false"}[text]
    table = read_pairs(b"\n" + pairs_csv({"is_match": text}, {"is_match": no, "left_first_name": "Bob"}))
    assert table.schema == sources.PAIRS
    assert list(zip(*table.to_pydict().values(), strict=True)) == [
        (*ANN_IS_ANNE, True),
        ("Bob", *ANN_IS_ANNE[1:], False),
    ]
    assert read_pairs(gzip.compress(pairs_csv({"is_match": text})), "pairs.csv.gz")["is_match"].to_pylist() == [True]


def test_pairs_with_other_columns_in_another_order(read_pairs: ReadPairs) -> None:
    content = b"Is Match,Born," + ",".join(reversed([*PAIR][:-1])).encode() + b"\n0,1970,,Lee,Anne,1 Elm Road,Lee,Ann\n"
    assert list(read_pairs(content).to_pylist()[0].values()) == [*ANN_IS_ANNE, False]


@pytest.mark.parametrize(
    "verdicts",
    [
        pa.array([True, False]),
        pa.array([1, 0], pa.int8()),
        pa.array([1.0, 0.0]),
        pa.array(["TRUE", "0"]),
        pa.array(["true", "false"]).dictionary_encode(),
    ],
    ids=lambda verdicts: str(verdicts.type),
)
def test_pairs_from_parquet(read_pairs: ReadPairs, verdicts: pa.Array) -> None:
    columns = {name: [value, None] for name, value in PAIR.items()} | {"is_match": verdicts}
    table = read_pairs(as_parquet(columns), "pairs.parquet")
    assert table.schema == sources.PAIRS
    assert list(zip(*table.to_pydict().values(), strict=True)) == [(*ANN_IS_ANNE, True), (*[None] * 6, False)]


REFUSED_PAIRS = [
    ("empty", "pairs.csv", b"", "lacks the columns left_first_name"),
    ("no pairs", "pairs.csv", pairs_csv(), "holds no pairs"),
    ("records", "pairs.csv", HEADER + b"Wilhelmina,Lee,x\n", "lacks the columns left_first_name"),
    ("no verdicts", "pairs.csv", pairs_csv({}).replace(b"is_match", b"verdict"), "lacks the columns is_match"),
    ("verdict twice", "pairs.csv", pairs_csv({}).replace(b"is_match", b"is_match,Is Match"), "is_match is there twice"),
    ("a verdict missing", "pairs.csv", pairs_csv({}, {"is_match": ""}), "is_match of its row 2 is not 0, 1"),
    ("a verdict unknown", "pairs.csv", pairs_csv({}, {"is_match": "Wilhelmina"}), "is_match of its row 2 is not 0, 1"),
    ("a field too few", "pairs.csv", pairs_csv({}) + b"Wilhelmina,Lee\n", "row 2 has more or fewer fields"),
    ("open quote", "pairs.csv", pairs_csv({"left_first_name": '"Wilhelmina'}), "is not CSV"),
    ("not UTF-8", "pairs.csv", pairs_csv({}) + b"Wilhelmina\xff,,,,,,1\n", "is not UTF-8"),
    ("not gzip", "pairs.csv.gz", pairs_csv({}), "not a whole gzip"),
    ("not Parquet", "pairs.parquet", pairs_csv({}), "not a whole Parquet"),
    (
        "null verdict",
        "pairs.parquet",
        as_parquet({**{n: ["x"] for n in PAIR}, "is_match": pa.nulls(1)}),
        "row 1 is not",
    ),
    ("nested", "pairs.parquet", as_parquet({**{n: [["x"]] for n in PAIR}, "is_match": [True]}), "nested values"),
    ("JSON Lines", "pairs.jsonl", b"{}\n", "CSV or Parquet"),
]


@pytest.mark.parametrize(("name", "content", "reason"), [pytest.param(*case, id=idea) for idea, *case in REFUSED_PAIRS])
def test_pairs_refused(read_pairs: ReadPairs, name: str, content: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        read_pairs(content, name)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("Cannot read source ")
    assert "Wilhelmina" not in str(caught.value)


def test_pairs_of_broken_text_are_refused(read_pairs: ReadPairs) -> None:
    columns = {name: ["x", "x"] for name in PAIR} | {"right_address": BROKEN, "is_match": [True, True]}
    with pytest.raises(SourceError, match="not UTF-8"):
        read_pairs(as_parquet(columns), "pairs.parquet")


def test_pairs_are_read_from_allowed_places_within_limits(read_pairs: ReadPairs, tmp_path: Path) -> None:
    content = pairs_csv(*[{}] * 1_000)
    assert read_pairs(content).num_rows == 1_000
    with pytest.raises(SourceError, match="more than 10,000 bytes"):
        read_pairs(gzip.compress(content), "pairs.csv.gz", max_bytes=10_000)
    with pytest.raises(SourceError, match="outside of the allowed places"):
        sources.read_pairs(str(tmp_path / "pairs.csv"), allowed_roots=[str(tmp_path / "incoming")])
    with pytest.raises(SourceError, match="no such file"):
        sources.read_pairs(str(tmp_path / "other.csv"), allowed_roots=[str(tmp_path)])
