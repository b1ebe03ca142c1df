"""Incoming rows of the first sheet of an Excel workbook."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from common.errors import SourceError
from common.sources.columns import Mapped
from common.sources.delimited import read_delimited
from common.sources.rows import Rows
from common.sources.text import opened_text

_AS_CSV = Path(__file__).with_name("workbook_as_csv.py")


def read_workbook(file: IO[bytes], rows: Rows, mapped: Mapped, max_bytes: int) -> None:
    """Add all rows of the first sheet to `rows`; it may hold at most `max_bytes` of text.

    Raises:
        SourceError: it is not whole, protected, too large, or lacks a column of ours.
    """
    # -P, since the modules beside that program must not hide others of the same names.
    command = [sys.executable, "-P", str(_AS_CSV), str(max_bytes)]
    file.seek(0)
    with tempfile.TemporaryFile() as sheet:
        done = subprocess.run(command, stdin=file, stdout=sheet, stderr=subprocess.PIPE, text=True)
        if done.returncode < 0 or sheet.seek(0, os.SEEK_END) >= max_bytes:
            raise SourceError("its first sheet is too large: it needs more memory, time or text than it may have")
        if done.returncode > 0:
            raise SourceError(done.stderr.strip().splitlines()[-1])
        sheet.seek(0)
        with opened_text(sheet, packed=False, encoding="utf-8", max_bytes=max_bytes) as text:
            read_delimited(text, rows, mapped, delimiters=(",",))
