"""A plain aiohttp proxy, `python -m evaluation.bench.datapath.plain_proxy PORT ENGINE`: the yardstick of its framework.

What one writes on a page: a handler that reads the request, asks the engine and passes each piece on. It authenticates
nobody and counts nothing.
"""

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

_PASSED = ("Content-Type",)


class Proxy:
    """Passes every request to one engine."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on."""
        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        url, body = f"{self._engine}{request.raw_path}", await request.read()
        async with self._session.request(request.method, url, data=body, headers=headers) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


async def serve(port: int, engine: str) -> None:
    """Serve until the process is ended."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", Proxy(engine).handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(serve(int(sys.argv[1]), sys.argv[2]))
