"""Encoded people that are kept from run to run: segments, which every worker maps into memory.

A segment is named by what is in it: its shard, the code that encoded it and the state of the rows. So it is never out
of date, whatever happened to the table, and one that is not there is simply made. It lies beside the batches, in a
folder or an object store (`XCOM_ROOT`), as two files: the rows, and the same rows encoded for the search.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypedDict

import pyarrow as pa

from common import people_db
from common.arrow_xcom import root
from common.errors import DedupePeopleError
from common.linkage.batch import Known
from common.linkage.search import ENCODER, Segment
from common.linkage.standardise import STANDARDISED
from common.settings import SEGMENT_CACHE, SEGMENTS_KEPT

FOLDER = "segments"
"""The folder of segments below `XCOM_ROOT`."""

_ROWS, _ENCODED = ".rows", ".encoded"
_NAME = re.compile(r"people_(-?\d+)_(-?\d+)_spellings_(-?\d+)_(-?\d+)_[0-9a-f]{32}(\.rows|\.encoded)")


class Kept(TypedDict):
    """A segment that is kept: its name, the shard that it stands for, and how many rows it has."""

    name: str
    shard: people_db.Shard
    rows: int


def keep(shard: people_db.Shard) -> Kept:
    """The segment of a shard as it is now; it is made if it is not there."""
    known: dict[str, Kept] = {}

    def is_kept(state: str) -> bool:
        name = _name(shard, state)
        if rows := _rows_if_kept(name):
            known[state] = Kept(name=name, shard=shard, rows=rows[0])
        return state in known

    state, people = people_db.read_shard(shard, is_kept)
    if people is None:
        return known[state]
    name = _name(shard, state)
    _store(name, people)
    return Kept(name=name, shard=shard, rows=len(people))


def opened(kept: Kept) -> Known:
    """A segment, mapped into memory; if it was deleted meanwhile, it is made again of what the shard holds now."""
    try:
        return _mapped(kept["name"])
    except FileNotFoundError:
        return _mapped(keep(kept["shard"])["name"])


def prune(used: Collection[str], now: float | None = None) -> int:
    """Delete the segments that are not used any more; returns how many files.

    Args:
        used: names of those that this run uses. Others go when they are older than `SEGMENTS_KEPT`: another run may
            use them.
        now: seconds since 1970, for tests.
    """
    oldest = (time.time() if now is None else now) - SEGMENTS_KEPT.total_seconds()
    return _delete(lambda path: path.stem not in used and path.stat().st_mtime < oldest)


def forget(people: Iterable[int]) -> int:
    """Delete all segments that may hold one of these people (rows of the table), by id; returns how many files.

    Their spellings may be in any segment that has spellings. A worker that has fetched one from an object store deletes
    its copy when it next opens a segment.
    """
    ids = list(people)

    def may_hold(path: Any) -> bool:
        name = _NAME.fullmatch(path.name)
        if name is None:  # a killed task has left it unfinished
            return True
        first, last, first_spelling, last_spelling = map(int, name.groups()[:4])
        return first_spelling <= last_spelling or any(first <= person_id <= last for person_id in ids)

    return _delete(may_hold)


def _name(shard: people_db.Shard, state: str) -> str:
    key = hashlib.sha256(f"{ENCODER}\0{state}".encode()).hexdigest()[:32]
    people = f"people_{shard['first_person']}_{shard['last_person']}"
    return f"{people}_spellings_{shard['first_spelling']}_{shard['last_spelling']}_{key}"


def _rows_if_kept(name: str) -> tuple[int] | None:
    """How many rows a segment has, if it is kept."""
    try:
        return (len(_mapped(name).rows),)
    except FileNotFoundError:
        return None


def _store(name: str, people: pa.Table) -> None:
    """Write both files, each at once, and that which tells that all is there last."""
    store = _made(root() / FOLDER)
    with tempfile.TemporaryDirectory(dir=store if isinstance(store, Path) else _cache()) as folder:
        rows, encoded = Path(folder, name + _ROWS), Path(folder, name + _ENCODED)
        with pa.OSFile(str(rows), "wb") as sink, pa.ipc.new_file(sink, people.schema) as writer:
            writer.write_table(people.combine_chunks())
        Segment.of(people.select(STANDARDISED)).save(encoded)
        for path in (rows, encoded):
            if isinstance(store, Path):
                path.replace(store / path.name)
            else:
                (store / path.name).write_bytes(path.read_bytes())


def _mapped(name: str) -> Known:
    """The segment of a name.

    Raises:
        FileNotFoundError: it is not kept.
    """
    encoded, rows = _local(name + _ENCODED), _local(name + _ROWS)
    return Known(pa.ipc.open_file(pa.memory_map(str(rows))).read_all(), Segment.open(encoded))


def _local(file: str) -> Path:
    """The path of a file of a segment on this machine: where it is kept if that is a folder, else a copy."""
    store = root() / FOLDER
    if isinstance(store, Path):
        (store / file).stat()
        return store / file
    if not (store / file).exists():
        raise FileNotFoundError(file)
    cache = _cache()
    if not (cache / file).exists():
        for copy in (path for path in cache.iterdir() if _NAME.fullmatch(path.name)):
            if not (store / copy.name).exists():  # of somebody who was erased, or not used any more
                copy.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            unfinished = Path(folder, file)
            unfinished.write_bytes((store / file).read_bytes())
            unfinished.replace(cache / file)
    return cache / file


def _cache() -> Path:
    """The folder of copies on this machine.

    Raises:
        DedupePeopleError: it belongs to somebody else.
    """
    _made(SEGMENT_CACHE)
    if SEGMENT_CACHE.stat().st_uid != os.getuid():
        raise DedupePeopleError(
            f"{SEGMENT_CACHE} belongs to somebody else: name another folder in DEDUPE_SEGMENT_CACHE"
        )
    return SEGMENT_CACHE


def _made(folder: Any) -> Any:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _delete(is_wanted: Callable[[Any], bool]) -> int:
    store = root() / FOLDER
    found = [path for path in (store.iterdir() if store.exists() else ()) if is_wanted(path)]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(found)
