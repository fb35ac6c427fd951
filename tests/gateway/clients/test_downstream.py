"""How an answer is written: what one turn of the event loop brings leaves in one write for each client."""

import asyncio
from typing import cast

from gateway.clients.downstream import Downstream, Outbox
from gateway.clients.request import Body, ClientRequest, Head, Headers, Line


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep one write."""
        self.writes.append(data)

    def is_closing(self) -> bool:
        """Never."""
        return False


def answer(outbox: Outbox, wire: Wire) -> Downstream:
    """A stream to the client at `wire`, of which the head is made."""
    line = Line()
    line.transport = cast(asyncio.Transport, wire)
    head = Head("POST", "/", (1, 1), Headers([]), keeps_alive=True)
    downstream = Downstream(ClientRequest(head, Body(lambda: None, is_whole=True), line), (), outbox, 10.0)
    downstream.open(200, (), None)
    return downstream


async def next_turn() -> None:
    """Let the outbox send."""
    await asyncio.sleep(0)


def test_the_last_bytes_of_a_stream_leave_with_the_mark_of_its_end() -> None:
    """A short answer costs no second write for its end, and each client gets its own bytes in their order."""

    async def play() -> None:
        outbox, wires = Outbox(), (Wire(), Wire())
        first, second = (answer(outbox, wire) for wire in wires)
        first.write(b"a")
        second.write(b"b")
        await next_turn()
        assert [wire.writes[0].partition(b"\r\n\r\n")[2] for wire in wires] == [b"1\r\na\r\n", b"1\r\nb\r\n"]
        first.write(b"c")
        second.write(b"d")
        second.end(b"e")
        await next_turn()
        assert [wire.writes[1:] for wire in wires] == [
            [b"1\r\nc\r\n"],
            [b"1\r\nd\r\n1\r\ne\r\n0\r\n\r\n"],
        ]
        first.finish()
        second.finish()
        await next_turn()
        assert [wire.writes[2:] for wire in wires] == [[b"0\r\n\r\n"], []]

    asyncio.run(play())
