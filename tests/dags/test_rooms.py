"""Who may import whom. The rooms are the modules and packages of `dags/common`, and the DAG file."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from common.settings import PROJECT_ROOT

DAGS = PROJECT_ROOT / "dags"
LEAVES = {"errors", "masking", "settings", "storage"}
MAY_IMPORT = {
    "settings": set(),
    "errors": set(),
    "masking": set(),
    "storage": set(),
    "run_report": {"errors"},
    "linkage": {"errors", "masking"},  # neither settings nor a database nor Airflow
    "sources": {*LEAVES, "linkage"},
    "people_db": {*LEAVES, "linkage", "run_report"},
    "mail": set(),
    "report": {*LEAVES, "linkage", "mail", "run_report"},
    "arrow_xcom": LEAVES,
    "table_task": {"arrow_xcom", "errors"},
    "events": {"settings"},
    "deadline": set(),
    "alerts": {*LEAVES, "mail", "pages", "people_db", "report"},
    "default_args": {*LEAVES, "alerts"},
    "lookup": {*LEAVES, "linkage", "people_db"},
    "newcomers": {"linkage", "lookup", "people_db", "standardising"},
    "pages": {*LEAVES, "lookup", "newcomers", "people_db", "report", "review", "upkeep"},
    "segments": {*LEAVES, "arrow_xcom", "linkage", "people_db"},
    "sweeping": {"linkage", "people_db", "run_report", "settings"},
    "pipeline": {
        *(*LEAVES, "linkage", "lookup", "people_db", "report", "run_report", "segments", "sources", "standardising"),
        "sweeping",
    },
    "retraining": {*LEAVES, "linkage", "people_db", "sources"},
    "review": {*LEAVES, "linkage", "lookup", "newcomers", "people_db", "standardising"},
    "standardising": {"linkage", "people_db"},
    "erasing": {*LEAVES, "arrow_xcom", "people_db", "segments", "standardising"},
    "retention": {*LEAVES, "arrow_xcom", "erasing", "people_db", "report"},
    "spreadsheet": {*LEAVES, "newcomers", "people_db", "review"},
    "terminal": {*LEAVES, "newcomers", "people_db", "review"},
    "upkeep": {
        *(*LEAVES, "alerts", "arrow_xcom", "erasing", "newcomers", "people_db", "review"),
        *("spreadsheet", "standardising", "terminal"),
    },
    "dedupe_people": {
        *("alerts", "deadline", "default_args", "events", "pages", "pipeline", "retention", "retraining"),
        *("segments", "settings", "table_task"),
    },
}


def room(module: str) -> str:
    """`common.linkage.model` is in room `linkage`."""
    return module.removeprefix("common.").split(".")[0]


def modules() -> Iterator[tuple[str, Path]]:
    """Name and file of every module of ours below `dags/`."""
    for path in sorted(DAGS.rglob("*.py")):
        parts = path.relative_to(DAGS).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), path


NAMES = {name for name, _ in modules()} - {"common"}


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, wherever in it that stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & NAMES or {node.module}
    return found & NAMES


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, path in modules() if name != "common"])
def test_a_module_imports_only_what_its_room_may(name: str, path: Path) -> None:
    own = room(name)
    others = {room(imported) for imported in imports(path)} - {own}
    assert others <= MAY_IMPORT[own], f"{name} imports {sorted(others - MAY_IMPORT[own])}"


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {name: imports(path) - {name} for name, path in modules()}
    # A package's own __init__ is how the rest enters; its modules may name each other through it.
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


def test_only_these_know_airflow() -> None:
    """The method, the settings and the errors are read without it."""
    for name, path in modules():
        if room(name) in {"settings", "errors", "masking", "run_report", "linkage"}:
            assert "airflow" not in path.read_text(encoding="utf-8").replace("airflow tasks test", ""), name


LOADED_ONCE = """
import sys
import common.arrow_xcom, dedupe_people_plugin
print([name for name in sys.modules if name == "common.settings"])
"""


def test_what_airflow_loads_once_has_no_settings() -> None:
    """Plugins and the XCom backend stay as they were when Airflow started; an edit of the settings is to count."""
    path = {"PYTHONPATH": f"{DAGS}:{PROJECT_ROOT / 'plugins'}"}
    done = subprocess.run(
        [sys.executable, "-c", LOADED_ONCE], env={**os.environ, **path}, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr[-500:]
