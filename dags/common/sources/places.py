"""Where a source may lie, and its bytes."""

import glob
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.errors import SourceError, SourceIsChanging
from common.settings import PROJECT_ROOT

OBJECT_STORES = frozenset({"s3", "gs", "abfs", "abfss", "wasb", "wasbs", "oss"})
"""URL schemes that may be read where an Airflow connection is named, which bounds what can be reached."""

MAX_SOURCE_BYTES = 4 * 2**30
"""Largest source, in bytes, unpacked: what a gzip file holds counts, not its own size."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def several(source: str, allowed_roots: Sequence[str]) -> list[str] | None:
    """The sources in a folder, below an object-store prefix or found by a glob, in the order of their names.

    Those in folders inside are left out, and those whose names begin with a dot or `~$`: files that are still being
    written, and the marks that Office leaves. None if `source` is a single file, whether it is there or not.

    Raises:
        SourceError: it may not be read, or there is no such folder.
        OSError: an object store did not answer as it should; a retry may help.
    """
    place = located(source, allowed_roots)
    found = _remote_files(place, source) if isinstance(place, str) else _local_files(place, source, allowed_roots)
    if found is None:
        return None
    return sorted(name for name in found if not name.rpartition("/")[2].startswith((".", "~$")))


def _local_files(place: Path, source: str, allowed_roots: Sequence[str]) -> list[str] | None:
    if os.path.isdir(place):  # unlike Path.is_dir, false for a name that is too long
        try:
            return [str(path) for path in place.iterdir() if not path.is_dir()]
        except OSError as error:
            raise SourceError(f"the folder cannot be read: {type(error).__name__}") from None
    if _is_pattern(source) and not os.path.exists(place):
        return [path for path in glob.glob(str(place)) if not os.path.isdir(path)]
    if not source.endswith("/"):
        return None
    if not os.path.exists(place) and str(place) in {str((PROJECT_ROOT / root).resolve()) for root in allowed_roots}:
        return []  # the folder where files will be dropped is not there yet
    raise SourceError("there is no such folder")


def _remote_files(address: str, source: str) -> list[str] | None:
    from airflow.sdk import ObjectStoragePath

    if not (_is_pattern(source) or source.endswith("/") or "." not in address.rpartition("/")[2]):
        return None
    with _object_store_errors():
        folder = ObjectStoragePath(address)
        files = folder.fs
        key = folder.path.rstrip("/")
        found = files.glob(key, detail=True).values() if _is_pattern(source) else files.ls(key, detail=True)
        names = [entry["name"].lstrip("/") for entry in found if entry["type"] == "file"]
    connection = re.match(r"[^/@]+@", address.partition("://")[2])
    return [f"{address.partition('://')[0]}://{connection[0] if connection else ''}{name}" for name in names]


def _is_pattern(source: str) -> bool:
    return any(character in source for character in "*?[")


@contextmanager
def opened_source(source: str, allowed_roots: Sequence[str], max_bytes: int) -> Iterator[IO[bytes]]:
    """The bytes of a source, seekable.

    A remote one is first copied to an unnamed temporary file. So whatever raises while the block reads it is the
    fault of the file, and not that of the network, which would be worth a retry.

    Args:
        source: path or URL, see `read_records`.
        allowed_roots: folders and beginnings of URLs where it may lie.
        max_bytes: largest size of a remote one.

    Raises:
        SourceError: it may not be read, is not there, or is no file.
        SourceIsChanging: somebody wrote to it meanwhile.
        OSError: an object store did not answer as it should; a retry may help.
    """
    place = located(source, allowed_roots)
    if not isinstance(place, Path):
        with _copied(place, max_bytes) as file:
            yield file
        return
    with _local(place) as file:
        before = os.fstat(file.fileno())
        yield file
        after = os.fstat(file.fileno())
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise SourceIsChanging("it changed while it was read: write it under a name that begins with a dot first")


def content_hash(file: IO[bytes]) -> str:
    """The SHA-256 of a file's bytes as 64 hex characters; the file is at its beginning again afterwards."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # it wants only to read
    file.seek(0)
    return digest


def shown(source: str) -> str:
    """A source as messages may show it: one line, without a password."""
    return ascii(re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", source))[1:-1][:300]


def located(source: str, allowed_roots: Sequence[str]) -> Path | str:
    """The local path, links resolved, or the URL that `source` means.

    Raises:
        SourceError: it lies outside of all `allowed_roots`.
    """
    if not source.strip() or not source.isprintable():
        raise SourceError("it is not a path or URL")
    url = _URL.fullmatch(source)
    place: Path | str | None
    if url and url[1].lower() != "file":
        place = _located_url(url[1].lower(), url[2], [root for root in allowed_roots if _URL.fullmatch(root)])
    elif url and not url[2].startswith("/"):
        place = None  # file://folder names a host
    else:
        path = url[2] if url else source
        place = _located_path(path, [root for root in allowed_roots if not _URL.fullmatch(root)])
    if place is None:
        raise SourceError(
            f"it lies outside of the allowed places: {', '.join(allowed_roots) or 'none'}, "
            "or an object store with its connection, as in s3://connection@bucket/key"
        )
    return place


def _located_url(scheme: str, rest: str, roots: Sequence[str]) -> str | None:
    # fsspec chains file systems by "::", and the last one may be the local disk.
    if "::" in rest or ".." in rest.split("/"):
        raise SourceError("its URL holds '::' or '..'")
    address = f"{scheme}://{rest}"
    named = scheme in OBJECT_STORES and re.match(r"[^/@:]+@", rest)
    return address if named or any(address.startswith(root.rstrip("/") + "/") for root in roots) else None


def _located_path(source: str, roots: Sequence[str]) -> Path | None:
    try:
        path = (PROJECT_ROOT / source).resolve()
        folders = [(PROJECT_ROOT / root).resolve() for root in roots]
    except (OSError, RuntimeError) as error:
        raise SourceError(f"its path cannot be followed ({type(error).__name__})") from None
    return path if any(path.is_relative_to(folder) for folder in folders) else None


def _local(path: Path) -> IO[bytes]:
    try:
        if path.is_dir():
            raise SourceError("it is a directory")
        if path.exists() and not path.is_file():
            raise SourceError("it is not a regular file")
        return path.open("rb")
    except (OSError, ValueError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else type(error).__name__
        raise SourceError(f"it cannot be opened: {reason}") from None


@contextmanager
def _copied(address: str, max_bytes: int) -> Iterator[IO[bytes]]:
    from airflow.sdk import ObjectStoragePath

    with tempfile.TemporaryFile() as copy:
        with _object_store_errors():
            remote = ObjectStoragePath(address).open("rb")  # type: ignore[no-untyped-call]
        with remote:
            left = max_bytes
            while block := remote.read(2**20):
                left -= len(block)
                if left < 0:
                    raise SourceError(f"it holds more than {max_bytes:,} bytes")
                copy.write(block)
        copy.seek(0)
        yield copy


@contextmanager
def _object_store_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise SourceError("there is no such object") from None
    except (IsADirectoryError, ImportError, ValueError) as error:
        raise SourceError(f"it cannot be opened: {' '.join(str(error).split())[:200]}") from None
