"""`make run`: run the DAG once, on a new batch, and print the report."""

import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from launch import DAG, HOME, Commands, airflow, guarded, ready, say

STEP = re.compile(r"\[DAG TEST\] starting task_id=(\w+) map_index=(-?\d+)")
ERROR = re.compile(r"[A-Za-z_][\w.]*: \S")  # the last line of a traceback


def main(args: list[str]) -> int:
    """Run ``airflow dags test`` on the DAG with ``args`` added; returns its exit code, 1 without a report."""
    with ready(test_run=True) as env:
        reports = Path(env["DEDUPE_REPORTS_DIR"])
        before = set(reports.glob("*.txt"))
        logs = HOME / "logs"
        logs.mkdir(exist_ok=True)
        log = logs / f"make-run-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
        say(f"Running {DAG} (starting takes about 10 s); full log: {log}")
        with log.open("w") as writing, log.open() as reading, Commands(env, writing) as commands:

            def show_steps() -> bool:
                for line in reading:
                    if step := STEP.search(line):
                        say(f"  {step[1]}" + (f" {step[2]}" if step[2] != "-1" else ""))
                return False

            commands.start(airflow("dags", "test", DAG, *args))
            code = commands.wait(until=show_steps) or 0
    if commands.interrupted:
        say("Interrupted. This batch is in the table as a whole or not at all.")
        return code or 1
    made = sorted(set(reports.glob("*.txt")) - before)
    if code == 0 and made:
        print(made[-1].read_text().rstrip())
        return 0
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if ERROR.match(line)]
    say("\n".join(["The run failed:", *(errors[-1:] or lines[-5:])]) if code else "The run made no report.")
    return code or 1


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
