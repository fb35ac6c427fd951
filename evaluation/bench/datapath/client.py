"""The load client, `python -m evaluation.bench.datapath.client ORDER`: one load, one window, one line of what it saw.

It spends as little as it can on each chunk: a time stamp and a count of events; nothing is parsed, no task wakes up.
Processor time and memory of the proxy are read by the client itself at both ends of its window, so that costs and
counts belong to the same time. Streams are complete where every event and the end marker came.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain, pairwise
from time import perf_counter
from typing import TypeVar, cast

import httptools
import uvloop

from evaluation.bench.datapath.loads import Observation, Order, Shape
from evaluation.bench.processes import processor_seconds, resident_bytes
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
_PROMPT = "pace {pace} and a question that is about as long as people ask, to which the answer is words"


def chat_request(order: Order, number: int, tokens: int) -> bytes:
    """The bytes of the chat request that connection `number` sends."""
    body = {
        "model": order.model,
        "messages": [{"role": "user", "content": _PROMPT.format(pace=order.pace)}],
        "max_tokens": tokens,
        "stream": order.shape in (Shape.STREAMS, Shape.ARRIVALS),
    }
    key = order.keys[number % len(order.keys)] if order.keys else None
    return Address("127.0.0.1", order.port).post("/v1/chat/completions", body, key)


class StreamClient(asyncio.Protocol):
    """One connection that carries one stream; `arrivals` has the time of every event."""

    __slots__ = ("_tail", "arrivals", "ended", "sent_at", "transport")

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.arrivals: list[float] = []
        self.sent_at = 0.0
        self.transport: asyncio.Transport
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        """Ask for a stream."""
        self.sent_at = perf_counter()
        self.transport.write(request)

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

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, expected or not: what is missing shows in the count of events."""
        self.ended.set()


