"""The paced engine, `python -m evaluation.bench.datapath.engine`: vLLM's chat answers at a fixed pace, nearly for free.

A request says in its prompt how many tokens a second it wants, and how many engines this one stands for (`pace 50
phases 1`); every proxy passes that on. The first token leaves at once, behind the event of the role, as in vLLM; the
others follow at that pace. A real engine emits the next token of all its sequences in the same step. So all streams of
one phase get their tokens at the same moment. Several phases are several engines, whose steps fall evenly into the
interval between two tokens. One timer drives a calendar of milliseconds. Every write sends bytes that were rendered
before: each event is one HTTP chunk, as uvicorn writes it. The engine prints `ready URL` on stdout.
"""

import asyncio
import re
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, cast

import httptools
import orjson
import uvloop

ADDRESSES = ("127.0.0.1", *(f"127.0.1.{number}" for number in range(1, 250)))
"""Where it listens, so that it can stand for so many workers of one gateway."""
PROMPT_TOKENS = 20
WORD = " word"

_RHYTHM = re.compile(rb"pace (\d{1,4}) phases (\d{1,4})")
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d{1,6})')
_STREAM = re.compile(rb'"stream": ?true')
_TOTALS = re.compile(rb'"include_usage": ?true')
_RUNNING = re.compile(rb'"continuous_usage_stats": ?true')
_BACKLOG = 4096

_SERVER = b"HTTP/1.1 %b\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n"
STREAM_HEAD = _SERVER % b"200 OK" + (
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
# What vLLM 0.32 sent, with places for the counts: a whole answer, and of each form of stream the event with the role,
# that of a token, that of the last one, and that of the totals where it has one.
_RECORDED: Mapping[str, Any] = orjson.loads(files("evaluation.bench.datapath").joinpath("answers.json").read_bytes())


def json_answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A JSON body with its head."""
    return _SERVER % status + b"content-length: %d\r\ncontent-type: application/json\r\n\r\n" % len(body) + body


_MODEL = {"id": "bench", "object": "model", "created": 1795447492, "owned_by": "vllm", "max_model_len": 32768}
PAGES = {
    b"/health": json_answer(b""),
    b"/v1/models": json_answer(orjson.dumps({"object": "list", "data": [_MODEL]})),
}
_METRICS = """\
vllm:num_requests_running %d
vllm:num_requests_waiting 0
vllm:kv_cache_usage_perc 0
vllm:num_preemptions_total 0
vllm:iteration_tokens_total_count %d
vllm:iteration_tokens_total_sum %d
vllm:generation_tokens_total %d
"""
NOT_FOUND = json_answer(b'{"detail":"Not Found"}', b"404 Not Found")


@cache
def whole_answer(tokens: int) -> bytes:
    """A complete answer of `tokens` that is not streamed, with its head."""
    counts = {"text": WORD * tokens, "output": tokens, "total": PROMPT_TOKENS + tokens}
    return json_answer((_RECORDED["whole"] % counts).encode())


def _chunk(event: str) -> bytes:
    data = f"data: {event}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(slots=True)
class Frames:
    """The events of one form of stream: `none` has no usage, `usage` has it at the end, `forced` in every event too."""

    form: str
    _tokens: list[bytes] = field(default_factory=list)

    @property
    def role(self) -> bytes:
        """The first event, which has no token."""
        return self._event("role", 0)

    def tokens(self, count: int) -> Sequence[bytes]:
        """The events of the tokens 1 to `count` at least, of a stream that goes on after them."""
        self._tokens += [self._event("token", number) for number in range(len(self._tokens) + 1, count + 1)]
        return self._tokens

    def end(self, count: int) -> bytes:
        """The event of the last token, the totals where they are wanted, the end marker and the end of the body."""
        totals = b"" if self.form == "none" else self._event("totals", count)
        return self._event("last", count) + totals + _chunk("[DONE]") + b"0\r\n\r\n"

    def _event(self, name: str, tokens: int) -> bytes:
        return _chunk(_RECORDED[self.form][name] % {"output": tokens, "total": PROMPT_TOKENS + tokens})


class Stream:
    """One answer on its way: `interval` milliseconds between tokens, from engines in so many `phases`."""

    __slots__ = ("_end", "_frames", "_sent", "_tokens", "_transport", "interval", "phases")

    def __init__(self, transport: asyncio.Transport, frames: Frames, tokens: int, rhythm: tuple[int, int]) -> None:
        self.interval, self.phases = rhythm
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
    """Streams by the millisecond in which their next token is due. It sends late tokens at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: defaultdict[int, list[Stream]] = defaultdict(list)
        self._tick = 0
        self._started = 0
        self._steps = 0
        self._sent = 0
        self._turns = False

    def add(self, stream: Stream) -> None:
        """Send the first token of `stream`, and begin to pace it at the engine whose turn it is."""
        if not stream.step():
            return
        now = int(self._loop.time() * 1000)
        if not self._turns:
            self._tick, self._turns = now, True
            self._loop.call_soon(self._turn)
        self._started += 1
        step = self._started % stream.phases * stream.interval // stream.phases
        self._due[now + 1 + (step - now - 1) % stream.interval].append(stream)

    def metrics(self) -> bytes:
        """The page of metrics, with the figures of it that gateways read."""
        running = sum(map(len, self._due.values()))
        return json_answer((_METRICS % (running, self._steps, self._sent, self._sent)).encode())

    def _turn(self) -> None:
        now = int(self._loop.time() * 1000)
        while self._tick <= now:
            due = self._due.pop(self._tick, ())
            for stream in due:
                if stream.step():
                    self._due[self._tick + stream.interval].append(stream)
            self._steps, self._sent = self._steps + bool(due), self._sent + len(due)
            self._tick += 1
        self._turns = bool(self._due)
        if self._turns:
            self._loop.call_at(self._tick / 1000, self._turn)


class EngineConnection(asyncio.Protocol):
    """One client of the engine; a request that is not HTTP ends the connection."""

    def __init__(self, calendar: Calendar, forms: Mapping[str, Frames]) -> None:
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
        if self._path.startswith(b"/metrics"):
            self._transport.write(self._calendar.metrics())
            return
        if self._path != b"/v1/chat/completions":
            self._transport.write(PAGES.get(self._path.partition(b"?")[0], NOT_FOUND))
            return
        body = self._body
        tokens = int(found[1]) if (found := _TOKENS.search(body)) else 16
        if not _STREAM.search(body):
            self._transport.write(whole_answer(tokens))
            return
        pace, phases = map(int, found.groups()) if (found := _RHYTHM.search(body)) else (50, 1)
        form = "forced" if _RUNNING.search(body) else "usage" if _TOTALS.search(body) else "none"
        self._calendar.add(Stream(self._transport, self._forms[form], tokens, (max(1, 1000 // pace), phases)))


async def serve() -> None:
    """Serve on a free port of every address until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    calendar = Calendar(loop)
    forms = {form: Frames(form) for form in ("none", "usage", "forced")}
    first, *others = ADDRESSES
    server = await loop.create_server(lambda: EngineConnection(calendar, forms), first, 0, backlog=_BACKLOG)
    port = server.sockets[0].getsockname()[1]
    await loop.create_server(lambda: EngineConnection(calendar, forms), others, port)
    print(f"ready http://{first}:{port}", flush=True)  # noqa: T201 - who starts it reads it
    await ended.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
