"""Tenants that put load on an HTTP endpoint, and what each of them received.

A closed-loop tenant keeps a fixed number of requests outstanding. An open-loop tenant sends at the moments of a seeded
random process, however earlier requests ended. Outputs have a known length (`ignore_eos`). The tenant's own seeded
generator draws it for each request, so two runs of one seed send the same requests. Service is 1 x input + 2 x output
tokens at the moment it reached the client.
Bounds: `MAX_OPEN_REQUESTS` per open-loop tenant; records of one run.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self, assert_never

from evaluation.load.client import Client, Endpoint
from evaluation.load.connection import ExchangeRecord, StreamConnection, cut_off
from evaluation.load.prompts import Chats, Lengths, Prompt, characters
from evaluation.load.series import ServiceSeries

INPUT_WEIGHT = 1
OUTPUT_WEIGHT = 2
MAX_OPEN_REQUESTS = 2000
# A refused or broken request is not repeated at once: a closed loop would spin.
PAUSE_AFTER_FAILURE_SECONDS = 0.25
SECONDS_BETWEEN_LOOKS = 0.02


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """`outstanding` requests at every moment: with enough of them the tenant is always backlogged."""

    outstanding: int


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Poisson arrivals."""

    requests_per_second: float


@dataclass(frozen=True, slots=True)
class Spaced:
    """One request after another at uniformly random distances, so that two of them hardly ever wait together."""

    shortest_seconds: float
    longest_seconds: float


Arrivals = ClosedLoop | OpenLoop | Spaced


@dataclass(frozen=True, slots=True)
class LoadTenant:
    """One tenant's behaviour. `prompt` is in bytes, which are tokens for a byte tokenizer.

    If prompts are conversations, each place of a closed loop leads a conversation of its own. The clients leave after
    so many tokens, or within `patience_seconds`, if that is given. The places of a closed loop, or the requests,
    use the endpoint's URLs in turn: those of the numbers `comes_by`, from 0, or all where that is empty."""

    name: str
    arrivals: Arrivals
    prompt: Lengths | Chats
    output: Lengths
    weight: float = 1.0
    starts_after_seconds: float = 0.0
    leaves_after_tokens: int | None = None
    patience_seconds: float | None = None
    comes_by: Sequence[int] = ()


def weights_of(tenants: Iterable[LoadTenant]) -> dict[str, float]:
    """Each tenant's weight by its name."""
    return {tenant.name: tenant.weight for tenant in tenants}


class Tally:
    """What one tenant sent and received in one run."""

    def __init__(self) -> None:
        self.service = ServiceSeries()
        self.tokens = ServiceSeries()
        self.records: list[ExchangeRecord] = []

    def take(self, at: float, prompt_tokens: int, output_tokens: int) -> None:
        """Note tokens that just arrived."""
        self.service.add(at, INPUT_WEIGHT * prompt_tokens + OUTPUT_WEIGHT * output_tokens)
        self.tokens.add(at, output_tokens)

    def sent_between(self, start: float, end: float) -> list[ExchangeRecord]:
        """The records of requests sent in the window."""
        return [record for record in self.records if start <= record.sent_at < end]


