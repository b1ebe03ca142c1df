"""How an Arrow batch travels through XCom: as an Arrow IPC file, with a reference in the metadata database.

`ArrowXCom` is the XCom backend (`[core] xcom_backend`). It stores a `pyarrow.Table` below `XCOM_ROOT` and hands out a
`TableReference`; `@table_task` turns references into tables just before a task's own code runs. Two steps, since
Airflow stores the text of a task's arguments as rendered template fields: a table there would put the people's
names into the metadata database, a reference puts a path and a row count.

Where a file lies says which run it is of, so that it can be deleted when it is no longer needed, whatever has become of
the reference: `XCOM_ROOT/dag/run_id=.../task/*.arrow`.
"""

import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from airflow.sdk.bases.xcom import BaseXCom

from common import storage

if TYPE_CHECKING:
    import pyarrow as pa

MARK = "arrow_table"

_OF_RUN = "run_id="
"""Begins the name of a run's folder. Those of earlier versions have no such beginning, and a name that is no id."""

_PART = 200
"""Characters of a run id in the name of one folder; the rest stands in folders below. File systems allow 255."""


@dataclass(frozen=True)
class BatchFile:
    """A file of a batch: the run that it is of, None where an earlier version has written it; see `StoredFile`."""

    file: storage.StoredFile
    run_id: str | None


@dataclass(frozen=True)
class TableReference:
    """A table that lies in a file: what the UI, the logs and the metadata database get to see of it."""

    path: str
    rows: int
    columns: int
    bytes: int

    def __str__(self) -> str:
        """Safe to store and log."""
        return f"{self.path} ({self.rows:,} rows x {self.columns} columns, {self.bytes:,} bytes)"

    def open(self) -> "pa.Table":
        """The table, mapped into memory where the file system can do that.

        Raises:
            ValueError: the path lies outside `XCOM_ROOT`.
            FileNotFoundError: the file is gone, for instance because the run's XComs were swept.
        """
        import pyarrow as pa

        path = _path_below_root(self.path)
        source = pa.memory_map(str(path)) if isinstance(path, Path) else pa.BufferReader(path.fs.cat_file(path.path))
        return pa.ipc.open_file(source).read_all()


class ArrowXCom(BaseXCom):
    """XCom backend: tables go to files, everything else to the metadata database as usual."""

    @staticmethod
    def serialize_value(
        value: Any,
        *,
        key: str | None = None,
        task_id: str | None = None,
        dag_id: str | None = None,
        run_id: str | None = None,
        map_index: int | None = None,
    ) -> Any:
        """Write a table to a file of its own and return the reference; pass on any other value."""
        import pyarrow as pa

        if isinstance(value, pa.Table):
            folder = root().joinpath(safe_name(dag_id), *_folders_of(run_id), safe_name(task_id))
            value = {MARK: asdict(_write(value, folder))}
        return BaseXCom.serialize_value(
            value, key=key, task_id=task_id, dag_id=dag_id, run_id=run_id, map_index=map_index
        )

    @staticmethod
    def deserialize_value(result: Any) -> Any:
        """A `TableReference` where a table was pushed, else the value as it was."""
        value = BaseXCom.deserialize_value(result)
        if isinstance(value, dict) and value.keys() == {MARK}:
            return TableReference(**value[MARK])
        return value

    @staticmethod
    def purge(xcom: Any, *args: Any) -> None:
        """Delete the file of an XCom that is being deleted, if it lies below `XCOM_ROOT`."""
        value = ArrowXCom.deserialize_value(xcom)
        if isinstance(value, TableReference):
            with suppress(ValueError):
                _path_below_root(value.path).unlink(missing_ok=True)


def batch_files(dag_id: str) -> Iterator[BatchFile]:
    """All files of batches of a DAG, those that no XCom refers to and those of killed tasks included.

    Raises:
        OSError: the folder or the store cannot be read.
    """
    of_dag = root() / safe_name(dag_id)
    for file in storage.files_below(of_dag):
        folders = file.path.parts[len(of_dag.parts) : -2]
        ours = bool(folders) and folders[0].startswith(_OF_RUN)
        yield BatchFile(file, unquote("".join(folders).removeprefix(_OF_RUN)) if ours else None)


def root() -> Any:
    """Below which all files of batches lie, of all DAGs."""
    # Every process of Airflow imports this module at its start; its children are to see the settings of their own day.
    from common.settings import XCOM_ROOT

    return storage.place(XCOM_ROOT)


def _path_below_root(path: str) -> Any:
    place, top = storage.place(path), root()
    same_store = type(place) is type(top) and (isinstance(place, Path) or place.samestore(top))
    if not same_store or ".." in place.parts or not place.is_relative_to(top):
        raise ValueError(f"XCom reference outside {top}: {path}")
    return place


def safe_name(name: str | None) -> str:
    """A file name for an id that may hold slashes, colons and plus signs."""
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in name or "_")


def _folders_of(run_id: str | None) -> list[str]:
    """The folders, one in the other, whose names are the id of a run: any id, of any length, in any characters."""
    whole = _OF_RUN + quote(run_id or "", safe="").replace(".", "%2E")
    return [whole[begin : begin + _PART] for begin in range(0, len(whole), _PART)]


def _write(table: "pa.Table", folder: Any) -> TableReference:
    """Write a table to a file of its own, which a killed task leaves whole or not at all."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data = sink.getvalue()
    final = folder / f"{uuid.uuid4()}.arrow"
    storage.write(final, data, mode=0o700)
    return TableReference(str(final), table.num_rows, table.num_columns, data.size)
