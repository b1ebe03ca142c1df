"""Where the report of a run lies."""

import hashlib
import re
from dataclasses import dataclass

from common import settings, storage
from common.storage import SharedPath, StoredFile

_SHOWN = 100  # characters of a run id: Airflow allows 250, and most file systems 255 for the whole name
_KINDS = ("txt", "html", "mail.json")


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report: text for the log, the page, and what the mail says (JSON of a `Mail`)."""

    text: SharedPath
    html: SharedPath
    mail: SharedPath


def reports_root() -> SharedPath:
    """Where all reports lie."""
    return storage.place(settings.REPORTS_DIR)


def report_paths(run_id: str) -> ReportPaths:
    """Where the report of a run lies: readable names that follow from the run alone, and are different for each run."""
    # The digest keeps apart what differs only in characters that no file name may have, or behind those shown.
    digest = hashlib.sha256(run_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', run_id)[:_SHOWN]}-{digest}"
    root = reports_root()
    return ReportPaths(*(root / f"{stem}.{kind}" for kind in _KINDS))


def report_files() -> list[StoredFile]:
    """The files of all reports.

    Raises:
        OSError: the folder or the store cannot be read.
    """
    root = reports_root()
    ours = re.compile(rf".+-[0-9a-f]{{12}}\.({'|'.join(map(re.escape, _KINDS))})(\.tmp)?")
    return [file for file in storage.files_below(root) if file.path.parent == root and ours.fullmatch(file.path.name)]
