"""The ways to the workers: connections over TCP or a Unix socket, made where none is kept.

Connections are kept for reuse shorter than the engine keeps them, and one that the engine closed meanwhile is reported
as stale, so that the caller may send again. Nothing is redirected, decompressed, or taken from the environment.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from gateway.proxy.connection import Awaited, Headers, Reads, Sink, WorkerConnection

IDLE_SECONDS = 3.0  # vLLM closes idle connections after 5 s (VLLM_HTTP_TIMEOUT_KEEP_ALIVE)
MAX_IDLE_CONNECTIONS = 1024


class WorkerUnreachable(Exception):
    """The worker could not be asked, or did not answer; the text says why."""


class WorkerSilent(WorkerUnreachable):
    """The worker did not answer in time."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a worker listens: a host and port, or the path of a Unix socket."""

    host: str
    port: int
    socket_path: str | None = None

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read `http://host:port` or `unix:///path`."""
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return cls("localhost", 0, parts.path)
        return cls(parts.hostname or "localhost", parts.port or 80)

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        if self.socket_path is not None:
            return self.host
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class WorkerPort:
    """The way to one worker: its address and the connections to it that wait for reuse."""

    def __init__(self, url: str) -> None:
        """Nothing is connected until the first request."""
        self.address = Address.parse(url)
        self._loop = asyncio.get_running_loop()
        self.reads = Reads()
        self._idle: deque[WorkerConnection] = deque()
        self._open: set[WorkerConnection] = set()

    async def send(
        self, request: bytes, sink: Sink, connect_seconds: float, *, fresh: bool = False
    ) -> WorkerConnection:
        """Send `request` over a kept connection, or a new one (always, where `fresh`); the answer goes to `sink`.

        Raises `WorkerUnreachable` where no connection is made within `connect_seconds`.
        """
        connection = None if fresh else self._take_idle()
        is_reused = connection is not None
        if connection is None:
            connection = await self._connect(connect_seconds)
        connection.send(request, sink, is_reused=is_reused)
        return connection

    async def _connect(self, connect_seconds: float) -> WorkerConnection:
        loop = self._loop
        connection = WorkerConnection(self)
        protocol = cast(asyncio.Protocol, connection)
        try:
            async with asyncio.timeout(connect_seconds):
                if self.address.socket_path is not None:
                    await loop.create_unix_connection(lambda: protocol, self.address.socket_path)
                else:
                    await loop.create_connection(lambda: protocol, self.address.host, self.address.port)
        except TimeoutError:
            raise WorkerUnreachable(f"no connection within {connect_seconds:g} s") from None
        except OSError as error:
            raise WorkerUnreachable(f"no connection: {error.strerror or error}") from error
        self._open.add(connection)
        return connection

    def _take_idle(self) -> WorkerConnection | None:
        """The connection used last, if the engine can still be expected to have it open; older ones are closed."""
        now = self._loop.time()
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.popleft().abandon()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    @property
    def awaited(self) -> Awaited:
        """The most urgent that is awaited on any connection."""
        return max((connection.awaited for connection in self._open), default=Awaited.NOTHING)

    def keep(self, connection: WorkerConnection) -> None:
        """Take back a connection whose answer ended."""
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE_CONNECTIONS:
            self._idle.popleft().abandon()

    def forget(self, connection: WorkerConnection) -> None:
        """A connection was closed."""
        self._open.discard(connection)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._open):
            connection.abandon()
        self._idle.clear()


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, for the few places that want one."""

    status: int
    headers: Headers
    body: bytes


class _Collector:
    """Sink that keeps the whole answer, up to a bound."""

    def __init__(self, max_bytes: int) -> None:
        self.done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._max_bytes = max_bytes
        self._status = 0
        self._headers: Headers = ()
        self._body = bytearray()

    def on_head(self, status: int, headers: Headers) -> None:
        self._status, self._headers = status, headers

    def on_body(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > self._max_bytes:
            self._fail(f"answer longer than {self._max_bytes} bytes")

    def on_end(self) -> None:
        if not self.done.done():
            self.done.set_result(Answer(self._status, self._headers, bytes(self._body)))

    def on_lost(self, reason: str, *, is_stale: bool) -> None:
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(WorkerUnreachable(reason))


async def fetch(port: WorkerPort, request: bytes, *, seconds: float, max_bytes: int) -> Answer:
    """One whole answer over a new connection; raises `WorkerSilent` after `seconds`, else `WorkerUnreachable`."""
    collector = _Collector(max_bytes)
    connection: WorkerConnection | None = None
    try:
        async with asyncio.timeout(seconds):
            connection = await port.send(request, collector, seconds, fresh=True)
            return await collector.done
    except TimeoutError:
        raise WorkerSilent(f"no answer within {seconds:g} s") from None
    finally:
        if connection is not None and (collector.done.cancelled() or not collector.done.done() or _failed(collector)):
            connection.abandon()


def _failed(collector: _Collector) -> bool:
    return collector.done.exception() is not None
