"""The client's side of an answer, written straight to the transport: the one way of every answer to a request.

Each piece of a stream becomes one HTTP chunk, without waking a task; the head leaves with the first piece. What all
streams write in one turn of the event loop is sent at the end of that turn (`Outbox`); a body of known length is
written at once. A `WholeAnswer` (a page, a refusal) is sent in one call. `write` tells when the client is slow; `drain`
waits until it has caught up, and demands a minimum rate. HTTP/1.0 clients get the bare bytes and then the end of the
connection.
"""

import asyncio
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NamedTuple

from gateway.clients.request import ClientRequest
from gateway.wire.chunks import LAST_CHUNK, chunk

HIGH_WATER_BYTES: Final = 64 * 1024  # of an answer may wait for a slow client before the gateway stops reading it
_CHECKED_BYTES: Final = 8 * 1024  # written between two looks at how much waits: so much more may wait
LEAST_BYTES_PER_SECOND: Final = 4 * 1024  # a client that is behind must take these; a client that reads takes more
_LOOK_SECONDS: Final = 1.0  # the least time between two looks at how much such a client has taken

_HTTP_11: Final = (1, 1)
_WITHOUT_BODY: Final = frozenset({204, 304})
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class ClientStalled(Exception):
    """The client took too little of its answer for too long."""


class _Date:
    """The date in the head of an answer, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self) -> str:
        """The present second, as RFC 9110 writes it."""
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


_DATE: Final = _Date()


class Outbox:
    """Collects what all streams write in one turn of the event loop, and sends it at the end of the turn.

    Each write wakes a process that reads it; this costs least if that process is still awake from the write before.
    """

    __slots__ = ("_loop", "_writes")

    def __init__(self) -> None:
        """Start empty, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._writes: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send `data` at the end of the turn, after what was put before; an answer's last two pieces go together."""
        writes = self._writes
        if not writes:
            self._loop.call_soon(self.send)
        elif writes[-1][0] is transport:
            data = writes.pop()[1] + data
        writes.append((transport, data))

    def send(self) -> None:
        """Hand everything to the transports now."""
        writes, self._writes = self._writes, []
        for transport, data in writes:
            if not transport.is_closing():
                transport.write(data)


class WholeAnswer(NamedTuple):
    """An answer that is complete before its first byte; its length and the gateway's own headers are added to it.

    The connection closes after an answer that `is_last`. `more` are further pieces of the body: joining 64 MiB to one
    text would hold up the event loop for 40 ms.
    """

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    is_last: bool = False
    more: Sequence[bytes] = ()

    @property
    def size_bytes(self) -> int:
        """The size of the whole body."""
        return len(self.body) + sum(map(len, self.more))


