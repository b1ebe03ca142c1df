"""`make setup`: make .venv and install requirements.txt and dev/requirements.txt there, showing how far it is.

Runs on any Python 3.11 or newer, before there is any package.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOOKED_UP = re.compile(r"\s*Collecting ([\w.-]+)")
INSTALLING = "Installing collected packages"
SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Shows what pip is doing: one line that changes on a terminal, elsewhere a line every few seconds."""

    def __init__(self, total: int) -> None:
        self._total, self._seen = total, 0
        self._began, self._shown = time.monotonic(), 0.0
        self._width = 0

    def read(self, line: str) -> None:
        """Take a line of pip's output."""
        if found := LOOKED_UP.match(line):
            self._seen += 1
            self._show(f"{min(self._seen, self._total)} of about {self._total} packages fetched ({found[1]})")
        elif line.startswith(INSTALLING):
            self._show(f"all fetched, installing {len(line.split(','))} packages (a minute or two)", last=True)
        elif line.startswith("ERROR"):
            self.end(line.rstrip())

    def _show(self, text: str, last: bool = False) -> None:
        text = f"  {time.monotonic() - self._began:4.0f} s  {text}"
        if sys.stderr.isatty():
            print(f"\r{text:<{self._width}}", end="\n" if last else "", file=sys.stderr, flush=True)
            self._width = 0 if last else len(text)
        elif last or time.monotonic() > self._shown + SECONDS_BETWEEN_LINES:
            print(text, file=sys.stderr, flush=True)
            self._shown = time.monotonic()

    def end(self, text: str) -> None:
        """Show a line that stays."""
        print(("\n" if self._width else "") + text, file=sys.stderr, flush=True)
        self._width = 0


def main(venv: Path) -> int:
    """Make ``venv`` anew; returns pip's exit code."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
    total = sum("==" in line for line in (ROOT / "constraints.txt").read_text().splitlines())
    files = ("-r", "requirements.txt", "-r", "dev/requirements.txt", "-c", "constraints.txt")
    progress, began = Progress(total), time.monotonic()
    # pip compiles to byte code whatever PYTHONDONTWRITEBYTECODE says; Airflow starts several times slower without.
    options = ["--disable-pip-version-check", "--progress-bar=off", "--no-input", "--compile"]
    command = [str(venv / "bin/python"), "-u", "-m", "pip", "install", *options, *files]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None  # noqa: S101 # it is a pipe
        for line in pip.stdout:
            progress.read(line)
    progress.end(f"Set up in {time.monotonic() - began:.0f} s." if pip.returncode == 0 else "pip has failed.")
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
