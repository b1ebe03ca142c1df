"""Registers with Airflow what it only accepts from a plugin."""

from airflow.plugins_manager import AirflowPlugin
from common.alerts import RunQueued


class DedupePeoplePlugin(AirflowPlugin):
    """The reference from which the run's SLA is counted."""

    name = "dedupe_people"
    deadline_references = [RunQueued]  # noqa: RUF012 - Airflow's own type
