"""The pages: `/healthz`, `/readyz`, `/status`, `/metrics`; on the control socket, commands as well.

Whoever may open the control socket owns the recorder; the address of `http.listen` answers
questions and takes no orders.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web

from recorder.errors import RecorderError
from recorder.health.metrics import format_metrics
from recorder.health.monitor import Monitor
from recorder.health.status import FAILED, format_health, format_readiness, format_status
from recorder.jobs import JobRun, UnknownJob

OK, BAD_REQUEST, NOT_FOUND, FAILING = 200, 400, 404, 503
_FRESH = {"Cache-Control": "no-store"}
# The page brings its own style and script and asks this address alone.
_PAGE_HEADERS = {
    **_FRESH,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Commands:
    """What the control socket can order.

    Attributes
    ----------
    reload : callable   reads the configuration again; returns what changed
    run_job : callable  runs a job by name, and waits for it
    """

    reload: Callable[[], Awaitable[dict[str, Any]]]
    run_job: Callable[[str], Awaitable[JobRun]]


def make_app(monitor: Monitor, commands: Commands | None = None) -> web.Application:
    """Make the application; with commands, for the control socket."""
    pages = _Pages(monitor)
    app = web.Application()
    app.add_routes(
        [
            web.get("/", pages.page),
            web.get("/healthz", pages.health),
            web.get("/readyz", pages.readiness),
            web.get("/status", pages.status),
            web.get("/metrics", pages.metrics),
        ]
    )
    if commands is not None:
        orders = _Orders(commands)
        app.add_routes(
            [web.post("/reload", orders.reload), web.post("/job/{name}", orders.run_job)]
        )
    return app


class _Pages:
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._page = files("recorder.health").joinpath("page.html").read_text(encoding="utf-8")

    async def health(self, request: web.Request) -> web.Response:  # noqa: ARG002
        # Not a look at everything: who asks this has little patience, and needs little.
        trouble = self._monitor.trouble()
        content = format_health(self._monitor.phase, trouble)
        return _json(content, FAILING if trouble else OK)

    async def readiness(self, request: web.Request) -> web.Response:  # noqa: ARG002
        facts = (await self._monitor.look()).facts
        return _json(format_readiness(facts), OK if facts.is_ready else FAILING)

    async def status(self, request: web.Request) -> web.Response:
        if "text/html" in request.headers.get("Accept", ""):
            return await self.page(request)
        return _json(format_status((await self._monitor.look()).facts))

    async def page(self, request: web.Request) -> web.Response:  # noqa: ARG002
        return web.Response(text=self._page, content_type="text/html", headers=_PAGE_HEADERS)

    async def metrics(self, request: web.Request) -> web.Response:
        view = await self._monitor.look()
        body, content_type = format_metrics(view, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type, **_FRESH})


class _Orders:
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def reload(self, request: web.Request) -> web.Response:  # noqa: ARG002
        try:
            return _json(await self._commands.reload())
        except RecorderError as error:
            return _json({"error": str(error)}, BAD_REQUEST)

    async def run_job(self, request: web.Request) -> web.Response:
        try:
            run = await self._commands.run_job(request.match_info["name"])
        except UnknownJob as error:
            return _json({"error": str(error)}, NOT_FOUND)
        except RecorderError as error:
            return _json({"error": str(error)}, FAILING)
        return _json(run.row, FAILING if run.outcome == FAILED else OK)


def _json(content: dict[str, Any], status: int = OK) -> web.Response:
    body = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2)
    return web.Response(
        body=body, status=status, content_type="application/json", headers=dict(_FRESH)
    )
