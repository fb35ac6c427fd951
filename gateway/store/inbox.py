"""The messages that one connection hears: the newest are kept for whoever reads them.

Rules. If the reader is slow, the oldest messages go. A connection that says nothing is asked whether it is alive, and
fails if it stays silent.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import hiredis

from gateway.store.connection import Reply, StoreConnection
from gateway.store.failures import explain

MOST_MESSAGES: Final = 1024
SILENCE_SECONDS: Final = 1.0  # before the server is asked, and once more before the connection fails


class Inbox:
    """Hears `channels` on `connection`, which is nobody else's."""

    def __init__(self, connection: StoreConnection, channels: Sequence[str]) -> None:
        """Subscribe to `channels`."""
        self._connection = connection
        self._messages: deque[tuple[str, bytes]] = deque(maxlen=MOST_MESSAGES)
        self._arrived = asyncio.Event()
        self._missing = len(channels)
        self._was_asked = False
        connection.listen(self)
        connection.send(("SUBSCRIBE", *channels))

    @property
    def hears_all(self) -> bool:
        """True once the server has confirmed every channel."""
        return self._missing == 0

    async def next(self) -> tuple[str, bytes] | None:
        """The oldest message kept, with its channel; None if something else happened. `StoreFailed` at the end."""
        if not self._messages:
            self._arrived.clear()
            await self._await_sign_of_life()
        if self._messages:
            return self._messages.popleft()
        if self._connection.has_failed:
            raise self._connection.failure()
        return None

    def on_reply(self, reply: Reply) -> None:
        """Whatever the server sends."""
        self._was_asked = False
        if isinstance(reply, hiredis.ReplyError):
            return self._connection.fail(explain(str(reply)))
        kind = reply[0] if isinstance(reply, list) else None
        if kind == b"message":
            self._messages.append((reply[1].decode("utf-8", "replace"), reply[2]))
        elif kind == b"subscribe":
            self._missing -= 1
        self._arrived.set()
        return None

    def on_end(self) -> None:
        """The connection has failed."""
        self._arrived.set()

    async def _await_sign_of_life(self) -> None:
        if self._connection.has_failed:
            return
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await self._arrived.wait()
        except TimeoutError:
            if self._was_asked:
                self._connection.fail(f"it was silent for {2 * SILENCE_SECONDS:g} s; look at its load and the network")
            self._was_asked = True
            self._connection.send(("PING",))
