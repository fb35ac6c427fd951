"""One connection to a worker: HTTP/1.1 parsed by httptools, read without a task.

Each received buffer is handed synchronously to the request's `Sink`; no task wakes up per chunk. A request has one
answer. If the worker sends more, the connection is closed and the surplus dropped, so that it reaches nobody else. A
response that is not one plain HTTP answer counts as a loss (`MALFORMED`). `upstream` makes connections and uses them
again; the sink knows what an answer means.
"""

import asyncio
import select
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Final, Protocol, cast

import httptools

from gateway.endpoints.plain_socket import hang_up, poll_for_input, take_input
from gateway.wire.chunks import CHUNK_HEADS, MOST_PREPARED

MAX_HEAD_BYTES: Final = 64 * 1024  # of a head, or of anything else that comes without a byte of a body, as trailers do
_OVERLONG: Final = f"answer head longer than {MAX_HEAD_BYTES} bytes"
_LINE_BYTES: Final = len(b": \r\n")
_MOST_JOINED: Final = 16 * 1024  # bytes of a body that is joined to its head for one write; a longer one is not copied
_MOST_CAUGHT_UP: Final = 256 * 1024  # bytes that one read takes of those that wait; as many as the event loop's own

_LEAST_FRAMED: Final = 0x100  # bytes of a chunk whose length takes three digits
_FRAME_BYTES: Final = len(b"123\r\n") + len(b"\r\n")

Headers = Sequence[tuple[bytes, bytes]]
"""Names and values, the names in lower case."""


class Loss(Enum):
    """How an answer can end before its own end."""

    STALE = "stale"  # a reused connection broke before any byte of an answer
    BROKEN = "broken"  # the connection broke
    MALFORMED = "malformed"  # what came is not one HTTP answer
    SILENT = "silent"  # the worker is known to be dead or stalled; nothing of the answer had come


class Sink(Protocol):
    """Receives one answer: its head, its body piece by piece, and exactly one of `on_end` and `on_lost`."""

    @property
    def has_begun(self) -> bool:
        """True once the answer has brought what its reader waits for."""
        ...

    def on_head(self, status: int, headers: Headers) -> None:
        """Status and headers of the answer."""
        ...

    def on_body(self, data: bytes) -> None:
        """Bytes of the body that one read brought."""
        ...

    def on_end(self) -> None:
        """The body is complete."""
        ...

    def on_lost(self, reason: str, loss: Loss) -> None:
        """The answer broke off before its body was complete."""
        ...

    def on_look(self, now: float) -> None:
        """The time of `look_at` has come, or that of a request before on the same connection."""
        ...


class Home(Protocol):
    """The owner of connections."""

    def keep(self, connection: "WorkerConnection") -> None:
        """Take back a connection whose answer ended."""
        ...

    def forget(self, connection: "WorkerConnection") -> None:
        """A connection was closed."""
        ...


class Awaited(IntEnum):
    """What a worker still has to send; the greater the value, the sooner it is due."""

    NOTHING = 0
    FIRST_OUTPUT = 1  # due late: reading a prompt takes time
    MORE = 2  # the rest of an answer that has begun


