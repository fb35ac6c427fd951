"""A proxy before an engine that passes everything on, but distorts its metrics as it is told.

It runs in the bench's own loop, on loopback, and is in the way of the reference runs too, so that what it costs meets
every way alike. Bounds: one upstream session; answers are passed on as they come, nothing is stored but the last
honest metrics page.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import assert_never

import aiohttp
from aiohttp import web

SLOW_SECONDS = 20.0
SHUTDOWN_SECONDS = 1.0

# Far more than any engine here holds, in every figure that a window could be judged by.
CROWD = 500

_COUNT = re.compile(rb"^(vllm:num_requests_(running|waiting(?:_by_reason)?)(?:\{[^}]*\})?) \S+$", re.MULTILINE)
_USAGE = re.compile(rb"^(vllm:kv_cache_usage_perc(?:\{[^}]*\})?) \S+$", re.MULTILINE)
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "content-encoding"}


class Distortion(Enum):
    """What becomes of the engine's metrics."""

    HONEST = "honest"
    DEAD = "dead"
    SLOW = "slow"
    STALE = "stale"
    CLAIMS_IDLE = "claims to be idle"
    CLAIMS_CROWD = "claims a crowd"


class DistortingProxy:
    """Passes requests on; how it distorts may be changed at any time."""

    def __init__(self, engine_url: str, session: aiohttp.ClientSession) -> None:
        self._distortion = Distortion.HONEST
        self._engine_url = engine_url
        self._session = session
        self._frozen: dict[str, bytes] = {}

    def distort(self, distortion: Distortion) -> None:
        """Answer so from now on."""
        self._distortion = distortion

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path.rstrip("/") == "/metrics":
            return await self._metrics(request)
        return await self._pass(request)

    async def _metrics(self, request: web.BaseRequest) -> web.StreamResponse:
        match self._distortion:
            case Distortion.DEAD:
                return web.Response(status=500)
            case Distortion.SLOW:
                await asyncio.sleep(SLOW_SECONDS)
            case Distortion.STALE if request.raw_path in self._frozen:
                return web.Response(body=self._frozen[request.raw_path])
            case Distortion.STALE | Distortion.HONEST | Distortion.CLAIMS_IDLE | Distortion.CLAIMS_CROWD:
                pass
            case _:
                assert_never(self._distortion)
        async with self._session.get(self._engine_url + request.raw_path) as answer:
            page = await answer.read()
        self._frozen[request.raw_path] = page
        return web.Response(body=told(page, self._distortion))

    async def _pass(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        body = await request.read()
        async with self._session.request(
            request.method, self._engine_url + request.raw_path, data=body, headers=headers
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for received in answer.content.iter_any():
                await response.write(received)
            await response.write_eof()
            return response


def told(page: bytes, distortion: Distortion) -> bytes:
    """The metrics page that is shown instead of `page`."""
    match distortion:
        case Distortion.CLAIMS_IDLE:
            return _USAGE.sub(rb"\1 0.0", _COUNT.sub(rb"\1 0.0", page))
        case Distortion.CLAIMS_CROWD:
            return _USAGE.sub(rb"\1 1.0", _COUNT.sub(rb"\1 %d.0" % CROWD, page))
        case Distortion.HONEST | Distortion.DEAD | Distortion.SLOW | Distortion.STALE:
            return page
        case _:
            assert_never(distortion)


@asynccontextmanager
async def distorting(engine_url: str) -> AsyncIterator[tuple[DistortingProxy, str]]:
    """A proxy before `engine_url` while the context is open, with its own URL."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0)
    # vLLM keeps idle connections for 5 s.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3.0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, auto_decompress=False) as session:
        proxy = DistortingProxy(engine_url, session)
        # A client that closes its connection aborts at the engine only where the handler is cancelled with it.
        server = web.Server(proxy.handle, handler_cancellation=True)
        runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        try:
            await site.start()
            host, port = runner.addresses[0][:2]
            yield proxy, f"http://{host}:{port}"
        finally:
            await runner.cleanup()
