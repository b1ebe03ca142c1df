"""What is installed: sets of requirements that agree, held versions, hashes; a clear line for an old interpreter."""

import ast
import json
import re
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
from launch import ROOT

RUN, DEVELOP = "requirements.txt", "dev/requirements.txt"
CELERY, KUBERNETES, S3 = (f"deploy/requirements-{name}.txt" for name in ("celery", "kubernetes", "s3"))
SETS = [RUN, CELERY, KUBERNETES, S3, DEVELOP]
HASHED = "deploy/requirements-hashed.txt"
INSTALLERS = {"pip", "setuptools", "wheel"}  # venv brings them along


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def held(file: str) -> dict[str, str]:
    """The packages of a requirements file and their versions; any line that says more is an error."""
    lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    matches = [re.fullmatch(r"([\w.-]+)(?:\[\w+\])?==([\w.]+)", line) for line in lines if line[:3] not in ("", "-r ")]
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


@pytest.mark.parametrize("file", SETS)
def test_requirements_agree_with_constraints(file: str) -> None:
    constraints = held("constraints.txt")
    assert {name: constraints.get(name) for name in held(file)} == held(file)


@pytest.mark.parametrize("file", SETS)
def test_every_direct_dependency_has_its_reason(file: str) -> None:
    lines = (ROOT / file).read_text().splitlines()
    assert [line for line in lines if "==" in line and not re.search(r" # \w", line)] == []


@pytest.mark.parametrize("files", [*([file] for file in SETS), SETS], ids=lambda files: "+".join(files))
def test_each_set_can_be_installed_and_all_of_them_together(files: list[str]) -> None:
    """As pip says, which fetches what is not installed here from wherever it is told to."""
    named = [part for file in files for part in ("-r", file)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--quiet",
            "--report",
            "-",
            *named,
            "-c",
            "constraints.txt",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    constraints = held("constraints.txt")
    for package in json.loads(done.stdout)["install"]:  # beside what is installed
        name, version = canonical(package["metadata"]["name"]), package["metadata"]["version"]
        assert constraints.get(name) == version, name


def test_every_version_to_run_with_has_its_hashes() -> None:
    lines = (ROOT / HASHED).read_text().replace("\\\n", " ").splitlines()[1:]
    assert "://" not in "".join(lines)
    packages = {}
    for line in lines:
        pinned = r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.]+)(?: ; [^#]+?)?"
        match = re.fullmatch(pinned + r"(?:\s+--hash=sha256:[0-9a-f]{64})+", line.rstrip())
        assert match, line[:80]
        packages[canonical(match[1])] = match[2]
    constraints = held("constraints.txt")
    assert {name: constraints.get(name) for name in packages} == packages
    options = ["--dry-run", "--quiet", "--no-deps", "--require-hashes"]
    pip = [sys.executable, "-m", "pip", "install", *options, "-r", HASHED]
    done = subprocess.run(pip, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {*held(RUN), *held(CELERY), *held(KUBERNETES), *held(S3)} <= packages.keys()


def imports(*folders: str) -> dict[str, set[str]]:
    """The packages that offer a module which the files of these folders import, by `module in file`."""
    packages = metadata.packages_distributions()
    bench_only = {"rapidfuzz", "recordlinkage", "splink"}
    found = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for module in {name.split(".")[0] for name in names} & packages.keys() - bench_only:
                found[f"{module} in {path}"] = {canonical(package) for package in packages[module]}
    return found


@pytest.mark.parametrize(
    ("folders", "files"),
    [(("dags", "plugins"), [RUN]), (("dags", "dev", "plugins", "tests"), [RUN, CELERY, S3, DEVELOP])],
)
def test_every_package_that_is_imported_is_a_direct_dependency(folders: list[str], files: list[str]) -> None:
    """Else it would be there only as long as another package needs it."""
    required = {name for file in files for name in held(file)}
    found = imports(*folders)
    assert {module: packages for module, packages in found.items() if not packages & required} == {}
    assert {"airflow", "pyarrow", "fastapi"} <= {module.split(" in ")[0] for module in found}


def test_old_python_gets_a_clear_line(tmp_path: Path) -> None:
    old = tmp_path / "old python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for part in ("Makefile", "constraints.txt", RUN, CELERY, S3, DEVELOP):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_text((ROOT / part).read_text())
    done = subprocess.run(["make", "run", f'PYTHON="{old}"'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / ".venv").exists()