class WorkerConnection:
    """One connection to a worker, with at most one request at a time; it has the methods of an `asyncio.Protocol`.

    A shortcut: if the parser stands between two chunks, and a read is exactly one chunk whose length has three digits,
    the parser is left out, because that chunk would not change its state. Nearly every token comes in this way.
    """

    __slots__ = (
        "_has_answer",
        "_has_head",
        "_has_surplus",
        "_head_bytes",
        "_headers",
        "_home",
        "_is_between_chunks",
        "_is_complete",
        "_is_paused",
        "_is_reused",
        "_keeps_alive",
        "_look",
        "_look_due",
        "_parser",
        "_pieces",
        "_poll",
        "_sink",
        "_transport",
        "_wrong",
        "idle_since",
    )

    def __init__(self, home: Home) -> None:
        """The connection returns to `home` when an answer has ended and it can be used again."""
        self._home = home
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._sink: Sink | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0  # read since the last byte of a body
        self._pieces: list[bytes] = []
        self._has_head = False
        self._is_complete = False
        self._is_between_chunks = False
        self._keeps_alive = False
        self._has_answer = False
        self._has_surplus = False
        self._wrong = ""
        self._is_reused = False
        self._is_paused = False
        self._poll: select.poll | None = None  # made when the connection is first used again
        self._look: asyncio.TimerHandle | None = None
        self._look_due = 0.0
        self.idle_since = 0.0

    # -- the owner's side

    def send(self, request: bytes, body: bytes, sink: Sink, *, is_reused: bool) -> None:
        """Send `request` (the head and perhaps the beginning of the body), then `body`; `sink` gets the answer."""
        assert self._transport is not None
        assert self._sink is None
        self._sink, self._is_reused = sink, is_reused
        self._has_answer = self._is_paused = False
        if len(body) <= _MOST_JOINED:
            self._transport.write(request + body)
        else:
            self._transport.write(request)
            self._transport.write(body)

    def pause(self) -> None:
        """Stop reading: the client is slower than the worker."""
        self._is_paused = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._is_paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def look_at(self, at: float) -> None:
        """Let the sink look at its answer at `at` (loop time), or before.

        A timer that is due earlier stays, whichever request set it. So most requests set and cancel none.
        """
        if self._look is not None:
            if self._look_due <= at:
                return
            self._look.cancel()
        self._look_due = at
        self._look = asyncio.get_running_loop().call_at(at, self._let_look)

    def _let_look(self) -> None:
        self._look = None
        if self._sink is not None:
            self._sink.on_look(self._look_due)

    def abandon(self) -> None:
        """Close at once, so that the engine aborts the request; the sink is not called again."""
        self._sink = None
        if self._transport is not None:
            hang_up(self._transport)
            self._transport.abort()

    def catch_up(self) -> None:
        """Pass on what has come and was not read yet, unless reading is paused; called before an answer is given up."""
        if self._sink is not None and self._transport is not None and not self._is_paused:
            data = take_input(self._transport, _MOST_CAUGHT_UP)
            if data:
                self.data_received(data)

    @property
    def awaited(self) -> Awaited:
        """What the worker has to send next; `NOTHING` while reading is paused."""
        if self._sink is None or self._is_paused:
            return Awaited.NOTHING
        return Awaited.MORE if self._sink.has_begun else Awaited.FIRST_OUTPUT

    @property
    def is_open(self) -> bool:
        """True if a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """True if nothing has come from the worker since the last answer, neither bytes nor its end of connection."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if self._poll is None:
            self._poll = poll_for_input(transport)
        return self._poll is None or not self._poll.poll(0)

    def give_up(self, reason: str) -> None:
        """End an answer that has not begun, because its worker is known to be dead or stalled; tell the sink."""
        sink = self._sink
        if sink is not None and not sink.has_begun:
            self.abandon()
            sink.on_lost(reason, Loss.SILENT)

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio sets TCP_NODELAY."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport only has its methods

    def data_received(self, data: bytes) -> None:
        """Pass the head, the body and the end in `data` to the sink, in that order."""
        size, sink = len(data) - _FRAME_BYTES, self._sink
        if (
            self._is_between_chunks
            and _LEAST_FRAMED <= size <= MOST_PREPARED
            and data.startswith(CHUNK_HEADS[size])
            and data.endswith(b"\r\n")
            and sink is not None
        ):
            sink.on_body(data[5:-2])
            return
        self._parse(data)

    def eof_received(self) -> bool:
        """Let the connection close, because the worker sends no more."""
        return False

    def pause_writing(self) -> None:
        """Do nothing: a request is written in one go, so no writer has to be held back."""

    def resume_writing(self) -> None:
        """Do nothing, as in `pause_writing`."""

    def _parse(self, data: bytes) -> None:
        self._has_answer = True
        self._head_bytes += len(data)
        wrong = self._feed(data)
        if self._wrong or (wrong and not self._is_complete):
            self._break_off(wrong)
            return
        # If more than the chunk has come, `data` ends within a chunk's length, or `on_chunk_header` was called.
        self._is_between_chunks = self._is_between_chunks and data.endswith(b"\r\n")
        sink = self._sink
        if sink is None:
            self.abandon()  # bytes that belong to no request: the connection cannot be trusted
            return
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            sink.on_body(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        if self._is_complete and self._sink is not None:
            self._end()

    def _feed(self, data: bytes) -> str:
        """Parse `data`; returns what is wrong with the answer, "" if nothing is."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._has_surplus = True
            is_upgrade = isinstance(error, httptools.HttpParserUpgrade)
            return f"malformed answer: {'another protocol' if is_upgrade else error}"
        if self._pieces:
            self._head_bytes = 0
        elif self._head_bytes > MAX_HEAD_BYTES:
            return _OVERLONG
        return self._wrong

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell a waiting sink: this is the end of a body without a stated length, or else a loss."""
        self._transport = None
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._home.forget(self)
        sink, self._sink = self._sink, None
        if sink is None:
            return
        if exc is None and self._has_head and not self._has_stated_length():
            sink.on_end()
        else:
            reason = str(exc) if exc else "connection closed by the worker"
            sink.on_lost(reason, Loss.STALE if self._is_reused and not self._has_answer else Loss.BROKEN)

    # -- httptools callbacks

    def on_message_begin(self) -> None:
        """Note a surplus if an answer is complete already."""
        self._has_surplus = self._has_surplus or self._is_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header of the answer; trailers after the body are ignored."""
        if not self._has_head:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Pass the complete head to the sink; interim answers (1xx) are skipped."""
        status = self._parser.get_status_code()
        if self._has_head:
            return
        if status < 200:
            self._headers = []
            return
        self._has_head = True
        self._wrong = _OVERLONG if self._is_overlong() else _wrong_coding(self._headers)
        if self._sink is not None and not self._wrong:
            self._sink.on_head(status, self._headers)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body; all pieces of one read go to the sink together."""
        if not self._is_complete:
            self._pieces.append(body)

    def on_chunk_header(self) -> None:
        """Note that the parser is inside a chunk, since its length has come."""
        self._is_between_chunks = False

    def on_chunk_complete(self) -> None:
        """Note that a chunk and its line break were read."""
        self._is_between_chunks = True

    def on_message_complete(self) -> None:
        """Note the true end of the answer."""
        self._is_between_chunks = False
        if self._is_complete:
            return
        self._is_complete = self._has_head
        self._keeps_alive = self._parser.should_keep_alive()  # asked now: the parser forgets it at the next byte

    # -- ends

    def _is_overlong(self) -> bool:
        """True if the complete head itself is too long; the same read may have brought bytes of the body."""
        if self._head_bytes <= MAX_HEAD_BYTES:
            return False
        return sum(len(name) + len(value) + _LINE_BYTES for name, value in self._headers) > MAX_HEAD_BYTES

    def _has_stated_length(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self._headers)

    def _end(self) -> None:
        sink, self._sink = self._sink, None
        self._headers, self._head_bytes = [], 0
        self._has_head = self._is_complete = False
        if self._keeps_alive and self.is_open and not self._has_surplus:
            self.resume()  # the answer's last bytes may have paused it for a slow client
            self._home.keep(self)
        elif self._transport is not None:
            self._transport.close()
        assert sink is not None
        sink.on_end()

    def _break_off(self, reason: str) -> None:
        sink = self._sink
        self.abandon()
        if sink is not None:
            sink.on_lost(reason, Loss.MALFORMED)


def _wrong_coding(headers: Headers) -> str:
    """What is wrong if a body comes in a coding that nobody asked for, else ""."""
    for name, value in headers:
        if (name == b"content-encoding" and value.lower() not in (b"", b"identity")) or (
            name == b"transfer-encoding" and value.lower() != b"chunked"
        ):
            return f"malformed answer: {name.decode()} {value.decode('latin-1')[:40]!r}, which was not asked for"
    return ""
