"""What is read from the environment."""

import ast
import json
import re
import runpy
import subprocess
import sys

import pytest
from common.errors import SourceError
from common.settings import listed, whole
from common.sources.places import located
from launch import ROOT

SETTINGS = ROOT / "dags/common/settings.py"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("/data/new", ["/data/new"]),
        ("/data/new, s3://bucket/new,gs://me@bucket/a:b", ["/data/new", "s3://bucket/new", "gs://me@bucket/a:b"]),
        ("/data/new,", ["/data/new"]),
        ("", []),
        (None, ["a", "b"]),
    ],
)
def test_several_values_are_separated_by_commas(
    text: str | None, values: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEDUPE_TEST", raising=False)
    if text is not None:
        monkeypatch.setenv("DEDUPE_TEST", text)
    assert listed("DEDUPE_TEST", "a, b") == values


def test_a_url_below_one_of_the_roots_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUPE_TEST", "incoming, https://example.org/new")
    roots = listed("DEDUPE_TEST", "")
    assert located("https://example.org/new/a.csv", roots) == "https://example.org/new/a.csv"
    with pytest.raises(SourceError, match="outside of the allowed places: incoming, https://example"):
        located("https://example.org/newer.csv", roots)


def test_every_knob_stands_in_settings() -> None:
    """As the README says: no other module of the DAG asks the environment, or how many cores the machine has."""
    asking = {"environ", "getenv", "cpu_count"}
    connecting = ROOT / "dags/common/people_db/connection.py"  # looks for Airflow's own variable of its connection
    paths = [path for part in ("dags", "plugins") for path in (ROOT / part).rglob("*.py")]
    for path in (path for path in paths if path not in (SETTINGS, connecting)):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in asking, f"{path}:{node.lineno}"


def test_every_variable_is_told_of() -> None:
    read = set(re.findall(r"DEDUPE_\w+", SETTINGS.read_text(encoding="utf-8")))
    told = set(re.findall(r"^# (DEDUPE_\w+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE))
    assert read - {"DEDUPE_EMBEDDED_PEOPLE_DB"} == told  # that one is dev/launch.py's


@pytest.mark.parametrize(
    ("variable", "knob", "text", "value"),
    [
        ("DEDUPE_SHARD_PEOPLE", "SHARD_PEOPLE", "1_000_000", 1_000_000),
        ("DEDUPE_MAX_CANDIDATE_PAIRS", "MAX_CANDIDATE_PAIRS", " 7 ", 7),
        ("DEDUPE_MAX_ADDRESS_COMPARISONS", "MAX_ADDRESS_COMPARISONS", "9", 9),
        ("DEDUPE_CORES", "CORES", "3", 3),
        ("DEDUPE_CORES", "CORES", "", 0),
        ("DEDUPE_COMPARE_POOL", "COMPARE_POOL", "large", "large"),
        ("DEDUPE_COMPARE_QUEUE", "COMPARE_QUEUE", "large", "large"),
    ],
)
def test_knobs_are_read_from_the_environment(
    variable: str, knob: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    assert runpy.run_path(str(SETTINGS))[knob] == value


@pytest.mark.parametrize("text", ["many", "0", "-1", "1.5", "1e6"])
def test_what_is_no_number_is_told_by_its_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUPE_TEST", text)
    with pytest.raises(ValueError, match=f"DEDUPE_TEST is to be a whole number from 1 on, not '{text}'"):
        whole("DEDUPE_TEST", 1)


def printed(code: str, monkeypatch: pytest.MonkeyPatch, **env: str) -> object:
    """What another process prints as JSON."""
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_compare_runs_in_the_pool_and_queue_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import json
import dedupe_people
tasks = dedupe_people.dedupe_people().task_dict
print(json.dumps({name: [task.pool, task.queue] for name, task in tasks.items() if name in ("compare", "decide")}))
"""
    usual = ["default_pool", "default"]
    assert printed(code, monkeypatch) == {"compare": usual, "decide": usual}
    given = {"DEDUPE_COMPARE_POOL": "memory", "DEDUPE_COMPARE_QUEUE": "large"}
    assert printed(code, monkeypatch, **given) == {"compare": ["memory", "large"], "decide": usual}


def test_a_search_uses_the_cores_that_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """By affinity, which container runtimes set too, or as it is told; joblib reads the quotas of cgroups."""
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from common.linkage.search import Budget
from common.pipeline import _budget
print([Budget().cores, _budget().cores])
"""
    assert printed(code, monkeypatch) == [1, 1]
    assert printed(code, monkeypatch, DEDUPE_CORES="3") == [1, 3]
