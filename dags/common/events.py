"""What other programs are told of a run: an event of asset `people`, and gauges for dashboards."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from airflow.sdk import Asset, get_current_context

from common.settings import PEOPLE_SCHEMA

PEOPLE = Asset(name="people", uri=f"dedupe-people://{PEOPLE_SCHEMA}/people")
"""What other DAGs can be scheduled on: its events carry the numbers of the run."""


def tell_other_dags(numbers: dict[str, Any]) -> dict[str, Any]:
    """Put the numbers of a run on its event of asset `people`; returns them."""
    with suppress(RuntimeError):  # no task, a mere call
        get_current_context()["outlet_events"][PEOPLE].extra = dict(numbers)
    return numbers


def tell_dashboards(numbers: Mapping[str, Any]) -> None:
    """Set the gauges `dedupe_people.received` and so on, where StatsD or OpenTelemetry is switched on in Airflow."""
    from airflow.sdk.observability import stats

    for name in ("received", "quarantined", "duplicates", "review", "inserted"):
        stats.gauge(f"dedupe_people.{name}", numbers[name])
