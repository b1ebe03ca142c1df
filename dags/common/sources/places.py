"""Where a source may lie, and its bytes."""

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from common.errors import SourceError
from common.settings import PROJECT_ROOT

OBJECT_STORES = frozenset({"s3", "gs", "abfs", "abfss", "wasb", "wasbs", "oss"})
"""URL schemes that may be read where an Airflow connection is named, which bounds what can be reached."""

MAX_SOURCE_BYTES = 4 * 2**30
"""Largest source, in bytes, unpacked: what a gzip file holds counts, not its own size."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


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
        OSError: an object store did not answer as it should; a retry may help.
    """
    place = located(source, allowed_roots)
    with _local(place) if isinstance(place, Path) else _copied(place, max_bytes) as file:
        yield file


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
        try:
            remote = ObjectStoragePath(address).open("rb")  # type: ignore[no-untyped-call]
        except FileNotFoundError:
            raise SourceError("there is no such object") from None
        except (IsADirectoryError, ImportError, ValueError) as error:
            raise SourceError(f"it cannot be opened: {' '.join(str(error).split())[:200]}") from None
        with remote:
            left = max_bytes
            while block := remote.read(2**20):
                left -= len(block)
                if left < 0:
                    raise SourceError(f"it holds more than {max_bytes:,} bytes")
                copy.write(block)
        copy.seek(0)
        yield copy
