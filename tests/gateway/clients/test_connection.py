"""What one client connection keeps: a bounded part of what comes, and nothing once it is closed."""

import asyncio
import gc
import socket
import tracemalloc
from urllib.parse import urlsplit

import pytest
from virtual_time import virtual_time
from whole_gateway import CHAT, Stage, key_of, post, question, with_gateway
from workers_on_stage import CPU_TINY

from gateway.clients.body import read_body
from gateway.clients.connection import READ_AHEAD_BYTES, ClientConnection
from gateway.clients.request import Body, ClientRequest, Head, Headers, Line
from gateway.config import Window
from gateway.outcomes import Outcome

READ_BYTES = 256 * 1024  # that asyncio reads in one go


@with_gateway(window=Window(sequences=1, slack=0), engine=CPU_TINY)
async def test_bodies_that_wait_behind_an_answer_are_bounded_together(scene: Stage) -> None:
    """Requests behind a stream are read up to a bound in bytes, however many they are, and all are answered."""
    wire = await scene.connect()
    waiting = post(CHAT, question(max_tokens=1, metadata={"padding": "x" * READ_AHEAD_BYTES}), key_of("alice"))
    wire.send_raw(post(CHAT, question(stream=True, max_tokens=200), key_of("alice")) + waiting * 15)
    await wire.read_head()
    await asyncio.sleep(0.2)
    assert not scene.finished, "the stream is over"
    (waiting_bytes,) = scene.waiting_bytes
    assert READ_AHEAD_BYTES < waiting_bytes <= READ_AHEAD_BYTES + READ_BYTES
    assert (await wire.read_rest()).is_done
    assert [(await wire.read()).status for _ in range(15)] == [200] * 15
    await wire.close()


ENDS = {
    "an answer": (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", True),
    "a refusal": (b"LOOK / HTTP/1.1\r\n\r\n", True),
    "half of a head": (b"GET /health HT", False),
    "a request": (post(CHAT, question(max_tokens=100), key_of("alice")), False),
}


@pytest.mark.parametrize("end", ENDS)
@with_gateway()
async def test_a_connection_that_is_closed_is_freed_without_the_collector(scene: Stage, end: str) -> None:
    """Nothing that a closed connection keeps leads back to it."""
    raw, is_answered = ENDS[end]
    gc.collect()
    gc.disable()
    wire = await scene.connect()
    try:
        wire.send_raw(raw)
        if is_answered:
            await wire.read()
            await wire.close()
        else:
            await asyncio.sleep(0.01)
            wire.leave()
            await wire.close()
        await scene.until(lambda: not scene.open_connections)
        await asyncio.sleep(0.1)
        assert not [each for each in gc.get_objects() if isinstance(each, ClientConnection)]
    finally:
        gc.enable()


@virtual_time
async def test_a_body_in_tiny_pieces_takes_the_memory_of_its_bytes() -> None:
    """Its size is what is counted for its tenant, so the pieces must not cost many times as much."""
    size = 16 * 1024
    body = Body(lambda: None)
    head = Head("POST", CHAT, (1, 1), Headers([(b"content-length", b"%d" % size)]), keeps_alive=True)
    reading = asyncio.create_task(read_body(ClientRequest(head, body, Line()), size, 60.0, lambda _: None))
    await asyncio.sleep(0)
    tracemalloc.start()
    try:
        for at in range(0, size, 2):
            body.feed(b"%02d" % (at % 100))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    body.end()
    assert len(await reading) == size
    assert held < 4 * size


@with_gateway()
async def test_a_client_that_closes_its_sending_side_has_left(scene: Stage) -> None:
    """A half-closed connection gets no answer, and its request is settled once."""
    parts = urlsplit(scene.url)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(post(CHAT, question(stream=True, max_tokens=500), key_of("alice")))
        await scene.when(lambda: scene.dispatched)
        sock.shutdown(socket.SHUT_WR)
        await scene.when(lambda: scene.finished)
    assert scene.outcomes in ([Outcome.CLIENT_GONE_WAITING], [Outcome.CLIENT_GONE_STREAMING])
