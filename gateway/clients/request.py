"""A request as its client sends it: the head, and the body as far as it has come. `connection` fills it in.

`Line` is what an answer needs of the connection: where bytes go, and whether the client is behind with reading them.
"""

import asyncio
from collections.abc import Callable, Sequence

from gateway.fairness import Holding


class BrokenBody(Exception):
    """The framing of a body is malformed, so that nobody knows where it ends."""


class Headers:
    """The headers of a request; whoever asks for one names it in lower case.

    A value that is not UTF-8 has lone surrogates in the places of the wrong bytes.
    """

    __slots__ = ("fields",)

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        """`fields` are the names, in lower case, with their values, in the order in which they came."""
        self.fields = fields

    def get(self, key: str) -> str | None:
        """The first value of `key`; None if there is none."""
        wanted = key.encode()
        for name, value in self.fields:
            if name == wanted:
                return value.decode("utf-8", "surrogateescape")
        return None

    def getall(self, key: str, default: Sequence[str] = ()) -> Sequence[str]:
        """Every value of `key`, in order."""
        wanted = key.encode()
        values = [value.decode("utf-8", "surrogateescape") for name, value in self.fields if name == wanted]
        return values or default

    def __contains__(self, key: str) -> bool:
        """True if the request has a header `key`."""
        return self.get(key) is not None


class Body:
    """The body of one request. The connection feeds it; the request's handler takes what has come."""

    __slots__ = ("_awaited", "_is_dropped", "_note_taken", "_pieces", "is_broken", "is_whole", "waiting_bytes")

    def __init__(self, note_taken: Callable[[], None], *, is_whole: bool = False) -> None:
        """Nothing has come; `note_taken` is called when bytes were taken, so that more can be read."""
        self._note_taken = note_taken
        self._pieces: list[bytes] = []
        self._awaited: asyncio.Future[None] | None = None
        self._is_dropped = False
        self.waiting_bytes = 0
        self.is_whole = is_whole
        self.is_broken = False

    def feed(self, piece: bytes) -> None:
        """Take the next bytes from the client."""
        if not self._is_dropped:
            self._pieces.append(piece)
            self.waiting_bytes += len(piece)
            self._wake()

    def end(self) -> None:
        """Note that the body is complete."""
        self.is_whole = True
        self._wake()

    def fail(self) -> None:
        """Note that the body is malformed: nothing of it comes any more."""
        self.is_broken = True
        self._wake()

    def drop(self) -> None:
        """Keep nothing of what comes, because nobody wants it."""
        self._is_dropped = True
        self._take()

    def at_hand(self) -> bytes:
        """What has come and was not taken yet; raises `BrokenBody`."""
        if self.is_broken:
            raise BrokenBody
        return self._take()

    async def next_piece(self) -> bytes:
        """Wait for the next bytes, and take all that have come; b"" at the end. Raises `BrokenBody`."""
        while not (self._pieces or self.is_whole or self.is_broken):
            self._awaited = asyncio.get_running_loop().create_future()
            try:
                await self._awaited  # cancelled: what has come stays here
            finally:
                self._awaited = None
        return self.at_hand()

    def _take(self) -> bytes:
        pieces, self._pieces, self.waiting_bytes = self._pieces, [], 0
        if not self.is_whole:
            self._note_taken()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _wake(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)


class Line:
    """The way to a client: its transport, None once it has left."""

    __slots__ = ("_address", "_caught_up", "is_behind", "transport")

    def __init__(self) -> None:
        """Nobody is connected yet."""
        self.transport: asyncio.Transport | None = None
        self.is_behind = False  # more waits for the client than may wait
        self._caught_up: asyncio.Future[None] | None = None
        self._address: str | None = None

    @property
    def address(self) -> str:
        """Where the connection comes from; "" if that is not known."""
        if self._address is None and self.transport is not None:
            peer = self.transport.get_extra_info("peername")
            self._address = str(peer[0]) if isinstance(peer, (tuple, list)) and peer else ""
        return self._address or ""

    def caught_up(self) -> "asyncio.Future[None]":
        """Done once the client has taken nearly all that waits for it, or has left."""
        if self._caught_up is None or self._caught_up.done():
            self._caught_up = asyncio.get_running_loop().create_future()
            if not self.is_behind or self.transport is None:
                self._caught_up.set_result(None)
        return self._caught_up

    def fall_behind(self) -> None:
        """Note that the client is behind."""
        self.is_behind = True

    def catch_up(self) -> None:
        """Note that the client is no longer behind, or has left."""
        self.is_behind = False
        if self._caught_up is not None and not self._caught_up.done():
            self._caught_up.set_result(None)


class Head:
    """The head of a request; `target` as it was written, `version` as in (1, 1).

    This is no named tuple, which is not made by compiled code.
    """

    __slots__ = ("headers", "keeps_alive", "method", "target", "version")

    def __init__(
        self, method: str, target: str, version: tuple[int, int], headers: Headers, *, keeps_alive: bool
    ) -> None:
        """`keeps_alive`: the client wants to send another request on the connection."""
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.keeps_alive = keeps_alive


class ClientRequest:
    """One request.

    `id` is under what it is answered and logged. `allowed_origin` is the value of `Access-Control-Allow-Origin` in the
    answer, None if its origin is not allowed. `has_begun`: part of an answer was written, so it can get no other one.
    """

    id: str = ""
    allowed_origin: str | None = None
    has_begun: bool = False
    holding: Holding | None = None

    def __init__(self, head: Head, body: Body, line: Line) -> None:
        """A request on `line` that nobody has looked at yet."""
        self.method = head.method
        self.target = head.target
        self.version = head.version
        self.headers = head.headers
        self.keeps_alive = head.keeps_alive
        self.body = body
        self.line = line

    @property
    def stated_bytes(self) -> int | None:
        """The length of the body as the head states it."""
        stated = self.headers.get("content-length")
        return None if stated is None else int(stated)
