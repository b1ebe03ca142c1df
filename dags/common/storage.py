"""Files that every machine reaches: in a folder that all of them share, or in an object store.

Only a URL names an object store; what it takes to reach it comes from the connection named there, as in
`s3://connection@bucket/reports`.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SharedPath = Any
"""A `pathlib.Path`, or an `ObjectStoragePath` of Airflow, which has the same methods."""


@dataclass(frozen=True)
class StoredFile:
    """A file that lies there: when it was written, in seconds since 1970, and how large it is."""

    path: SharedPath
    written: float
    bytes: int


def place(text: str) -> SharedPath:
    """A path on this machine, or one in an object store if it is a URL."""
    if "://" not in text:
        return Path(text)
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(text)


def write(path: SharedPath, content: bytes, mode: int = 0o777) -> None:
    """Write a file that appears whole or not at all; its folder is made, with this mode, if it is missing."""
    if not isinstance(path, Path):
        if path.protocol in ("file", "local"):  # in true object stores folders are nothing
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)  # one PUT, which is atomic
        return
    path.parent.mkdir(mode=mode, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    unfinished.write_bytes(content)
    unfinished.rename(path)


def files_below(folder: SharedPath) -> Iterator[StoredFile]:
    """Every file below a folder, those of killed writers included; nothing where there is no such folder.

    Raises:
        OSError: the folder or the store cannot be read.
    """
    if isinstance(folder, Path):
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):  # somebody else has just deleted it
                found = path.stat()
                if path.is_file():
                    yield StoredFile(path, found.st_mtime, found.st_size)
        return
    store = folder.fs
    store.invalidate_cache()
    for name, found in store.find(folder.path, detail=True).items():
        inside = name.strip("/").removeprefix(folder.path.strip("/")).strip("/")
        with suppress(FileNotFoundError):
            yield StoredFile(folder / inside, store.modified(name).timestamp(), found["size"])


def delete(path: SharedPath, root: SharedPath) -> None:
    """Delete a file, and on this machine the folders below `root` that are empty then; one that is gone is as good.

    Raises:
        OSError: it cannot be deleted.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    if isinstance(path, Path):
        with suppress(OSError):  # something else lies in it
            for folder in path.parents:
                if folder == root or not folder.is_relative_to(root):
                    return
                folder.rmdir()


def delete_all(files: Iterable[StoredFile], root: SharedPath) -> list[StoredFile]:
    """Delete files, see `delete`; returns those that cannot be deleted."""
    left = []
    for file in files:
        try:
            delete(file.path, root)
        except Exception:  # of whatever kind the store raises
            left.append(file)
    return left
