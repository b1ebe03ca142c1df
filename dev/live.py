"""An Airflow of one's own that really runs: for tests of what only a scheduler does, and for `make soak`.

It has a home of its own and works from a copy of the checkout's DAG, which may be edited.
"""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from launch import DAG, GRACE_SECONDS, ROOT, airflow, environment, people_db_connection, write_keys
from login import USERS, make_passwords, password_of
from postgres import Server

COMPONENTS = {
    "api-server": (),
    # Its log server would listen on every network interface.
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
}


class Live:
    """Airflow's api-server, scheduler and dag-processor, with databases of their own in ``server``."""

    def __init__(
        self, home: Path, server: Server, env: Mapping[str, str] | None = None, users: Mapping[str, str] = USERS
    ) -> None:
        self.home = home
        self.dags = home / "dags"
        self.incoming = home / "incoming"
        self.reports = home / "reports"
        one = uuid.uuid4().hex  # several of them may share a server
        metadata, self.people_database = f"live_metadata_{one}", f"live_people_{one}"
        self.metadata_dsn, self.people_dsn = server.dsn(metadata), server.dsn(self.people_database)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.address = f"http://127.0.0.1:{free_port()}"
        for database in (metadata, self.people_database):
            server.create_database(database)
        self.incoming.mkdir(parents=True)
        copy_dags(ROOT / "dags", self.dags)
        write_keys(home)
        make_passwords(home, users)
        self.env = {
            **os.environ,
            **environment(home, int(self.address.rpartition(":")[2])),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in users.items()),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres@/{metadata}?host={server.socket_folder}",
            "AIRFLOW_CONN_PEOPLE_DB": people_db_connection(server.socket_folder, self.people_database),
            "DEDUPE_SOURCE_ROOTS": str(self.incoming),
            "DEDUPE_RETRY_DELAY_SECONDS": "1",
            "PYTHONPATH": str(self.dags),
            **(env or {}),
        }
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)

    def edit(self, name: str, *changes: tuple[str, str]) -> None:
        """Replace texts in a file of the copied DAG; each must be there.

        Raises:
            ValueError: one is not.
        """
        path = self.dags / name
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            if old not in text:
                raise ValueError(f"{name} does not hold {old}")
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    @contextmanager
    def running(self) -> Iterator["Live"]:
        """Everything up inside the block, ended after it."""
        os.umask(0o077)
        self.command("db", "migrate")
        try:
            self.start("api-server")
            # A task that the scheduler starts before the API server answers would fail.
            self.wait(lambda: self._answers("/api/v2/version"), 300)
            self.start("scheduler")
            self.start("dag-processor")
            self.wait(lambda: self._answers(f"/api/v2/dags/{DAG}"), 300)
            yield self
        finally:
            for name in reversed(COMPONENTS):
                self.stop(name)

    def command(self, *args: str) -> str:
        """The output of ``airflow ARGS...``. Raises subprocess.CalledProcessError."""
        return subprocess.run(airflow(*args), env=self.env, check=True, capture_output=True, text=True).stdout

    def start(self, name: str) -> None:
        """Start one of the components."""
        with (self.home / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                airflow(name, *COMPONENTS[name]), env=self.env, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, name: str, signum: int = signal.SIGTERM) -> None:
        """End a component with all that it has started, by SIGKILL if ``signum`` does not do."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signum)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def wait(self, condition: Callable[[], Any], seconds: float) -> Any:
        """What ``condition()`` returns as soon as that is true. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                raise TimeoutError(f"not within {seconds} s; the logs are in {self.home}")
            time.sleep(0.1)
        return value

    def api(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """What the REST API answers; GET, or POST if there is a body. Raises urllib.error.HTTPError."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.address}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.token()}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return json.loads(answer.read() or "null")

    def trigger(self, run_id: str, **conf: Any) -> str:
        """Queue a run; returns its id."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        return str(self.api(f"/api/v2/dags/{DAG}/dagRuns", body)["dag_run_id"])

    def delete(self, run_id: str) -> None:
        """Delete a run that is not running, as the UI does."""
        self.api(f"/api/v2/dags/{DAG}/dagRuns/{run_id}", method="DELETE")

    def state(self, run_id: str) -> str:
        """State of a run: queued, running, success, failed."""
        return str(self.metadata("SELECT state FROM dag_run WHERE run_id = %s", run_id)[0][0])

    def wait_for(self, run_id: str, state: str = "success", seconds: float = 300) -> None:
        """Wait until a run has ended, as expected. Raises RuntimeError, TimeoutError."""
        ended = self.wait(lambda: (now := self.state(run_id)) in {"success", "failed", state} and now, seconds)
        if ended != state:
            raise RuntimeError(f"run {run_id} is {ended}; the logs are in {self.home}")

    def wait_for_task(self, run_id: str, task_id: str, seconds: float = 300) -> int:
        """Wait until a task runs; returns the id of its process."""
        query = "SELECT pid FROM task_instance WHERE run_id = %s AND task_id = %s AND state = 'running'"
        return int(self.wait(lambda: [pid for (pid,) in self.metadata(query, run_id, task_id) if pid], seconds)[0])

    def metadata(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows from Airflow's metadata database."""
        return _fetch(self.metadata_dsn, query, values)

    def people(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows from the people database."""
        return _fetch(self.people_dsn, query, values, options="-c search_path=dedupe")

    def token(self, user: str = "admin") -> str:
        """What a user of the REST API shows to be let in."""
        login = json.dumps({"username": user, "password": password_of(user, self.home)}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/auth/token", data=login, headers=headers)  # noqa: S310 - ours
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return str(json.load(answer)["access_token"])

    def _answers(self, path: str) -> bool:
        try:
            self.api(path)
        except (urllib.error.URLError, OSError):
            return False
        return True


def copy_dags(source: Path, target: Path) -> None:
    """Copy a DAGs folder with the machine code of the search, which numba looks for under the path of its source.

    Compiling it takes more than a minute of a processor.
    """
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".mypy_cache"))
    search = target.absolute() / "common/linkage/search"
    for compiled in search.glob("__pycache__/compiled-*/search_*"):
        digest = hashlib.sha1(str(search).encode(), usedforsecurity=False)  # what numba takes
        compiled.rename(compiled.with_name(f"search_{digest.hexdigest()}"))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _fetch(dsn: str, query: str, values: tuple[Any, ...], **options: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, **options) as connection:  # type: ignore[arg-type]
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []
