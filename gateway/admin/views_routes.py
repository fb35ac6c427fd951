"""Serves the views at `/admin/v1/view/...` and the page's files; `listener` decides who may see the views.

The page's files hold nothing secret. The browser is told (`HEADERS`, in every answer) to run no script and to load
nothing but these files.
"""

import asyncio
from collections.abc import Generator
from importlib.resources import files
from typing import Any, Final, Protocol

import orjson
from aiohttp import web

from gateway.admin import views
from gateway.admin.ended import Recent
from gateway.admin.history import LOOK_SECONDS, History
from gateway.admin.moment import Moment, ViewSource, take
from gateway.background import Background
from gateway.events import Observer
from gateway.long_work import LongWork

POLICY: Final = "default-src 'self'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FILES: Final = {
    "page.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "preact.js": "text/javascript",
}
_LONGEST_TEXT: Final = 200  # characters of a search or a name


class ViewedGateway(ViewSource, Protocol):
    """The gateway as the views see it, which lets them hear its events."""

    def add_observer(self, observer: Observer) -> None:
        """Let `observer` hear every event from now on."""
        ...

    def state(self) -> Generator[None, None, dict[str, object]]:
        """The whole state without secrets, in steps."""
        ...

    def write_metrics(self) -> Generator[None, None, list[bytes]] | None:
        """The metrics in pieces, made in steps; None if they are off."""
        ...


class Views:
    """The views of one gateway: looks at it every few seconds, and answers."""

    def __init__(self, gateway: ViewedGateway) -> None:
        """Hear of events from now on; `start` begins to look."""
        self._gateway = gateway
        self.history, self.recent = History(), Recent()
        gateway.add_observer(self.recent)
        self._work = LongWork()
        self._looking = Background("admin history", self._look, "the history of the admin page broke off")

    def start(self) -> None:
        """Begin to keep the history."""
        self._looking.start()

    async def stop(self) -> None:
        """Keep it no longer."""
        await self._looking.stop()

    async def _look(self) -> None:
        while True:
            await self._work.carry_out(self._steps_of_a_look())
            await asyncio.sleep(LOOK_SECONDS)

    def _steps_of_a_look(self) -> Generator[None, None, None]:
        config = self._gateway.config
        names = {tenant.name for tenant in config.tenants}
        if config.anonymous.tenant is not None:
            names.add(config.anonymous.tenant)
        yield
        yield from self.history.look(self._gateway.pools(names))

    async def overview(self, _: web.Request) -> web.Response:
        """Answer with everything at a glance."""
        return _answer(views.overview(await self._moment()))

    async def tenants(self, request: web.Request) -> web.Response:
        """Answer with the tenants that are searched for (`q`), sorted (`sort`)."""
        search, sort = request.query.get("q", "")[:_LONGEST_TEXT], request.query.get("sort", "busy")
        if sort not in views.SORTS:
            return fault(400, f"sort is one of {', '.join(views.SORTS)}.")
        return _answer(views.tenants(await self._moment(), search, sort))

    async def tenant(self, request: web.Request) -> web.Response:
        """Answer with one tenant, or 404."""
        moment = await self._moment()
        found = await self._work.carry_out(
            views.tenant(moment, request.match_info["name"][:_LONGEST_TEXT], self._requests())
        )
        return fault(404, "There is no tenant of this name.") if found is None else _answer(found)

    async def request(self, request: web.Request) -> web.Response:
        """Answer with one request, or 404."""
        moment = await self._moment()
        found = await self._work.carry_out(
            views.request(moment, request.match_info["id"][:_LONGEST_TEXT], self._requests())
        )
        if found is None:
            return fault(404, "There is no such request here, and none of the last that ended had this id.")
        return _answer(found)

    async def drift(self, _: web.Request) -> web.Response:
        """Answer with how the gateways of a fleet agree."""
        return _answer({"replicas": views.drift(await self._moment())})

    async def state(self, _: web.Request) -> web.Response:
        """Answer with the whole state, for a support bundle."""
        return _answer(await self._work.carry_out(self._gateway.state()))

    async def metrics(self, _: web.Request) -> web.Response:
        """Answer with the metrics, for a support bundle."""
        steps = self._gateway.write_metrics()
        pieces = [] if steps is None else await self._work.carry_out(steps)
        return web.Response(body=b"".join(pieces), content_type="text/plain", charset="utf-8")

    def _requests(self) -> list[Any]:
        return list(self._gateway.requests())

    async def _moment(self) -> Moment:
        return await self._work.carry_out(take(self._gateway, self.history, self.recent))


def add_views(router: web.UrlDispatcher, gateway: ViewedGateway) -> Views:
    """Let `router` serve the views of `gateway`; the caller starts and stops what is returned."""
    shown = Views(gateway)
    router.add_get("/admin/v1/view/overview", shown.overview)
    router.add_get("/admin/v1/view/tenants", shown.tenants)
    router.add_get("/admin/v1/view/tenants/{name}", shown.tenant)
    router.add_get("/admin/v1/view/requests/{id}", shown.request)
    router.add_get("/admin/v1/view/drift", shown.drift)
    router.add_get("/admin/v1/view/state", shown.state)
    router.add_get("/admin/v1/view/metrics", shown.metrics)
    return shown


def add_page(router: web.UrlDispatcher) -> None:
    """Let `router` serve the page at `/` and its files under `/page/`; they need no key, and hold no secret."""
    folder = files("gateway.admin") / "static"
    contents = {name: (folder / name).read_bytes() for name in _FILES}

    async def page(_: web.Request) -> web.Response:
        return web.Response(body=contents["page.html"], content_type="text/html", charset="utf-8")

    async def file(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in contents:
            raise web.HTTPNotFound
        return web.Response(body=contents[name], content_type=_FILES[name], charset="utf-8")

    router.add_get("/", page)
    router.add_get("/page/{name}", file)


def _answer(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def fault(status: int, message: str) -> web.Response:
    """An answer that says in words what is wrong."""
    body = orjson.dumps({"error": {"message": message}})
    return web.Response(status=status, body=body, content_type="application/json")
