"""Registers with Airflow what it only accepts from a plugin."""

from airflow.plugins_manager import AirflowPlugin
from common.alerts import RunQueued
from common.pages.app import PREFIX, pages
from common.pages.links import REPORT_ROUTE, ReportLink, root
from common.settings import ALLOWED_HOSTS
from starlette.middleware.trustedhost import TrustedHostMiddleware


class DedupePeoplePlugin(AirflowPlugin):
    """The reference from which the run's SLA is counted, our pages, and who may ask for any page."""

    name = "dedupe_people"
    deadline_references = [RunQueued]  # noqa: RUF012 - Airflow's own types, here and below
    fastapi_apps = [{"app": pages, "url_prefix": PREFIX, "name": "dedupe-people"}]  # noqa: RUF012
    fastapi_root_middlewares = [  # noqa: RUF012
        {"middleware": TrustedHostMiddleware, "kwargs": {"allowed_hosts": ALLOWED_HOSTS}, "name": "hosts"}
        for _ in ALLOWED_HOSTS[:1]
    ]
    operator_extra_links = [ReportLink()]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Report",
            "href": f"{root()}{PREFIX.strip('/')}/report?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": REPORT_ROUTE,
        }
    ]
