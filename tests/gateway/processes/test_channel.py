"""Messages and descriptors between two ends, whatever the sizes; the end of the other side is noticed once."""

import asyncio
import os
import socket
from collections.abc import Sequence

from gateway.processes.channel import MAX_WAITING_BYTES, Channel, Message


class End:
    """One end and what it has heard."""

    def __init__(self, end: socket.socket) -> None:
        self.messages: list[Message] = []
        self.descriptors: list[int] = []
        self.losses = 0
        self.news = asyncio.Event()
        self.channel = Channel(end, self._heard, self._lost)

    async def until(self, count: int) -> None:
        """Wait for so many messages and losses together."""
        while len(self.messages) + self.losses < count:
            self.news.clear()
            await self.news.wait()

    def _heard(self, message: Message, descriptors: Sequence[int]) -> None:
        self.messages.append(message)
        self.descriptors += descriptors
        self.news.set()

    def _lost(self) -> None:
        self.losses += 1
        self.news.set()


def ends() -> tuple[End, End]:
    """Two ends that are connected."""
    left, right = socket.socketpair()
    return End(left), End(right)


def test_messages_arrive_whole_and_in_order() -> None:
    """Small ones and ones larger than the socket's buffer, both ways."""

    async def scene() -> None:
        left, right = ends()
        sent: list[Message] = [{"number": number, "text": "x" * (number % 3) * 200_000} for number in range(30)]
        for message in sent:
            left.channel.send(message)
            right.channel.send(message)
        await left.until(30)
        await right.until(30)
        assert left.messages == right.messages == sent
        left.channel.close()
        await right.until(31)
        assert (left.losses, right.losses) == (0, 1)
        right.channel.send({"nobody": "hears"})
        assert not right.channel.is_open

    asyncio.run(scene())


def test_descriptors_come_with_their_message() -> None:
    """A pipe's end that was sent works in the hands of whoever got it."""

    async def scene() -> None:
        left, right = ends()
        reading, writing = os.pipe()
        left.channel.send({"take": "this"}, [writing])
        os.close(writing)
        left.channel.send({"and": "that"})
        await right.until(2)
        (descriptor,) = right.descriptors
        os.write(descriptor, b"it works")
        os.close(descriptor)
        assert os.read(reading, 100) == b"it works"
        os.close(reading)
        left.channel.close()
        right.channel.close()

    asyncio.run(scene())


def test_one_that_does_not_read_is_lost() -> None:
    """What waits for it is bounded."""

    async def scene() -> None:
        ours, theirs = socket.socketpair()
        end = End(ours)
        for _ in range(MAX_WAITING_BYTES // 1_000_000 + 2):
            end.channel.send({"text": "x" * 1_000_000})
        assert end.losses == 1
        theirs.close()

    asyncio.run(scene())
