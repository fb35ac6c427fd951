"""The load client, a process of its own: it puts one load on a proxy and measures one window.

It spends as little as it can on each chunk: it takes a time stamp and counts events. It parses nothing and wakes no
task. The client itself reads the proxy's processor time and memory at both ends of its window, so that costs and
counts belong to the same time. A stream is complete if every event and the end marker came.
"""

import asyncio
import math
import os
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from time import perf_counter
from typing import TypeVar, cast

import httptools
import uvloop

from evaluation.bench.datapath.loads import Load, Observation, Shape
from evaluation.bench.processes import processor_seconds, resident_bytes
from evaluation.bench.settings import POOL
from evaluation.load.client import Address
from evaluation.metrics.statistics import percentile

SETTLE_SECONDS = 0.5
TAIL_SECONDS = 0.3
PATIENCE_SECONDS = 8.0  # for what is still under way at the end of a window
STREAMS_PER_SECOND = 1500  # at which streams are begun
ARRIVAL_TOKENS = 8
WHOLE_TOKENS = 32
CONNECTIONS_AT_ONCE = 64

_EVENT = b"data: "
_DONE = b"[DONE]"
_PROMPT = "pace {load.pace} phases {load.phases} and a question that is about as long as people ask"


@dataclass(frozen=True, slots=True)
class Order:
    """A load on `port`; `keys` are the clients' credentials, taken in turn, `pids` the processes whose costs count."""

    load: Load
    port: int
    keys: Sequence[str]
    pids: Sequence[int] = ()

    def request(self, number: int, tokens: int) -> bytes:
        """The bytes of the chat request that connection `number` sends."""
        body = {
            "model": POOL,
            "messages": [{"role": "user", "content": _PROMPT.format(load=self.load)}],
            "max_tokens": tokens,
            "stream": self.load.shape in (Shape.STREAMS, Shape.ARRIVALS, Shape.BURST),
        }
        key = self.keys[number % len(self.keys)]
        return Address("127.0.0.1", self.port).post("/v1/chat/completions", body, key)


