"""`dev/airflow` and what stands behind `make run` and `make ui`, as commands in a copy of the checkout."""

import configparser
import fcntl
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import launch
import psutil
import psycopg
import pytest
from launch import Commands, given_people_db, ready, server_of, write_keys


def dev_airflow(checkout: Path, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run dev/airflow from a folder that is not the checkout."""
    return subprocess.run(
        [checkout / "dev" / "airflow", *args],
        cwd=checkout.parent,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def processes_of(checkout: Path) -> list[str]:
    """Command lines of the processes that run for ``checkout``, its Postgres included."""
    data = str(server_of(checkout / ".airflow").data)
    return [
        " ".join(process.info["cmdline"])
        for process in psutil.process_iter(["cmdline", "environ"])
        if data in (process.info["cmdline"] or ())
        or (process.info["environ"] or {}).get("AIRFLOW_HOME") == str(checkout / ".airflow")
    ]


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_version_from_anywhere(checkout: Path) -> None:
    done = dev_airflow(checkout, "version")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3.3.2\n"
    assert processes_of(checkout) == []


def test_exit_code_is_passed_on(checkout: Path) -> None:
    assert dev_airflow(checkout, "no-such-command").returncode == 2


def test_configuration(checkout: Path) -> None:
    config = configparser.ConfigParser(interpolation=None)
    config.read_file(
        io.StringIO(dev_airflow(checkout, "config", "list", "--show-values", AIRFLOW_CONFIG="/elsewhere").stdout)
    )
    assert config["api"]["host"] == "127.0.0.1"
    assert config["core"]["dags_folder"] == str(checkout / "dags")
    assert config["core"]["plugins_folder"] == str(checkout / "plugins")
    assert config["core"]["load_examples"] == "False"
    assert config["core"]["xcom_backend"] == "common.arrow_xcom.ArrowXCom"
    assert config["database"]["sql_alchemy_conn"] == (
        f"postgresql+psycopg2://postgres@/airflow?host={server_of(checkout / '.airflow').socket_folder}"
    )


def test_home_is_for_its_owner_only(checkout: Path) -> None:
    dev_airflow(checkout, "version")
    home = checkout / ".airflow"
    assert [str(path) for path in (home, *home.rglob("*")) if path.stat().st_mode & 0o077] == []


def test_every_home_has_keys_of_its_own(tmp_path: Path) -> None:
    configs = []
    for home in (tmp_path / "one", tmp_path / "two"):
        home.mkdir()
        write_keys(home)
        configs.append((home / "airflow.cfg").read_text())
        assert (home / "airflow.cfg").stat().st_mode & 0o777 == 0o600
        write_keys(home)
        assert (home / "airflow.cfg").read_text() == configs[-1]
    ours = [set(config.splitlines()) for config in configs]
    assert {line.split(" ")[0] for line in ours[0] & ours[1]} == {"[core]", "[api]", "[api_auth]"}


def test_connections_come_from_the_settings_file(checkout: Path) -> None:
    def connections() -> dict[str, dict[str, Any]]:
        done = dev_airflow(checkout, "connections", "export", "-", "--file-format", "json")
        assert done.returncode == 0, done.stderr
        exported: dict[str, dict[str, Any]] = json.loads(done.stdout)
        return exported

    smtp = connections()["smtp_default"]
    assert (smtp["host"], smtp["port"]) == ("127.0.0.1", 1025)
    assert json.loads(smtp["extra"])["retry_limit"] == 0
    settings = checkout / "airflow_settings.yaml"
    before = settings.read_text()
    try:
        settings.write_text(before.replace("conn_port: 1025", "conn_port: 2525"))
        assert connections()["smtp_default"]["port"] == 2525
    finally:
        settings.write_text(before)


def test_no_database_for_people_when_they_live_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = "postgresql://me@192.0.2.1/people"
    monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", elsewhere)
    before = os.umask(0o077)
    try:
        with (
            ready(tmp_path / "home") as env,
            psycopg.connect(server_of(tmp_path / "home").dsn("airflow")) as connection,
        ):
            databases = [name for (name,) in connection.execute("SELECT datname FROM pg_database")]
    finally:
        os.umask(before)
        server_of(tmp_path / "home").remove()
    assert env["AIRFLOW_CONN_PEOPLE_DB"] == elsewhere
    assert sorted(databases) == ["airflow", "postgres", "template0", "template1"]


@pytest.mark.parametrize(
    ("entry", "given"),
    [
        ("", False),
        ("{conn_id: people_db, conn_type: postgres, conn_host: }", False),
        ("{conn_id: people_db, conn_type: postgres, conn_host: db.example.org}", True),
        ("{conn_id: people_db, conn_uri: 'postgresql://db.example.org/people'}", True),
    ],
)
def test_people_db_in_the_settings_file(
    entry: str, given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "airflow_settings.yaml"
    settings.write_text(f"airflow: {{connections: [{entry}]}}")
    monkeypatch.setattr(launch, "SETTINGS", settings)
    monkeypatch.delenv("AIRFLOW_CONN_PEOPLE_DB", raising=False)
    assert (given_people_db() is not None) is given


def test_without_a_venv_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    launcher = tmp_path / "dev" / "airflow"
    launcher.write_bytes((launch.ROOT / "dev" / "airflow").read_bytes())
    launcher.chmod(0o755)
    done = subprocess.run([launcher, "version"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"There is no .venv in {tmp_path} yet: run make setup there.\n"


def test_test_runs_keep_away_from_a_live_scheduler(checkout: Path) -> None:
    show = "config", "get-value", "database", "sql_alchemy_conn"
    dev_airflow(checkout, *show)
    with (checkout / ".airflow" / "ui").open("a") as make_ui:
        fcntl.flock(make_ui, fcntl.LOCK_EX)
        assert "/airflow?" in dev_airflow(checkout, *show).stdout
        done = dev_airflow(checkout, "tasks", "test", "no_such_dag", "no_such_task")
        assert "kept apart" in done.stderr
    assert (checkout / ".airflow" / "prepared-airflow_apart").exists()


@pytest.mark.parametrize(
    "script",
    [
        "sleep 987",
        "sleep 987 & sleep 987",  # a child beside it
        "trap '' INT TERM; sleep 987",  # one that does not listen
        "(trap '' INT TERM; sleep 987) & exec sleep 987",  # a child that does not
    ],
)
def test_nothing_survives_an_interrupt(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "GRACE_SECONDS", 1.0)
    started = time.monotonic()
    with Commands(dict(os.environ)) as commands:
        commands.start(["sh", "-c", script])
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        assert commands.wait() != 0
    assert time.monotonic() - started < 5
    wait_for(lambda: not sleepers(), 2)


def test_the_first_to_end_ends_the_others() -> None:
    with Commands(dict(os.environ)) as commands:
        commands.start(["sleep", "987"])
        commands.start(["sh", "-c", "exit 7"])
        assert commands.wait() == 7
    assert not sleepers()


def sleepers() -> Sequence[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "987"]]


def test_ctrl_c_leaves_no_process_behind(checkout: Path) -> None:
    command = [str(checkout / "dev" / "airflow"), "triggerer", "--skip-serve-logs"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: any("triggerer" in line for line in processes_of(checkout)), 60)
    running.send_signal(signal.SIGINT)
    running.wait(30)
    wait_for(lambda: processes_of(checkout) == [], 2)


def test_make_ui(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    make = subprocess.Popen(
        [checkout / ".venv/bin/python", checkout / "dev/ui.py"],
        env=os.environ | {"PORT": str(port)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert make.stderr is not None
    while f"http://127.0.0.1:{port}" not in (line := make.stderr.readline()):
        assert line, (checkout / ".airflow/logs/make-ui.log").read_text()[-3000:]
    listening = [
        connection.laddr.ip
        for process in psutil.Process(make.pid).children(recursive=True)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}

    second = subprocess.run(
        [sys.executable, checkout / "dev/ui.py"], env=os.environ | {"PORT": str(port)}, capture_output=True, text=True
    )
    assert second.returncode == 1
    assert second.stderr == f"Port {port} is taken; another one: make ui PORT=8081\n"

    make.send_signal(signal.SIGINT)
    make.wait(60)
    wait_for(lambda: processes_of(checkout) == [], 2)


def test_upkeep_of_people_elsewhere_starts_nothing_here(checkout: Path, people_db: str) -> None:
    """Whether the environment names their server, or airflow_settings.yaml."""
    server_of(checkout / ".airflow").remove()
    found = ["find", "Ann", "Lee", "1 High Street"]

    def upkeep(**env: str) -> None:
        done = subprocess.run(
            [checkout / "dev" / "upkeep", *found], env=os.environ | env, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stdout) == (0, "nobody comes near\n"), done.stderr
        assert not server_of(checkout / ".airflow").data.exists()

    elsewhere = os.environ["AIRFLOW_CONN_PEOPLE_DB"]
    upkeep(AIRFLOW_CONN_PEOPLE_DB=elsewhere)
    settings = checkout / "airflow_settings.yaml"
    before = settings.read_text()
    fields = json.loads(elsewhere)
    named = before.replace("conn_host:\n", f"conn_host: {fields['host']}\n", 1)
    named = named.replace("conn_login:\n", f"conn_login: {fields['login']}\n", 1)
    named = named.replace("conn_schema:\n", f"conn_schema: {fields['schema']}\n", 1)
    settings.write_text(named)
    try:
        upkeep(AIRFLOW_CONN_PEOPLE_DB="")
    finally:
        settings.write_text(before)
