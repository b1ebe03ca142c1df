"""Erasing people: their rows in one transaction, after it the files of batches in which they stand."""

from collections.abc import Set as AbstractSet
from datetime import timedelta

import pyarrow as pa

from common import people_db, storage
from common.arrow_xcom import batch_files, root, safe_name
from common.errors import PeopleDbError
from common.people_db import Fields
from common.settings import DAG_ID
from common.standardising import standardise_people

_FIELDS = ("first_name", "last_name", "address")


def erase(
    person_id: int | None, source_key: str | None, system: str, *, keep_out: bool, patience: timedelta | None = None
) -> tuple[str, list[str]]:
    """Erase a person, named by id or by a key of a system.

    It can be repeated: what was erased before stays so, and files that could not be deleted then are deleted now.

    Args:
        person_id: the person; None: whoever came under the key.
        source_key: the key; also records are erased that wait in review, or are in quarantine, under it.
        system: whose key that is.
        keep_out: do not take in again what is delivered again.
        patience: how long to wait for other writers, see `people_db.writing`.

    Returns:
        The proof: what was removed, and what is left; and for each file that could not be deleted why.

    Raises:
        PeopleDbError: nobody is meant, and no file waits to be deleted.
        OSError: the files of batches cannot be read; nothing is erased.
    """
    with people_db.writing(patience) as connection:
        standardise_people(connection)
        erased = people_db.whom(connection, person_id, system, source_key)
        traces = people_db.traces(connection, erased) if erased else None
        waiting = people_db.erased_files(connection)
    if erased is None or traces is None:
        nobody = f"there is no person {person_id}" if source_key is None else f"nobody came under this key of {system}"
        if not waiting:
            raise PeopleDbError(nobody)
        deleted, left = delete_erased_files()
        return f"{nobody} any more\nfiles deleted: {deleted}, left: {len(left)}", left
    from common import segments

    found, searched = _files_of(traces)
    with people_db.writing(patience) as connection:
        rows = [row for person in erased.people for row in people_db.rows_of_person(connection, person)]
        done = people_db.erase(connection, erased, keep_out=keep_out)
        people_db.note_erased_files(connection, [str(file.path) for file in found])
    removed = ", ".join(f"{count} of {table}" for table, count in sorted(done.rows.items()))
    alike = ", ".join(f"{count} of {table}" for table, count in done.left.items())
    deleted, left = delete_erased_files()
    forgotten = segments.forget(rows)
    who = f"person {', '.join(map(str, erased.people))}" if erased.people else "the records under this key"
    lines = [
        f"{who} erased; removed: {removed}",
        f"rows that say the same: {alike or 'none'}",
        f"files of batches searched: {searched}, with something of them: {len(found)}; "
        f"deleted: {deleted}, left: {len(left)}; files of segments deleted: {forgotten}",
    ]
    return "\n".join([*lines, "what is delivered again is kept out"] if keep_out else lines), left


def _files_of(traces: people_db.Traces) -> tuple[list[storage.StoredFile], int]:
    """Files of batches that say what somebody was known as, and those of the runs that brought it; how many there are.

    A run that is going on misses its files and fails: it is cleared as a whole, and reads its source again.
    """
    folders = {safe_name(run_id) for run_id in traces.runs}
    found, searched = [], 0
    for batch in batch_files(DAG_ID):
        searched += 1
        of_earlier_version = batch.run_id is None and folders & set(batch.file.path.parts)
        if batch.run_id in traces.runs or of_earlier_version or _says(batch.file, traces.said):
            found.append(batch.file)
    return found, searched


def _says(file: storage.StoredFile, said: AbstractSet[Fields]) -> bool:
    """Whether a file has a row that says one of these; also if it cannot be read, since then nobody else can either."""
    try:
        table = pa.ipc.open_file(pa.BufferReader(file.path.read_bytes())).read_all()
    except FileNotFoundError:
        return False
    except pa.ArrowInvalid:
        return True
    if "record" in table.column_names and pa.types.is_struct(table.schema.field("record").type):  # a decided sweep
        table = pa.Table.from_struct_array(table["record"])
    if not set(_FIELDS) <= set(table.column_names):
        return False
    rows = zip(*(table[name].to_pylist() for name in _FIELDS), strict=True)
    return any(row in said for row in rows)


def delete_erased_files() -> tuple[int, list[str]]:
    """Delete the files of batches that say something of erased people.

    Returns:
        How many went, and for each that could not be deleted why, in a few words.
    """
    with people_db.transaction() as connection:
        paths = people_db.erased_files(connection)
    gone, left = [], []
    for path in paths:
        try:
            storage.delete(storage.place(path), root())
            gone.append(path)
        except Exception as error:  # of whatever kind the store raises; the file stays noted
            left.append(getattr(error, "strerror", None) or type(error).__name__)
    with people_db.transaction() as connection:
        people_db.forget_erased_files(connection, gone)
    return len(gone), left
