"""Where clients come in: the HTTP server and its listening sockets, the gateway's own or those that its parent owns."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from gateway.clients.server import HttpServer, ServerLimits
from gateway.config import Listen
from gateway.processes.listening import BACKLOG
from gateway.processes.member import Member
from gateway.proxy.delivery import Delivery
from gateway.proxy.router import Router


class Entrance:
    """The server of one gateway."""

    def __init__(self, router: Router, delivery: Delivery, member: Member | None) -> None:
        """Serve by `router`; `member` is what this process has from its parent, if it is one of several."""
        self._router = router
        self._delivery = delivery
        self._member = member
        self.server: HttpServer | None = None
        self._runner: web.ServerRunner | None = None
        self.is_retiring = False

    @property
    def is_open(self) -> bool:
        """True once clients are served."""
        return self._runner is not None

    @property
    def url(self) -> str:
        """The URL for clients."""
        assert self._runner is not None
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"

    async def open(self, listen: Listen) -> None:
        """Serve clients from now on; raises `OSError`."""
        limits = ServerLimits(
            listen.header_timeout_seconds,
            listen.keepalive_timeout_seconds,
            listen.write_stall_seconds,
            listen.max_connections,
        )
        self.server = HttpServer(self._router.handle, limits, self._router.note_unparsed)
        self._runner = web.ServerRunner(self.server, shutdown_timeout=1.0)
        await self._runner.setup()
        for site in self._sites(self._runner, listen):
            await site.start()

    async def retire(self, drain_seconds: float) -> None:
        """Stop accepting, because others accept in its place, and answer what comes on the connections that there are.

        Each answer closes its connection. Returns when no connection is left, or after `drain_seconds`.
        """
        assert self._runner is not None and self.server is not None
        self.is_retiring = self._delivery.closes_connections = True
        for site in tuple(self._runner.sites):
            await site.stop()
        await self.server.emptied(asyncio.get_running_loop().time() + drain_seconds)

    async def close(self) -> None:
        """Close every connection; no effect if it was never open."""
        if self._runner is not None:
            await self._runner.cleanup()

    def _sites(self, runner: web.ServerRunner, listen: Listen) -> Sequence[web.BaseSite]:
        if self._member is not None:
            return [web.SockSite(runner, each, backlog=BACKLOG) for each in self._member.listening_sockets()]
        return [web.TCPSite(runner, listen.host, listen.port, backlog=BACKLOG)]
