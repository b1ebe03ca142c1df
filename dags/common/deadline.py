"""From when on the run's SLA counts.

Apart from the alerts, since a plugin registers it: plugins are loaded once by every process of Airflow, and whatever
they import stays as it was then. Nothing that somebody edits while Airflow runs, as the settings, may be among it.
"""

from datetime import datetime
from typing import TYPE_CHECKING

from airflow.sdk.definitions.deadline import BaseDeadlineReference

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class RunQueued(BaseDeadlineReference):
    """SLA reference: when the run was queued.

    Airflow's own DAGRUN_QUEUED_AT would do, but a run that has such a deadline ahead cannot be cleared
    (apache/airflow#70368).
    """

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: "Session", dag_id: str, run_id: str) -> datetime | None:
        from airflow.models import DagRun
        from sqlalchemy import func, select

        query = select(func.coalesce(DagRun.queued_at, DagRun.run_after))
        return session.scalar(query.where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
