"""Fixtures for all tests: a real Postgres, a real mail server and an Airflow home of the tests' own."""

import atexit
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import default
from pathlib import Path

import psycopg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MailHandler
from launch import ROOT, environment, people_db_connection, server_of, write_keys
from postgres import Server

# Airflow reads its settings when it is first imported, which a test module does before any fixture runs.
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="dedupe-people-tests-"))
atexit.register(shutil.rmtree, AIRFLOW_HOME, ignore_errors=True)
for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "DEDUPE_"))]:
    del os.environ[name]
os.environ.update(environment(AIRFLOW_HOME))
# One process at a time works with it here, and no server has to be up before Airflow is imported.
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{AIRFLOW_HOME / 'airflow.db'}"
write_keys(AIRFLOW_HOME)


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """AIRFLOW_HOME of this process and its children, with a migrated metadata database (6 s, once)."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
    return AIRFLOW_HOME


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running embedded Postgres for all tests of this session."""
    server = Server(tmp_path_factory.mktemp("postgres"))
    with server.use():
        yield server
    server.remove()


@pytest.fixture
def people_db(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new, empty database behind connection ``people_db``; gives its DSN for psycopg."""
    database = f"people_{uuid.uuid4().hex}"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {database}")
        monkeypatch.setenv("AIRFLOW_CONN_PEOPLE_DB", people_db_connection(postgres.socket_folder, database))
        yield postgres.dsn(database)
        connection.execute(f"DROP DATABASE {database} WITH (FORCE)")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of this checkout in an awkward place, sharing this interpreter's packages: try commands in it."""
    copy = tmp_path_factory.mktemp("checkout") / "with a space" / ("long" * 30)
    copy.mkdir(parents=True)
    for part in ("dags", "deploy", "dev", "plugins"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("Makefile", "airflow_settings.yaml", "constraints.txt", "requirements.txt"):
        shutil.copy(ROOT / part, copy)
    (copy / ".venv").symlink_to(sys.prefix)
    yield copy
    server_of(copy / ".airflow").remove()


class Mailbox(MailHandler):
    """Keeps every mail that arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[EmailMessage] = []

    def handle_message(self, message: Message) -> None:
        received = message_from_bytes(message.as_bytes(), policy=default)
        received.replace_header("Subject", received["Subject"].strip())  # a long one begins on a line of its own
        self.received.append(received)


@pytest.fixture
def smtp_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EmailMessage]]:
    """A mail server behind connection ``smtp_default``; gives the list of the mails it has received."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    connection = {
        "conn_type": "smtp",
        "host": "127.0.0.1",
        "port": port,
        "extra": {
            "from_email": "dedupe-people@localhost",
            "disable_ssl": True,
            "disable_tls": True,
            "timeout": 5,
            "retry_limit": 0,
        },
    }
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(connection))
    yield mailbox.received
    controller.stop()
