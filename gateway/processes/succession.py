"""How a new parent takes a gateway over from the one that runs, without a gap.

The parent in office listens to a Unix socket. A successor asks for the listening sockets and gets copies of them, so
that its processes accept beside the old ones. When all of them are ready it takes office: it gets the pipes that keep
the store alive, and the old processes stop accepting, answer what they have and end. Until then the old parent goes on
as if nobody had asked, and a successor that ends has changed nothing. All processes share one account by one store, so
there is never more in flight than the windows allow.
"""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gateway.processes.channel import Channel, Message

ANSWER_SECONDS = 10.0


class TakeOverFailed(Exception):
    """The gateway that runs was not taken over and runs on; the text says why."""


class Door:
    """Where the parent in office is found; a successor puts its own door in the place of this one."""

    def __init__(self, path: Path, came: Callable[[socket.socket], None]) -> None:
        """Tell `came` of each connection, once the door is open."""
        self._path = path
        self._came = came
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Be found from now on."""
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(fresh))
        self._socket.listen()
        self._socket.setblocking(False)
        fresh.replace(self._path)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._accept, self._socket)

    def close(self) -> None:
        """Be found no longer; no effect if the door is not open."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _accept(self, door: socket.socket) -> None:
        with suppress(BlockingIOError):
            self._came(door.accept()[0])


class Predecessor:
    """The parent in office, as its successor speaks with it."""

    def __init__(self, end: socket.socket) -> None:
        self._answer: asyncio.Future[tuple[Message, Sequence[int]]] | None = None
        self._channel = Channel(end, self._heard, self._lost)

    @classmethod
    def at(cls, path: Path) -> "Predecessor | None":
        """The parent whose door is at `path`; None if nobody is there."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            end.connect(str(path))
        except OSError:
            end.close()
            return None
        return cls(end)

    async def ask(self, question: Mapping[str, object]) -> tuple[Message, Sequence[int]]:
        """The answer to `question`, and the descriptors that came with it; raises `TakeOverFailed`."""
        self._answer = asyncio.get_running_loop().create_future()
        self._channel.send(question)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer, descriptors = await self._answer
        except TimeoutError:
            raise TakeOverFailed("the gateway that runs does not answer; it runs on") from None
        if "refused" in answer:
            raise TakeOverFailed(str(answer["refused"]))
        return answer, descriptors

    def close(self) -> None:
        """Leave it alone."""
        self._channel.close()

    def _heard(self, message: Message, descriptors: Sequence[int]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((message, descriptors))

    def _lost(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TakeOverFailed("the gateway that runs has ended while it was taken over"))


def own(descriptors: Sequence[int]) -> Sequence[socket.socket]:
    """Listening sockets that came as descriptors."""
    return [socket.socket(fileno=descriptor) for descriptor in descriptors]
