"""What brings the project to several machines is well-formed, and names only what there is."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.configuration import conf
from launch import ROOT

COMPOSE = ROOT / "compose.yaml"
VALUES = ROOT / "deploy/values.yaml"
DOCKERFILE = ROOT / "Dockerfile"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text()))


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    return dict(yaml.safe_load(VALUES.read_text()))


def test_the_compose_file_is_one() -> None:
    """By the schema of the Compose specification."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_is_a_good_one() -> None:
    done = subprocess.run([Path(sys.executable).parent / "hadolint", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_cluster_has_all_its_components(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services.keys() == {
        *("postgres", "redis", "store", "prepare"),
        *("api-server", "scheduler", "dag-processor", "triggerer", "worker"),
    }
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["api-server"]["ports"] == ["127.0.0.1:8080:8080"]
    assert [name for name, service in services.items() if "healthcheck" not in service] == ["prepare"]
    ours = [service for service in services.values() if service["image"].startswith("dedupe-people:")]
    for service in ours:
        mounted = {volume.split(":")[0] for volume in service["volumes"]}
        assert {"./dags", "./requirements.txt"} <= mounted
    for path in {path for service in ours for path in (volume.split(":")[0] for volume in service["volumes"])}:
        assert (ROOT / path).exists(), path


def test_a_run_that_is_triggered_begins_and_tasks_wait_in_the_scheduler(compose: dict[str, Any]) -> None:
    """Airflow's own default is a paused DAG; what waits in Celery's queue for too long fails."""
    env, worker = compose["services"]["scheduler"]["environment"], compose["services"]["worker"]
    assert env["AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION"] == "${DAGS_ARE_PAUSED_AT_CREATION:-False}"
    slots = worker["deploy"]["replicas"] * worker["environment"]["AIRFLOW__CELERY__WORKER_CONCURRENCY"]
    assert env["AIRFLOW__CORE__PARALLELISM"] == f"${{PARALLELISM:-{slots}}}"
    told = (ROOT / ".env.example").read_text()
    assert f"# PARALLELISM={slots}\n" in told
    assert "# DAGS_ARE_PAUSED_AT_CREATION=True" in told


def test_pods_need_nothing_that_only_the_image_of_airflow_has(values: dict[str, Any]) -> None:
    """The probes of the chart call /entrypoint; its sidecars, which are on by default, call /clean-logs."""
    assert 'ENTRYPOINT ["/entrypoint"]' in DOCKERFILE.read_text()
    for component in ("scheduler", "dagProcessor", "triggerer"):
        assert values[component]["logGroomerSidecar"] == {"enabled": False}


def test_workers_have_no_way_to_the_database_of_airflow(compose: dict[str, Any]) -> None:
    has_database = {
        name
        for name, service in compose["services"].items()
        if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in service.get("environment", {})
    }
    assert has_database == {"prepare", "api-server", "scheduler", "dag-processor", "triggerer"}


def named_variables(compose: dict[str, Any], values: dict[str, Any]) -> set[str]:
    """The variables that containers get, in the three files."""
    in_compose = {name for service in compose["services"].values() for name in service.get("environment", {})}
    in_values = {entry["name"] for entry in (*values["env"], *values["apiServer"]["env"])}
    in_values |= {entry["envName"] for entry in values["secret"]}
    in_values |= {f"AIRFLOW__{section}__{name}".upper() for section, part in values["config"].items() for name in part}
    in_image = set(re.findall(r"^(?:ENV|   ) ?([A-Z]\w+)=", DOCKERFILE.read_text(), re.MULTILINE))
    assert {"AIRFLOW_HOME", "NUMBA_CPU_NAME", "DEDUPE_SOURCE_ROOTS"} <= in_image
    return in_compose | in_values | in_image


def test_every_variable_is_one_that_somebody_reads(compose: dict[str, Any], values: dict[str, Any]) -> None:
    names = named_variables(compose, values)
    known = {
        f"AIRFLOW__{section}__{option}".upper()
        for section, part in conf.configuration_description.items()
        for option in part["options"]
    }
    assert {name for name in names if name.startswith("AIRFLOW__")} <= known
    settings = (ROOT / "dags/common/settings.py").read_text()
    assert {name for name in names if name.startswith("DEDUPE_")} <= set(re.findall(r'"(DEDUPE_\w+)"', settings))
    in_compose = {name for name in compose["services"]["worker"]["environment"] if name.startswith("DEDUPE_")}
    told = set(re.findall(r"^# (DEDUPE_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert in_compose == told, "every knob can be turned in .env"


def test_every_image_has_a_version(compose: dict[str, Any], values: dict[str, Any]) -> None:
    images = [service["image"] for service in compose["services"].values()]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    ours = values["images"]["airflow"]
    images.append(f"{ours['repository']}:{ours['tag']}")
    for image in images:
        tag = image.partition(":")[2]
        assert re.search(r"\d", tag), image
    version = re.search(r'^VERSION = "(.*)"', (ROOT / "dags/common/settings.py").read_text(), re.MULTILINE)
    assert version
    assert {image for image in images if "dedupe-people" in image} == {
        f"dedupe-people:{version[1]}",
        f"registry.example.org/dedupe-people:{version[1]}",
    }
    assert f"apache-airflow=={values['airflowVersion']} " in (ROOT / "requirements.txt").read_text()


def test_every_file_that_the_image_takes_is_there_and_reaches_the_builder() -> None:
    taken = [line.split()[2:-1] for line in re.findall(r"^COPY .*", DOCKERFILE.read_text(), re.MULTILINE)]
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in (path for paths in taken for path in paths):
        assert (ROOT / path).exists(), path
        assert any(path == part or path.startswith(f"{part}/") for part in let_in), path
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_no_secret_is_in_git(compose: dict[str, Any]) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert ".env" not in tracked
    ignored = subprocess.run(["git", "check-ignore", ".env", ".env.new"], cwd=ROOT, capture_output=True, text=True)
    assert ignored.stdout.split() == [".env", ".env.new"]
    kept = r"PASSWORD|SECRET|FERNET_KEY"
    for name, text in re.findall(r"^([A-Z]\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE):
        assert text == "", name
        assert re.search(kept, name), name
    for service in compose["services"].values():
        for name, text in service.get("environment", {}).items():
            assert not re.search(kept, name) or re.fullmatch(r"\$\{\w+:\?run deploy/up\}", text), name


def test_the_first_start_makes_secrets_that_the_compose_file_asks_for(tmp_path: Path) -> None:
    for part in ("deploy/up", ".env.example"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / part, tmp_path / part)
    docker = tmp_path / "bin/docker"  # there need be none here
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\necho "docker $*"\n')
    docker.chmod(0o755)
    env = {**os.environ, "PATH": f"{docker.parent}:{os.environ['PATH']}"}

    def started() -> str:
        done = subprocess.run([tmp_path / "deploy/up"], env=env, capture_output=True, text=True, check=True)
        assert "docker compose up --detach --build --wait" in done.stdout
        return (tmp_path / ".env").read_text()

    made = started()
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    secrets = dict(re.findall(r"^(\w+)=(.+)$", made, re.MULTILINE))
    assert set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text())) == secrets.keys()
    assert len(set(secrets.values())) == len(secrets)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}=", text) for text in secrets.values())
    assert started() == made


def test_the_scripts_of_the_image_use_what_there_is() -> None:
    """The image is not built in the tests; what it runs is at least imported here."""
    tree = ast.parse((ROOT / "deploy/compile_search.py").read_text())
    imports = [ast.unparse(node) for node in tree.body if isinstance(node, ast.ImportFrom)]
    subprocess.run([sys.executable, "-c", "\n".join(imports)], check=True)
    subprocess.run(["sh", "-n", ROOT / "deploy/entrypoint"], check=True)
