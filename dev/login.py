"""Who may log in to the UI that `make ui` starts: users of this checkout, with passwords of its own."""

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

USERS = {"admin": "admin", "reviewer": "user"}
"""Role by name of the user; `user` may run DAGs and judge records, and sees no connection."""


def passwords_file(home: Path) -> Path:
    """Where Airflow looks passwords up, as JSON by name of the user."""
    return home / "passwords.json"


def make_passwords(home: Path, users: Iterable[str] = USERS) -> dict[str, str]:
    """Give every user who has none a password, kept in a file that only its owner reads; returns the new ones."""
    file = passwords_file(home)
    known = json.loads(file.read_text()) if file.exists() else {}
    fresh = {user: secrets.token_urlsafe(12) for user in users if user not in known}
    if fresh:
        unfinished = file.with_suffix(".new")
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(known | fresh))
        unfinished.rename(file)
    return fresh


def password_of(user: str, home: Path) -> str:
    """The password of a user. Raises FileNotFoundError before `make_passwords` was called."""
    return str(json.loads(passwords_file(home).read_text())[user])
