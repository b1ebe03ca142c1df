"""Registers with Airflow what it only accepts from a plugin.

Loaded once by every process of Airflow, whose children then have what it imports as it was: see `common.deadline`.
"""

from airflow.plugins_manager import AirflowPlugin
from common.deadline import RunQueued
from common.pages.links import REPORT_ROUTE, REVIEW_ROUTE, RUN_REVIEW_ROUTE, ReportLink, root
from common.pages.mounted import PREFIX, check_host, pages

REVIEW_ICON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' fill='none' stroke='{colour}' "
    "stroke-width='2' stroke-linecap='round'><circle cx='8' cy='8' r='3.5'/><path d='M2 20c0-4 2.7-6 6-6s6 2 6 6"
    "M15 9l2.5 2.5L22 6'/></svg>"
)
"""A person and a tick, in the colour of the other icons beside it."""


class DedupePeoplePlugin(AirflowPlugin):
    """The reference from which the run's SLA is counted, our pages, and who may ask for any page."""

    name = "dedupe_people"
    deadline_references = [RunQueued]  # noqa: RUF012 - Airflow's own types, here and below
    fastapi_apps = [{"app": pages, "url_prefix": PREFIX, "name": "dedupe-people"}]  # noqa: RUF012
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": check_host, "name": "hosts"}
    ]
    operator_extra_links = [ReportLink()]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Report",
            "href": f"{root()}{PREFIX.strip('/')}/report?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": REPORT_ROUTE,
        },
        {
            "name": "Review",
            "href": f"{root()}{PREFIX.strip('/')}/review/?run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": RUN_REVIEW_ROUTE,
        },
        {
            "name": "Review",
            "href": f"{root()}{PREFIX.strip('/')}/review/",
            "destination": "nav",
            "url_route": REVIEW_ROUTE,
            "nav_top_level": True,
            "icon": REVIEW_ICON.format(colour="%231f3a5f"),
            "icon_dark_mode": REVIEW_ICON.format(colour="%23dbe6f5"),
        },
    ]
