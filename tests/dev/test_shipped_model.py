"""The command that makes the shipped model, run as it is: it takes seconds."""

import subprocess
from typing import Any

import pytest
from common.linkage.model import STARTING_MODEL, Curve, LinkageModel
from shipped_model import COMMIT, ROOT, as_literal, shipped_model


def test_the_shipped_model_is_what_its_command_gives() -> None:
    found = subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", COMMIT], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("a clone without the whole history")
    assert shipped_model() == STARTING_MODEL


def test_what_is_printed_is_the_model_and_stands_in_the_code() -> None:
    printed: dict[str, Any] = {"LinkageModel": LinkageModel, "Curve": Curve}
    exec(as_literal(STARTING_MODEL), printed)  # noqa: S102 - our own text
    assert printed["STARTING_MODEL"] == STARTING_MODEL
    assert as_literal(STARTING_MODEL) in (ROOT / "dags/common/linkage/model.py").read_text()
