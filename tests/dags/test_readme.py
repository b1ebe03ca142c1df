"""The README tells the truth about commands: what it names exists, and the tests run it as it stands there."""

import re
import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CLI_TESTS = (ROOT / "tests/dags/test_cli.py").read_text(encoding="utf-8")


def commands(prefix: str) -> list[str]:
    """Commands of the README that begin so, in blocks and in running text."""
    blocks = re.findall(rf"^    ({prefix} .*)$", README, re.MULTILINE)
    return blocks + re.findall(rf"`({prefix} [^`]+)`", README)


def test_every_make_target_exists() -> None:
    printed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = set(re.findall(r"^  make ([\w-]+)", printed, re.MULTILINE))
    named = {command.split()[1] for command in commands("make")}
    assert {"run", "test", "ui"} <= named
    assert named <= targets


def test_the_recipe_for_single_tasks_is_the_one_that_is_tested() -> None:
    tested = runpy.run_path(str(ROOT / "tests/dags/test_cli.py"))
    day, tasks = tested["DAY"], tested["TASKS"]
    recipe = re.findall(r"^    (dev/airflow tasks test .*)$", README, re.MULTILINE)
    options = {name: " --map-index 0" for name in ("encode", "compare")}
    assert recipe == [f"dev/airflow tasks test dedupe_people {task} {day}{options.get(task, '')}" for task in tasks]
    assert f"dev/airflow dags test dedupe_people {day} --mark-success-pattern '.*'" in README


@pytest.mark.parametrize("command", ["dags list", "tasks list", "dags test", "dags list-import-errors", "tasks test"])
def test_the_airflow_commands_are_run_by_a_test(command: str) -> None:
    assert f"dev/airflow {command}" in README
    called = ", ".join(f'"{word}"' for word in command.split())
    assert called in CLI_TESTS, "tests/dags/test_cli.py does not run it"


def test_the_recipe_for_an_existing_table_is_the_one_that_is_tested() -> None:
    block = re.search(r"```sql\n(.*?)```", README, re.DOTALL)
    assert block
    tests = (ROOT / "tests/dags/common/test_people_db.py").read_text(encoding="utf-8")
    assert block[1].strip() in tests


def test_every_file_that_is_named_exists() -> None:
    for path in re.findall(r"`((?:dags|dev|plugins|tests)/[\w/.-]+)`", README):
        assert (ROOT / path).exists(), path


def test_every_reason_code_is_explained() -> None:
    from common.linkage.validation import QuarantineReason
    from common.linkage.verdict import Decision

    for code in (*Decision, *QuarantineReason):
        assert f"`{code}`" in README, code


def test_every_synonym_of_a_column_is_shown() -> None:
    from common.sources.columns import ADDRESS_PARTS, SYNONYMS

    for column, others in SYNONYMS.items():
        assert f"| `{column}` | {', '.join(others)} |" in README
    for part, others in ADDRESS_PARTS.items():
        assert ", ".join((part, *others)) in README
