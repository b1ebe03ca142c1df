"""airflow_settings.yaml, translated for Airflow's own import commands."""

from pathlib import Path

from launch import SETTINGS
from metadata import importable, read_settings

ASTRO = """
airflow:
  connections:
    - conn_id: full
      conn_type: postgres
      conn_host: db.example.org
      conn_schema: people
      conn_login: me
      conn_password:
      conn_port: 5433
      conn_extra: {sslmode: require}
    - conn_id: by_uri
      conn_uri: postgresql://me@db.example.org/people
    - conn_id:
      conn_type:
  pools:
    - {pool_name: narrow, pool_slot: 2, pool_description: }
    - {pool_name: , pool_slot: , pool_description: }
  variables:
    - {variable_name: answer, variable_value: "42"}
    - {variable_name: , variable_value: }
"""


def test_each_kind_of_entry(tmp_path: Path) -> None:
    file = tmp_path / "airflow_settings.yaml"
    file.write_text(ASTRO)
    assert importable(read_settings(file)) == {
        "connections": {
            "full": {
                "conn_type": "postgres",
                "host": "db.example.org",
                "schema": "people",
                "login": "me",
                "port": 5433,
                "extra": {"sslmode": "require"},
            },
            "by_uri": "postgresql://me@db.example.org/people",
        },
        "pools": {"narrow": {"slots": 2, "description": "", "include_deferred": False}},
        "variables": {"answer": "42"},
    }


def test_an_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "airflow_settings.yaml"
    for text in ("", "airflow:", "airflow: {connections: , pools: , variables: }"):
        file.write_text(text)
        assert importable(read_settings(file)) == {"connections": {}, "pools": {}, "variables": {}}


def test_the_shipped_file_holds_no_secret() -> None:
    connections = importable(read_settings(SETTINGS))["connections"]
    assert set(connections) == {"people_db", "smtp_default"}
    assert not any("password" in connection for connection in connections.values())
