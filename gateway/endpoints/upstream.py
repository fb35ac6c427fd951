"""Connections to workers over TCP or a Unix socket: idle ones are used again, new ones are made when needed.

An idle connection is kept for less time than the engine keeps it; then a timer closes it. If the engine closed it
before, the loss is reported as stale, so that the caller may send again. A port has a bound of connections: callers
that find all of them in use wait for one, in order. The gateway follows no redirect, decompresses nothing, and takes
nothing from the environment.
"""

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

from gateway.endpoints.connection import Awaited, Headers, Loss, Sink, WorkerConnection
from gateway.endpoints.failures import GatewayShort, HostUnknown, WorkerSilent, WorkerUnreachable
from gateway.endpoints.names import Host
from gateway.endpoints.progress import Progress

IDLE_SECONDS: Final = 3.0  # vLLM closes idle connections after 5 s (VLLM_HTTP_TIMEOUT_KEEP_ALIVE)
MAX_IDLE_CONNECTIONS: Final = 1024
# The kernel's receive buffer (Linux doubles it), and so the size of one read. By default a read may bring 256 KiB,
# which would wait here for a client that may not read.
RECEIVE_BYTES: Final = 48 * 1024
MAX_CONNECTIONS: Final = 16384  # the default of a port; the worker's window is what bounds it in practice

