"""One keep-alive HTTP/1.1 connection that carries one streamed completion at a time, and the record of each.

Decides nothing: it stamps what arrives. Tokens are read from the cumulative `usage` of the last whole event
in each received fragment, never counted as events. Inside JSON text a quote is always escaped, so the byte
sequences searched for cannot be part of generated text. No task wakes per fragment: the caller is woken
once, at the end of the response or when the connection breaks.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import httptools

# A fragment whose event never ends would grow without bound; a completion chunk is below a kilobyte.
MAX_UNFINISHED_EVENT_BYTES = 1 << 20

_PROMPT = re.compile(rb'"prompt_tokens":(\d+)')
_OUTPUT = re.compile(rb'"completion_tokens":(\d+)')
_LAST_OUTPUT = b'"completion_tokens":'
_ERROR = re.compile(rb'data: ?\{"error"')


@dataclass(slots=True)
class RequestRecord:
    """What the client saw of one request; times are loop time, None until it happened."""

    tenant: str
    sent_at: float
    first_byte_at: float | None = None
    first_token_at: float | None = None
    ended_at: float | None = None
    status: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    is_complete: bool = False
    error: str = ""

    @property
    def ttft_seconds(self) -> float | None:
        """Time from sending to the first generated token."""
        return None if self.first_token_at is None else self.first_token_at - self.sent_at

    @property
    def has_failed(self) -> bool:
        """True where it ended in an error of its own, not by the end of the run."""
        return bool(self.error) and self.ended_at is not None

    @property
    def is_refused(self) -> bool:
        """True where the server answered with an error status."""
        return self.status >= 400


OnTokens = Callable[[float, int, int], None]
"""Receives (time, new prompt tokens, new output tokens) whenever usage grew."""


class StreamConnection(asyncio.Protocol):
    """The client's end of one connection. Not reusable once `is_open` is False."""

    def __init__(self, on_tokens: OnTokens) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_tokens = on_tokens
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._record: RequestRecord | None = None
        self._done: asyncio.Future[None] | None = None
        self._unfinished = b""
        self._keep_alive = True

    @property
    def is_open(self) -> bool:
        """True while another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes, record: RequestRecord) -> None:
        """Send `request` and return when its response ended or broke; `record` then says how.

        A cancelled exchange closes the connection, which is how a client aborts a completion.
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
        if not self._keep_alive:
            self.close()

    def close(self) -> None:
        """Close at once; what was still to come is dropped."""
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

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish(f"connection lost: {exc}" if exc else "connection closed before the end")

    # httptools callbacks

    def on_status(self, status: bytes) -> None:
        if self._record is not None:
            self._record.first_byte_at = self._loop.time()

    def on_headers_complete(self) -> None:
        self._keep_alive = bool(self._parser.should_keep_alive())
        if self._record is not None:
            self._record.status = int(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        if self._record is not None:
            self._read(self._record, self._unfinished + body)

    def on_message_complete(self) -> None:
        self._finish("")

    def _read(self, record: RequestRecord, data: bytes) -> None:
        end = data.rfind(b"\n\n") + 2
        if end < 2 and record.status < 400:
            assert len(data) < MAX_UNFINISHED_EVENT_BYTES, "an event of this size is no completion chunk"
            self._unfinished = data
            return
        self._unfinished = data[end:]
        self._read_usage(record, data[:end])
        if _ERROR.search(data):
            record.error = data[:500].decode("utf-8", "replace")
        elif record.status >= 400:
            record.error = (record.error + data.decode("utf-8", "replace"))[:500]
        elif b"data: [DONE]" in data:
            record.is_complete = True

    def _read_usage(self, record: RequestRecord, events: bytes) -> None:
        found = _OUTPUT.match(events, max(0, events.rfind(_LAST_OUTPUT)))
        if found is None:
            return
        now = self._loop.time()
        prompt_tokens = 0
        if record.prompt_tokens == 0 and (prompt := _PROMPT.search(events)):
            prompt_tokens = record.prompt_tokens = int(prompt[1])
        output_tokens = int(found[1]) - record.output_tokens
        record.output_tokens += output_tokens
        if output_tokens > 0 and record.first_token_at is None:
            record.first_token_at = now
        self._on_tokens(now, prompt_tokens, output_tokens)

    def _finish(self, error: str) -> None:
        if self._record is None or self._done is None or self._done.done():
            return
        self._record.ended_at = self._loop.time()
        if error and not self._record.error:
            self._record.error = error
        elif not self._record.is_complete and not self._record.error:
            self._record.error = f"ended without [DONE] (status {self._record.status})"
        self._done.set_result(None)


async def connect(host: str, port: int, on_tokens: OnTokens) -> StreamConnection:
    """Open a connection; raises OSError where nobody listens."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: StreamConnection(on_tokens), host, port)
    return connection
