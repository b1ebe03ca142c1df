"""Where our pages stand in Airflow's UI."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import Operator

REPORT_ROUTE = "report"
REVIEW_ROUTE = "review"
RUN_REVIEW_ROUTE = "review-run"


def base_url() -> str:
    """Address of Airflow's UI, with a slash at the end, as https://host/airflow/."""
    return conf.get("api", "base_url", fallback="/").rstrip("/") + "/"


def root() -> str:
    """Where the UI lies below its host, with slashes around it; links of this kind hold for every name of the host."""
    return urlsplit(base_url()).path


def run_page(dag_id: str, run_id: str) -> str:
    """The page of a run, below `root()` or `base_url()`."""
    return f"dags/{dag_id}/runs/{quote(run_id, safe='')}"


def report_page(dag_id: str, run_id: str) -> str:
    """The page of a run with the report open in it, below `root()` or `base_url()`."""
    return f"{run_page(dag_id, run_id)}/plugin/{REPORT_ROUTE}"


def review_page(dag_id: str, run_id: str) -> str:
    """The page of a run with its open questions in it, below `root()` or `base_url()`."""
    return f"{run_page(dag_id, run_id)}/plugin/{RUN_REVIEW_ROUTE}"


class ReportLink(BaseOperatorLink):
    """A button on the task that writes the report."""

    name = "Report"

    def get_link(self, operator: "Operator", *, ti_key: Any) -> str:
        """Where the button leads."""
        return root() + report_page(ti_key.dag_id, ti_key.run_id)
