"""`make ui`: Airflow's UI and scheduler on this machine, until Ctrl-C."""

import fcntl
import json
import os
import socket
import sys
import urllib.request

from launch import HOME, Commands, LaunchError, airflow, guarded, ready, say
from login import make_passwords, passwords_file

OTHERS = (
    # Their log servers would listen on every network interface; the UI reads the log files itself.
    ("scheduler", "--skip-serve-logs"),
    ("triggerer", "--skip-serve-logs"),
    ("dag-processor",),
)


def main(port: int) -> int:
    """Run Airflow's four components until one of them ends or Ctrl-C; returns an exit code."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise LaunchError(f"Port {port} is taken; another one: make ui PORT=8081") from error
    with ready(port=port) as env, (HOME / "ui").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LaunchError("`make ui` is running for this checkout already.") from error
        for user, password in make_passwords(HOME).items():
            say(f"New user {user}, password {password} (kept in {passwords_file(HOME)})")
        log = HOME / "logs" / "make-ui.log"
        log.parent.mkdir(exist_ok=True)
        say(f"Starting Airflow (about 20 s); full log: {log}")
        with log.open("w") as output, Commands(env, output) as commands:
            commands.start(airflow("api-server"))
            # A task that the scheduler starts before the API server answers would fail.
            code = commands.wait(until=lambda: health(port) is not None)
            if code is None:
                for other in OTHERS:
                    commands.start(airflow(*other))
                code = commands.wait(until=lambda: health(port) == {"healthy"})
            if code is None:
                say(f"Airflow is up: http://127.0.0.1:{port}  (Ctrl-C ends it)")
                code = commands.wait()
            if commands.interrupted:
                return 0
            say("Airflow has ended; the log says why.")
            return code or 1


def health(port: int) -> set[str | None] | None:
    """What the API server says of Airflow's components, itself included; None while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=1) as answer:
            return {component["status"] for component in json.load(answer).values()}
    except (OSError, ValueError):
        return None


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(int(os.environ.get("PORT", "8080")))))
