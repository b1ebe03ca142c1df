"""The first sheet of a workbook as CSV: a program that reads the workbook on stdin, and writes UTF-8 to stdout.

Its argument says how many bytes it may write at most.

A program of its own, since a workbook of a few kilobytes can claim a sheet of a trillion cells or unpack to many
gigabytes, and the library then aborts the process that it runs in. Here that is this one, with its bounded memory.
"""

import csv
import io
import resource
import sys
from datetime import date, datetime, time

MAX_MEMORY = 3 * 2**30  # bytes; a sheet of a million rows and 26 columns needs one GB
MAX_CPU_SECONDS = 300


def as_text(value: object) -> str:
    """A cell as a CSV file that Excel saves would show it: whole numbers without a decimal point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, date | time) else str(value)


def main(max_bytes: int) -> int:
    """Returns 0, or 1 with one line on stderr that says why the workbook cannot be read."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (MAX_CPU_SECONDS, MAX_CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(sys.stdin.buffer.read()))
        sheet = workbook.get_sheet_by_index(0)
        with io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", errors="surrogatepass", newline="") as text:
            writer = csv.writer(text)
            for row in sheet.iter_rows():
                if any(value != "" for value in row):
                    writer.writerow(map(as_text, row))
    except PasswordError:
        print("it is protected by a password", file=sys.stderr)
        return 1
    except (CalamineError, OSError, ValueError, MemoryError) as error:
        print(f"it is not a whole Excel workbook ({type(error).__name__})", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