class Downstream:
    """One answer on its way to one client; `status` is 0 and `keeps_alive` says nothing until it `is_open`."""

    __slots__ = (
        "_head",
        "_headers",
        "_is_chunked",
        "_is_finished",
        "_is_last",
        "_look_bytes",
        "_outbox",
        "_patience_seconds",
        "_request",
        "_stall_seconds",
        "_transport",
        "_written_bytes",
        "keeps_alive",
        "status",
    )

    def __init__(
        self,
        request: ClientRequest,
        headers: Sequence[tuple[str, str]],
        outbox: Outbox,
        stall_seconds: float,
        *,
        is_last: bool = False,
    ) -> None:
        """An answer to `request`; `headers` are the gateway's own headers in it.

        The connection closes after an answer that `is_last`. A client has a budget of `stall_seconds` for its whole
        answer, which `drain` uses up.
        """
        self._request = request
        self._headers = headers
        self._outbox = outbox
        self._stall_seconds = stall_seconds
        self._is_last = is_last
        self.status = 0
        self.keeps_alive = False
        self._transport: asyncio.Transport | None = None
        self._head = b""  # until it is sent, with the first piece
        self._is_chunked = False
        self._is_finished = False
        self._written_bytes = 0
        self._look_bytes = _CHECKED_BYTES  # written bytes at which `write` looks next at how much waits
        self._patience_seconds = stall_seconds

    @property
    def is_open(self) -> bool:
        """True once the answer has a head, sent or about to be."""
        return self.status != 0

    def open(
        self, status: int, headers: Sequence[tuple[str, str]], length: int | None, *, is_last: bool = False
    ) -> None:
        """Make the head, which leaves with the first piece; `length` is the body's in bytes, None if not known.

        The connection closes after an answer that `is_last`.
        """
        request = self._request
        is_new = request.version >= _HTTP_11
        self._is_chunked = is_new and length is None and status not in _WITHOUT_BODY
        keeps_alive = request.keeps_alive and (is_new or length is not None) and not (is_last or self._is_last)
        head = f"HTTP/1.{int(is_new)} {status} {_PHRASES.get(status, '')}\r\nDate: {_DATE.text()}\r\n"
        for name, value in headers:
            head += f"{name}: {value}\r\n"
        for name, value in self._headers:
            head += f"{name}: {value}\r\n"
        if self._is_chunked:
            head += "Transfer-Encoding: chunked\r\n"
        elif length is not None:
            head += f"Content-Length: {length}\r\n"
        if keeps_alive is not is_new:
            head += "Connection: keep-alive\r\n" if keeps_alive else "Connection: close\r\n"
        self._head = (head + "\r\n").encode("latin-1")
        self.status, self.keeps_alive = status, keeps_alive
        self._transport = request.line.transport

    def send(self, answer: WholeAnswer) -> None:
        """Send the whole of `answer`; the head alone in answer to HEAD."""
        status, body, headers, is_last, more = answer
        self.open(status, headers, None if status in _WITHOUT_BODY else answer.size_bytes, is_last=is_last)
        if self._request.method != "HEAD":
            self.write(body)
            self._write_more(more)
        self.finish()

    def write(self, data: bytes) -> bool:
        """Send `data`, if any; False if the client is behind, so that `drain` must be awaited before more is sent."""
        transport = self._transport
        if not data or transport is None:
            return True
        self._written_bytes += len(data)
        if self._is_chunked:
            data = chunk(data)
            self._outbox.put(transport, self._with_head(data) if self._head else data)
        elif not transport.is_closing():  # if it is closing, the client left and its handler is being cancelled
            transport.write(self._with_head(data) if self._head else data)
        if self._written_bytes < self._look_bytes:
            return True
        self._look_bytes = self._written_bytes + _CHECKED_BYTES
        put_bytes = len(data) if self._is_chunked else 0  # the transport has it only at the end of this turn
        return self._waiting_bytes() + put_bytes <= HIGH_WATER_BYTES

    def end(self, data: bytes) -> None:
        """Send `data`, the last of the body, and mark its end; of a chunked body both leave in one write."""
        self.write(data)
        self.finish()

    def _write_more(self, pieces: Sequence[bytes]) -> None:
        """Send the further pieces of a body of known length."""
        transport = self._transport
        if not pieces or transport is None or transport.is_closing():
            return
        self.write(pieces[0])  # the head leaves with it
        self._written_bytes += sum(map(len, pieces)) - len(pieces[0])
        transport.writelines(pieces[1:])

    def finish(self) -> None:
        """Mark the end of the body."""
        if self._is_finished:
            return
        self._is_finished = True
        transport = self._transport
        if transport is None:
            return
        if self._is_chunked:
            self._outbox.put(transport, self._with_head(LAST_CHUNK))
        elif self._head and not transport.is_closing():
            transport.write(self._with_head(b""))

    def _with_head(self, data: bytes) -> bytes:
        """`data`, after the head if that was not sent yet."""
        head, self._head = self._head, b""
        if head:
            self._request.has_begun = True
        return head + data

    async def drain(self) -> None:
        """Wait until the client has taken nearly all that waits for it.

        Waiting uses the client's budget up; each 4 KiB that it takes adds a second, up to the whole budget. Raises
        `ClientStalled` when nothing is left. Cancelled: the bytes stay with the transport.
        """
        self._outbox.send()
        if self._request.line.is_behind and self._waiting_bytes():
            await self._catch_up()

    async def _catch_up(self) -> None:
        loop = asyncio.get_running_loop()
        caught_up = self._request.line.caught_up()
        patience = self._patience_seconds
        try:
            while not caught_up.done():
                taken, since = self._taken_bytes(), loop.time()
                await asyncio.wait((caught_up,), timeout=max(patience, _LOOK_SECONDS))
                earned = (self._taken_bytes() - taken) / LEAST_BYTES_PER_SECOND
                patience = min(self._stall_seconds, patience + earned - (loop.time() - since))
                if patience <= 0 and not caught_up.done():
                    self._abort()
                    raise ClientStalled
        finally:
            self._patience_seconds = patience

    def break_off(self) -> None:
        """Close the connection: nothing else can tell the client that the body is not complete."""
        self._outbox.send()
        self._is_finished = True
        self.keeps_alive = False
        if self._transport is not None:
            self._transport.close()

    def _taken_bytes(self) -> int:
        return self._written_bytes - self._waiting_bytes()

    def _waiting_bytes(self) -> int:
        if self._transport is None or self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size()

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def give_up(request: ClientRequest) -> None:
    """Abort the connection of an answer that has begun and cannot go on, so that the client sees it is incomplete."""
    if request.line.transport is not None:
        request.line.transport.abort()


def end_in_time(transport: asyncio.Transport | None, seconds: float) -> None:
    """Give a connection that is being closed at most `seconds` to send what still waits in it."""
    if transport is not None and transport.is_closing() and transport.get_write_buffer_size():
        asyncio.get_running_loop().call_later(seconds, transport.abort)


def bound_buffer(transport: asyncio.Transport) -> None:
    """Let at most `HIGH_WATER_BYTES` wait for a client in this process; its socket has the kernel's bound."""
    transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
