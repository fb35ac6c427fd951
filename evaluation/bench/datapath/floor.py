"""The floor, `python -m evaluation.bench.datapath.floor PORT ENGINE`: what Python and the kernel cost at the least.

A splice on uvloop: what the engine sends is written to the client's transport in the call that received it, and the
other way round. It reads nothing of what passes, authenticates nobody, counts nothing and logs nothing; each client's
connection has one of its own to the engine. No proxy in Python on this loop can cost less.
"""

import asyncio
import sys
from typing import cast

import uvloop

from evaluation.load.client import Address


class _Side(asyncio.Protocol):
    """One side of a splice; `other` is the transport of the other side."""

    __slots__ = ("other", "transport")

    def __init__(self, other: asyncio.Transport | None = None) -> None:
        self.other = other
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        assert self.other is not None
        self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side ends too, when it has taken everything."""
        if self.other is not None:
            self.other.close()


class Splice(_Side):
    """The client's side, which opens the engine's; what comes before that stands waits, a request at most."""

    __slots__ = ("_early", "_engine", "_opening")

    def __init__(self, engine: str) -> None:
        super().__init__()
        self._engine = Address.parse(engine)
        self._early = b""
        self._opening: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the engine's side."""
        super().connection_made(transport)
        self._opening = asyncio.create_task(self._open())

    def data_received(self, data: bytes) -> None:
        """Pass it on, once there is somebody to take it."""
        if self.other is None:
            self._early += data
        else:
            self.other.write(data)

    async def _open(self) -> None:
        client, loop = self.transport, asyncio.get_running_loop()
        engine, _ = await loop.create_connection(lambda: _Side(client), self._engine.host, self._engine.port)
        self.other = engine
        engine.write(self._early)
        if client.is_closing():
            engine.close()


async def serve(port: int, engine: str) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Splice(engine), "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(sys.argv[1]), sys.argv[2]))
