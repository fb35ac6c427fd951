"""The operator's own listener: the page for everybody on this machine, and the views for the holder of the admin key.

It listens to a loopback address only, because it has no TLS, and answers only who asks for one by its name: a foreign
page whose name leads here is refused. A key comes as a bearer, never as a cookie, so no other page can use it. After
`MOST_WRONG` wrong keys within a minute every key is refused for the rest of it.
"""

import asyncio
import hmac
import re
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from gateway.admin.views_routes import HEADERS, ViewedGateway, add_page, add_views, fault
from gateway.config import digest

MOST_WRONG: Final = 10
_MINUTE_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 2.0
_SCHEME: Final = "bearer "
_NO_KEY: Final = "This needs the admin key (admin.key in the configuration) as 'Authorization: Bearer <key>'."
_TOO_MANY: Final = "Too many wrong keys came; try again in a minute."

_PORT: Final = re.compile(r":\d*$")
_STRANGE_HOST: Final = "Ask for this page as 127.0.0.1 or localhost; from elsewhere use a tunnel."
_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminListener:
    """The page and the views of one gateway, at one address."""

    def __init__(self, gateway: ViewedGateway, address: str) -> None:
        """Listen to nothing before `start`; `address` is `HOST:PORT`."""
        self._gateway = gateway
        self._address = address
        self._wrong: deque[float] = deque(maxlen=MOST_WRONG)
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(_protect)
        add_page(app.router)
        self._views = add_views(app.router, gateway)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
        self.url = ""

    async def start(self) -> None:
        """Listen; raises `RuntimeError`, whose text says why, if that cannot be."""
        await self._runner.setup()
        host, _, port = self._address.rpartition(":")
        try:
            await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        except (OSError, OverflowError) as failure:
            raise RuntimeError(f"admin.listen {self._address} cannot be used: {failure}") from failure
        self.url = f"http://{host}:{self._runner.addresses[0][1]}"
        self._views.start()

    async def stop(self) -> None:
        """Listen no longer."""
        await self._views.stop()
        await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if _PORT.sub("", request.headers.get("Host", "")).lower() not in _HOSTS:
            return fault(421, _STRANGE_HOST)
        if not request.path.startswith("/admin/"):
            return await _answered(handler, request)
        now = asyncio.get_running_loop().time()
        if len(self._wrong) == MOST_WRONG and now - self._wrong[0] < _MINUTE_SECONDS:
            return fault(429, _TOO_MANY)
        credential = request.headers.get("Authorization", "")
        if credential[: len(_SCHEME)].lower() != _SCHEME:
            return fault(401, _NO_KEY)
        if not self._is_admin(credential[len(_SCHEME) :].strip()):
            self._wrong.append(now)
            return fault(401, _NO_KEY)
        return await _answered(handler, request)

    def _is_admin(self, key: str) -> bool:
        expected = self._gateway.config.admin.digest
        return expected is not None and key.isascii() and hmac.compare_digest(expected, digest(key))


async def _answered(handler: _Handler, request: web.Request) -> web.StreamResponse:
    """The answer of `handler`; what aiohttp refuses is said as everything else is."""
    try:
        return await handler(request)
    except web.HTTPException as refused:
        return fault(refused.status, f"There is nothing here: {refused.reason}.")


async def _protect(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
