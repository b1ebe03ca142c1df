"""How the functions of tasks get their tables."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from common.arrow_xcom import ArrowXCom, TableReference
from common.errors import MissingBatch
from common.table_task import logs_numbers, opens_tables

TABLE = pa.table({"name": ["Ann", None, "Zoë"], "age": [1, 2, 2**60]})


@pytest.fixture
def reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TableReference:
    """What another task has left in XCom."""
    monkeypatch.setattr("common.settings.XCOM_ROOT", str(tmp_path / "xcom"))
    stored = ArrowXCom.serialize_value(TABLE, dag_id="dedupe_people", run_id="run 1", task_id="ingest")
    found = ArrowXCom.deserialize_value(type("Stored", (), {"value": stored}))
    assert isinstance(found, TableReference)
    return found


def test_tasks_get_tables_for_references(reference: TableReference) -> None:
    @opens_tables
    def task(batch: pa.Table, pairs: list[pa.Table], shard: dict[str, int], name: str = "x") -> tuple[Any, ...]:
        return batch, pairs, shard, name

    batch, pairs, shard, name = task(reference, pairs=[reference, reference], shard={"first_person": 1}, name="Jo")
    assert batch.equals(TABLE)
    assert [part.equals(TABLE) for part in pairs] == [True, True]
    assert (shard, name) == ({"first_person": 1}, "Jo")
    assert task(TABLE, [TABLE], {}) == (TABLE, [TABLE], {}, "x"), "tables themselves, as in tests"


def test_a_missing_batch_is_one_line_that_names_the_recipe() -> None:
    @opens_tables
    def task(batch: pa.Table, pairs: list[pa.Table]) -> None:
        raise AssertionError("must not run")

    for arguments in [(None, []), (TABLE, None), (TABLE, [None])]:
        with pytest.raises(MissingBatch, match="run the tasks before this one first") as raised:
            task(*arguments)
        assert "\n" not in str(raised.value)
        assert "--mark-success-pattern" in str(raised.value)
        assert raised.value.code == str(raised.value), "Airflow logs the code of a SystemExit, without a traceback"
        assert isinstance(raised.value, Exception), "and whoever catches exceptions catches this one"


def test_the_decorator_keeps_name_and_documentation() -> None:
    @opens_tables
    def compare(batch: pa.Table) -> None:
        """Find pairs."""

    assert (compare.__name__, compare.__doc__) == ("compare", "Find pairs.")


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        (TABLE, "3 rows x 2 columns"),
        ({"received": 4, "batch_id": "f00", "curves": {"x": 1}, "score": 0.5}, "received=4, batch_id=f00"),
        ([{"first_person": 1}, {"first_person": 9}], "2 parts"),
        ("reports/run.html", "reports/run.html"),
    ],
)
def test_a_task_ends_with_one_line_of_numbers(result: Any, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert logs_numbers(ingest_of(result))() is result
    (line,) = caplog.messages
    assert re.fullmatch(rf"ingest: {re.escape(shown)} in \d+\.\d s", line)
    assert "Ann" not in line


def ingest_of(result: Any) -> Any:
    def ingest() -> Any:
        return result

    return ingest
