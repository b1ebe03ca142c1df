"""Where and how Airflow runs for this checkout."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".airflow"


def environment(home: Path, port: int = 8080) -> dict[str, str]:
    """The variables under which Airflow keeps everything in ``home`` and runs this checkout's DAG.

    The UI and the API listen on 127.0.0.1:``port``.
    """
    address = f"http://127.0.0.1:{port}"
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",  # Airflow forks this many workers at once; its default is 32
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",  # no login: it listens on this machine only
        "AIRFLOW__CORE__XCOM_BACKEND": "common.arrow_xcom.ArrowXCom",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",  # seconds
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",  # seconds
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # seconds
        "DEDUPE_REPORTS_DIR": str(home / "reports"),
        # Triggerer and XCom backend import `common` without Airflow having put the DAGs folder on the path.
        "PYTHONPATH": str(ROOT / "dags"),
    }


def people_db_connection(socket_folder: Path, database: str = "people") -> str:
    """Airflow's connection ``people_db`` for a server behind a Unix socket, as JSON."""
    return json.dumps(
        {"conn_type": "postgres", "host": str(socket_folder), "login": "postgres", "schema": database}
    )
