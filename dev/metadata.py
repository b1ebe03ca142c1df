"""Prepare Airflow's metadata database: its tables, then what airflow_settings.yaml asks for.

That file has the Astro CLI's format, which Airflow itself does not read: it is translated into what Airflow's own
import commands read. They run in this one process, since each would spend three seconds on starting.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

CONNECTION_FIELDS = {
    "conn_type": "conn_type",
    "conn_host": "host",
    "conn_port": "port",
    "conn_login": "login",
    "conn_password": "password",
    "conn_schema": "schema",
    "conn_extra": "extra",
}


def read_settings(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The lists ``connections``, ``pools`` and ``variables`` of an airflow_settings.yaml."""
    settings = (yaml.safe_load(file.read_text()) or {}).get("airflow") or {}
    # The Astro CLI writes entries without a name into a new file, as a form to fill in.
    return {
        kind: [entry for entry in settings.get(kind) or [] if entry.get(name)]
        for kind, name in (("connections", "conn_id"), ("pools", "pool_name"), ("variables", "variable_name"))
    }


def importable(settings: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The same as Airflow's ``connections import``, ``pools import`` and ``variables import`` want it."""
    return {
        "connections": {
            entry["conn_id"]: entry.get("conn_uri")
            or {ours: entry[theirs] for theirs, ours in CONNECTION_FIELDS.items() if entry.get(theirs)}
            for entry in settings["connections"]
        },
        "pools": {
            entry["pool_name"]: {
                "slots": entry["pool_slot"],
                "description": entry.get("pool_description") or "",
                "include_deferred": False,
            }
            for entry in settings["pools"]
        },
        "variables": {entry["variable_name"]: entry["variable_value"] for entry in settings["variables"]},
    }


def main(settings_file: Path, *paused: str) -> None:
    """Bring the metadata database up to date, and pause the DAGs ``paused`` that it knows."""
    from airflow.cli.cli_parser import get_parser

    def airflow(*args: str) -> None:
        parsed = get_parser().parse_args(args)
        parsed.func(parsed)

    airflow("db", "migrate")
    for kind, entries in importable(read_settings(settings_file)).items():
        if entries:
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                json.dump(entries, file)
                file.flush()
                airflow(kind, "import", file.name, *(["--overwrite"] if kind == "connections" else []))
    for dag in paused:
        airflow("dags", "pause", dag, "--yes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
