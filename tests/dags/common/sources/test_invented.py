import os
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from common.linkage.standardise import standardise
from common.linkage.validation import add_quarantine_reason
from common.sources import INCOMING, batch_id, fake_people, fake_records


def people(table: pa.Table) -> list[Any]:
    """Names and address of each row."""
    return list(zip(*(table[name].to_pylist() for name in ("first_name", "last_name", "address")), strict=True))


def _known(table: pa.Table) -> pa.Table:
    return table.append_column("person_id", pa.array(range(len(table)), pa.int64()))


def test_fake_people() -> None:
    table = fake_people(500, seed=3)
    assert table.schema == INCOMING
    assert table == fake_people(500, seed=3)
    assert table != fake_people(500, seed=4)
    assert table["source_key"].to_pylist()[:2] == ["faker-3-0", "faker-3-1"]
    assert len(set(table["record_key"].to_pylist())) == 500
    assert len(set(people(table))) > 490
    assert add_quarantine_reason(standardise(table))["quarantine_reason"].null_count == 500
    assert fake_people(0, seed=3).num_rows == 0


def test_fake_records_hold_the_share_of_people_who_return() -> None:
    numbers = range(1_000)
    known = _known(
        pa.table(
            {
                "first_name": ["Xanthippe"] * 1_000,
                "last_name": ["Xylander"] * 1_000,
                "address": [f"{number:03}{number:03} Xenia Street, Xapuri, CA 90001" for number in numbers],
            }
        )
    )
    as_stored = set(zip(*(known[name].to_pylist() for name in ("first_name", "last_name", "address")), strict=True))
    marks = ("xant", "nthip", "xyl", "lander", "xen", "xap")
    for returning in (0.0, 0.3, 1.0):
        batch = fake_records(400, returning, known, seed=9)
        assert batch.num_rows == 400
        assert batch == fake_records(400, returning, known.take(list(reversed(numbers))), seed=9)
        found = [any(mark in str(person).lower() for mark in marks) for person in people(batch)]
        assert sum(found) == pytest.approx(400 * returning, abs=3)
        if returning == 0.3:
            assert 0.3 < sum(found[:200]) / sum(found) < 0.7  # spread over the batch
        assert not set(people(batch)) & as_stored


def test_fake_records_with_few_or_no_known_people() -> None:
    assert fake_records(50, 0.9, _known(fake_people(3, seed=1)), seed=1).num_rows == 50
    assert fake_records(50, 0.9, _known(fake_people(0, seed=1)), seed=1).num_rows == 50
    assert fake_records(0, 0.9, _known(fake_people(3, seed=1)), seed=1).num_rows == 0
    with pytest.raises(ValueError, match="share"):
        fake_records(50, 30, _known(fake_people(3, seed=1)), seed=1)


def test_fake_records_are_the_same_in_another_process() -> None:
    code = "from common.sources import *; print(batch_id(fake_people(300, 5), ''))"
    env = {**os.environ, "PYTHONPATH": "dags", "PYTHONHASHSEED": "7"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert found.stdout.split()[-1] == batch_id(fake_people(300, 5), "")
