"""The paced engine, `python -m evaluation.bench.datapath.engine`: chat answers at a fixed pace, almost for nothing.

A request says in its prompt how many tokens a second it wants (`pace 50`), so that it says it through any proxy; a
stream's first event leaves at once, its tokens at that pace. Streams are spread evenly over the interval between two
tokens, as if many engines stepped independently. One timer turns a calendar of milliseconds; every write is bytes that
were rendered before. Says `ready URL` on stdout.
"""

import asyncio
import re
import signal
from collections import defaultdict
from typing import cast

import httptools
import uvloop

from evaluation.bench.datapath.frames import STREAM_HEAD, Frames, json_answer, whole_answer

_PACE = re.compile(rb"pace (\d{1,4})")
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d{1,6})')
_STREAM = re.compile(rb'"stream": ?true')
_TOTALS = re.compile(rb'"include_usage": ?true')
_RUNNING = re.compile(rb'"continuous_usage_stats": ?true')
_BACKLOG = 4096

MODELS = json_answer(
    b'{"object":"list","data":[{"id":"bench","object":"model","created":1795447492,"owned_by":"vllm",'
    b'"root":"bench","parent":null,"max_model_len":32768,"permission":[]}]}'
)
PAGES = {b"/health": json_answer(b""), b"/v1/models": MODELS}
NOT_FOUND = json_answer(b'{"detail":"Not Found"}', b"404 Not Found")


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
    """One client of the engine."""

    def __init__(self, calendar: Calendar, forms: dict[tuple[bool, bool], Frames]) -> None:
        self._calendar = calendar
        self._forms = forms
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._path = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse; a request that is not HTTP ends the connection."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_url(self, url: bytes) -> None:
        """The path asked for."""
        self._path, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        """A piece of the request's body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer."""
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
