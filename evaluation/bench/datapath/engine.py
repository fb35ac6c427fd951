"""The paced engine, `python -m evaluation.bench.datapath.engine`: vLLM's chat answers at a fixed pace, nearly for free.

A request says in its prompt how many tokens a second it wants (`pace 50`), so that it says it through any proxy; a
stream's first event leaves at once, its tokens at that pace. Streams are spread evenly over the interval between two
tokens, as if many engines stepped independently. One timer turns a calendar of milliseconds; every write is bytes that
were rendered before: each event is one HTTP chunk, as uvicorn writes it. Says `ready URL` on stdout.
"""

import asyncio
import re
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import httptools
import orjson
import uvloop

PROMPT_TOKENS = 20
WORD = " word"

_PACE = re.compile(rb"pace (\d{1,4})")
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d{1,6})')
_STREAM = re.compile(rb'"stream": ?true')
_TOTALS = re.compile(rb'"include_usage": ?true')
_RUNNING = re.compile(rb'"continuous_usage_stats": ?true')
_BACKLOG = 4096

Fields = Mapping[str, object]

_CREATED = 1795447492
_HEAD = {"id": "chatcmpl-8f14e45fceea467f9b5d2b1c0a7e3d61", "object": "", "created": _CREATED, "model": "bench"}
_FINGERPRINT = {"system_fingerprint": "vllm-0.32.0-28a3aadf"}
_CACHED = {"cached_tokens": 0, "created_cache_tokens": 0}
_SERVER = b"HTTP/1.1 %b\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n"
STREAM_HEAD = _SERVER % b"200 OK" + (
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


def json_answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A JSON body with its head."""
    return _SERVER % status + b"content-length: %d\r\ncontent-type: application/json\r\n\r\n" % len(body) + body


_CARD: Fields = {"id": "bench", "object": "model", "created": _CREATED, "owned_by": "vllm", "root": "bench"}
_MODELS = {"object": "list", "data": [{**_CARD, "parent": None, "max_model_len": 32768, "permission": []}]}
PAGES = {b"/health": json_answer(b""), b"/v1/models": json_answer(orjson.dumps(_MODELS))}
NOT_FOUND = json_answer(b'{"detail":"Not Found"}', b"404 Not Found")


def _usage(tokens: int, **details: object) -> Fields:
    counts = {"prompt_tokens": PROMPT_TOKENS, "total_tokens": PROMPT_TOKENS + tokens, "completion_tokens": tokens}
    return {"usage": {**counts, **details}}


def _empty(*names: str) -> Fields:
    return dict.fromkeys(names)


@cache
def whole_answer(tokens: int) -> bytes:
    """A complete answer of `tokens` that is not streamed, with its head."""
    unused = _empty("refusal", "annotations", "audio", "function_call", "reasoning")
    message = {"role": "assistant", "content": WORD * tokens, **unused}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
    cached = {**_CACHED, "multimodal_tokens": None}
    fields = {
        **_HEAD,
        "object": "chat.completion",
        "choices": [{**choice, **_empty("stop_reason", "token_ids", "routed_experts")}],
        "service_tier": None,
        **_FINGERPRINT,
        **_usage(tokens, prompt_tokens_details=cached, completion_tokens_details=None),
        **_empty("prompt_logprobs", "prompt_token_ids", "prompt_text"),
        **_empty("kv_transfer_params", "ec_transfer_params", "metrics"),
    }
    return json_answer(orjson.dumps(fields))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(choices: Sequence[Fields], rest: Fields) -> bytes:
    fields = {**_HEAD, "object": "chat.completion.chunk", "choices": choices, **rest}
    return _chunk(b"data: " + orjson.dumps(fields) + b"\n\n")


def _choice(delta: Fields, finish_reason: str | None, **rest: object) -> list[Fields]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason, **rest}]


@dataclass(slots=True)
class Frames:
    """The events of one form of stream, as vLLM 0.32 sends it.

    `running`: each event tells the usage so far (`continuous_usage_stats`). `totals`: an event without choices tells it
    at the end (`include_usage`); without that the last token's event names the fingerprint.
    """

    running: bool
    totals: bool
    _tokens: list[bytes] = field(default_factory=list)

    @property
    def role(self) -> bytes:
        """The first event, which has no token."""
        choices = _choice({"role": "assistant", "content": ""}, None)
        return _event(choices, {**self._so_far(0), **_empty("prompt_token_ids", "prompt_text")})

    def tokens(self, count: int) -> Sequence[bytes]:
        """The events of the tokens 1 to `count` at least, of a stream that goes on after them."""
        for number in range(len(self._tokens) + 1, count + 1):
            self._tokens.append(_event(_choice({"content": WORD}, None, token_ids=None), self._so_far(number)))
        return self._tokens

    def end(self, count: int) -> bytes:
        """The event of the last token, the totals where they are wanted, the end marker and the end of the body."""
        choices = _choice({"content": WORD}, "length", stop_reason=None, token_ids=None)
        events = [_event(choices, {**self._so_far(count), **({} if self.totals else _FINGERPRINT)})]
        if self.totals:
            events.append(_event([], {**_usage(count, prompt_tokens_details=_CACHED), **_FINGERPRINT}))
        return b"".join([*events, _chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"])

    def _so_far(self, tokens: int) -> Fields:
        return _usage(tokens, completion_tokens_details=None) if self.running else {}


class Stream:
    """One answer on its way: `interval` milliseconds between tokens."""

    __slots__ = ("_end", "_frames", "_sent", "_tokens", "_transport", "interval")

    def __init__(self, transport: asyncio.Transport, frames: Frames, tokens: int, interval: int) -> None:
        self.interval = interval
        self._transport = transport
        self._tokens = tokens
        self._frames = frames.tokens(tokens)
        self._end = frames.end(tokens)
        self._sent = 0
        transport.write(STREAM_HEAD + frames.role)

    def step(self) -> bool:
        """Send the next token; False where the stream has ended."""
        if self._transport.is_closing():
            return False
        self._sent += 1
        if self._sent < self._tokens:
            self._transport.write(self._frames[self._sent - 1])
            return True
        self._transport.write(self._end)
        return False


class Calendar:
    """Streams by the millisecond in which their next token is due; what is late is made up for at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: defaultdict[int, list[Stream]] = defaultdict(list)
        self._tick = 0
        self._started = 0
        self._turns = False

    def add(self, stream: Stream) -> None:
        """Begin to pace `stream`, in the phase of the interval that is its turn."""
        now = int(self._loop.time() * 1000)
        if not self._turns:
            self._tick, self._turns = now, True
            self._loop.call_soon(self._turn)
        self._started += 1
        phase = (self._started - now) % stream.interval
        self._due[now + 1 + phase].append(stream)

    def _turn(self) -> None:
        now = int(self._loop.time() * 1000)
        while self._tick <= now:
            for stream in self._due.pop(self._tick, ()):
                if stream.step():
                    self._due[self._tick + stream.interval].append(stream)
            self._tick += 1
        self._turns = bool(self._due)
        if self._turns:
            self._loop.call_at(self._tick / 1000, self._turn)


class EngineConnection(asyncio.Protocol):
    """One client of the engine; a request that is not HTTP ends the connection."""

    def __init__(self, calendar: Calendar, forms: Mapping[tuple[bool, bool], Frames]) -> None:
        self._calendar = calendar
        self._forms = forms
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._path = b""
        self._body = b""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    # httptools callbacks

    def on_url(self, url: bytes) -> None:
        self._path, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._path != b"/v1/chat/completions":
            self._transport.write(PAGES.get(self._path.partition(b"?")[0], NOT_FOUND))
            return
        body = self._body
        tokens = int(found[1]) if (found := _TOKENS.search(body)) else 16
        if not _STREAM.search(body):
            self._transport.write(whole_answer(tokens))
            return
        pace = int(found[1]) if (found := _PACE.search(body)) else 50
        frames = self._forms[bool(_RUNNING.search(body)), bool(_TOTALS.search(body))]
        self._calendar.add(Stream(self._transport, frames, tokens, max(1, 1000 // pace)))


async def serve() -> None:
    """Serve on a free port until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    calendar = Calendar(loop)
    forms = {(running, totals): Frames(running, totals) for running in (False, True) for totals in (False, True)}
    server = await loop.create_server(lambda: EngineConnection(calendar, forms), "127.0.0.1", 0, backlog=_BACKLOG)
    print(f"ready http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201 - who starts it reads it
    await ended.wait()
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