class WholeClient(asyncio.Protocol):
    """One connection that sends its request again as soon as it was answered; `latencies` of what was answered 200."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.latencies: list[float] = []
        self.faults = 0
        self.is_last = False
        self.transport: asyncio.Transport
        self._request = b""
        self._sent_at = 0.0
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        """Send `request` now and after each answer until `is_last`."""
        self._request, self._sent_at = request, perf_counter()
        self._parser = httptools.HttpResponseParser(self)
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Note the answer and ask again."""
        if self._parser.get_status_code() == 200:
            self.latencies.append(perf_counter() - self._sent_at)
        else:
            self.faults += 1
        if self.is_last:
            self.ended.set()
        else:
            self.send(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that broke is a fault."""
        self.faults += 1
        self.ended.set()


Client = TypeVar("Client", StreamClient, WholeClient)


class Meter:
    """The account of the proxy, the engine and this client, between two readings."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.before = resident_bytes(order.pids)
        self.during = 0
        self._began: tuple[float, ...] = ()
        self._ended: tuple[float, ...] = ()

    def _read(self) -> tuple[float, ...]:
        groups = (self._order.pids, self._order.engine_pids, [os.getpid()])
        return (*(processor_seconds(group) for group in groups), perf_counter())

    def begin(self) -> float:
        """The window begins; when."""
        self._began = self._read()
        return self._began[-1]

    def end(self) -> float:
        """The window ends; when."""
        self._ended = self._read()
        self.during = resident_bytes(self._order.pids)
        return self._ended[-1]

    def observe(self, done: int, faults: int, **times: float) -> Observation:
        """What was seen, with the costs of the window."""
        proxy, engine, client, seconds = (end - begin for begin, end in zip(self._began, self._ended, strict=True))
        return Observation(done, seconds, faults, proxy, engine, client, self.before, self.during, **times)


async def connect(kind: type[Client], port: int, count: int) -> list[Client]:
    """`count` connections, some at a time so that no backlog overflows."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < count:
        wave = min(CONNECTIONS_AT_ONCE, count - len(clients))
        opened = await asyncio.gather(*(loop.create_connection(kind, "127.0.0.1", port) for _ in range(wave)))
        clients += [client for _, client in opened]
    return clients


async def all_ended(clients: Sequence[Client]) -> None:
    """Wait until all have ended, for a bounded time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            for client in clients:
                await client.ended.wait()


def gaps(arrivals: Sequence[float]) -> list[float]:
    """Times between consecutive arrivals."""
    return [later - earlier for earlier, later in pairwise(arrivals)]


def lateness(arrivals: Sequence[float], interval: float) -> list[float]:
    """How much later each token of an even stream came than its most punctual one allows.

    Token k is due k intervals after token 0; the stream's start is where its earliest token, against that pace, puts
    it. So a constant delay is no lateness, and one token that is held up does not make the others early.
    """
    offsets = [at - number * interval for number, at in enumerate(arrivals)]
    earliest = min(offsets, default=0.0)
    return [offset - earliest for offset in offsets]


async def streams(order: Order, meter: Meter) -> Observation:
    """Steady streams, of which a window in the middle is measured."""
    ramp = order.count / STREAMS_PER_SECOND
    tokens = round((ramp + SETTLE_SECONDS + order.seconds + TAIL_SECONDS) * order.pace)
    clients = await connect(StreamClient, order.port, order.count)
    start = perf_counter()
    for number, client in enumerate(clients):
        client.send(chat_request(order, number, tokens))
        if number % 15 == 14:
            await asyncio.sleep(max(0.0, start + number / STREAMS_PER_SECOND - perf_counter()))
    await asyncio.sleep(SETTLE_SECONDS)
    began = meter.begin()
    await asyncio.sleep(order.seconds)
    end = meter.end()
    await all_ended(clients)
    return _observed(order, meter, clients, tokens, (began, end))


def _observed(
    order: Order, meter: Meter, clients: Sequence[StreamClient], tokens: int, window: tuple[float, float]
) -> Observation:
    within = [[at for at in client.arrivals if window[0] <= at <= window[1]] for client in clients]
    # The first event has no token; behind the last come the totals and the end marker.
    late = [lateness(client.arrivals[1 : tokens + 1], 1 / order.pace) for client in clients]
    first = [client.arrivals[0] - client.sent_at for client in clients if client.arrivals]
    between = list(chain.from_iterable(map(gaps, within)))
    delays = list(chain.from_iterable(late))
    return meter.observe(
        done=sum(map(len, within)),
        faults=sum(len(client.arrivals) < tokens + 2 for client in clients),
        first_p50=percentile(first, 50),
        first_p99=percentile(first, 99),
        gap_p50=percentile(between, 50),
        gap_p99=percentile(between, 99),
        late_p99=percentile(delays, 99),
        late_max=max(delays, default=float("nan")),
    )


async def whole(order: Order, meter: Meter) -> Observation:
    """Whole answers in a closed loop on each connection."""
    clients = await connect(WholeClient, order.port, order.count)
    for number, client in enumerate(clients):
        client.send(chat_request(order, number, WHOLE_TOKENS))
    await asyncio.sleep(SETTLE_SECONDS)
    already = [len(client.latencies) for client in clients]
    meter.begin()
    await asyncio.sleep(order.seconds)
    meter.end()
    counted = [client.latencies[skipped:] for client, skipped in zip(clients, already, strict=True)]
    for client in clients:
        client.is_last = True
    await all_ended(clients)
    faults = sum(client.faults for client in clients)
    return meter.observe(
        done=sum(map(len, counted)),
        faults=faults,
        first_p50=percentile(list(chain.from_iterable(counted)), 50),
        first_p99=percentile(list(chain.from_iterable(counted)), 99),
    )


async def arrivals(order: Order, meter: Meter) -> Observation:
    """New short streams at an even rate, each on a connection of its own that stands already."""
    count = round(order.count * order.seconds)
    clients = await connect(StreamClient, order.port, count)
    await asyncio.sleep(SETTLE_SECONDS)
    start = meter.begin()
    for number, client in enumerate(clients):
        await asyncio.sleep(max(0.0, start + number / order.count - perf_counter()))
        client.send(chat_request(order, number, ARRIVAL_TOKENS))
    end = meter.end()
    await all_ended(clients)
    return _observed(order, meter, clients, ARRIVAL_TOKENS, (start, end))


async def idle(order: Order, meter: Meter) -> Observation:
    """Connections that have been answered once and now wait."""
    clients = await connect(WholeClient, order.port, order.count)
    for first in range(0, len(clients), CONNECTIONS_AT_ONCE):
        wave = clients[first : first + CONNECTIONS_AT_ONCE]
        for number, client in enumerate(wave):
            client.is_last = True
            client.send(chat_request(order, number, WHOLE_TOKENS))
        await asyncio.sleep(0.05)
    await all_ended(clients)
    meter.begin()
    await asyncio.sleep(order.seconds)
    meter.end()
    answered = sum(len(client.latencies) for client in clients)
    return meter.observe(done=answered, faults=order.count - answered)


_LOADS = {Shape.STREAMS: streams, Shape.WHOLE: whole, Shape.ARRIVALS: arrivals, Shape.IDLE: idle}


async def main(order: Order) -> None:
    """Carry out `order` and print what was seen."""
    observation = await _LOADS[order.shape](order, Meter(order))
    sys.stdout.buffer.write(observation.encode())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Order.decode(sys.argv[1])))
