"""Run any Airflow command against this checkout, with everything that it needs around it.

Everything lives in ``.airflow`` inside the checkout: keys, logs, reports, batches, and the embedded Postgres with
Airflow's metadata database, and with the people unless connection ``people_db`` names another server. (In SQLite,
Airflow's other default, two processes at once end in "database is locked".)
"""

import base64
import fcntl
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata as packages
from pathlib import Path
from types import FrameType
from typing import IO

import psutil
from login import USERS, passwords_file
from metadata import importable, read_settings
from postgres import PostgresError, Server

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".airflow"
DAG = "dedupe_people"
SETTINGS = ROOT / "airflow_settings.yaml"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_SECONDS = 3.0  # from Ctrl-C until SIGTERM follows: `dags test` takes SIGINT for a task that failed
CHECK_SECONDS = 8.0  # from the start of a run until it must be known whether the people database answers
GRACE_SECONDS = 10.0  # from Ctrl-C until what still runs is killed


class LaunchError(RuntimeError):
    """Airflow cannot be made ready; the message says why."""


def server_of(home: Path) -> Server:
    """The embedded server of ``home``: Airflow's metadata database lies there, and by default the people do too."""
    return Server(home / "postgres")


def environment(home: Path, port: int = 8080, metadata_database: str = "airflow") -> dict[str, str]:
    """The variables under which Airflow keeps everything in ``home`` and runs this checkout's DAG.

    The UI and the API listen on 127.0.0.1:``port``.
    """
    socket = server_of(home).socket_folder
    address = f"http://127.0.0.1:{port}"
    return {
        "AIRFLOW_CONFIG": str(home / "airflow.cfg"),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",  # forked at once; the default is 32
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(home)),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "AIRFLOW__CORE__XCOM_BACKEND": "common.arrow_xcom.ArrowXCom",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",  # seconds
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://postgres@/{metadata_database}?host={socket}",
        # Tasks of a killed scheduler wait for this look, which the next one takes too early when it starts.
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",  # seconds; the default is 300
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",  # seconds
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # seconds
        "DEDUPE_ALLOWED_HOSTS": "127.0.0.1,localhost",
        "DEDUPE_REPORTS_DIR": str(home / "reports"),
        "DEDUPE_XCOM_ROOT": str(home / "xcom"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        # The triggerer and the XCom backend import `common` before Airflow has put the DAGs folder on the path.
        "PYTHONPATH": str(ROOT / "dags"),
        "PYTHONWARNINGS": "ignore:Could not import graphviz",
    }


def write_keys(home: Path) -> None:
    """Give AIRFLOW_HOME keys of its own, readable by its owner only, if it has none yet.

    Airflow would do so too, but its first process would then run without them.
    """
    config = home / "airflow.cfg"
    if not config.exists():
        fresh = config.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(
            f"[core]\nfernet_key = {base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}\n"
            f"[api]\nsecret_key = {secrets.token_urlsafe(64)}\n"
            f"[api_auth]\njwt_secret = {secrets.token_urlsafe(64)}\n"
        )
        fresh.rename(config)


def people_db_connection(socket_folder: Path, database: str = "people") -> str:
    """Airflow's connection ``people_db`` for a server behind a Unix socket, as JSON."""
    return json.dumps({"conn_type": "postgres", "host": str(socket_folder), "login": "postgres", "schema": database})


def given_people_db() -> str | None:
    """The server that the user has named for ``people_db``, in the environment or in airflow_settings.yaml."""
    if given := os.environ.get("AIRFLOW_CONN_PEOPLE_DB"):
        return given
    connection: str | dict[str, str] = importable(read_settings(SETTINGS))["connections"].get("people_db", {})
    if isinstance(connection, str):
        return connection
    return json.dumps(connection) if "host" in connection else None


