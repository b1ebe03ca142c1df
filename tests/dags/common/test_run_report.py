"""The numbers of a run add up, or there is no report."""

from typing import Any

import pytest
from common.errors import ReportError
from common.run_report import RunReport
from hypothesis import given
from hypothesis import strategies as st

NUMBERS: dict[str, Any] = {"batch_id": "b", "run_id": "run 1", "source": "incoming/new.csv", "model_version": "m"}


@given(st.lists(st.integers(0, 10**9), min_size=4, max_size=4), st.integers(-(10**9), 10**9).filter(bool))
def test_numbers_that_do_not_add_up_are_no_report(parts: list[int], lost: int) -> None:
    numbers = dict(zip(("quarantined", "duplicates", "review", "inserted"), parts, strict=True))
    assert str(RunReport(**NUMBERS, **numbers, received=sum(parts))).startswith(f"received={sum(parts)} ")
    with pytest.raises(ReportError, match="do not add up"):
        RunReport(**NUMBERS, **numbers, received=sum(parts) + lost)
