"""Turns the bytes of one client connection into requests: HTTP/1.1 parsed by httptools.

A request counts from the moment when its head is complete; its body follows while it is handled. What cannot be parsed,
or has a head beyond the bounds, is a fault: the requests before it stay, and nothing that follows is read, because
nobody knows where the next request would begin. `protocol` refuses what the parser lets pass.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import httptools

from gateway.clients.protocol import malformed
from gateway.clients.refusal import OverlongHead
from gateway.clients.request import Body, ClientRequest, Head, Headers, Line
from gateway.wire.errors import RequestFault

MAX_HEADERS: Final = 128
MAX_FIELD_BYTES: Final = 8190  # of a target, of a header's name, and of its value
MAX_HEAD_BYTES: Final = 64 * 1024  # of a head, or of anything else that comes without a byte of a body
MOST_AT_ONCE: Final = 64  # requests that one connection may have waiting
_HTTP_11: Final = (1, 1)
_UNREADABLE: Final = "it could not be parsed"
# Two values of one of these could be read in two ways.
_SINGLE: Final = frozenset(
    {
        b"content-length",
        b"content-location",
        b"content-range",
        b"content-type",
        b"etag",
        b"host",
        b"max-forwards",
        b"server",
        b"transfer-encoding",
        b"user-agent",
    }
)
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})


class Incoming:
    """What comes on one connection.

    `requests` are those that nobody has taken yet. `reading` is the one whose body is coming. `is_in_head`: a head has
    begun and is not complete. `fault` is what is wrong behind the last request; with `is_over` nothing more is read.
    """

    __slots__ = (
        "_fields",
        "_head_bytes",
        "_is_body_skipped",
        "_line",
        "_note_taken",
        "_parser",
        "_target",
        "fault",
        "is_in_head",
        "is_over",
        "reading",
        "requests",
    )

    def __init__(self, line: Line, note_taken: Callable[[], None]) -> None:
        """Read what comes on `line`; `note_taken` is called when the bytes of a body were taken."""
        self._line = line
        self._note_taken = note_taken
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0  # read since the last head or the last byte of a body
        self._is_body_skipped = False  # the parser takes the body of `reading` for the next request
        self.is_in_head = False
        self.reading: ClientRequest | None = None
        self.requests: deque[ClientRequest] = deque()
        self.fault: RequestFault | None = None
        self.is_over = False

    @property
    def waiting_bytes(self) -> int:
        """Bytes of bodies that have come and that nobody has taken, those of `requests` included."""
        reading, total = self.reading, 0
        if reading is not None and not (self.requests and self.requests[-1] is reading):
            total = reading.body.waiting_bytes
        for request in self.requests:
            total += request.body.waiting_bytes
        return total

    def feed(self, data: bytes) -> None:
        """Read `data`; never raises because of what a client sends."""
        if self.is_over:
            return
        self._head_bytes += len(data)
        self._parse(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._note(OverlongHead(431, f"The head of the request is longer than {MAX_HEAD_BYTES} bytes."))
        if self.fault is not None:
            self.is_over = True
            if self.reading is not None:
                self.reading.body.fail()

    def end(self) -> None:
        """Read nothing more."""
        self.is_over = True
        self.requests.clear()
        self.reading = None
        self._parser = None  # its callbacks are methods of this object
        self._note_taken = _nobody  # a method of the connection, which has this object

    def _parse(self, data: bytes) -> None:
        """Parse `data`; an upgrade that a client offers is ignored, as RFC 9110 allows, and its body is read."""
        rest = data
        while rest:
            parser = self._parser
            assert parser is not None
            try:
                parser.feed_data(rest)
                rest = b""
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
                if parser.get_method() == b"CONNECT":  # what follows is no HTTP
                    self.is_over = True
                    rest = b""
                elif self._is_body_skipped:
                    rest = self._framed_again() + rest
            except httptools.HttpParserCallbackError:
                raise  # a failure of our own
            except httptools.HttpParserError:
                self._note(malformed(_UNREADABLE))
                rest = b""

    def _framed_again(self) -> bytes:
        """Begin another parser, and return a head for it that frames the body of `reading` and offers no upgrade.

        httptools takes every upgrade that is offered for accepted, so it expects no body.
        """
        assert self.reading is not None
        self._is_body_skipped = False
        self._parser = httptools.HttpRequestParser(self)
        lines = [b"POST / HTTP/1.1"]
        lines += [b"%b: %b" % field for field in self.reading.headers.fields if field[0] in _FRAMING]
        if not self.reading.keeps_alive:
            lines.append(b"connection: close")
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _note(self, fault: RequestFault) -> None:
        """Note what is wrong with what comes next; only the first fault counts."""
        if self.fault is None:
            self.fault = fault

    # -- httptools callbacks

    def on_message_begin(self) -> None:
        """Begin a head."""
        self.is_in_head = True
        self._target, self._fields = b"", []

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._target += url
        if len(self._target) > MAX_FIELD_BYTES:
            words = f"The request's target is longer than {MAX_FIELD_BYTES} bytes, the most that is read."
            self._note(OverlongHead(414, words))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header; what follows a body (trailers) is ignored."""
        if not self.is_in_head or self.fault is not None:
            return
        if len(name) > MAX_FIELD_BYTES or len(value) > MAX_FIELD_BYTES:
            words = f"A header of the request is longer than {MAX_FIELD_BYTES} bytes, the most that is read."
            self._note(OverlongHead(431, words))
        elif len(self._fields) == MAX_HEADERS:
            self._note(OverlongHead(431, f"The request has more than {MAX_HEADERS} headers, the most that are read."))
        name = name.lower()
        if name in _SINGLE and self._has(name):
            self._note(malformed(_UNREADABLE))
        self._fields.append((name, value.rstrip(b" \t")))

    def _has(self, name: bytes) -> bool:
        for known, _ in self._fields:  # noqa: SIM110 - compiled, a generator costs several times the loop
            if known == name:
                return True
        return False

    def _announces_body(self) -> bool:
        return self._has(b"transfer-encoding") or self._has(b"content-length")

    def on_headers_complete(self) -> None:
        """Queue the request whose head is complete."""
        self.is_in_head, self._head_bytes = False, 0
        if self.reading is not None:
            return  # this is the head that `_framed_again` made
        if len(self.requests) == MOST_AT_ONCE:
            self._note(malformed("too many requests came before the first was answered"))
        if self.fault is not None:
            return
        parser = self._parser
        assert parser is not None
        method = parser.get_method().decode("ascii")
        head = Head(
            method,
            self._target.decode("utf-8", "surrogateescape"),
            _version(parser.get_http_version()),
            Headers(self._fields),
            keeps_alive=parser.should_keep_alive() and method != "CONNECT",  # of what follows that, nothing is read
        )
        self._is_body_skipped = parser.should_upgrade() and self._announces_body()
        self.reading = ClientRequest(head, Body(self._note_taken), self._line)
        self.requests.append(self.reading)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._head_bytes = 0
        if self.reading is not None and self.fault is None:
            self.reading.body.feed(body)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        self._head_bytes = 0
        if self.reading is not None and self.fault is None and not self._is_body_skipped:
            self.reading.body.end()
            self.reading = None


def _nobody() -> None:
    """Tell nobody, because the client has left."""


def _version(text: str) -> tuple[int, int]:
    """The version of HTTP that `text` names, such as "1.1"."""
    if text == "1.1":
        return _HTTP_11
    major, _, minor = text.partition(".")
    return int(major), int(minor)
