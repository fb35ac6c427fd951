"""Where clients come in: the HTTP server and its listening sockets, the gateway's own or those that its parent owns."""

import asyncio

from gateway.clients.server import HttpServer, ServerLimits
from gateway.config import Listen
from gateway.processes.listening import BACKLOG
from gateway.processes.member import Member
from gateway.proxy.delivery import Delivery
from gateway.proxy.router import Router

_LAST_SECONDS = 1.0  # for answers that are still on their way when the gateway ends


class Entrance:
    """The server of one gateway."""

    def __init__(self, router: Router, delivery: Delivery, member: Member | None) -> None:
        """Serve by `router`; `member` is what this process has from its parent, if it is one of several."""
        self._router = router
        self._delivery = delivery
        self._member = member
        self.server: HttpServer | None = None
        self.is_retiring = False

    @property
    def is_open(self) -> bool:
        """True once clients are served."""
        return self.server is not None and self.server.is_listening

    @property
    def url(self) -> str:
        """The URL for clients."""
        assert self.server is not None
        host, port = self.server.address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def open(self, listen: Listen) -> None:
        """Serve clients from now on; raises `OSError`."""
        limits = ServerLimits(
            listen.header_timeout_seconds,
            listen.keepalive_timeout_seconds,
            listen.write_stall_seconds,
            listen.max_connections,
        )
        self.server = HttpServer(self._router.handle, limits, self._router.note_unparsed)
        if self._member is None:
            await self.server.listen(listen.host, listen.port, BACKLOG)
            return
        for each in self._member.listening_sockets():
            await self.server.listen_on(each, BACKLOG)

    async def retire(self, drain_seconds: float) -> None:
        """Stop accepting, because others accept in its place, and answer what comes on the connections that there are.

        Each answer closes its connection. Returns when no connection is left, or after `drain_seconds`.
        """
        assert self.server is not None
        self.is_retiring = self._delivery.closes_connections = True
        self.server.stop_listening()
        await self.server.emptied(asyncio.get_running_loop().time() + drain_seconds)

    async def close(self) -> None:
        """Close every connection; no effect if it was never open."""
        if self.server is not None:
            await self.server.close(_LAST_SECONDS)
