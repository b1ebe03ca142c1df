"""How a batch travels between tasks: as a file, with a reference that may be seen by anybody."""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from common import settings
from common.arrow_xcom import ArrowXCom, TableReference
from object_store import ObjectStore

TABLE = pa.table({"name": ["Ann", None, "Zoë"], "age": [1, 2, 2**60]}).replace_schema_metadata({"source": "faker"})
IDS = {"key": "return_value", "task_id": "ingest", "dag_id": "dedupe_people", "run_id": "manual__2026+00:00/x"}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("common.settings.XCOM_ROOT", str(tmp_path / "xcom"))
    return tmp_path / "xcom"


class Stored:
    """What Airflow hands to the backend: a row of table xcom."""

    def __init__(self, value: Any) -> None:
        self.value = value


def pushed(value: Any, **ids: Any) -> Any:
    return ArrowXCom.serialize_value(value, **{**IDS, **ids})


def pulled(stored: Any) -> Any:
    return ArrowXCom.deserialize_value(Stored(stored))


def test_a_table_arrives_as_it_was(root: Path) -> None:
    reference = pulled(pushed(TABLE))
    assert isinstance(reference, TableReference)
    assert (reference.rows, reference.columns) == (3, 2)
    assert reference.open().equals(TABLE, check_metadata=True)


@pytest.mark.parametrize("table", [TABLE.slice(0, 0), pa.table({}), pa.concat_tables([TABLE, TABLE.slice(1)])])
def test_any_table_travels(root: Path, table: pa.Table) -> None:
    assert pulled(pushed(table)).open().equals(table, check_metadata=True)


def test_other_values_travel_as_usual(root: Path) -> None:
    for value in (None, 1, "text", [{"first_person": 2**60, "snapshot": "1:2:"}], {"received": 3, "score": 0.5}):
        assert pulled(pushed(value)) == value
    assert not root.exists()


def test_what_is_stored_and_shown_names_nobody(root: Path) -> None:
    stored = pushed(TABLE)
    assert "Ann" not in str(stored)
    shown = str(pulled(stored))
    assert re.fullmatch(r"/\S+\.arrow \(3 rows x 2 columns, [\d,]+ bytes\)", shown)
    assert "Ann" not in repr(pulled(stored))


def test_the_files_are_their_owners_alone(root: Path) -> None:
    path = Path(pulled(pushed(TABLE)).path)
    assert path.is_relative_to(root)
    assert path.parent.stat().st_mode & 0o077 == 0
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no half file is left"


def test_every_push_is_a_file_of_its_own(root: Path) -> None:
    """So a retry cannot change a table that another task has mapped into its memory."""
    first, second = (pulled(pushed(TABLE, map_index=index)) for index in (0, 0))
    assert first.path != second.path


def test_purging_removes_the_file_and_may_be_repeated(root: Path) -> None:
    stored = Stored(pushed(TABLE))
    path = Path(pulled(stored.value).path)
    ArrowXCom.purge(stored)
    assert not path.exists()
    ArrowXCom.purge(stored)
    ArrowXCom.purge(Stored(pushed("text")))


def test_a_swept_file_is_a_clear_error(root: Path) -> None:
    reference = pulled(pushed(TABLE))
    Path(reference.path).unlink()
    with pytest.raises(FileNotFoundError):
        reference.open()


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "{root}/../secret.arrow", "{root}x/a.arrow", "s3://bucket/a", "a.arrow"]
)
def test_paths_outside_of_the_root_are_refused(root: Path, path: str) -> None:
    reference = replace(pulled(pushed(TABLE)), path=path.format(root=root))
    with pytest.raises(ValueError, match="outside"):
        reference.open()


@pytest.mark.parametrize("path", ["{outside}", "{root}/../secret.arrow"])
def test_purging_touches_nothing_outside_of_the_root(root: Path, path: str) -> None:
    secret = root.parent / "secret.arrow"
    secret.write_text("keep")
    stored = pushed(TABLE)
    own, other = pulled(stored).path, path.format(root=root, outside=secret)
    ArrowXCom.purge(Stored(json.loads(json.dumps(stored).replace(own, other))))
    assert secret.exists()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An object store where batches go, behind a connection of its own: Airflow keeps a client for each."""
    with ObjectStore("batches") as store:
        name = f"store_{uuid.uuid4().hex}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(store.connection()))
        monkeypatch.setattr("common.settings.XCOM_ROOT", f"s3://{name}@batches/xcom")
        yield store


def test_a_table_goes_to_an_object_store_in_one_request(store: ObjectStore) -> None:
    stored = pushed(TABLE)
    [key] = store.keys()
    assert re.fullmatch(r"xcom/dedupe_people/run_id=[^/]+/ingest/[0-9a-f-]{36}\.arrow", key)
    reference = pulled(stored)
    root = settings.XCOM_ROOT.removesuffix("xcom")
    assert reference.path == f"{root}{key}"
    assert reference.bytes == store.client().head_object(Bucket="batches", Key=key)["ContentLength"]

    store.requests.clear()
    pushed(TABLE)
    assert [method for method, _ in store.requests] == ["PUT"]
    store.requests.clear()
    assert reference.open().equals(TABLE, check_metadata=True)
    # A large file is fetched in parts, side by side: its size is asked for first.
    assert store.requests == [("HEAD", f"/batches/{key}"), ("GET", f"/batches/{key}")]


def test_a_large_table_goes_to_an_object_store_whole(store: ObjectStore) -> None:
    large = pa.table({"number": pa.array(range(14_000_000), pa.int64())})  # several parts of an upload
    assert pulled(pushed(large)).open().equals(large)


def test_a_file_that_is_gone_from_an_object_store_is_a_clear_error(store: ObjectStore) -> None:
    stored = pushed(TABLE)
    ArrowXCom.purge(Stored(stored))
    assert store.keys() == []
    ArrowXCom.purge(Stored(stored))
    with pytest.raises(FileNotFoundError):
        pulled(stored).open()


def test_nothing_outside_of_the_root_is_read_from_an_object_store(store: ObjectStore) -> None:
    reference = pulled(pushed(TABLE))
    for path in (
        "s3://store@batches/other/a.arrow",
        "s3://other@batches/xcom/a.arrow",
        "s3://store@others/xcom/a.arrow",
    ):
        with pytest.raises(ValueError, match="outside"):
            replace(reference, path=path).open()
