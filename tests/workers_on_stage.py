"""Workers for a gateway on stage: the embedded engine with scripted faults, or a script that speaks raw HTTP.

Both run in the loop of the test, on real sockets, and keep every request as it reached them.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from backend.engine.config import EngineConfig
from backend.engine.faults import Fault, FaultKind, FaultScript
from backend.engine.loop import Engine
from backend.engine.server import ENGINE, KEEP_ALIVE_SECONDS, bind, make_app
from backend.engine.witness import RequestCount

MODEL = "tiny"
ENGINE_CONFIG = EngineConfig.of_profile("cpu-tiny", MODEL, max_num_seqs=4)
INSTANT = EngineConfig.of_profile("instant", MODEL)
CPU_TINY = EngineConfig.of_profile("cpu-tiny", MODEL)
_TURNS_TO_ACCEPT = 4

_engine_log = logging.getLogger("engine")
_engine_log.disabled = True  # what an engine says of a client that broke off is not the gateway's

Meddle = Callable[[web.Request, web.StreamResponse], Awaitable[web.StreamResponse]]
Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as a worker received it; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class EngineWorker:
    """An embedded engine that can be killed and started again at the same address."""

    def __init__(self, config: EngineConfig = ENGINE_CONFIG) -> None:
        """An engine that is not running yet."""
        self._config = config
        self._port = 0
        self._runner: Any = None
        self._router: socket.socket | None = None
        self._past: list[Any] = []
        self.lives: list[Engine] = []
        self.sent: list[Sent] = []
        self.pages: list[str] = []
        self.meddle: Meddle | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def engine(self) -> Engine:
        """The engine of the present life."""
        return self.lives[-1]

    @property
    def is_alive(self) -> bool:
        """Whether it was started and not killed."""
        return self._router is not None

    @property
    def open_connections(self) -> int:
        """Connections to it that nobody has closed."""
        assert self._runner.server is not None
        return len(self._runner.server.connections)

    async def start(self, faults: FaultScript | None = None) -> None:
        """Begin a life, with other faults where given."""
        config = self._config if faults is None else replace(self._config, faults=faults)
        app = make_app(config, self.kill)
        app.middlewares.append(_keeping(self.sent))
        app.middlewares.append(_meddling(self))
        runner = web.AppRunner(
            app,
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,
            shutdown_timeout=0.5,
            logger=_engine_log,
        )
        await runner.setup()
        self._router = bind("127.0.0.1", self._port)
        self._port = self._router.getsockname()[1]
        assert runner.server is not None
        await asyncio.get_running_loop().create_server(runner.server, sock=self._router)
        self._runner = runner
        self.lives.append(app[ENGINE])

    def kill(self) -> None:
        """Die at once: every connection is reset, the port refuses."""
        if self._router is None:
            return
        # Not by the server's own `close`: a connection that is being accepted then would be leaked by asyncio.
        asyncio.get_running_loop().remove_reader(self._router)
        self._router.close()
        self._router = None
        self._past.append(self._runner)
        self._reset(self._runner.server, _TURNS_TO_ACCEPT)

    def _reset(self, server: web.Server, turns: int) -> None:
        """Reset every connection, those too that were being accepted."""
        for connection in list(server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        if turns:
            asyncio.get_running_loop().call_soon(self._reset, server, turns - 1)

    async def stop(self) -> None:
        """End for good."""
        self.kill()
        for runner in self._past:
            await runner.cleanup()
        self._past.clear()

    def count(self, request_id: str) -> list[RequestCount]:
        """What each life counted for the gateway's request."""
        return [count for engine in self.lives for name, count in engine.witness.requests.items() if request_id in name]


class ScriptedWorker:
    """A worker that answers probes and hands every other request to `respond`, one after another."""

    def __init__(self, respond: Respond) -> None:
        """A worker whose `respond` gets the connection, the request read, and leaves it open or closed."""
        self._respond = respond
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.answers_probes = True
        self.probe_status = 200
        self.probe_lines: tuple[bytes, ...] = ()
        self.models = b'{"object":"list","data":[{"id":"%b","object":"model"}]}' % MODEL.encode()
        self.pages: list[bytes] = []
        self.requests: list[tuple[bytes, Any]] = []
        self.connections = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        is_new = True
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET") and not self.answers_probes:
                    await reader.read()
                    return
                if head.startswith(b"GET"):
                    page = self.models if head.startswith(b"GET /v1/models ") else b""
                    self.pages.append(head)
                    status = 200 if page else self.probe_status
                    lines = [b"HTTP/1.1 %d Probed" % status, b"content-length: %d" % len(page), b"connection: close"]
                    writer.write(b"\r\n".join([*lines, *self.probe_lines]) + b"\r\n\r\n" + page)
                    return
                self.connections += is_new
                is_new = False
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append((head, json.loads(await reader.readexactly(length))))
                await self._respond(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # cancelled by `stop`: asyncio's streams would report a cancellation as a failure
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Close every connection in order, as an engine does with idle ones."""
        for writer in self._writers:
            writer.close()

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


def _keeping(sent: list[Sent]) -> Any:
    @web.middleware
    async def keep(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "POST":
            headers = {name.lower(): value for name, value in request.headers.items()}
            sent.append(Sent(request.path, headers, json.loads(await request.read())))
        response: web.StreamResponse = await handler(request)
        return response

    return keep


def _meddling(worker: EngineWorker) -> Any:
    """Notes each page that is asked for; what is answered for metrics is `worker.meddle`'s, where there is one."""

    @web.middleware
    async def meddle(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        if request.method != "GET" or not request.path.startswith("/metrics"):
            return response
        worker.pages.append(request.path_qs)
        return response if worker.meddle is None else await worker.meddle(request, response)

    return meddle


AnyWorker = EngineWorker | ScriptedWorker


def faults(*script: Fault, seed: int = 0) -> EngineConfig:
    """The ordinary engine under a script."""
    return replace(ENGINE_CONFIG, faults=FaultScript(tuple(script), seed))


def fault(kind: FaultKind, **fields: Any) -> Fault:
    """A fault that strikes the first request unless it says otherwise."""
    if not fields.keys() & {"nth", "every", "probability", "contains"}:
        fields["nth"] = 1
    return Fault(kind=kind, **fields)