@contextmanager
def ready(
    home: Path = HOME, port: int = 8080, test_run: bool = False, metadata: bool = True
) -> Iterator[dict[str, str]]:
    """Make everything ready for Airflow commands; gives the environment to run them in.

    A ``test_run`` (``dags test``, ``tasks test``) gets a metadata database of its own while `make ui` is running,
    whose scheduler would run its tasks too, at the same time. What needs no Airflow is ready sooner without
    ``metadata``; if the people are elsewhere, nothing at all is started for it.

    Raises:
        PostgresError: the embedded server does not start.
        LaunchError: the metadata database cannot be prepared, or a people database of the user's own does not answer.
    """
    os.umask(0o077)
    home.mkdir(parents=True, exist_ok=True)
    metadata_database = "airflow"
    if test_run and ui_is_running(home):
        say("`make ui` is running: this run is kept apart, its scheduler must not run the same tasks too.")
        metadata_database = "airflow_apart"
    env = {**os.environ, **environment(home, port, metadata_database)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # Airflow starts several times slower under it
    env.setdefault("PGCONNECT_TIMEOUT", "5")  # seconds; a host that does not answer would hold a task for minutes
    own_people_db = given_people_db()
    with ExitStack() as stack:
        server = server_of(home)
        if metadata or not own_people_db:
            stack.enter_context(server.use())
        if metadata:
            server.create_database(metadata_database)
        if own_people_db:
            # Nobody is to be surprised by what the schedule does to a table of their own.
            env["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] = "True"
            env["DEDUPE_EMBEDDED_PEOPLE_DB"] = "0"
        else:
            server.create_database("people")
            env["AIRFLOW_CONN_PEOPLE_DB"] = people_db_connection(server.socket_folder)
            env["DEDUPE_EMBEDDED_PEOPLE_DB"] = "1"
            env.setdefault("DEDUPE_SOURCE", "faker")
        if own_people_db and not metadata:  # nowhere else to look airflow_settings.yaml's connection up
            env["AIRFLOW_CONN_PEOPLE_DB"] = own_people_db
        if test_run and own_people_db:
            _check_people_db(env | {"AIRFLOW_CONN_PEOPLE_DB": own_people_db})
        if metadata:
            _prepare_metadata(home, metadata_database, env, own_people_db is not None)
        yield env


def ui_is_running(home: Path) -> bool:
    """Whether `make ui` is running for ``home``: it holds this lock."""
    with (home / "ui").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _check_people_db(env: dict[str, str]) -> None:
    """Find out within seconds what a run would find out after retries of minutes.

    Raises:
        LaunchError: the people database cannot be used; it has been said why.
    """
    command = [sys.executable, str(ROOT / "dev/people_db_check.py"), str(time.time() + CHECK_SECONDS)]
    if subprocess.run(command, env=env, stdout=subprocess.DEVNULL).returncode != 0:
        raise LaunchError("Nothing was run: AIRFLOW_CONN_PEOPLE_DB or airflow_settings.yaml says where the people are.")


def _prepare_metadata(home: Path, database: str, env: dict[str, str], own_people_db: bool) -> None:
    """Once, and again when Airflow's version, airflow_settings.yaml or whose server has the people has changed.

    With the people moving to a server of the user's own, the DAG is paused if it was there before.
    """
    whose = "own" if own_people_db else "embedded"
    prepared_for = hashlib.sha256(packages.version("apache-airflow").encode() + SETTINGS.read_bytes()).hexdigest()
    wanted = f"{prepared_for} {whose}"
    stamp = home / f"prepared-{database}"
    with (home / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        write_keys(home)
        before = stamp.read_text() if stamp.exists() else ""
        if before == wanted:
            return
        paused = [DAG] if own_people_db and not before.endswith(whose) else []
        say("Preparing Airflow's metadata database (once, about 6 s) ...")
        command = [sys.executable, str(ROOT / "dev/metadata.py"), str(SETTINGS), *paused]
        done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise LaunchError(f"Airflow's metadata database cannot be prepared:\n{done.stdout[-2000:]}")
        stamp.write_text(wanted)


def airflow(*args: str) -> list[str]:
    """The command that runs ``airflow ARGS...``."""
    return [sys.executable, "-m", "airflow", *args]


class Commands:
    """Commands that run side by side; when the block ends, everything that they have started ends too.

    Signals are passed on: Ctrl-C ends the commands, and this process stays to clean up after them.
    """

    def __init__(self, env: dict[str, str], output: IO[str] | None = None) -> None:
        self._env, self._output = env, output
        self._children: list[subprocess.Popen[bytes]] = []
        self.interrupted = False
        self._insist = self._give_up = float("inf")

    def start(self, command: Sequence[str]) -> None:
        """Start one more; its output and errors go to ``output`` if that was given."""
        # A session of its own: all of its processes can be ended, and Ctrl-C reaches them from here only.
        child = subprocess.Popen(
            command, env=self._env, stdout=self._output, stderr=self._output, start_new_session=True
        )
        self._children.append(child)

    def wait(self, until: Callable[[], bool] = lambda: False) -> int | None:
        """The exit code of the first command that ends, or None as soon as ``until()`` holds."""
        while time.monotonic() < self._give_up:
            for child in self._children:
                if (code := child.poll()) is not None:
                    until()
                    return code if code >= 0 else 128 - code
            if until():
                return None
            if time.monotonic() > self._insist:
                self._signal(signal.SIGTERM)
                self._insist = float("inf")
            time.sleep(0.02)
        return 128 + signal.SIGKILL

    def __enter__(self) -> "Commands":
        self._before = {name: signal.signal(name, self._pass_on) for name in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGTERM)
        give_up = min(self._give_up, time.monotonic() + GRACE_SECONDS)
        while self._anything_left() and time.monotonic() < give_up:
            time.sleep(0.02)
        self._signal(signal.SIGKILL)
        for child in self._children:
            child.wait()
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _pass_on(self, signum: int, _: FrameType | None) -> None:
        if not self.interrupted:
            self.interrupted = True
            self._insist = time.monotonic() + PATIENCE_SECONDS
            self._give_up = time.monotonic() + GRACE_SECONDS
        self._signal(signum)

    def _signal(self, signum: int) -> None:
        for child in self._children:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signum)

    def _anything_left(self) -> bool:
        for child in self._children:
            child.poll()  # else it would stay as a zombie
        groups = {child.pid for child in self._children}
        for process in psutil.process_iter(["status"]):
            with suppress(ProcessLookupError):
                if os.getpgid(process.pid) in groups and process.info["status"] != psutil.STATUS_ZOMBIE:
                    return True
        return False


def say(text: str) -> None:
    """Progress goes to stderr: stdout belongs to the command."""
    print(text, file=sys.stderr, flush=True)


def guarded(main: Callable[[], int]) -> int:
    """``main``'s exit code; what can go wrong around Airflow is one clear line and exit code 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return main()
    except (LaunchError, PostgresError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def main(args: Sequence[str]) -> int:
    """Run ``airflow ARGS...``; returns its exit code."""
    test_run = list(args[:2]) in (["dags", "test"], ["tasks", "test"])
    with ready(test_run=test_run) as env, Commands(env) as commands:
        commands.start(airflow(*args))
        return commands.wait() or 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