# Errors of the machine that the gateway runs on; the last two come from a name lookup.
_OURS: Final = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.EADDRNOTAVAIL,
        errno.ENOBUFS,
        errno.ENOMEM,
        socket.EAI_MEMORY,
        socket.EAI_SYSTEM,
    }
)


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
    """One worker's address and the connections to it, at most `max_connections` at a time."""

    def __init__(self, url: str, max_connections: int = MAX_CONNECTIONS, host: Host | None = None) -> None:
        """Connect nothing before the first request; `host` is shared with other ports of the same worker."""
        self.address = Address.parse(url)
        self.host = host or Host(self.address.host)
        self._max_connections = max_connections
        self._loop = asyncio.get_running_loop()
        self.progress = Progress()
        self._idle: deque[WorkerConnection] = deque()
        self._open: set[WorkerConnection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._reaper: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(
        self, request: bytes, body: bytes, sink: Sink, connect_seconds: float, *, fresh: bool = False
    ) -> WorkerConnection:
        """Send `request` and `body` over an idle connection or a new one (`fresh`: always a new one).

        `sink` gets the answer. Raises `WorkerUnreachable` if there is no connection within `connect_seconds`.
        Cancelled: nothing was sent; a connection that was being made is dropped, a place among the waiters given up.
        """
        connection = None if fresh or self._waiting else self._take_idle()
        is_reused = connection is not None
        if connection is None:
            try:
                async with asyncio.timeout(connect_seconds):
                    connection, is_reused = await self._obtain(fresh=fresh)
            except TimeoutError:
                if self.address.socket_path is None and not self.host.is_known:
                    raise HostUnknown(f"its host was not found within {connect_seconds:g} s") from None
                raise WorkerUnreachable(f"no connection within {connect_seconds:g} s") from None
        connection.send(request, body, sink, is_reused=is_reused)
        return connection

    async def _obtain(self, *, fresh: bool) -> tuple[WorkerConnection, bool]:
        """A connection, and whether it was used before; callers that wait already come first."""
        must_wait = bool(self._waiting)
        while True:
            if must_wait:
                await self._one_came_free()
            idle = None if fresh else self._take_idle()
            if idle is not None:
                return idle, True
            if self._makes_room():
                return await self._connect(), False
            must_wait = True

    def _makes_room(self) -> bool:
        """True if one more connection is within the bound; if need be, an idle one is closed for it."""
        if len(self._open) + self._connecting < self._max_connections:
            return True
        if self._idle:
            self._drop(self._idle.popleft())
            return True
        return False

    async def _connect(self) -> WorkerConnection:
        connection = WorkerConnection(self)
        self._connecting += 1
        try:
            await self._open_up(cast(asyncio.Protocol, connection))
            self._open.add(connection)
        except OSError as error:
            if error.errno in _OURS:
                raise GatewayShort(f"the gateway is short: {error.strerror or error}") from error
            raise WorkerUnreachable(f"no connection: {error.strerror or error}") from error
        finally:
            self._connecting -= 1
            if connection not in self._open:
                connection.abandon()
                self._call_next()
        return connection

    async def _open_up(self, protocol: asyncio.Protocol) -> None:
        """Connect to the first of the worker's addresses that accepts; raises `OSError` if none does."""
        if self.address.socket_path is not None:
            await self._loop.create_unix_connection(lambda: protocol, self.address.socket_path)
            return
        try:
            addresses = await self.host.addresses()
        except OSError as error:
            if error.errno in _OURS:
                raise
            raise HostUnknown(f"its host was not found: {error.strerror or error}") from error
        faults: list[OSError] = []
        for address in addresses:
            try:
                await self._reach(protocol, address)
            except OSError as error:
                faults.append(error)
            else:
                return
        # A machine without IPv6 cannot try such an address at all, so the fault of another address says more.
        raise next((fault for fault in faults if fault.errno not in _OURS), faults[-1])

    async def _reach(self, protocol: asyncio.Protocol, address: str) -> None:
        """Connect to `address`; the receive buffer is set first, or the worker would be offered a larger one."""
        wire = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        try:
            wire.setblocking(False)
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
            await self._loop.sock_connect(wire, (address, self.address.port))
            await self._loop.create_connection(lambda: protocol, sock=wire)
        except BaseException:
            wire.close()
            raise

    async def _one_came_free(self) -> None:
        waiting = self._loop.create_future()
        self._waiting.append(waiting)
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            else:
                self._call_next()  # it was called just before: the next waiter takes its place
            raise

    def _call_next(self) -> None:
        if self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)

    def _take_idle(self) -> WorkerConnection | None:
        """The idle connection used last that the engine should still have open; None if there is none."""
        latest = self._loop.time() - IDLE_SECONDS
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since >= latest and connection.is_quiet:
                return connection
            self._drop(connection)
        return None

    def _reap_at(self, due: float) -> None:
        self._reaper = self._loop.call_at(due, self._reap, due)

    def _reap(self, due: float) -> None:
        """Close the connections that have been idle for too long at `due`, and set the timer for the others."""
        self._reaper = None
        while self._idle and self._idle[0].idle_since + IDLE_SECONDS <= due:
            self._drop(self._idle.popleft())
        if self._idle:
            self._reap_at(self._idle[0].idle_since + IDLE_SECONDS)

    def _drop(self, connection: WorkerConnection) -> None:
        connection.abandon()
        self._open.discard(connection)

    @property
    def awaited(self) -> Awaited:
        """The most urgent thing that is awaited on any connection."""
        return max((connection.awaited for connection in self._open), default=Awaited.NOTHING)

    def give_up(self, reason: str) -> None:
        """End every request whose answer has not begun, so that it can be sent elsewhere: the worker is out."""
        for connection in tuple(self._open):
            connection.give_up(reason)

    def keep(self, connection: WorkerConnection) -> None:
        """Take back a connection whose answer ended."""
        if self._is_closed:
            self._drop(connection)
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE_CONNECTIONS:
            self._drop(self._idle.popleft())
        if self._reaper is None:
            self._reap_at(connection.idle_since + IDLE_SECONDS)
        self._call_next()

    def forget(self, connection: WorkerConnection) -> None:
        """A connection was closed."""
        self._open.discard(connection)
        self._call_next()

    def retire(self) -> None:
        """Keep no connection any more; those in use close when their answers end."""
        self._is_closed = True
        while self._idle:
            self._drop(self._idle.popleft())
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None

    def close(self) -> None:
        """Close every connection."""
        self.retire()
        self.host.close()
        for connection in list(self._open):
            self._drop(connection)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer in the pieces in which it came, for the few callers that want one."""

    status: int
    headers: Headers
    pieces: Sequence[bytes]

    @property
    def body(self) -> bytes:
        """The body as one text: for short ones, because joining 64 MiB takes 40 ms."""
        return b"".join(self.pieces)

    @property
    def size_bytes(self) -> int:
        """The size of the body."""
        return sum(map(len, self.pieces))


class _Stale(WorkerUnreachable):
    """The worker had closed an idle connection before it read the request."""


@dataclass(frozen=True, slots=True)
class Load:
    """A body that is sent after its request without a copy; `hold` is called with the bytes of the answer so far."""

    body: bytes = b""
    hold: Callable[[int], None] | None = None


_NO_LOAD: Final = Load()


class _Collector:
    """A sink that keeps the complete answer, up to a bound."""

    def __init__(self, max_bytes: int, hold: Callable[[int], None] | None) -> None:
        self.done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._max_bytes = max_bytes
        self._status = 0
        self._headers: Headers = ()
        self._hold = hold
        self._pieces: list[bytes] = []
        self._size_bytes = 0

    @property
    def has_begun(self) -> bool:
        return False  # its reader waits for the complete answer

    def on_head(self, status: int, headers: Headers) -> None:
        self._status, self._headers = status, headers

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size_bytes += len(data)
        if self._hold is not None:
            self._hold(self._size_bytes)
        if self._size_bytes > self._max_bytes:
            self._fail(WorkerUnreachable(f"answer longer than {self._max_bytes} bytes"))

    def on_end(self) -> None:
        if not self.done.done():
            self.done.set_result(Answer(self._status, self._headers, self._pieces))

    def on_look(self, now: float) -> None:
        """Do nothing: its reader limits the time."""

    def on_lost(self, reason: str, loss: Loss) -> None:
        self._fail(_Stale(reason) if loss is Loss.STALE else WorkerUnreachable(reason))

    def _fail(self, error: WorkerUnreachable) -> None:
        if not self.done.done():
            self.done.set_exception(error)


async def fetch(
    port: WorkerPort, request: bytes, load: Load = _NO_LOAD, *, seconds: float, max_bytes: int, fresh: bool = False
) -> Answer:
    """The complete answer to a request that may be sent twice (`fresh`: only over a new connection).

    Raises `WorkerSilent` after `seconds`, and `WorkerUnreachable` for other failures. Cancelled: the connection closes.
    """
    try:
        async with asyncio.timeout(seconds):
            try:
                return await _answer(port, request, load, _Collector(max_bytes, load.hold), seconds, fresh=fresh)
            except _Stale:
                return await _answer(port, request, load, _Collector(max_bytes, load.hold), seconds, fresh=True)
    except TimeoutError:
        raise WorkerSilent(f"no answer within {seconds:g} s") from None


async def _answer(
    port: WorkerPort, request: bytes, load: Load, collector: _Collector, seconds: float, *, fresh: bool
) -> Answer:
    connection = await port.send(request, load.body, collector, seconds, fresh=fresh)
    is_whole = False
    try:
        answer = await collector.done
        is_whole = True
        return answer
    finally:
        if not is_whole:
            connection.abandon()
