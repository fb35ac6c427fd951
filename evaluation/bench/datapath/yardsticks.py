"""Two proxies to measure others by, `python -m evaluation.bench.datapath.yardsticks floor|aiohttp PORT ENGINE`.

`floor` is a splice on uvloop. It shows the least that Python and the kernel cost. It writes what the engine sends to
the client's transport in the call that received it, and the other way round. Each client's connection has one of its
own to the engine. `aiohttp` is the page of code that one writes with that framework: a handler reads the request, asks
the engine and passes each piece on. Neither authenticates, counts or logs anything.
"""

import asyncio
import sys
from typing import cast

import aiohttp
import uvloop
from aiohttp import web

from evaluation.load.client import Address

_BACKLOG = 4096


class Splice(asyncio.Protocol):
    """One side of a splice; `other` is the transport of the other side.

    The client's side has none at first: it opens a connection to `engine`, and keeps one request at most until then.
    """

    __slots__ = ("_early", "_engine", "_opening", "other", "transport")

    def __init__(self, other: asyncio.Transport | None = None, engine: Address | None = None) -> None:
        self.other = other
        self.transport: asyncio.Transport
        self._early = b""
        self._engine = engine
        self._opening: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._engine is not None:
            self._opening = asyncio.create_task(self._open(self._engine))

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()

    async def _open(self, engine: Address) -> None:
        client, loop = self.transport, asyncio.get_running_loop()
        self.other, _ = await loop.create_connection(lambda: Splice(client), engine.host, engine.port)
        self.other.write(self._early)
        if client.is_closing():
            self.other.close()


async def _floor(port: int, engine: str) -> None:
    address = Address.parse(engine)
    await asyncio.get_running_loop().create_server(lambda: Splice(engine=address), "127.0.0.1", port, backlog=_BACKLOG)


async def _plain(port: int, engine: str) -> None:
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": request.content_type}
        url, body = f"{engine}{request.raw_path}", await request.read()
        async with session.request(request.method, url, data=body, headers=headers) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=_BACKLOG).start()


async def serve(name: str, port: int, engine: str) -> None:
    """Serve until the process is ended."""
    await {"floor": _floor, "aiohttp": _plain}[name](port, engine)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
