"""The load client, a process of its own: it puts one load on a proxy and measures one window.

It spends as little as it can on each chunk: it takes a time stamp and counts events. It parses nothing and wakes no
task; a task wakes up at the end of an answer. The client itself reads the proxy's processor time and memory at both
ends of its window, so that costs and counts belong to the same time. A stream is complete if every event and the end
of its body came.
"""

import asyncio
import math
import os
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from random import Random
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
REST_SETTLE_SECONDS = 3.0  # until a gateway has done what follows its start
TAIL_SECONDS = 0.3
PATIENCE_SECONDS = 8.0  # for what is still under way at the end of a window
STREAMS_PER_SECOND = 1500  # at which streams are begun
BURST_TOKENS = 8
WHOLE_TOKENS = 32
CONNECTIONS_AT_ONCE = 64

_EVENT = b"data: "
_END = b"\n0\r\n\r\n"  # of a body in chunks
_TAIL_BYTES = len(_END) - 1
_QUESTION = "pace {load.pace} phases {load.phases} and a question that is about as long as people ask"
# The history of a conversation: messages of half a kilobyte. 1 to 10 kB are drawn as often as 10 to 100 kB.
_LEAST_HISTORY_BYTES, _MOST_HISTORY_BYTES = 1_000, 100_000
_TURNS = [
    {"role": role, "content": f'{number}. A reply of some length, with "quotes",\n\ta few lines and more. ' * 7}
    for number, role in zip(range(_MOST_HISTORY_BYTES // 500), ("user", "assistant") * 100, strict=True)
]


@dataclass(frozen=True, slots=True)
class Order:
    """A load on `port`; `keys` are the clients' credentials, taken in turn, `pids` the processes whose costs count."""

    load: Load
    port: int
    keys: Sequence[str]
    pids: Sequence[int] = ()

    def request(self, number: int, tokens: int, history_bytes: float = 0) -> bytes:
        """The bytes of the chat request that connection `number` sends."""
        question = {"role": "user", "content": _QUESTION.format(load=self.load)}
        body = {
            "model": POOL,
            "messages": [*_TURNS[: round(history_bytes / _MOST_HISTORY_BYTES * len(_TURNS))], question],
            "max_tokens": tokens,
            "stream": self.load.shape in (Shape.STREAMS, Shape.BURST),
        }
        key = self.keys[number % len(self.keys)]
        return Address("127.0.0.1", self.port).post("/v1/chat/completions", body, key)


class _Caller(asyncio.Protocol):
    """One connection; `ended` is set when nothing more will come."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


@dataclass(slots=True)
class Answer:
    """One stream; `arrivals` has the time of every event: what is missing shows in their count."""

    tokens: int
    sent_at: float = field(default_factory=perf_counter)
    arrivals: list[float] = field(default_factory=list)
    has_ended: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the event with the role, every token and the end marker came, and the end of the body."""
        return self.has_ended and len(self.arrivals) == self.tokens + 2


class StreamClient(_Caller):
    """Carries streams, one after another; `ended` is set at the end of each."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = Answer(0)
        self._tail = b""

    def ask(self, request: bytes, tokens: int) -> Answer:
        """Send `request`, of which `tokens` are expected."""
        self.ended.clear()
        self.answer, self._tail = Answer(tokens), b""
        self.transport.write(request)
        return self.answer

    def data_received(self, data: bytes) -> None:
        """Stamp and count: the marks that are whole with what was left over."""
        now = perf_counter()
        data = self._tail + data
        count = data.count(_EVENT)
        if count == 1:
            self.answer.arrivals.append(now)
        else:
            self.answer.arrivals.extend([now] * count)
        self._tail = data[-_TAIL_BYTES:]
        if data.endswith(_END):
            self.answer.has_ended = True
            self.ended.set()


class WholeClient(_Caller):
    """Sends its request again as soon as it was answered, until `is_last`; `latencies` of what was answered 200."""

    def __init__(self) -> None:
        super().__init__()
        self.latencies: list[float] = []
        self.faults = 0
        self.is_last = False
        self._sent_at = 0.0
        self._request = b""
        self._parser = httptools.HttpResponseParser(self)

    def send(self, request: bytes) -> None:
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
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
        self.faults += 1
        super().connection_lost(exc)


class User:
    """One of the users of a load of streams: asks, takes the answer to its end and asks again, until `is_over`.

    A user whose answer broke asks no more. Steady streams last until `ends_at`. The first answer of another user begins
    somewhere in its middle, as if the load had been there for long.
    """

    def __init__(self, order: Order, number: int, ends_at: float) -> None:
        self.answers: list[Answer] = []
        self.is_over = False
        self._order = order
        self._number = number
        self._ends_at = ends_at
        self._draws = Random(number)

    async def run(self) -> None:
        """Connect and ask, until there is no more to ask."""
        while not self.is_over:
            _, client = await asyncio.get_running_loop().create_connection(StreamClient, "127.0.0.1", self._order.port)
            try:
                for _ in range(self._order.load.answers_each):
                    if self.is_over:
                        return
                    self.answers.append(client.ask(*self._next()))
                    await client.ended.wait()
                    if not self.answers[-1].is_whole:
                        return
            finally:
                client.transport.abort()

    def _next(self) -> tuple[bytes, int]:
        """The next request, and how many tokens it wants."""
        load, draws = self._order.load, self._draws
        if load.lengths:
            tokens = draws.choice(load.lengths)
            tokens = tokens if self.answers else math.ceil(tokens * draws.random())
        else:
            tokens = round((self._ends_at - perf_counter()) * load.pace)
        growth = _MOST_HISTORY_BYTES / _LEAST_HISTORY_BYTES
        history_bytes = _LEAST_HISTORY_BYTES * growth ** draws.random() if load.has_history else 0
        return self._order.request(self._number, tokens, history_bytes), tokens


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


async def _streams(order: Order) -> Observation:
    """Users with their streams, of which a window in the middle is measured.

    After it the steady streams end. Where answers end within the window, what is still under way is hung up.
    """
    load = order.load
    begun, hangs_up = load.count / STREAMS_PER_SECOND, bool(load.lengths)
    start = perf_counter()
    ends_at = start + begun + SETTLE_SECONDS + load.seconds + TAIL_SECONDS
    users = [User(order, number, ends_at) for number in range(load.count)]
    tasks: list[asyncio.Task[None]] = []
    for number, user in enumerate(users):
        await asyncio.sleep(start + number / STREAMS_PER_SECOND - perf_counter())
        tasks.append(asyncio.create_task(user.run()))
    await asyncio.sleep(SETTLE_SECONDS)
    window = await _window(order, asyncio.sleep(load.seconds))
    for user in users:
        user.is_over = True
    await asyncio.wait(tasks, timeout=0 if hangs_up else PATIENCE_SECONDS)
    under_way = {task for task in tasks if hangs_up and not task.done()}
    broken = [
        answer
        for user, task in zip(users, tasks, strict=True)
        for answer in user.answers
        if not answer.is_whole and not (task in under_way and answer is user.answers[-1])
    ]
    for task in tasks:
        task.cancel()
    refused = [error for error in await asyncio.gather(*tasks, return_exceptions=True) if isinstance(error, OSError)]
    seen = _observed(load, window, [answer for user in users for answer in user.answers])
    return replace(seen, faults=len(broken) + len(refused))


async def _burst(order: Order) -> Observation:
    """Streams of a few tokens that begin at once, each on a connection that stands already."""
    count = order.load.count
    clients = await connect(StreamClient, order.port, count)
    requests = [order.request(number, BURST_TOKENS) for number in range(count)]
    await asyncio.sleep(SETTLE_SECONDS)

    async def from_first_to_last() -> None:
        for client, request in zip(clients, requests, strict=True):
            client.ask(request, BURST_TOKENS)
        await all_ended(clients)

    window = await _window(order, from_first_to_last())
    seen = _observed(order.load, window, [client.answer for client in clients])
    return replace(seen, done=count - seen.faults)


def _observed(load: Load, window: _Window, answers: Sequence[Answer]) -> Observation:
    within = [[at for at in answer.arrivals if window.start <= at <= window.end] for answer in answers]
    # The first event has no token. The second has the first token, which waits for no step.
    late = [lateness(answer.arrivals[2 : answer.tokens + 1], 1 / load.pace) for answer in answers]
    begun = [answer for answer in answers if answer.arrivals[1:] and window.start <= answer.sent_at <= window.end]
    first = [answer.arrivals[1] - answer.sent_at for answer in begun]
    between = list(chain.from_iterable(map(gaps, within)))
    return window.observe(
        done=sum(map(len, within)),
        faults=sum(not answer.is_whole for answer in answers),
        first_p50=percentile(first, 50),
        first_p99=percentile(first, 99),
        gap_p50=percentile(between, 50),
        gap_p99=percentile(between, 99),
        late_max=max(chain.from_iterable(late), default=math.nan),
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


async def _rest(order: Order) -> Observation:
    """Nothing at all."""
    await asyncio.sleep(REST_SETTLE_SECONDS)
    window = await _window(order, asyncio.sleep(order.load.seconds))
    return window.observe(done=0, faults=0)


_SHAPES = {
    Shape.STREAMS: _streams,
    Shape.WHOLE: _whole,
    Shape.BURST: _burst,
    Shape.IDLE: _idle,
    Shape.REST: _rest,
}


def observe(order: Order, core: int | None) -> Observation:
    """Carry out `order` on processor `core` alone, where one is given."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    before = resident_bytes(order.pids)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(_SHAPES[order.load.shape](order))
    return replace(seen, added_bytes=seen.added_bytes - before)