class _Caller(asyncio.Protocol):
    """One connection; `ended` is set when nothing more will come."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.sent_at = 0.0
        self.transport: asyncio.Transport

    def send(self, request: bytes) -> None:
        self.sent_at = perf_counter()
        self.transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class StreamClient(_Caller):
    """Carries one stream; `arrivals` has the time of every event: what is missing shows in their count."""

    def __init__(self) -> None:
        super().__init__()
        self.arrivals: list[float] = []
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        """Stamp and count: the marks that are whole with what was left over."""
        now = perf_counter()
        data = self._tail + data
        count = data.count(_EVENT)
        if count == 1:
            self.arrivals.append(now)
        else:
            self.arrivals.extend([now] * count)
        self._tail = data[1 - len(_EVENT) :]
        if _DONE in data:
            self.ended.set()
            self.transport.abort()


class WholeClient(_Caller):
    """Sends its request again as soon as it was answered, until `is_last`; `latencies` of what was answered 200."""

    def __init__(self) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.faults = 0
        self.is_last = False
        self._request = b""
        self._parser = httptools.HttpResponseParser(self)

    def send(self, request: bytes) -> None:
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        super().send(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note the answer and ask again."""
        if self._parser.get_status_code() == 200:
            self.latencies.append(perf_counter() - self.sent_at)
        else:
            self.faults += 1
        if self.is_last:
            self.ended.set()
        else:
            self.send(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.faults += 1
        super().connection_lost(exc)


Client = TypeVar("Client", StreamClient, WholeClient)


async def connect(kind: type[Client], port: int, count: int) -> list[Client]:
    """`count` connections, some at a time so that no backlog overflows."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < count:
        wave = min(CONNECTIONS_AT_ONCE, count - len(clients))
        opened = await asyncio.gather(*(loop.create_connection(kind, "127.0.0.1", port) for _ in range(wave)))
        clients += [client for _, client in opened]
    return clients


async def all_ended(clients: Sequence[_Caller]) -> None:
    """Wait until all have ended, for a bounded time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            for client in clients:
                await client.ended.wait()


@dataclass(frozen=True, slots=True)
class _Window:
    """What the proxy used from `start` to `end`."""

    start: float
    end: float
    processor_seconds: float
    resident_bytes: int

    def observe(self, done: int, faults: int, **times: float) -> Observation:
        seconds = self.end - self.start
        return Observation(done, faults, seconds, self.processor_seconds, self.resident_bytes, **times)


async def _window(order: Order, work: Awaitable[None]) -> _Window:
    """The window that `work` takes."""
    used, start = processor_seconds(order.pids), perf_counter()
    await work
    end, used = perf_counter(), processor_seconds(order.pids) - used
    return _Window(start, end, used, resident_bytes(order.pids))


def gaps(arrivals: Sequence[float]) -> list[float]:
    """Times between consecutive arrivals."""
    return [later - earlier for earlier, later in pairwise(arrivals)]


def lateness(arrivals: Sequence[float], interval: float) -> list[float]:
    """How late each token of an even stream came, compared with the stream's most punctual token.

    Token k is due k intervals after token 0. The most punctual token sets the start of the stream. So a constant delay
    is no lateness, and one token that is held up does not make the others early.
    """
    offsets = [at - number * interval for number, at in enumerate(arrivals)]
    earliest = min(offsets, default=0.0)
    return [offset - earliest for offset in offsets]


async def _send(order: Order, clients: Sequence[StreamClient], per_second: float, tokens: int) -> None:
    """Begin a stream on each of `clients` at an even rate."""
    start = perf_counter()
    for number, client in enumerate(clients):
        if (ahead := start + number / per_second - perf_counter()) > 0:
            await asyncio.sleep(ahead)
        client.send(order.request(number, tokens))


async def _streams(order: Order) -> Observation:
    """Steady streams, of which a window in the middle is measured."""
    load = order.load
    ramp = load.count / STREAMS_PER_SECOND
    tokens = round((ramp + SETTLE_SECONDS + load.seconds + TAIL_SECONDS) * load.pace)
    clients = await connect(StreamClient, order.port, load.count)
    await _send(order, clients, STREAMS_PER_SECOND, tokens)
    await asyncio.sleep(SETTLE_SECONDS)
    window = await _window(order, asyncio.sleep(load.seconds))
    await all_ended(clients)
    return _observed(load, window, clients, tokens)


async def _arrivals(order: Order) -> Observation:
    """New short streams at an even rate or at once, each on a connection of its own that stands already."""
    load = order.load
    is_burst = load.shape is Shape.BURST
    count, per_second = (load.count, math.inf) if is_burst else (round(load.count * load.seconds), load.count)
    clients = await connect(StreamClient, order.port, count)
    await asyncio.sleep(SETTLE_SECONDS)

    async def from_first_to_last() -> None:
        await _send(order, clients, per_second, ARRIVAL_TOKENS)
        await all_ended(clients)

    window = await _window(order, from_first_to_last())
    seen = _observed(load, window, clients, ARRIVAL_TOKENS)
    return replace(seen, done=count - seen.faults)


def _observed(load: Load, window: _Window, clients: Sequence[StreamClient], tokens: int) -> Observation:
    within = [[at for at in client.arrivals if window.start <= at <= window.end] for client in clients]
    # The first event has no token; behind the last come the totals and the end marker.
    late = [lateness(client.arrivals[1 : tokens + 1], 1 / load.pace) for client in clients]
    first = [client.arrivals[0] - client.sent_at for client in clients if client.arrivals]
    between = list(chain.from_iterable(map(gaps, within)))
    return window.observe(
        done=sum(map(len, within)),
        faults=sum(len(client.arrivals) < tokens + 2 for client in clients),
        first_p50=percentile(first, 50),
        first_p99=percentile(first, 99),
        gap_p50=percentile(between, 50),
        gap_p99=percentile(between, 99),
        late_max=max(chain.from_iterable(late), default=float("nan")),
    )


async def _whole(order: Order) -> Observation:
    """Whole answers in a closed loop on each connection."""
    clients = await connect(WholeClient, order.port, order.load.count)
    for number, client in enumerate(clients):
        client.send(order.request(number, WHOLE_TOKENS))
    await asyncio.sleep(SETTLE_SECONDS)
    already = [len(client.latencies) for client in clients]
    window = await _window(order, asyncio.sleep(order.load.seconds))
    counted = [each for client, skipped in zip(clients, already, strict=True) for each in client.latencies[skipped:]]
    for client in clients:
        client.is_last = True
    await all_ended(clients)
    faults = sum(client.faults for client in clients)
    p50, p99 = percentile(counted, 50), percentile(counted, 99)
    return window.observe(len(counted), faults, first_p50=p50, first_p99=p99)


async def _idle(order: Order) -> Observation:
    """Connections that have been answered once and now wait."""
    clients = await connect(WholeClient, order.port, order.load.count)
    for number, client in enumerate(clients):
        client.is_last = True
        client.send(order.request(number, WHOLE_TOKENS))
        if number % CONNECTIONS_AT_ONCE == CONNECTIONS_AT_ONCE - 1:
            await asyncio.sleep(0.05)
    await all_ended(clients)
    window = await _window(order, asyncio.sleep(order.load.seconds))
    answered = sum(len(client.latencies) for client in clients)
    return window.observe(done=answered, faults=len(clients) - answered)


_SHAPES = {
    Shape.STREAMS: _streams,
    Shape.WHOLE: _whole,
    Shape.ARRIVALS: _arrivals,
    Shape.BURST: _arrivals,
    Shape.IDLE: _idle,
}


def observe(order: Order, core: int | None) -> Observation:
    """Carry out `order` on processor `core` alone, where one is given."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    before = resident_bytes(order.pids)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(_SHAPES[order.load.shape](order))
    return replace(seen, added_bytes=seen.added_bytes - before)
