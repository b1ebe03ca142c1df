"""The web application behind our pages; see `mounted` for where it stands.

Airflow leaves the routes of plugins open to everybody, so every route here names the right on the DAG that it needs.
"""

from functools import cache
from threading import Thread
from typing import TYPE_CHECKING

from common.settings import DAG_ID

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.middleware.base import RequestResponseEndpoint

REPORT_HEADERS = {
    # The report is a page of its own that needs neither scripts nor anything from elsewhere.
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}


@cache
def make_app() -> "FastAPI":
    """The application with all of its routes."""
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.core_api.security import requires_access_dag
    from fastapi import Depends, FastAPI
    from fastapi.responses import HTMLResponse

    from common import lookup
    from common.pages import review
    from common.report.paths import report_paths

    # Somebody new is compared with who came meanwhile: the first reviewer is not to wait for what that loads.
    Thread(target=lookup.warm_up, name="warm up", daemon=True).start()
    app = FastAPI(title="dedupe-people", docs_url=None, redoc_url=None, openapi_url=None)
    _guard(app)
    app.include_router(review.router)
    may_read_runs = Depends(requires_access_dag("GET", DagAccessEntity.RUN, param_dag_id=DAG_ID))

    @app.get("/report", dependencies=[may_read_runs])
    def report(run_id: str, dag_id: str = DAG_ID) -> HTMLResponse:
        """The report of a run, as it lies where reports lie."""
        page = report_paths(run_id).html
        if dag_id != DAG_ID:
            message = f"Only runs of {DAG_ID} have a report here."
            return HTMLResponse(_NOTHING.format(title="No report", text=message), 404, REPORT_HEADERS)
        try:
            return HTMLResponse(page.read_bytes(), headers=REPORT_HEADERS)
        except FileNotFoundError:
            message = (
                "This run has no report yet: its last task but one, <em>report</em>, writes it. Or its time is over."
            )
            return HTMLResponse(_NOTHING.format(title="No report", text=message), 404, REPORT_HEADERS)

    return app


def _guard(app: "FastAPI") -> None:
    """What holds for every answer: its headers, errors of ours as one line, and a page where a page was asked for."""
    from fastapi import HTTPException, Request
    from fastapi.responses import HTMLResponse, JSONResponse, Response

    from common.errors import DedupePeopleError, TransientError
    from common.pages.review import HEADERS

    @app.middleware("http")
    async def add_headers(request: Request, call_next: "RequestResponseEndpoint") -> Response:
        answer = await call_next(request)
        for name, text in HEADERS.items():
            answer.headers.setdefault(name, text)
        return answer

    @app.exception_handler(DedupePeopleError)
    def tell(_: Request, error: DedupePeopleError) -> Response:
        return JSONResponse({"detail": str(error)}, 503 if isinstance(error, TransientError) else 409)

    @app.exception_handler(HTTPException)
    def refuse(request: Request, error: HTTPException) -> Response:
        if "text/html" in request.headers.get("Accept", ""):
            advice = {401: "Log in to Airflow first.", 403: _NO_NAMES}
            page = _NOTHING.format(title="Not for you", text=advice.get(error.status_code, error.detail))
            return HTMLResponse(page, error.status_code, error.headers)
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


_NO_NAMES = (
    f"Names stand here in full. That needs the right to change {DAG_ID}, which you do not have: somebody who gives "
    "rights in Airflow can help."
)

_NOTHING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem }}</style>
<p>{text}</p>
</html>
"""
