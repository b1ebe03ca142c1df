"""A copy of the DAG, for an Airflow of one's own, need not be compiled again."""

import os
import subprocess
import sys
from pathlib import Path

from live import copy_dags

MODULE = """
from pathlib import Path
import numba
numba.config.CACHE_DIR = str(Path(__file__).parent / "__pycache__/compiled-0")

@numba.njit(cache=True)
def twice(number):
    return 2 * number

assert twice(21) == 42
print("found" if twice.stats.cache_hits else "compiled")
"""


def test_a_copy_takes_the_machine_code_along(tmp_path: Path) -> None:
    env = {name: text for name, text in os.environ.items() if not name.startswith("NUMBA_")}
    outcomes = []
    source, target = tmp_path / "here/dags", tmp_path / "there/dags"
    search = source / "common/linkage/search"
    search.mkdir(parents=True)
    (search / "doubling.py").write_text(MODULE)
    for folder in (source, source, target):
        if folder == target:
            copy_dags(source, target)
        module = folder / "common/linkage/search/doubling.py"
        done = subprocess.run([sys.executable, module], env=env, capture_output=True, text=True, check=True)
        outcomes.append(done.stdout.strip())
    assert outcomes == ["compiled", "found", "found"]
