"""Where the report of a run lies."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from common.settings import REPORTS_DIR

_SHOWN = 100  # characters of a run id: Airflow allows 250, and most file systems 255 for the whole name


@dataclass(frozen=True)
class ReportPaths:
    """The files of a report: text for the log, the page, and what the mail says (JSON of a `Mail`)."""

    text: Path
    html: Path
    mail: Path


def report_paths(run_id: str) -> ReportPaths:
    """Where the report of a run lies: readable names that follow from the run alone, and are different for each run."""
    # The digest keeps apart what differs only in characters that no file name may have, or behind those shown.
    digest = hashlib.sha256(run_id.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    stem = f"{re.sub(r'[^A-Za-z0-9_.-]', '_', run_id)[:_SHOWN]}-{digest}"
    return ReportPaths(*(REPORTS_DIR / f"{stem}.{kind}" for kind in ("txt", "html", "mail.json")))
