"""Folders, globs and prefixes: all files that are taken are one batch."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from common import sources
from common.errors import SourceError, SourceIsChanging, TransientError
from common.linkage.standardise import standardise
from common.linkage.validation import add_quarantine_reason

HEADER = "first_name,last_name,address\n"


def content_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def first_names(table: pa.Table) -> list[Any]:
    return list(table["first_name"].to_pylist())


def files(table: pa.Table) -> dict[str, str]:
    """The names of the files that were read, by the SHA-256 of their bytes."""
    found: dict[str, str] = json.loads(table.schema.metadata[b"files"])
    return {content: Path(name).name for content, name in found.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.csv").write_text(HEADER + "Bob,Roe,x\n")
    (tmp_path / "a.tsv").write_text("Vorname\tNachname\tAnschrift\nAnn\tLee\tx\n")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"first_name": "Cy", "last_name": "Poe", "address": "x"}\n'))
    (tmp_path / ".hidden.csv").write_text("cut")
    (tmp_path / "~$b.xlsx").write_text("Office puts such a mark beside an open file")
    (tmp_path / "notes.doc").write_text("of no known format")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "z.csv").write_text(HEADER + "Zoe,Roe,x\n")
    return tmp_path


def test_all_files_of_a_folder_are_one_batch(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = sources.read_records(str(folder), allowed_roots=[str(folder)])
    assert first_names(table) == ["Ann", "Bob", "Cy"]
    assert list(files(table).values()) == ["a.tsv", "b.csv", "c.jsonl.gz"]
    assert set(files(table)) == {content_hash(folder / name) for name in ("a.tsv", "b.csv", "c.jsonl.gz")}
    assert table.equals(sources.read_records(f"{folder}", allowed_roots=[str(folder)]))
    assert "Left out 1 files of formats that are not known" in caplog.text


def test_files_are_taken_by_their_content(folder: Path) -> None:
    loaded = {content_hash(folder / "b.csv")}
    (folder / "b.csv").rename(folder / "renamed.csv")
    (folder / "copy of a.tsv").write_bytes((folder / "a.tsv").read_bytes())
    table = sources.read_records(f"{folder}/", taken=lambda content: content not in loaded, allowed_roots=[str(folder)])
    assert sorted(first_names(table)) == ["Ann", "Cy"]
    nothing = sources.read_records(f"{folder}/", taken=lambda content: False, allowed_roots=[str(folder)])
    assert (nothing.num_rows, files(nothing)) == (0, {})


def test_glob(folder: Path) -> None:
    assert first_names(sources.read_records(f"{folder}/*.[ct]sv", allowed_roots=[str(folder)])) == ["Ann", "Bob"]
    assert first_names(sources.read_records(f"{folder}/*/*.csv", allowed_roots=[str(folder)])) == ["Zoe"]
    assert sources.read_records(f"{folder}/*.parquet", allowed_roots=[str(folder)]).num_rows == 0
    (folder / "new[1].csv").write_text(HEADER + "Dee,Roe,x\n")
    assert first_names(sources.read_records(f"{folder}/new[1].csv", allowed_roots=[str(folder)])) == ["Dee"]


def test_one_bad_file_is_named(folder: Path) -> None:
    (folder / "bad.csv").write_text("first_name,frist_name,address\nWilhelmina,Lee,x\n")
    with pytest.raises(SourceError, match=r"Cannot read source .*/bad.csv: it lacks the columns last_name") as caught:
        sources.read_records(f"{folder}/", allowed_roots=[str(folder)])
    assert "Wilhelmina" not in str(caught.value)


def test_files_without_rows_do_not_stand_in_the_way(folder: Path) -> None:
    (folder / "empty.csv").write_text(HEADER)
    assert first_names(sources.read_records(f"{folder}/", allowed_roots=[str(folder)])) == ["Ann", "Bob", "Cy"]


def test_a_drop_folder_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    missing = str(tmp_path / "incoming")
    assert sources.read_records(f"{missing}/", allowed_roots=[missing]).num_rows == 0
    with pytest.raises(SourceError, match="no such folder"):
        sources.read_records(f"{missing}/november/", allowed_roots=[missing])


def test_a_wrong_param_is_told_without_new_files(folder: Path) -> None:
    layout = sources.Layout(columns={"name": "x"})
    with pytest.raises(SourceError, match="has a key 'name'"):
        sources.read_records(f"{folder}/", layout, taken=lambda content: False, allowed_roots=[str(folder)])


def test_a_file_that_is_still_being_written_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = sources.records.read_delimited

    def read_while_somebody_writes(*args: Any) -> None:
        read(*args)
        with (folder / "b.csv").open("a") as file:
            file.write("Eve,Roe,x\n")

    monkeypatch.setitem(sources.records._TEXT_FORMATS, ".csv", read_while_somebody_writes)
    with pytest.raises(SourceIsChanging, match="changed while it was read"):
        sources.read_records(str(folder / "b.csv"), allowed_roots=[str(folder)])
    assert issubclass(SourceIsChanging, TransientError)


def test_object_store_prefix(tmp_path: Path) -> None:
    import fsspec  # type: ignore[import-untyped]
    from airflow.sdk.io import attach

    store = fsspec.filesystem("memory")
    attach("memory", fs=store)
    store.pipe("/drop/new/b.csv", HEADER.encode() + b"Bob,Roe,x\n")
    store.pipe("/drop/new/a.csv", HEADER.encode() + b"Ann,Lee,x\n")
    store.pipe("/drop/new/old/c.csv", HEADER.encode() + b"Cy,Poe,x\n")
    for prefix in ("memory://drop/new/", "memory://drop/new", "memory://drop/new/*.csv"):
        table = sources.read_records(prefix, allowed_roots=["memory://drop"])
        assert first_names(table) == ["Ann", "Bob"]
        assert [*json.loads(table.schema.metadata[b"files"]).values()] == [
            "memory://drop/new/a.csv",
            "memory://drop/new/b.csv",
        ]
    with pytest.raises(SourceError, match="outside"):
        sources.read_records("memory://other/", allowed_roots=["memory://drop"])


def test_the_samples_hold_every_quirk() -> None:
    """They are read from where they lie, and the drop folder does not take them."""
    table = sources.read_records("incoming/samples/", allowed_roots=["incoming"])
    assert sorted(files(table).values()) == ["people.csv", "people.txt", "people.xlsx"]
    reasons = add_quarantine_reason(standardise(table))["quarantine_reason"].to_pylist()
    assert {*reasons} == {None, "MALFORMED_ROW", "FIELD_TOO_LONG", "NOT_UTF8", "NO_NAME"}
    assert "12 Larkspur Lane, 04101, Portland" in table["address"].to_pylist()
    names = [name for name in first_names(table) if name]
    assert {"José", "Márta", "Владимир", "Lysander"} <= {*names}
    dropped = sources.read_records(
        "incoming/", taken=lambda content: content in files(table), allowed_roots=["incoming"]
    )
    assert files(dropped) == {}
