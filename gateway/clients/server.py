"""The HTTP server: aiohttp's server, without the gaps that matter between strangers and a shared GPU.

If two HTTP parsers could read a request differently, the server refuses it and closes the connection. Headers have a
deadline of their own. The number of connections is bounded. A fault is answered in JSON and never echoes what was
sent. Every answer to a request goes through `downstream`. One other way remains: a connection beyond the bound gets its
answer before a request of it is read. What waits for a client when its connection closes is dropped after
`write_stall_seconds`. The gateway does not start without aiohttp's C parser: the pure Python parser reads differently
and has other gaps.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import cast

from aiohttp import http_exceptions, http_parser, web, web_protocol

from gateway.clients.downstream import HAS_BEGUN, Downstream, Outbox, bound_buffers, end_in_time, give_up
from gateway.clients.protocol import malformed
from gateway.clients.refusal import OverlongHead, identifying_headers, own_headers, refusal_answer
from gateway.clients.refusal import message as message_for
from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault, error_body
from gateway.wire.surface import Dialect

REQUEST_ID = web.RequestKey("request_id", str)
"""The id under which a request is answered and logged."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

UnparsedReport = Callable[[web.BaseRequest, str, int, str], None]
"""Told of a request that could not be parsed: the request as far as it is known, its id, status and fault in words."""

MAX_HEADERS = 128
_LINGER_SECONDS = 2.0  # a refused body is read for this long before the connection closes, so that the refusal arrives
_READ_BYTES = 16 * 1024  # of a body, beyond twice of which nothing is read ahead: a thousand bodies are on their way
_logger = logging.getLogger("gateway.server")
_no_access_log = logging.getLogger("gateway.access")  # telemetry writes the line of each request
_no_access_log.disabled = True


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds on connections."""

    header_timeout_seconds: float
    keepalive_timeout_seconds: float
    write_stall_seconds: float
    max_connections: int


def require_c_parser() -> None:
    """Raise `RuntimeError` if aiohttp runs on its pure Python parser."""
    if getattr(http_parser, "HttpRequestParserC", None) is not http_parser.HttpRequestParser:
        raise RuntimeError("aiohttp's C extensions are missing; install the binary wheel of aiohttp")


def _unparsed(error: BaseException | None) -> RequestFault:
    """The fault for the parser's `error`, in words that do not repeat what was read."""
    if isinstance(error, http_exceptions.LineTooLong):
        line, limit = error.args[:2]
        if isinstance(line, bytearray):  # the parser keeps a target in a bytearray and a header in bytes
            return OverlongHead(414, f"The request's target is longer than {limit} bytes, the most that is read.")
        return OverlongHead(431, f"A header of the request is longer than {limit} bytes, the most that is read.")
    if isinstance(error, http_exceptions.BadHttpMessage) and error.message.startswith("Too many headers"):
        return OverlongHead(431, f"The request has more than {MAX_HEADERS} headers, the most that are read.")
    return malformed("it could not be parsed")


