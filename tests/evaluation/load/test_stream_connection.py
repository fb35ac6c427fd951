"""The load client reads the same numbers wherever the bytes of a response are cut."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from virtual_time import run_in_virtual_time

from evaluation.load.connection import ExchangeRecord, StreamConnection


def _usage(prompt: int, output: int) -> bytes:
    return b'"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d}' % (prompt, prompt + output, output)


EVENTS = [
    b'data: {"choices":[{"text":"a"}],' + _usage(12, 1) + b"}\n\n",
    b'data: {"choices":[{"text":"\\"completion_tokens\\":999"}],' + _usage(12, 3) + b"}\n\n",
    b'data: {"choices":[{"text":""}],' + _usage(12, 10) + b"}\n\n",
    b'data: {"choices":[],' + _usage(12, 10) + b"}\n\n",
    b"data: [DONE]\n\n",
]
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunked(parts: list[bytes]) -> bytes:
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


class FakeTransport(asyncio.Transport):
    """Takes what is written; a connection that was aborted is closing."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


class Exchange:
    """One exchange on a fake transport, fed by the test."""

    def __init__(self, *, is_whole: bool = False) -> None:
        self.seen: list[tuple[int, int]] = []
        self.transport = FakeTransport()
        self.connection = StreamConnection(
            lambda _, new_in, new_out: self.seen.append((new_in, new_out)), is_whole=is_whole
        )
        self.connection.connection_made(self.transport)
        self.record = ExchangeRecord("a", sent_at=0.0)

    async def play(self, feed: Callable[[StreamConnection], None]) -> ExchangeRecord:
        """Send a request, let `feed` answer it, return the record."""
        task = asyncio.ensure_future(self.connection.exchange(b"request", self.record))
        await asyncio.sleep(0)
        feed(self.connection)
        await task
        return self.record


def _run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


def test_every_split_point_gives_the_same_tokens() -> None:
    """A response cut in two anywhere yields the same totals, each token reported once."""
    whole = _chunked(EVENTS)

    async def body() -> None:
        for cut in range(len(whole) + 1):
            exchange = Exchange()

            def feed(connection: StreamConnection, cut: int = cut) -> None:
                connection.data_received(whole[:cut])
                connection.data_received(whole[cut:])

            record = await exchange.play(feed)
            assert (record.prompt_tokens, record.output_tokens) == (12, 10), cut
            assert record.is_complete and not record.error, cut
            assert [sum(column) for column in zip(*exchange.seen, strict=True)] == [12, 10], cut

    _run(body())


def test_events_split_over_chunk_frames_give_the_same_tokens() -> None:
    """The engine may frame an event in two chunks; a number cut in two is not read as a smaller one."""
    text = b"".join(EVENTS)

    async def body() -> None:
        for cut in range(1, len(text)):
            exchange = Exchange()
            answer = _chunked([text[:cut], text[cut:]])
            record = await exchange.play(lambda connection, answer=answer: connection.data_received(answer))  # type: ignore[misc]
            assert (record.prompt_tokens, record.output_tokens, record.is_complete) == (12, 10, True), cut

    _run(body())


def test_text_that_looks_like_usage_is_not_counted() -> None:
    """A quote inside JSON text is escaped, so generated text cannot forge a number."""

    async def body() -> None:
        exchange = Exchange()
        record = await exchange.play(lambda connection: connection.data_received(_chunked(EVENTS[1:2])))
        assert record.output_tokens == 3

    _run(body())


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        (
            b'HTTP/1.1 429 Too Many Requests\r\ncontent-length: 17\r\n\r\n{"error":"later"}',
            429,
            '{"error":"later"}',
        ),
        (_chunked([EVENTS[0], b'data: {"error":{"message":"x"}}\n\n']), 200, 'data: {"error":{"message":"x"}}'),
        (_chunked(EVENTS[:3]), 200, "ended without [DONE] (status 200)"),
        (b"garbage\r\n\r\n", 0, "malformed response"),
    ],
)
def test_every_bad_ending_is_an_error(answer: bytes, status: int, error: str) -> None:
    """A refusal, an error event, a stream without its end and nonsense each have an error of their own."""

    async def body() -> None:
        record = await Exchange().play(lambda connection: connection.data_received(answer))
        assert record.status == status
        assert record.error.strip().startswith(error)
        assert record.has_failed and not record.is_complete

    _run(body())


