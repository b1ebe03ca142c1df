import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from common import sources
from common.errors import SourceError

HEADER = b"first_name,last_name,address\n"


def test_where_sources_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "incoming", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "new.csv").write_bytes(HEADER + b"Ann,Lee,x\n")
    (inside / "link.csv").symlink_to(outside / "new.csv")
    (inside / "loop.csv").symlink_to(inside / "loop.csv")
    (inside / "folder.csv").mkdir()
    os.mkfifo(inside / "pipe.csv")
    monkeypatch.setattr("common.sources.places.PROJECT_ROOT", tmp_path)

    for allowed in (
        "incoming/new.csv",
        f"{inside}/new.csv",
        f"file://{inside}/new.csv",
        "incoming/../incoming/new.csv",
    ):
        assert sources.read_records(allowed, allowed_roots=["incoming"]).num_rows == 1
        with pytest.raises(SourceError, match="outside of the allowed places"):
            sources.read_records(allowed, allowed_roots=["incoming/folder.csv"])

    for refused, reason in {
        f"{outside}/new.csv": "outside",
        "outside/new.csv": "outside",
        "incoming/../outside/new.csv": "outside",
        f"file://{outside}/new.csv": "outside",
        f"file://{inside}/../outside/new.csv": "outside",
        "file://incoming/new.csv": "outside",
        "incoming/link.csv": "outside",
        "incomingmore/new.csv": "outside",
        "incoming/loop.csv": "cannot be",
        "incoming/missing.csv": "no such file",
        "incoming/pipe.csv": "not a regular file",
        "incoming/new.csv/x.csv": "cannot be opened",
        f"incoming/{'x' * 5000}.csv": "cannot be",
        "incoming/a\0.csv": "not a path or URL",
        "incoming/a\n.csv": "not a path or URL",
        "": "not a path or URL",
        " ": "not a path or URL",
        "incoming/missing/": "no such folder",
        "incoming/new.csv/": "no such folder",
        "incoming/../outside/*.csv": "outside",
        f"{outside}/": "outside",
        "incoming/": "lies outside",  # a link in it leads there
        "incoming/l*.csv": "lies outside",
        "http://169.254.169.254/x.csv": "outside",
        "s3://bucket/new.csv": "outside",
        "s3://@bucket/new.csv": "outside",
        "s3://me@bucket/../new.csv": "'..'",
        "simplecache::file:///etc/x.csv": "outside",
        "s3://me@x::file:///etc/x.csv": "'::'",
    }.items():
        with pytest.raises(SourceError, match=reason) as caught:
            sources.read_records(refused, allowed_roots=["incoming"])
        assert len(str(caught.value).splitlines()) == 1


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_bytes(HEADER)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(SourceError, match="cannot be opened: PermissionError"):
        sources.read_records(str(path), allowed_roots=[str(tmp_path)])


def test_message_hides_a_password() -> None:
    with pytest.raises(SourceError) as caught:
        sources.read_records("s3://me:hunter2@bucket/new.csv", allowed_roots=[])
    assert "hunter2" not in str(caught.value)


def test_object_store(tmp_path: Path) -> None:
    import fsspec  # type: ignore[import-untyped]
    from airflow.sdk.io import attach

    store = fsspec.filesystem("memory")
    attach("memory", fs=store)
    store.pipe("/bucket/new.csv", HEADER + b"Ann,Lee,x\n")
    store.pipe("/bucket/new.csv.gz", gzip.compress(HEADER + b"Ann,Lee,x\n"))
    pq.write_table(pa.table({"first_name": ["Ann"], "last_name": ["Lee"], "address": ["x"]}), tmp_path / "p")
    store.pipe("/bucket/new.parquet", (tmp_path / "p").read_bytes())

    for name in ("new.csv", "new.csv.gz", "new.parquet"):
        table = sources.read_records(f"memory://bucket/{name}", allowed_roots=["memory://bucket"])
        assert table.select(["first_name", "last_name", "address"]).to_pylist() == [
            {"first_name": "Ann", "last_name": "Lee", "address": "x"}
        ]
    with pytest.raises(SourceError, match="no such object"):
        sources.read_records("memory://bucket/missing.csv", allowed_roots=["memory://"])
    with pytest.raises(SourceError, match="outside"):
        sources.read_records("memory://bucketmore/new.csv", allowed_roots=["memory://bucket"])
    with pytest.raises(SourceError, match="more than 20 bytes"):
        sources.read_records("memory://bucket/new.csv", allowed_roots=["memory://"], max_bytes=20)
