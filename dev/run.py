"""`make run`: run the DAG once, on a new batch, and print the report."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from launch import DAG, HOME, ROOT, Commands, airflow, guarded, ready, say

STEP = re.compile(r"(\S+) .*\[DAG TEST\] (starting|end task) task_id=(\w+) map_index=(-?\d+)")
SKIPPED = re.compile(r"reason='(nothing new in [^']*)'")
RETRIED = re.compile(r"new_state=up_for_retry\b")
ERROR = re.compile(r"(?:[\w.]+\.)?([A-Z]\w+: \S.*)")  # the last line of a traceback
MIN_WIDTH = 40

EXPLAINED = (
    ("certificate:", "some records were compared with everybody as well, as a proof that no pair is missed"),
    ("canaries:", "records whose answer is known, scored in every run and never loaded, show how often it errs"),
)
"""What the words at the beginning of lines of the report mean."""


NO_MAIL_SERVER = "no mail server, mails wait for one"


class Steps:
    """Shows the steps of a run as its log tells of them, each with its seconds."""

    def __init__(self) -> None:
        self.nothing_new = ""
        self.mail_waits = False
        self.error = ""
        self._began: datetime | None = None
        self._retried = False

    def read(self, lines: Iterable[str]) -> None:
        """Show what lines of the log say."""
        for line in lines:
            if step := STEP.match(line):
                self._show(datetime.fromisoformat(step[1]), step[2], step[3], step[4])
            elif skipped := SKIPPED.search(line):
                self.nothing_new = skipped[1]
            elif error := ERROR.match(line):
                self.error = error[1].strip()
            elif NO_MAIL_SERVER in line:
                self.mail_waits = True
            elif RETRIED.search(line):
                self._retried = True

    def _show(self, when: datetime, event: str, task: str, index: str) -> None:
        if event == "starting":
            name = task if index == "-1" else f"{task} {index}"
            print(f"  {name:<16}", end="", file=sys.stderr, flush=True)
            self._began = when
        elif self._began:
            say(f"{(when - self._began).total_seconds():7.1f} s")
            if self._retried:
                say(wrapped(f"  is tried again: {self.error}"))
            self._began, self._retried = None, False

    def interrupt(self) -> None:
        """End the line of a step that will not end."""
        if self._began:
            say("")


def main(args: list[str]) -> int:
    """Run ``airflow dags test`` on the DAG with ``args`` added; returns its exit code, 1 without a report."""
    with ready(test_run=True) as env:
        reports = Path(env["DEDUPE_REPORTS_DIR"])
        reports_before = set(reports.glob("*.txt"))
        logs = HOME / "logs"
        logs.mkdir(exist_ok=True)
        log = logs / f"make-run-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
        say(wrapped(f"Running {DAG} (starting takes about 10 s); full log: {log.relative_to(ROOT)}"))
        steps = Steps()
        with log.open("w") as writing, log.open() as reading, Commands(env, writing) as commands:

            def show_steps() -> bool:
                steps.read(reading)
                return False

            commands.start(airflow("dags", "test", DAG, *args))
            code = commands.wait(until=show_steps) or 0
    if commands.interrupted:
        steps.interrupt()
        say("Interrupted. This batch is in the table as a whole or not at all.")
        return code or 1
    code = _tell(code, steps, sorted(set(reports.glob("*.txt")) - reports_before), log)
    if steps.mail_waits:
        say(wrapped("No mail server answers at connection smtp_default: the mail about this run waits for one."))
    return code


def _tell(code: int, steps: Steps, made: list[Path], log: Path) -> int:
    """Print the report, or why there is none; returns the exit code."""
    if code == 0 and made:
        print(shown(made[-1].read_text(encoding="utf-8")))
        return 0
    if code == 0 and steps.nothing_new:
        say(wrapped(f"There is {steps.nothing_new}: nothing was loaded. Put a file there, or name one:"))
        say("""  make run ARGS="--conf '{\\"source\\": \\"incoming/new.csv\\"}'\"""")
        return 0
    if code == 0:
        say("The run made no report.")
        return 1
    lines = [steps.error] if steps.error else log.read_text(errors="replace").splitlines()[-5:]
    say("\n".join(["The run failed:", *map(wrapped, lines)]))
    return code


def shown(report: str) -> str:
    """The text of a report for a terminal: no wider than it, with a word about what needs one."""
    lines = report.rstrip().replace(f"{ROOT}/", "").splitlines()
    explained = [f"{word} {meaning}" for word, meaning in EXPLAINED if any(line.startswith(word) for line in lines)]
    return "\n".join(map(wrapped, [*lines, "", *explained]))


def wrapped(line: str) -> str:
    """A line broken into such as fit the terminal, the later ones indented."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    width = max(MIN_WIDTH, shutil.get_terminal_size().columns)
    return textwrap.fill(
        line, width, subsequent_indent=indent, drop_whitespace=True, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