def test_a_broken_connection_ends_the_exchange() -> None:
    """What had arrived stays counted, and the connection is not used again."""

    async def body() -> None:
        exchange = Exchange()

        def feed(connection: StreamConnection) -> None:
            connection.data_received(_chunked(EVENTS)[: len(HEAD) + len(EVENTS[0]) + 6])
            connection.connection_lost(None)

        record = await exchange.play(feed)
        assert record.output_tokens == 1
        assert record.error == "connection closed before the end"
        assert not exchange.connection.is_open

    _run(body())


def test_a_cancelled_exchange_closes_its_connection() -> None:
    """Closing the connection is how a client aborts; the record does not claim a failure of the server."""

    async def body() -> None:
        exchange = Exchange()
        task = asyncio.ensure_future(exchange.connection.exchange(b"request", exchange.record))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled() and exchange.transport.closed
        assert not exchange.record.has_failed

    _run(body())


def test_a_kept_connection_carries_the_next_request() -> None:
    """Nothing of the first response leaks into the second."""

    async def body() -> None:
        exchange = Exchange()
        await exchange.play(lambda connection: connection.data_received(_chunked(EVENTS)))
        exchange.record = ExchangeRecord("a", sent_at=1.0)
        record = await exchange.play(lambda connection: connection.data_received(_chunked(EVENTS)))
        assert exchange.transport.written == b"requestrequest"
        assert (record.prompt_tokens, record.output_tokens) == (12, 10)

    _run(body())


def test_a_kept_connection_that_the_server_gave_up_is_not_an_answer() -> None:
    """If a kept connection closes without a byte, the request may be sent again; on a new one that is a fault."""

    async def body() -> None:
        exchange = Exchange()
        await exchange.play(lambda connection: connection.data_received(_chunked(EVENTS)))
        record = ExchangeRecord("a", sent_at=1.0)
        again = asyncio.ensure_future(exchange.connection.exchange(b"request", record))
        await asyncio.sleep(0)
        exchange.connection.connection_lost(None)
        assert not await again
        assert record == ExchangeRecord("a", sent_at=1.0)
        fresh = Exchange()
        assert (await fresh.play(lambda connection: connection.connection_lost(None))).has_failed

    _run(body())


@pytest.mark.parametrize("answered", [b"HTTP/1.1 200 OK\r\n", HEAD])
def test_a_kept_connection_that_breaks_after_the_first_byte_is_a_fault(answered: bytes) -> None:
    """The client never sends a request again of which it has half the answer."""

    async def body() -> None:
        exchange = Exchange()
        await exchange.play(lambda connection: connection.data_received(_chunked(EVENTS)))
        exchange.record = ExchangeRecord("a", sent_at=1.0)

        def feed(connection: StreamConnection) -> None:
            connection.data_received(answered)
            connection.connection_lost(None)

        assert (await exchange.play(feed)).has_failed

    _run(body())


def test_a_whole_answer_is_complete_with_its_document() -> None:
    """Its usage counts, wherever it is cut."""
    document = b'{"choices":[{"text":"a"}],' + _usage(12, 10) + b"}"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(document)

    async def body() -> None:
        for cut in range(len(head + document)):
            exchange = Exchange(is_whole=True)

            def feed(connection: StreamConnection, cut: int = cut) -> None:
                connection.data_received((head + document)[:cut])
                connection.data_received((head + document)[cut:])

            record = await exchange.play(feed)
            assert (record.prompt_tokens, record.output_tokens) == (12, 10), cut
            assert record.is_complete and not record.error, cut

    _run(body())


def test_a_client_that_rests_reads_nothing_meanwhile() -> None:
    """Reading pauses after each read and resumes by itself, unless the connection is closed."""

    async def body() -> None:
        transport = FakeTransport()
        connection = StreamConnection(lambda *_: None, rests_seconds=0.01)
        connection.connection_made(transport)
        record = ExchangeRecord("a", sent_at=0.0)
        task = asyncio.ensure_future(connection.exchange(b"request", record))
        await asyncio.sleep(0)
        connection.data_received(HEAD)
        assert not transport.reads
        await asyncio.sleep(0.01)
        assert transport.reads
        connection.data_received(_chunked(EVENTS)[len(HEAD) :])
        await task
        connection.close()
        await asyncio.sleep(0.02)
        assert record.is_complete and not transport.reads

    run_in_virtual_time(body())
