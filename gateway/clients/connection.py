"""One client connection: its requests are handled one at a time, each by a task of its own.

A request is handled as soon as its head has come. Requests that come before the answer to the one before wait their
turn. While too much of what came waits here, the connection is not read. What cannot be parsed (`incoming`) is answered
behind the requests before it; then the connection closes. When the client leaves, the handler is cancelled. One timer
closes a connection that sends no head in time. How an answer leaves is in `downstream`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from secrets import token_hex
from typing import Final, NamedTuple, cast

from gateway.clients.downstream import Downstream, Outbox, bound_buffer, end_in_time, give_up
from gateway.clients.incoming import Incoming
from gateway.clients.refusal import message as message_for
from gateway.clients.refusal import own_headers, refusal_answer, too_many_connections
from gateway.clients.request import Body, ClientRequest, Head, Headers, Line
from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault

MOST_AHEAD: Final = 16  # requests that wait for the answer to the one before; beyond them nothing is read
READ_AHEAD_BYTES: Final = 32 * 1024  # of bodies that nobody has taken yet; beyond them nothing is read
_LINGER_SECONDS: Final = 2.0  # a refused body is read for this long before the connection closes: the refusal arrives
_HTTP_11: Final = (1, 1)
_logger = logging.getLogger("gateway.server")

Handler = Callable[[ClientRequest], Awaitable[bool]]
"""Answers a request; True if its connection may carry another one."""

UnparsedReport = Callable[[ClientRequest, str, int, str], None]
"""Told of a request that could not be parsed: the request as far as it is known, its id, status and fault in words."""


class ServerLimits(NamedTuple):
    """Bounds on connections."""

    header_timeout_seconds: float
    keepalive_timeout_seconds: float
    write_stall_seconds: float
    max_connections: int


class Reception:
    """What all connections of one server have in common; `connections` are those that are open."""

    def __init__(self, handler: Handler, limits: ServerLimits, report_unparsed: UnparsedReport) -> None:
        self.handler = handler
        self.limits = limits
        self.report_unparsed = report_unparsed
        self.loop = asyncio.get_running_loop()
        self.connections: set[ClientConnection] = set()
        self.emptied = asyncio.Event()  # set when the last connection closes


class ClientConnection:
    """One client connection; it has the methods of an `asyncio.Protocol`."""

    __slots__ = (
        "_current",
        "_due",
        "_incoming",
        "_is_head_due",
        "_is_last",
        "_is_paused",
        "_line",
        "_linger",
        "_reception",
        "_task",
        "_timer",
        "_timer_due",
    )

    def __init__(self, reception: Reception) -> None:
        """A connection that `reception` accepts."""
        self._reception = reception
        self._line = Line()
        self._incoming = Incoming(self._line, self._pace)
        self._current: ClientRequest | None = None  # what is handled, or whose body is still read after its answer
        self._task: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._is_last = False  # no request follows
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._due = 0.0  # when the client must have sent a head
        self._is_head_due = True  # a head has begun, or is the first one

    @property
    def is_busy(self) -> bool:
        """True while a request is handled."""
        return self._task is not None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection beyond the bound; else start the deadline for its first head."""
        reception = self._reception
        wire = self._line.transport = cast(asyncio.Transport, transport)  # uvloop's transport only has its methods
        bound_buffer(wire)
        reception.connections.add(self)
        if len(reception.connections) > reception.limits.max_connections:
            wire.write(too_many_connections(token_hex(16)))
            self._close()
            return
        self._expect_head(reception.limits.header_timeout_seconds)

    def data_received(self, data: bytes) -> None:
        """Take what has come: heads, bodies, and what cannot be parsed."""
        self._incoming.feed(data)
        if self._linger is not None:
            self._end_linger()
        elif self._task is None:
            self._proceed()
        self._pace()

    def eof_received(self) -> bool:
        """Let the connection close: a client that sends no more has left."""
        return False

    def pause_writing(self) -> None:
        """Note that the client is behind."""
        self._line.fall_behind()

    def resume_writing(self) -> None:
        """Note that the client has caught up."""
        self._line.catch_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the handler, because the client has left."""
        self._line.transport = None
        self._line.catch_up()
        self._incoming.end()
        self._current = None
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        self._timer = self._linger = None
        task, self._task = self._task, None  # else a task that never began would lead back here
        if task is not None:
            task.cancel()
        reception = self._reception
        reception.connections.discard(self)
        if not reception.connections:
            reception.emptied.set()

    def _pace(self) -> None:
        """Stop reading while too much of what came waits here, or read on."""
        transport, incoming = self._line.transport, self._incoming
        if transport is None or transport.is_closing():
            return
        is_enough = len(incoming.requests) >= MOST_AHEAD or incoming.waiting_bytes > READ_AHEAD_BYTES
        if is_enough is self._is_paused:
            return
        self._is_paused = is_enough
        if is_enough:
            transport.pause_reading()
        else:
            transport.resume_reading()

    # -- deadlines

    def _expect_head(self, seconds: float) -> None:
        """Close the connection unless a complete head comes within `seconds`.

        A timer that is due earlier stays and looks again, so most requests set and cancel none.
        """
        due = self._due = self._reception.loop.time() + seconds
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._set_timer(due)

    def _set_timer(self, due: float) -> None:
        self._timer_due = due
        self._timer = self._reception.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._current is not None:
            return  # the timer is set again when the next head is awaited
        if self._due > self._timer_due:
            self._set_timer(self._due)
        else:
            self._close()

    # -- requests

    def _proceed(self) -> None:
        """Handle the next request, answer what could not be parsed, or wait for the rest of a head."""
        incoming = self._incoming
        if self._line.transport is None or self._is_last:
            return
        if incoming.requests:
            request = self._current = incoming.requests.popleft()
            self._task = self._reception.loop.create_task(self._handle(request))
        elif incoming.fault is not None:
            self._refuse(incoming.fault)
        elif incoming.is_in_head and not self._is_head_due:
            self._is_head_due = True
            self._expect_head(self._reception.limits.header_timeout_seconds)

    async def _handle(self, request: ClientRequest) -> None:
        is_kept = False
        try:
            is_kept = await self._reception.handler(request)  # cancelled: the connection closes
        except Exception as error:
            self._fail(request, error)
        finally:
            self._task = None
            self._leave(request, is_kept=is_kept)

    def _leave(self, request: ClientRequest, *, is_kept: bool) -> None:
        """Go on after the answer to `request`; the rest of a body that nobody wanted is read for a moment."""
        if self._line.transport is None:
            return
        self._is_last = self._is_last or not is_kept or request.body.is_broken
        if request.body.is_whole or self._incoming.is_over:
            self._go_on()
        else:
            self._linger = self._reception.loop.call_later(_LINGER_SECONDS, self._close)
            request.body.drop()

    def _end_linger(self) -> None:
        """Go on if the body that nobody wanted has come to its end, or no more of it will be read."""
        request = self._current
        if self._linger is not None and request is not None and (request.body.is_whole or request.body.is_broken):
            self._linger.cancel()
            self._linger = None
            self._is_last = self._is_last or request.body.is_broken
            self._go_on()

    def _go_on(self) -> None:
        self._current = None
        if self._is_last:
            self._close()
            return
        limits, is_in_head = self._reception.limits, self._incoming.is_in_head
        self._is_head_due = is_in_head
        self._expect_head(limits.header_timeout_seconds if is_in_head else limits.keepalive_timeout_seconds)
        self._proceed()
        self._pace()

    # -- ends

    def _fail(self, request: ClientRequest, error: Exception) -> None:
        """Report a failure of our own, and answer it if nothing was answered yet."""
        _logger.error("request %s failed", request.id, exc_info=error)
        if request.has_begun:
            give_up(request)
        else:
            self._answer_fault(request, RequestFault(Outcome.INTERNAL, message_for(Outcome.INTERNAL)), request.id)

    def _refuse(self, fault: RequestFault) -> None:
        """Answer what could not be parsed, report it, and close the connection."""
        body = Body(self._pace)
        body.end()
        request = ClientRequest(Head("", "/", _HTTP_11, Headers([]), keeps_alive=False), body, self._line)
        request_id = token_hex(16)
        status = self._answer_fault(request, fault, request_id)
        self._reception.report_unparsed(request, request_id, status, fault.message)
        self._close()

    def _answer_fault(self, request: ClientRequest, fault: RequestFault, request_id: str) -> int:
        """Send the answer to `fault`, the connection's last one; returns its status."""
        stall_seconds = self._reception.limits.write_stall_seconds
        answer = refusal_answer(request, fault, request_id, None, is_last=True)
        Downstream(request, own_headers(request, request_id), Outbox(), stall_seconds).send(answer)
        return answer.status

    def close_when_free(self) -> None:
        """Close the connection now, or when the request that is handled has its answer."""
        self._is_last = True
        self._incoming.requests.clear()
        if self._current is None:
            self._close()

    def cut(self) -> "asyncio.Task[None] | None":
        """Cancel what is handled and close; returns the handler's task, which ends soon."""
        task = self._task
        if task is not None:
            task.cancel()
        self._close()
        return task

    def _close(self) -> None:
        """Close the connection; its client has `write_stall_seconds` to take the rest."""
        self._is_last = True
        transport = self._line.transport
        if transport is None:
            return
        if not transport.is_closing():
            transport.close()
        end_in_time(transport, self._reception.limits.write_stall_seconds)
