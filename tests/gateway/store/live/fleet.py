"""Three gateways, each a process, before two embedded engines, with a real store and a load: what a fault is tried on.

The engines are the witnesses. Each counts by itself how many sequences it held at most, and it could hold far more than
its window. The heavy tenant has the weight 4 and comes by two gateways, the light one has 1 and comes by two others; so
one gateway has both. Each tenant always has more requests than there is room.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import orjson
from real_stores import Store, free_port

from evaluation.bench.probe import Gauges
from evaluation.bench.settings import POOL, GatewaySettings, WindowSettings, draw_keys
from evaluation.load.client import Endpoint
from evaluation.load.connection import ExchangeRecord
from evaluation.load.processes import Child, child
from evaluation.load.prompts import Lengths
from evaluation.load.series import Span
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant

GATEWAYS, ENGINES = 3, 2
WINDOW = 8  # sequences at each engine
ENGINE_SEQUENCES = 4 * WINDOW
WEIGHTS = {"heavy": 4.0, "light": 1.0}
COMES_BY = {"heavy": (0, 2), "light": (1, 2)}
OUTSTANDING = 30  # requests of each tenant at each of its gateways
PROMPT, OUTPUT = Lengths(4, 20), Lengths(10, 50)
READY_SECONDS = 120.0
STUCK_SECONDS = 120.0
HEALING_SECONDS = 5.0
MEASURED_SECONDS = 6.0
TESTS = Path(__file__).parents[3]


class Engines:
    """Running engines, and what they say as witnesses."""

    def __init__(self, engines: Sequence[Child]) -> None:
        self._engines = engines
        self._session = aiohttp.ClientSession()

    @property
    def urls(self) -> list[str]:
        """Where they are."""
        return [engine.url for engine in self._engines]

    async def close(self) -> None:
        """Let go of their pages."""
        await self._session.close()

    async def until_full(self) -> None:
        """Wait until all have what their windows allow: no room is lost."""
        async with asyncio.timeout(STUCK_SECONDS):
            while min(await self.held()) < WINDOW:  # noqa: ASYNC110  # engines are other processes
                await asyncio.sleep(0.02)

    async def held(self) -> list[int]:
        """The sequences that run or wait at each engine now."""
        pages = [await self._page(engine, "/metrics") for engine in self._engines]
        gauges = [Gauges.parse(page.decode()) for page in pages]
        return [each.running + each.waiting for each in gauges]

    async def most_held(self) -> list[int]:
        """The most sequences that each engine ever had at once."""
        return [orjson.loads(await self._page(engine, "/witness"))["max_held"] for engine in self._engines]

    async def _page(self, engine: Child, path: str) -> bytes:
        async with self._session.get(engine.url + path) as answer:
            return await answer.read()


class Fleet:
    """Running gateways before `engines`, and the load on each gateway."""

    def __init__(self, gateways: Sequence[Child], engines: Engines, loads: Sequence[Load]) -> None:
        self.gateways = gateways
        self.engines = engines
        self._loads = loads

    def freeze(self, gateway: int) -> None:
        """Stop a gateway's process without ending it."""
        os.kill(self.gateways[gateway].pid, signal.SIGSTOP)

    def thaw(self, gateway: int) -> None:
        """Let it go on."""
        os.kill(self.gateways[gateway].pid, signal.SIGCONT)

    def kill(self, gateway: int) -> None:
        """End a gateway's process at once."""
        os.kill(self.gateways[gateway].pid, signal.SIGKILL)

    async def heavy_share(self, seconds: float = MEASURED_SECONDS) -> float:
        """The part of the service that the heavy tenant gets from now on, in percent."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(seconds)
        window = Span(start, loop.time())
        served = {name: sum(load.tallies[name].service.within(window) for load in self._of(name)) for name in WEIGHTS}
        return 100 * served["heavy"] / sum(served.values())

    def failures(self, gateways: Sequence[int] = range(GATEWAYS)) -> list[str]:
        """How requests at these gateways ended that did not get their whole answer."""
        records = (record for number in gateways for record in self._records(number))
        return [f"{record.tenant}: {record.status} {record.error}" for record in records if record.has_failed]

    def completed(self, gateways: Sequence[int] = range(GATEWAYS)) -> int:
        """How many requests at these gateways got their whole answer."""
        return sum(record.is_complete for number in gateways for record in self._records(number))

    def _records(self, gateway: int) -> list[ExchangeRecord]:
        return [record for tally in self._loads[gateway].tallies.values() for record in tally.records]

    def _of(self, tenant: str) -> list[Load]:
        return [self._loads[number] for number in COMES_BY[tenant]]


@asynccontextmanager
async def running_engines(folder: Path) -> AsyncIterator[Engines]:
    """Embedded engines that could each hold far more than a window."""
    async with AsyncExitStack() as stack:
        engine = ["-m", "backend", "embedded", "--profile", "cpu-tiny", "--max-num-seqs", str(ENGINE_SEQUENCES)]
        options = ["--port", "0", "--end-with-parent"]
        children = [
            await stack.enter_async_context(
                child(f"engine-{number}", [*engine, *options, "--seed", str(number)], folder, READY_SECONDS)
            )
            for number in range(ENGINES)
        ]
        engines = Engines(children)
        stack.push_async_callback(engines.close)
        yield engines


def serve_command(file: Path, settings: GatewaySettings, shares: Mapping[str, object]) -> list[str]:
    """How to start a gateway by `settings` that `shares` an account; its configuration is written to `file`."""
    replace(settings, replicas=shares).write(file)
    return ["-m", "gateway", "serve", str(file), "--announce"]


@asynccontextmanager
async def a_fleet(folder: Path, stores: Sequence[str], fleets: Sequence[str] = ("one",) * 3) -> AsyncIterator[Fleet]:
    """A loaded fleet; each gateway reaches the store by a URL of its own, and shares with those of the same fleet."""
    async with AsyncExitStack() as stack:
        engines = await stack.enter_async_context(running_engines(folder))
        keys = draw_keys(list(WEIGHTS))
        settings = GatewaySettings("vtc", engines.urls, "tiny", WEIGHTS, WindowSettings(WINDOW, slack=0), keys=keys)
        gateways = []
        for number, (store, name) in enumerate(zip(stores, fleets, strict=True)):
            shares = {"store": store, "name": f"gateway-{number}", "fleet": name, "expected": fleets.count(name)}
            serve = serve_command(folder / f"gateway-{number}.yaml", settings, shares)
            gateways.append(await stack.enter_async_context(child(f"gateway-{number}", serve, folder, READY_SECONDS)))
        loads = [
            await stack.enter_async_context(Load(Endpoint(gateway.url, POOL, keys), _tenants(number), number))
            for number, gateway in enumerate(gateways)
        ]
        await engines.until_full()
        yield Fleet(gateways, engines, loads)


def _tenants(gateway: int) -> list[LoadTenant]:
    return [
        LoadTenant(name, ClosedLoop(OUTSTANDING), PROMPT, OUTPUT, weight)
        for name, weight in WEIGHTS.items()
        if gateway in COMES_BY[name]
    ]


class Network:
    """One relay before the store for each gateway, each a process, so that each way can be cut by itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [free_port() for _ in range(GATEWAYS)]
        self._relays: list[Child] = []
        self._stack = AsyncExitStack()

    @property
    def urls(self) -> list[str]:
        """The store as each gateway sees it."""
        return [f"redis://127.0.0.1:{port}" for port in self._ports]

    async def lead_to(self, store: Store) -> None:
        """Lead every gateway to `store` from now on; connections to another one end."""
        await self._stack.aclose()
        self._relays = [
            await self._stack.enter_async_context(
                child(
                    f"relay-{number}",
                    [str(TESTS / "tcp_relay.py"), str(port), str(store.port)],
                    self._folder,
                    READY_SECONDS,
                )
            )
            for number, port in enumerate(self._ports)
        ]

    def cut(self, *gateways: int) -> None:
        """Let no byte pass for these gateways."""
        for number in gateways:
            os.kill(self._relays[number].pid, signal.SIGSTOP)

    def mend(self, *gateways: int) -> None:
        """Let pass what waited and what comes."""
        for number in gateways:
            os.kill(self._relays[number].pid, signal.SIGCONT)

    async def close(self) -> None:
        """End all relays."""
        self.mend(*range(len(self._relays)))
        await self._stack.aclose()
