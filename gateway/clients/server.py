"""The HTTP server: where clients connect, and how their connections end.

If two HTTP parsers could read a request differently, the server refuses it and closes the connection. Heads have a
deadline, and the number of connections has a bound. A fault is answered in JSON, and the answer never echoes what was
sent. `connection` is one client's connection.
"""

import asyncio
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from gateway.clients.connection import ClientConnection, Handler, Reception, ServerLimits, UnparsedReport
from gateway.clients.downstream import HIGH_WATER_BYTES

__all__ = ["HttpServer", "ServerLimits"]

# Without this option Linux keeps up to 4 MB unsent for a client that does not read (tcp_wmem).
_UNSENT_OPTION: Final[int | None] = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class HttpServer:
    """Accepts client connections; when a client leaves, its handler is cancelled."""

    def __init__(self, handler: Handler, limits: ServerLimits, report_unparsed: UnparsedReport) -> None:
        """Serve requests by `handler`, within `limits`; `report_unparsed` hears of what never gets to it."""
        self._reception = Reception(handler, limits, report_unparsed)
        self._listeners: list[asyncio.Server] = []

    @property
    def connections(self) -> Collection[ClientConnection]:
        """The connections that are open."""
        return self._reception.connections

    @property
    def is_listening(self) -> bool:
        """True once there is a listening socket."""
        return bool(self._listeners)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the first listening socket."""
        host, port = self._listeners[0].sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def listen(self, host: str, port: int, backlog: int) -> None:
        """Accept connections at `host` and `port`; raises `OSError`."""
        self._accept(await self._reception.loop.create_server(self._connection, host, port, backlog=backlog))

    async def listen_on(self, listening: socket.socket, backlog: int) -> None:
        """Accept connections on a socket that somebody else owns."""
        self._accept(await self._reception.loop.create_server(self._connection, sock=listening, backlog=backlog))

    def _accept(self, listener: asyncio.Server) -> None:
        self._listeners.append(listener)
        for each in listener.sockets:  # the connections inherit both options
            each.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if _UNSENT_OPTION is not None:
                each.setsockopt(socket.IPPROTO_TCP, _UNSENT_OPTION, HIGH_WATER_BYTES)

    def _connection(self) -> asyncio.Protocol:
        return ClientConnection(self._reception)  # type: ignore[return-value]  # it has a protocol's methods

    def stop_listening(self) -> None:
        """Accept no more connections."""
        for listener in self._listeners:
            listener.close()

    async def emptied(self, deadline: float) -> None:
        """Wait until no connection is open, but not beyond `deadline` (loop time); nobody accepts any more."""
        reception = self._reception
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while reception.connections:
                    reception.emptied.clear()
                    await reception.emptied.wait()

    async def close(self, seconds: float) -> None:
        """Close every connection: idle ones now, the others with their answer, but not later than in `seconds`."""
        self.stop_listening()
        for connection in tuple(self.connections):
            connection.close_when_free()
        await self.emptied(self._reception.loop.time() + seconds)
        ending = [task for connection in tuple(self.connections) if (task := connection.cut()) is not None]
        if ending:
            await asyncio.wait(ending, timeout=seconds)
        await asyncio.sleep(0)  # a transport that was aborted tells its connection in the next turn