class ClientConnection(web_protocol.RequestHandler):
    """One client connection, with a deadline for headers and the gateway's own words for faults."""

    __slots__ = ("_headers_due", "_http_server")

    def __init__(self, http_server: "HttpServer", loop: asyncio.AbstractEventLoop) -> None:
        """A connection that `http_server` accepts."""
        super().__init__(
            http_server,
            loop=loop,
            keepalive_timeout=http_server.limits.keepalive_timeout_seconds,
            access_log=_no_access_log,
            auto_decompress=False,
            lingering_time=_LINGER_SECONDS,
            max_headers=MAX_HEADERS,
            read_bufsize=_READ_BYTES,
            logger=_logger,
        )
        self._http_server = http_server
        self._headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a connection beyond the bound; else start the deadline for its first headers."""
        super().connection_made(transport)
        bound_buffers(cast(asyncio.Transport, transport))
        self._http_server.open_connections += 1
        if self._http_server.open_connections > self._http_server.limits.max_connections:
            cast(asyncio.Transport, transport).write(_too_many())
            self.force_close()
            return
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """Parse `data`; if a request's head has begun and is not complete, a deadline for the rest runs."""
        super().data_received(data)
        self._fail_broken_body()
        if self._waiter is None or self._waiter.done():
            self._cancel_headers_due()
        elif self._headers_due is None:
            self._expect_headers()

    def _fail_broken_body(self) -> None:
        """Tell the reader of a body that its framing is broken; aiohttp only queues the error behind that request."""
        request = self._current_request
        if request is None or request.content.is_eof() or not self._messages:
            return
        if isinstance(self._messages[-1][0], web_protocol._ErrInfo):
            request.content.set_exception(web.RequestPayloadError("malformed"))
            request.content.feed_eof()

    async def start(self) -> None:
        """Handle the connection's requests; at the end its client has `write_stall_seconds` to take the rest."""
        await super().start()
        end_in_time(self.transport, self._http_server.limits.write_stall_seconds)

    def force_close(self) -> None:
        """Close the connection; its client has `write_stall_seconds` to take the rest."""
        transport = self.transport
        super().force_close()
        end_in_time(transport, self._http_server.limits.write_stall_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the deadline."""
        self._http_server.note_closed()
        self._cancel_headers_due()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse (400, 414, 431) or our own failure (500), and close the connection."""
        request_id = request.get(REQUEST_ID) or token_hex(16)
        if status < 500:
            fault = _unparsed(exc)
        else:
            _logger.error("request %s failed", request_id, exc_info=exc)
            fault = RequestFault(Outcome.INTERNAL, message_for(Outcome.INTERNAL))
        if request.get(HAS_BEGUN):
            return give_up(request)
        stall_seconds = self._http_server.limits.write_stall_seconds
        downstream = Downstream(request, own_headers(request, request_id), Outbox(), stall_seconds)
        answer = refusal_answer(request, fault, request_id, is_last=True)
        if status < 500:
            self._http_server.report_unparsed(request, request_id, answer.status, fault.message)
        downstream.send(answer)
        return downstream.response

    def _expect_headers(self) -> None:
        seconds = self._http_server.limits.header_timeout_seconds
        self._headers_due = self._loop.call_later(seconds, self._close_if_headers_miss)

    def _cancel_headers_due(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _close_if_headers_miss(self) -> None:
        self._headers_due = None
        if self._waiter is not None and not self._waiter.done():
            self.force_close()


def _too_many() -> bytes:
    """The complete answer to a connection beyond the bound; nothing of its request is read."""
    body = error_body(Dialect.OPENAI, Outcome.DRAINING, "The gateway has too many connections. Retry after 1 s.")
    head = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Retry-After: 1",
        "Connection: close",
        *(f"{name}: {value}" for name, value in identifying_headers(token_hex(16))),
    ]
    return "\r\n".join(head).encode("ascii") + b"\r\n\r\n" + body


class HttpServer(web.Server):
    """The server that accepts client connections; when a client leaves, its handler is cancelled."""

    def __init__(self, handler: Handler, limits: ServerLimits, report_unparsed: UnparsedReport) -> None:
        """Serve requests by `handler`, within `limits`; `report_unparsed` hears of what never gets to it."""
        require_c_parser()
        super().__init__(handler, handler_cancellation=True)
        self.report_unparsed = report_unparsed
        self.limits = limits
        self.open_connections = 0
        self._is_empty = asyncio.Event()

    def note_closed(self) -> None:
        """Count a connection that has closed."""
        self.open_connections -= 1
        if not self.open_connections:
            self._is_empty.set()

    async def emptied(self, deadline: float) -> None:
        """Wait until no connection is open, but not beyond `deadline` (loop time); nobody accepts any more."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self.open_connections:
                    self._is_empty.clear()
                    await self._is_empty.wait()

    def __call__(self) -> ClientConnection:
        """A protocol for one accepted connection."""
        return ClientConnection(self, asyncio.get_running_loop())
