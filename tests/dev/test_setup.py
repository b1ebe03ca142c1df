"""What `make` sets up: held versions, a clear line for an interpreter that is too old."""

import ast
import re
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

from launch import ROOT

INSTALLERS = {"pip", "setuptools", "wheel"}  # venv brings them along


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def held(file: str) -> dict[str, str]:
    """The packages of a requirements file and their versions; any line that says more is an error."""
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    matches = [re.fullmatch(r"([\w.-]+)(?:\[\w+\])?==([\w.]+)", line) for line in lines if line]
    assert all(matches)
    return {canonical(match[1]): match[2] for match in matches if match}


def test_every_installed_version_is_held() -> None:
    constraints = held("constraints.txt")
    # Not what `make bench` and `make quality` install beside it, in folders of their own.
    folder = sysconfig.get_path("purelib")
    installed = {canonical(package.name): package.version for package in metadata.distributions(path=[folder])}
    assert "apache-airflow" in installed
    loose = {name: version for name, version in installed.items() if constraints.get(name) != version}
    assert loose.keys() <= INSTALLERS


def test_requirements_agree_with_constraints() -> None:
    constraints = held("constraints.txt")
    assert {name: constraints.get(name) for name in held("requirements.txt")} == held("requirements.txt")


def test_every_direct_dependency_has_its_reason() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if "==" in line and not re.search(r" # \w", line)] == []


def test_every_package_that_is_imported_is_a_direct_dependency() -> None:
    """Else it would be there only as long as another package needs it."""
    packages, required = metadata.packages_distributions(), held("requirements.txt").keys()
    bench_only = {"rapidfuzz", "recordlinkage", "splink"}
    checked = set()
    for path in (path for part in ("dags", "dev", "plugins", "tests") for path in (ROOT / part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for module in {name.split(".")[0] for name in names} & packages.keys() - bench_only:
                assert required & {canonical(package) for package in packages[module]}, f"{path} imports {module}"
                checked.add(module)
    assert {"airflow", "pyarrow", "fastapi"} <= checked


def test_old_python_gets_a_clear_line(tmp_path: Path) -> None:
    old = tmp_path / "old python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for part in ("Makefile", "requirements.txt", "constraints.txt"):
        (tmp_path / part).write_text((ROOT / part).read_text())
    done = subprocess.run(["make", "run", f'PYTHON="{old}"'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()