class Load:
    """Runs the tenants against an endpoint while its context is open; leaving it aborts what is in flight."""

    def __init__(self, endpoint: Endpoint, tenants: Sequence[LoadTenant], seed: int) -> None:
        self._clients = [Client(replace(endpoint, url=url)) for url in endpoint.urls]
        self._tenants = tenants
        self._seed = seed
        self._tasks: set[asyncio.Task[None]] = set()
        self.tallies = {tenant.name: Tally() for tenant in tenants}

    async def __aenter__(self) -> Self:
        for tenant in self._tenants:
            source = random.Random(f"{self._seed}/{tenant.name}")
            match tenant.arrivals:
                case ClosedLoop(outstanding):
                    for slot in range(outstanding):
                        self._spawn(self._slot(tenant, slot, source), f"load {tenant.name} {slot}")
                case OpenLoop(rate):
                    distances = partial(source.expovariate, rate)
                    self._spawn(self._arrivals(tenant, distances, source), f"load {tenant.name}")
                case Spaced(shortest, longest):
                    distances = partial(source.uniform, shortest, longest)
                    self._spawn(self._arrivals(tenant, distances, source), f"load {tenant.name}")
                case _:
                    assert_never(tenant.arrivals)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await cut_off(self._tasks)

    def raise_failure(self) -> None:
        """Raise what ended one of the load's own tasks, if anything did."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                raise fault

    async def settled(self, records: Sequence[ExchangeRecord], grace_seconds: float) -> None:
        """Wait until all `records` have ended, for at most `grace_seconds`; the load goes on meanwhile."""
        await self.until(lambda: all(record.ended_at is not None for record in records), grace_seconds)

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Let the load go on until `holds()`, for at most `seconds`. Returns whether it held."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            if holds():
                return True
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
        return holds()

    def _spawn(self, coroutine: "asyncio._CoroutineLike[None]", name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        # A failed task stays: `raise_failure` reports it.
        if task.cancelled() or task.exception() is None:
            self._tasks.discard(task)

    def _client(self, tenant: LoadTenant, number: int) -> Client:
        """The client of the tenant's place, or request, `number`."""
        places = tenant.comes_by or range(len(self._clients))
        return self._clients[places[number % len(places)]]

    async def _slot(self, tenant: LoadTenant, number: int, source: random.Random) -> None:
        """One place of a closed loop: the next request leaves when the last one ended."""
        client = self._client(tenant, number)
        await asyncio.sleep(tenant.starts_after_seconds)
        connection: StreamConnection | None = None
        prompts = tenant.prompt.prompts(source)
        try:
            while True:
                connection = await self._request(client, tenant, next(prompts), source, connection)
                if connection is None:
                    await asyncio.sleep(PAUSE_AFTER_FAILURE_SECONDS)
        finally:
            if connection is not None:
                connection.close()

    async def _arrivals(self, tenant: LoadTenant, distance: Callable[[], float], source: random.Random) -> None:
        """Send one request after another. Arrival times do not depend on when the loop woke up."""
        loop = asyncio.get_running_loop()
        at = loop.time() + tenant.starts_after_seconds
        prompts = tenant.prompt.prompts(source)
        for number in count():
            at += distance()
            await asyncio.sleep(max(0.0, at - loop.time()))
            assert len(self._tasks) < MAX_OPEN_REQUESTS, f"{tenant.name}: too many requests outstanding"
            client = self._client(tenant, number)
            self._spawn(self._single(client, tenant, next(prompts), source), f"load {tenant.name} request")

    async def _single(self, client: Client, tenant: LoadTenant, prompt: Prompt, source: random.Random) -> None:
        connection = await self._request(client, tenant, prompt, source, None)
        if connection is not None:
            connection.close()

    async def _request(
        self,
        client: Client,
        tenant: LoadTenant,
        prompt: Prompt,
        source: random.Random,
        connection: StreamConnection | None,
    ) -> StreamConnection | None:
        """Send one request; gives the connection back if it can be used again."""
        tally, endpoint = self.tallies[tenant.name], client.endpoint
        record = ExchangeRecord(tenant.name, asyncio.get_running_loop().time(), tenant.leaves_after_tokens)
        record.prompt_guess = round(characters(prompt) / endpoint.bytes_per_token)
        tally.records.append(record)
        request = client.render(prompt, tenant.output.draw(source), endpoint.keys.get(tenant.name))
        patience = None if tenant.patience_seconds is None else source.uniform(0, tenant.patience_seconds)
        try:
            async with asyncio.timeout(patience):
                return await client.exchange(request, record, tally.take, connection)
        except TimeoutError:
            record.has_left, record.error = True, ""
            record.ended_at = asyncio.get_running_loop().time()
            return None
