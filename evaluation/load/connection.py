"""One keep-alive HTTP/1.1 connection that carries one completion at a time, streamed or whole, and the record of each.

The connection decides nothing: it stamps what arrives. It reads tokens from the cumulative `usage` of the last whole
event in each received fragment. It counts events as tokens only if the caller asks to guess for a server that reports
no usage; usage then corrects the guess. Inside JSON text a quote is always escaped, so the byte sequences that it
searches for cannot be part of generated text. No task wakes per fragment: the caller wakes once, at the end of the
response or when the connection breaks.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

import httptools

# A fragment whose event never ends would grow without bound; a completion chunk is below a kilobyte.
MAX_UNFINISHED_EVENT_BYTES = 1 << 20

MAX_ERROR_CHARACTERS = 4096

_PROMPT = re.compile(rb'"prompt_tokens": ?(\d+)')
_OUTPUT = re.compile(rb'"completion_tokens": ?(\d+)')
_CACHED = re.compile(rb'"cached_tokens": ?(\d+)')
_LAST_OUTPUT = b'"completion_tokens":'
_ERROR = re.compile(rb'data: ?\{ ?"error"')
_EVENT = re.compile(rb"^data: ?\{", re.MULTILINE)
_DONE = re.compile(rb"^data: ?\[DONE\]", re.MULTILINE)


@dataclass(slots=True)
class ExchangeRecord:
    """What the client saw of one request; times are loop time, None until it happened.

    `leaves_after_tokens`: the client closes the connection once it has so many. `prompt_guess` counts as the prompt's
    tokens until usage gives them. `usages` counts the events with usage. `cached_tokens` is the part of the prompt that
    the engine found in its cache, if the engine reports that (at the end).
    """

    tenant: str
    sent_at: float
    leaves_after_tokens: int | None = None
    prompt_guess: int = 0
    first_byte_at: float | None = None
    first_token_at: float | None = None
    ended_at: float | None = None
    status: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    usages: int = 0
    cached_tokens: int = 0
    is_complete: bool = False
    has_left: bool = False
    retry_after: str | None = None
    error: str = ""

    @property
    def ttft_seconds(self) -> float | None:
        """Time from sending to the first generated token."""
        return None if self.first_token_at is None else self.first_token_at - self.sent_at

    @property
    def run_seconds(self) -> float:
        """Time from the first generated token to the end; 0 if one of them did not come."""
        return 0.0 if self.ended_at is None or self.first_token_at is None else self.ended_at - self.first_token_at

    @property
    def has_failed(self) -> bool:
        """True if it ended in an error of its own, not by the end of the run."""
        return bool(self.error) and self.ended_at is not None

    @property
    def is_refused(self) -> bool:
        """True if the server answered with an error status."""
        return self.status >= 400


OnTokens = Callable[[float, int, int], None]
"""Receives (time, new prompt tokens, new output tokens) whenever usage grew."""


class StreamConnection(asyncio.Protocol):
    """The client's end of one connection. Not reusable once `is_open` is False.

    `is_whole`: the client asked for answers in one piece. If it asked for a stream, such an answer is a fault.
    """

    def __init__(
        self, on_tokens: OnTokens, *, guesses: bool = False, rests_seconds: float = 0.0, is_whole: bool = False
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_tokens = on_tokens
        self._guesses = guesses
        self._rests_seconds = rests_seconds
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._record: ExchangeRecord | None = None
        self._done: asyncio.Future[None] | None = None
        self._unfinished = b""
        self._keep_alive = True
        self._is_whole = is_whole
        self._is_reused = False
        self._is_stale = False

    @property
    def is_open(self) -> bool:
        """True while another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, record: ExchangeRecord) -> bool:
        """Send `request` and return when its response ended or broke; `record` then says how.

        False means that the server had given up this connection, which was used before: it closed the connection
        without a byte of an answer. vLLM does so after 5 s of silence, and a client that was held up can miss that.
        `record` then holds nothing new, and the request belongs on a new connection. A cancelled exchange closes the
        connection; so a client aborts a completion.
        """
        assert self._transport is not None and self._done is None, "one request at a time"
        self._record, self._done = record, self._loop.create_future()
        self._unfinished, self._keep_alive = b"", True
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(request)
        try:
            await self._done
        except asyncio.CancelledError:
            self.close()
            raise
        finally:
            self._record = self._done = None
            self._is_reused = True
        if not self._keep_alive:
            self.close()
        return not self._is_stale

    def close(self) -> None:
        """Close at once and drop what was still to come."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as fault:
            self._finish(f"malformed response: {fault}")
            self.close()
        if self._rests_seconds and self._transport is not None and self.is_open:
            self._transport.pause_reading()
            self._loop.call_later(self._rests_seconds, self._read_on)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._is_reused and self._record is not None and self._record.first_byte_at is None:
            self._is_stale = True
            self._wake()
            return
        self._finish(f"connection lost: {exc}" if exc else "connection closed before the end")

    # httptools callbacks

    def on_status(self, status: bytes) -> None:
        if self._record is not None:
            self._record.first_byte_at = self._loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._record is not None and name.lower() == b"retry-after":
            self._record.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._keep_alive = bool(self._parser.should_keep_alive())
        if self._record is not None:
            self._record.status = int(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        if self._record is not None:
            self._read(self._record, self._unfinished + body)

    def on_message_complete(self) -> None:
        if self._is_whole and self._record is not None and not self._record.is_refused:
            self._read_usage(self._record, self._unfinished)
            self._record.is_complete = True
        self._finish("")

    def _read_on(self) -> None:
        if self._transport is not None and self.is_open:
            self._transport.resume_reading()

    def _read(self, record: ExchangeRecord, data: bytes) -> None:
        if record.is_refused:
            record.error = (record.error + data.decode("utf-8", "replace"))[:MAX_ERROR_CHARACTERS]
            return
        end = _end_of_events(data)
        events, self._unfinished = data[:end], data[end:]
        if len(self._unfinished) > MAX_UNFINISHED_EVENT_BYTES:
            self._finish("an event without end")
            self.close()
        if _ERROR.search(events):
            record.error = events[:MAX_ERROR_CHARACTERS].decode("utf-8", "replace")
            return
        self._read_usage(record, events)
        if _DONE.search(events):
            record.is_complete = True

    def _read_usage(self, record: ExchangeRecord, events: bytes) -> None:
        if (cached := _CACHED.search(events)) is not None:
            record.cached_tokens = int(cached[1])
        found = _OUTPUT.match(events, max(0, events.rfind(_LAST_OUTPUT)))
        if found is not None:
            prompt = 0 if record.usages else _prompt_tokens(events) - record.prompt_tokens
            record.usages += events.count(_LAST_OUTPUT)
            self._take(record, prompt, int(found[1]) - record.output_tokens)
        elif self._guesses and (count := len(_EVENT.findall(events))):
            prompt = 0 if record.output_tokens else record.prompt_guess
            self._take(record, prompt, count)

    def _take(self, record: ExchangeRecord, prompt_tokens: int, output_tokens: int) -> None:
        now = self._loop.time()
        record.prompt_tokens += prompt_tokens
        record.output_tokens += output_tokens
        if output_tokens > 0 and record.first_token_at is None:
            record.first_token_at = now
        self._on_tokens(now, prompt_tokens, output_tokens)
        if record.leaves_after_tokens is not None and record.output_tokens >= record.leaves_after_tokens:
            record.has_left = True
            self._finish("")
            self.close()

    def _finish(self, error: str) -> None:
        if self._record is None or self._done is None or self._done.done():
            return
        self._record.ended_at = self._loop.time()
        if error and not self._record.error:
            self._record.error = error
        elif not (self._record.is_complete or self._record.has_left or self._record.error):
            self._record.error = f"ended without [DONE] (status {self._record.status})"
        self._wake()

    def _wake(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


async def cut_off(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel exchanges and wait until their connections are closed."""
    cancelled = list(tasks)
    for task in cancelled:
        task.cancel()
    await asyncio.gather(*cancelled, return_exceptions=True)
    # Transports close in the loop's next iteration; without it the sockets outlive the exchanges.
    await asyncio.sleep(0)


def _end_of_events(data: bytes) -> int:
    """Where the last whole event ends; 0 if there is none."""
    return max((at + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if (at := data.rfind(mark)) >= 0), default=0)


def _prompt_tokens(events: bytes) -> int:
    found = _PROMPT.search(events)
    return int(found[1]) if found else 0
