"""Our pages as Airflow's api-server gets to see them: an application below `PREFIX`, and a check of every request.

A plugin hands them over. Plugins are loaded in every process of Airflow, of which only the api-server serves pages: so
both import what they need when they are first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PREFIX = "/dedupe-people"
"""Where the application is mounted, below the root of Airflow's UI."""


async def pages(scope: "Scope", receive: "Receive", send: "Send") -> None:
    """The application as ASGI; it is built when the first request comes."""
    from common.pages.app import make_app

    await make_app()(scope, receive, send)


def check_host(app: "ASGIApp") -> "ASGIApp":
    """Middleware that refuses requests under host names that are not allowed, if any names are."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from common.settings import ALLOWED_HOSTS

    return TrustedHostMiddleware(app, allowed_hosts=ALLOWED_HOSTS or ["*"])
