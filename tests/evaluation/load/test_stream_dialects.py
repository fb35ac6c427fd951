"""The load client understands servers of every dialect: no usage, late usage, other line ends, refusals."""

import asyncio

import pytest

from evaluation.load.connection import (
    MAX_ERROR_CHARACTERS,
    MAX_UNFINISHED_EVENT_BYTES,
    ExchangeRecord,
    StreamConnection,
)

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TEXT = b'data: {"choices":[{"text":"a"}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"completion_tokens": 5, "prompt_tokens": 9, "total_tokens": 14}}\n\n'
DONE = b"data: [DONE]\n\n"


class _Transport(asyncio.Transport):
    """Takes what is written and can be aborted."""

    is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Discard the bytes."""

    def abort(self) -> None:
        """Note that the transport was aborted."""
        self.is_aborted = True

    def is_closing(self) -> bool:
        """Return whether the transport was aborted, as asyncio's own transports do."""
        return self.is_aborted


def _played(record: ExchangeRecord, parts: list[bytes], *, guesses: bool = True) -> list[tuple[int, int]]:
    """Feed the parts to an exchange that fills `record`; returns the tokens that were reported."""
    seen: list[tuple[int, int]] = []

    async def play() -> None:
        connection = StreamConnection(lambda _, prompt, output: seen.append((prompt, output)), guesses=guesses)
        transport = _Transport()
        connection.connection_made(transport)
        task = asyncio.ensure_future(connection.exchange(b"request", record))
        await asyncio.sleep(0)
        for part in parts:
            if not transport.is_aborted:
                connection.data_received(part)
        connection.connection_lost(None)
        await task

    asyncio.run(play())
    return seen


def _chunks(*parts: bytes) -> list[bytes]:
    return [HEAD, *(b"%x\r\n%s\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]


def test_events_are_guessed_to_be_tokens_where_no_usage_comes() -> None:
    """The first event also counts the guessed tokens of the prompt."""
    record = ExchangeRecord("a", 0.0, prompt_guess=7)
    assert _played(record, _chunks(TEXT, TEXT + TEXT, DONE)) == [(7, 1), (0, 2)]
    assert record.is_complete
    assert record.usages == 0


def test_late_usage_corrects_the_guess() -> None:
    """At the end the sum and the record both have the tokens that the usage states."""
    record = ExchangeRecord("a", 0.0, prompt_guess=7)
    seen = _played(record, _chunks(TEXT, TEXT, USAGE, DONE))
    assert (sum(prompt for prompt, _ in seen), sum(output for _, output in seen)) == (9, 5)
    assert (record.prompt_tokens, record.output_tokens, record.usages) == (9, 5, 1)


def test_nothing_is_guessed_unasked() -> None:
    """A bench that expects usage sees that the server sends none."""
    assert _played(ExchangeRecord("a", 0.0, prompt_guess=7), _chunks(TEXT, DONE), guesses=False) == []


def test_carriage_returns_end_lines_too() -> None:
    """The client accepts the other line end that the standard allows."""
    record = ExchangeRecord("a", 0.0)
    _played(record, _chunks(*(part.replace(b"\n", b"\r\n") for part in (TEXT, USAGE, DONE))))
    assert record.is_complete
    assert record.output_tokens == 5


def test_a_client_that_leaves_is_no_fault() -> None:
    """It closes the connection once it has its tokens, and reads no further."""
    record = ExchangeRecord("a", 0.0, leaves_after_tokens=2)
    assert _played(record, _chunks(TEXT, TEXT, TEXT, DONE)) == [(0, 1), (0, 1)]
    assert record.has_left
    assert not record.error
    assert not record.is_complete


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_refusal_is_kept_as_it_came(cut: int) -> None:
    """The record has the status, Retry-After and the body, wherever the bytes are cut."""
    body = b'{"error": {"message": "come again"}}'
    answer = b"HTTP/1.1 429 Busy\r\nRetry-After: 3\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    record = ExchangeRecord("a", 0.0)
    _played(record, [answer[at : at + cut] for at in range(0, len(answer), cut)])
    assert (record.status, record.retry_after, record.error) == (429, "3", body.decode())


def test_an_error_in_the_stream_is_no_token() -> None:
    """The record's error is the text of the event, with a bounded length."""
    record = ExchangeRecord("a", 0.0)
    error = b'data: {"error": {"message": "%s"}}\n\n' % (b"x" * 2 * MAX_ERROR_CHARACTERS)
    assert _played(record, _chunks(TEXT, error, DONE)) == [(0, 1)]
    assert record.has_failed
    assert len(record.error) == MAX_ERROR_CHARACTERS


def test_an_event_without_end_breaks_the_answer() -> None:
    """The client keeps a bounded part of a stream and then gives up."""
    record = ExchangeRecord("a", 0.0)
    _played(record, _chunks(b"data: {" + b"x" * MAX_UNFINISHED_EVENT_BYTES))
    assert record.error == "an event without end"
