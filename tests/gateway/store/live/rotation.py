"""Gateways that are replaced one after the other behind a balancer, and the clients that come by it.

The balancer does what docs/operations.md asks of any: a gateway gets requests while its `/ready` answers 200, and none
from the moment at which it is taken out. It is told to end after that, when no request is on its way to it any more.
Each request has a connection of its own.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson
from served import has_ended, watching

from evaluation.bench.settings import POOL, GatewaySettings, WindowSettings, draw_keys
from evaluation.load.client import Client, Endpoint
from evaluation.load.connection import ExchangeRecord, cut_off
from evaluation.load.processes import Child, child
from evaluation.load.series import Span
from evaluation.load.tenants import Tally

from .fleet import (
    COMES_BY,
    GATEWAYS,
    OUTPUT,
    PROMPT,
    READY_SECONDS,
    STUCK_SECONDS,
    WEIGHTS,
    WINDOW,
    Engines,
    running_engines,
    serve_command,
)

CLIENTS = {"heavy": 40, "light": 16}
LOOK_SECONDS = 0.1
ON_THEIR_WAY_SECONDS = 1.0  # until the gateway has every request that was sent before it was taken out
DRAIN_SECONDS = 60


class Balancer:
    """Sends requests to ready gateways in turn; each gateway has a place, and others come to it after it."""

    def __init__(self) -> None:
        self._gateways: dict[int, Child] = {}  # by place
        self._ready: dict[int, Child] = {}
        self._turns = count()
        self._session = aiohttp.ClientSession()

    def add(self, place: int, gateway: Child) -> None:
        """Send to `gateway` as soon as it is ready."""
        self._gateways[place] = gateway

    def take_out(self, place: int) -> Child:
        """Send nothing more to the gateway at `place`."""
        self._ready.pop(place, None)
        return self._gateways.pop(place)

    def next(self, places: Sequence[int]) -> Child:
        """The gateway that gets the next request of a tenant that comes by `places`."""
        ready = [self._ready[place] for place in places if place in self._ready]
        return ready[next(self._turns) % len(ready)]

    async def until_ready(self, places: Sequence[int]) -> None:
        """Wait until the gateways at all these places get requests."""
        async with asyncio.timeout(STUCK_SECONDS):
            while not set(places) <= self._ready.keys():  # noqa: ASYNC110  # gateways are other processes
                await asyncio.sleep(LOOK_SECONDS)

    async def watch(self) -> None:
        """Ask every gateway again and again whether it is ready, until cancelled."""
        async with self._session:
            while True:
                for place, gateway in list(self._gateways.items()):
                    await self._look(place, gateway)
                await asyncio.sleep(LOOK_SECONDS)

    async def _look(self, place: int, gateway: Child) -> None:
        async with self._session.get(f"{gateway.url}/ready") as answer:
            is_ready = answer.status == 200
        if self._gateways.get(place) is not gateway:
            return
        if is_ready:
            self._ready[place] = gateway
        else:
            self._ready.pop(place, None)


class Rotation:
    """The gateways, their engines, and the clients, each of which asks again when it has its answer."""

    def __init__(self, folder: Path, store: str, engines: Engines, stack: AsyncExitStack) -> None:
        self.engines = engines
        self.tallies = {tenant: Tally() for tenant in WEIGHTS}
        self._folder = folder
        self._store = store
        self._stack = stack
        self._keys = draw_keys(list(WEIGHTS))
        self._lives = count()
        self._balancer = Balancer()
        self._tasks: list[asyncio.Task[None]] = []
        self._began_at = 0.0

    async def start(self) -> None:
        """Start the gateways, then the clients; returns when the engines are full."""
        loop = asyncio.get_running_loop()
        self._tasks.append(loop.create_task(self._balancer.watch()))
        for place in range(GATEWAYS):
            self._balancer.add(place, await self._gateway(place))
        await self._balancer.until_ready(range(GATEWAYS))
        for tenant, number in CLIENTS.items():
            self._tasks += [loop.create_task(self._ask_on(tenant, Random(f"{tenant} {n}"))) for n in range(number)]
        await self.engines.until_full()
        self._began_at = loop.time()

    async def close(self) -> None:
        """Send nothing more."""
        await cut_off(self._tasks)

    async def replace(self, place: int) -> Mapping[str, Any]:
        """End the gateway at `place`, then start one with the same configuration; returns the last line of the old."""
        gateway = self._balancer.take_out(place)
        await asyncio.sleep(ON_THEIR_WAY_SECONDS)
        with watching(gateway.pid) as descriptor:
            os.kill(gateway.pid, signal.SIGTERM)
            assert await asyncio.to_thread(has_ended, descriptor)
        self._balancer.add(place, await self._gateway(place))
        await self._balancer.until_ready([place])
        line: dict[str, Any] = orjson.loads(gateway.log.read_bytes().splitlines()[-1])
        return line

    @property
    def failures(self) -> list[str]:
        """How requests ended that did not get their whole answer."""
        return [f"{each.tenant}: {each.status} {each.error}" for each in self._records() if each.has_failed]

    @property
    def completed(self) -> int:
        """How many requests got their whole answer."""
        return sum(record.is_complete for record in self._records())

    @property
    def heavy_share(self) -> float:
        """The part of all service since the start that the heavy tenant got, in percent."""
        window = Span(self._began_at, asyncio.get_running_loop().time())
        served = {tenant: tally.service.within(window) for tenant, tally in self.tallies.items()}
        return 100 * served["heavy"] / sum(served.values())

    def _records(self) -> list[ExchangeRecord]:
        return [record for tally in self.tallies.values() for record in tally.records]

    async def _gateway(self, place: int) -> Child:
        """Start a gateway at `place`; returns when it serves."""
        settings = GatewaySettings(
            "vtc",
            self.engines.urls,
            "tiny",
            WEIGHTS,
            WindowSettings(WINDOW, slack=0),
            listen={"drain_seconds": DRAIN_SECONDS},
            keys=self._keys,
        )
        shares = {"store": self._store, "name": f"gateway-{place}", "expected": GATEWAYS}
        serve = serve_command(self._folder / f"gateway-{place}.yaml", settings, shares)
        name = f"gateway-{place}-life-{next(self._lives)}"
        return await self._stack.enter_async_context(child(name, serve, self._folder, READY_SECONDS))

    async def _ask_on(self, tenant: str, source: Random) -> None:
        tally, prompts = self.tallies[tenant], PROMPT.prompts(source)
        while True:
            client = Client(Endpoint(self._balancer.next(COMES_BY[tenant]).url, POOL))
            record = ExchangeRecord(tenant, asyncio.get_running_loop().time())
            tally.records.append(record)
            request = client.render(next(prompts), OUTPUT.draw(source), self._keys[tenant])
            connection = await client.exchange(request, record, tally.take)
            if connection is None:
                return  # it has failed: that is all that can be learned
            connection.close()


@asynccontextmanager
async def a_rotation(folder: Path, store: str) -> AsyncIterator[Rotation]:
    """Loaded gateways that share an account by `store`."""
    async with AsyncExitStack() as stack:
        engines = await stack.enter_async_context(running_engines(folder))
        rotation = Rotation(folder, store, engines, stack)
        stack.push_async_callback(rotation.close)
        await rotation.start()
        yield rotation
