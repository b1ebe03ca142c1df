"""The web application behind our pages, which Airflow's api-server serves below `PREFIX`.

Airflow leaves the routes of plugins open to everybody, so every route here names the right on the DAG that it needs.
Plugins are loaded in every process of Airflow, of which only the api-server serves pages: so FastAPI is imported when
the first page is asked for.
"""

from functools import cache
from typing import TYPE_CHECKING

from common.settings import DAG_ID

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

PREFIX = "/dedupe-people"
"""Where the application is mounted, below the root of Airflow's UI."""

REPORT_HEADERS = {
    # The report is a page of its own that needs neither scripts nor anything from elsewhere.
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}


async def pages(scope: "Scope", receive: "Receive", send: "Send") -> None:
    """The application as ASGI; it is built when the first request comes."""
    await make_app()(scope, receive, send)


@cache
def make_app() -> "FastAPI":
    """The application with all of its routes."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse

    from common.report.paths import report_paths

    app = FastAPI(title="dedupe-people", docs_url=None, redoc_url=None, openapi_url=None)
    may_read_runs = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID))

    @app.get("/report", dependencies=[may_read_runs])
    def report(run_id: str, dag_id: str = DAG_ID) -> HTMLResponse:
        """The report of a run, as it lies in the folder of reports."""
        page = report_paths(run_id).html
        if dag_id != DAG_ID:
            return HTMLResponse(_NO_REPORT.format(f"Only runs of {DAG_ID} have a report here."), 404, REPORT_HEADERS)
        if not page.exists():
            message = "This run has no report yet: its last task but one, <em>report</em>, writes it."
            return HTMLResponse(_NO_REPORT.format(message), 404, REPORT_HEADERS)
        return HTMLResponse(page.read_text(encoding="utf-8"), headers=REPORT_HEADERS)

    return app


_NO_REPORT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>no report</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem }}</style>
<p>{}</p>
</html>
"""
