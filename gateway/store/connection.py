"""One connection to the store, read without a task: replies come in the order of the commands.

Rules. A failure is final: it ends the connection and everybody who waits on it, and whoever comes later hears the same.
An unasked reply is such a failure, unless the connection listens to messages. The connection also fails if a caller is
cancelled or a deadline passes, since the reply may still come; and if this process stood still during a call, since
the reply is old then. Left to others: what is sent, and what an error among the replies means.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol, cast

import hiredis

from gateway.store import boot_clock
from gateway.store.failures import StoreFailed, explain, quote

MOST_UNREAD_BYTES: Final = 16 * 1024 * 1024  # of a reply that has not ended
MOST_STANDSTILL_SECONDS: Final = 0.5  # beyond a deadline; an older reply may grant room that is not ours any more
LAST_LOOK_SECONDS: Final = 0.001  # after a deadline, in which the event loop reads what has come meanwhile

Command = Sequence[str | bytes | int]
Reply = Any
"""What a server answers: an integer, bytes, None, a list of replies, or a `hiredis.ReplyError`."""


class Listener(Protocol):
    """Takes what a server sends unasked."""

    def on_reply(self, reply: Reply) -> None:
        """One reply that no command waits for."""
        ...

    def on_end(self) -> None:
        """The connection has failed; nothing more comes."""
        ...


class _Asked(NamedTuple):
    """Commands that were sent together; `answered` gets all replies."""

    commands: int
    replies: list[Reply]
    answered: asyncio.Future[list[Reply]]


class StoreConnection(asyncio.Protocol):
    """A connection to the store at `url`, which is named in failures."""

    def __init__(self, url: str) -> None:
        """Be of no use until the event loop has called `connection_made`."""
        self._url = url
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._unread_bytes = 0
        self._asked: deque[_Asked] = deque()
        self._listener: Listener | None = None
        self._failure = ""
        self._lost = asyncio.get_running_loop().create_future()

    @property
    def has_failed(self) -> bool:
        """True if the connection is of no use any more."""
        return bool(self._failure)

    def failure(self) -> StoreFailed:
        """Why it failed."""
        return StoreFailed(self._failure)

    async def ask(self, commands: Sequence[Command], deadline_seconds: float) -> list[Reply]:
        """Send `commands` in one write and return their replies, errors among them. `StoreFailed` if one is missing."""
        if self._failure:
            raise self.failure()
        loop = asyncio.get_running_loop()
        asked = _Asked(len(commands), [], loop.create_future())
        self._asked.append(asked)
        self.send(*commands)
        timer = loop.call_later(deadline_seconds, self._look_once_more, asked, deadline_seconds)
        asked_at = boot_clock.seconds()
        try:
            replies = await asked.answered
        except asyncio.CancelledError:
            self.fail("a call was given up before its reply came")
            raise
        finally:
            timer.cancel()
        if (seconds := boot_clock.seconds() - asked_at) > deadline_seconds + MOST_STANDSTILL_SECONDS:
            self.fail(f"this gateway stood still for {seconds:.1f} s during a call; look at the load of its machine")
            raise self.failure()
        return replies

    def listen(self, listener: Listener) -> None:
        """Hand every reply that nobody asked for to `listener`."""
        self._listener = listener

    def send(self, *commands: Command) -> None:
        """Write `commands` at once."""
        if self._transport is not None and commands:
            pack = cast(Callable[[tuple[Any, ...]], bytes], hiredis.pack_command)  # its own annotation is too narrow
            self._transport.write(b"".join([pack(tuple(command)) for command in commands]))

    def fail(self, reason: str) -> None:
        """End the connection because of `reason`, a clause without a subject's name; only the first reason counts."""
        if self._failure:
            return
        self._failure = f"store {self._url}: {reason}"
        if self._transport is not None:
            self._transport.abort()
        while self._asked:
            answered = self._asked.popleft().answered
            if not answered.done():
                answered.set_exception(self.failure())
        if self._listener is not None:
            self._listener.on_end()

    async def close(self) -> None:
        """End the connection and wait until its socket is closed."""
        self.fail("the connection was closed")
        if self._transport is not None:
            await asyncio.shield(self._lost)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The event loop's call."""
        self._transport = cast(asyncio.Transport, transport)
        if self._failure:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """The event loop's call."""
        self._unread_bytes += len(data)
        try:
            self._reader.feed(data)
            while not self._failure and (reply := self._reader.gets()) is not False:
                self._unread_bytes = 0
                self._take(reply)
        except hiredis.ProtocolError as error:
            self.fail(f"it does not speak the protocol of Redis ({quote(error)}); correct replicas.store")
        if self._unread_bytes > MOST_UNREAD_BYTES:
            self.fail(f"a reply is longer than {MOST_UNREAD_BYTES >> 20} MiB; is it a store of replicas?")

    def connection_lost(self, error: Exception | None) -> None:
        """The event loop's call."""
        why = f" ({quote(error)})" if error else ""
        self.fail(f"it closed the connection{why}; look at its log and its maxclients")
        if not self._lost.done():
            self._lost.set_result(None)

    def _take(self, reply: Reply) -> None:
        if not self._asked:
            return self._surplus(reply)
        asked = self._asked[0]
        asked.replies.append(reply)
        if len(asked.replies) == asked.commands:
            self._asked.popleft()
            if not asked.answered.done():
                asked.answered.set_result(asked.replies)
        return None

    def _surplus(self, reply: Reply) -> None:
        if self._listener is not None:
            self._listener.on_reply(reply)
        elif isinstance(reply, hiredis.ReplyError):
            self.fail(explain(str(reply)))
        else:
            self.fail("it sent a reply that nobody had asked for")

    def _look_once_more(self, asked: _Asked, deadline_seconds: float) -> None:
        # The loop may have stood still itself, and the reply may lie in the socket: it is read before the next timer.
        asyncio.get_running_loop().call_later(LAST_LOOK_SECONDS, self._give_up, asked, deadline_seconds)

    def _give_up(self, asked: _Asked, deadline_seconds: float) -> None:
        if not asked.answered.done():
            self.fail(f"no answer within {1000 * deadline_seconds:g} ms; look at its load, its log and the network")
