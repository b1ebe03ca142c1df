"""Settings and fixtures for the tests of the DAG and its modules."""

import os
import uuid
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("dags", deadline=None)
settings.load_profile("dags")

# Read when common.settings is first imported.
SOURCES = Path(os.environ["AIRFLOW_HOME"]) / "incoming"
os.environ["DEDUPE_SOURCE_ROOTS"] = str(SOURCES)


@pytest.fixture
def incoming() -> Path:
    """A new folder that sources may be read from."""
    folder = SOURCES / uuid.uuid4().hex
    folder.mkdir(parents=True)
    return folder
