"""Three gateways, each a process, flooded by four tenants. Each tenant has one limit, a pool and an engine of its own.

The engines are the witnesses of what is in flight and of what the rates let through: each counts by itself. What waits
is what the gateways say. They do not answer in the same moment, so a place may count twice: a request leaves it at one
gateway after that has answered, and another request takes it at a gateway that answers later. Only two requests run at
that engine, and each for seconds, so at most two places of a hundred count twice.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from evaluation.bench.settings import GatewaySettings, WindowSettings, draw_keys
from evaluation.load.client import KNOWN_LENGTH, Endpoint
from evaluation.load.processes import Child, program
from evaluation.load.prompts import Lengths
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant

from .fleet import GATEWAYS, READY_SECONDS, STUCK_SECONDS

LOOK_SECONDS = 0.1
WIDE = 64  # sequences at an engine
PROMPT = Lengths(10, 10)
RATES = ("requests", "tokens")


@dataclass(frozen=True)
class Flood:
    """What one tenant sends by each gateway, `outstanding` requests at once, and the `limit` that it meets."""

    field: str
    limit: int
    outstanding: int
    output: Lengths
    window: int = WIDE  # sequences at its engine


FLOODS = {
    "flight": Flood("max_in_flight", 20, 12, Lengths(60, 120)),
    "queue": Flood("max_queued", 100, 40, Lengths(300, 500), window=2),
    "requests": Flood("requests_per_minute", 300, 4, Lengths(2, 6)),
    "tokens": Flood("tokens_per_minute", 6_000, 4, Lengths(10, 10)),
}


@dataclass(frozen=True)
class Look:
    """What is used of each limit, `seconds` after the flood began: of a rate since then, of the others now."""

    seconds: float
    used: dict[str, int]

    def part(self, tenant: str) -> float:
        """What is used of a limit, as a part of all that is allowed."""
        minutes = 1 + self.seconds / 60 if tenant in RATES else 1.0  # a full bucket, and its refill
        return self.used[tenant] / (FLOODS[tenant].limit * minutes)


class Flooded:
    """The flood, and all that was seen of it."""

    def __init__(
        self, gateways: Sequence[Child], engines: dict[str, Child], loads: dict[str, list[Load]], admin_key: str
    ) -> None:
        self._gateways = gateways
        self._engines = engines
        self._loads = loads
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {admin_key}"})
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self.looks: list[Look] = []

    async def close(self) -> None:
        """Let go of the pages."""
        await self._session.close()

    async def until(self, least: float, tenants: Iterable[str] = FLOODS) -> None:
        """Wait until at least this part of each of these limits has been used at some time from now on."""
        missing = set(tenants)
        async with asyncio.timeout(STUCK_SECONDS):
            while missing:
                look = await self._look()
                missing = {tenant for tenant in missing if look.part(tenant) < least}

    async def watch(self, seconds: float) -> Sequence[Look]:
        """What is seen from now on."""
        first, until = len(self.looks), self._loop.time() + seconds
        while self._loop.time() < until:
            await self._look()
        return self.looks[first:]

    async def most_in_flight(self) -> int:
        """The most sequences that the tenant with this limit ever had in flight at once."""
        return int((await self._witness("flight"))["max_held"])

    def ends(self, tenant: str) -> set[tuple[int, bool]]:
        """How requests of this tenant ended: the status, and whether the whole answer came."""
        records = (record for load in self._loads[tenant] for record in load.tallies[tenant].records)
        return {(record.status, record.is_complete) for record in records if record.ended_at is not None}

    async def _look(self) -> Look:
        await asyncio.sleep(LOOK_SECONDS)
        flight, requests, tokens = [await self._witness(tenant) for tenant in ("flight", *RATES)]
        used = {
            "flight": sum(not request["ending"] for request in flight["requests"].values()),
            "queue": sum(await asyncio.gather(*(self._queued(gateway) for gateway in self._gateways))),
            "requests": requests["started"],
            "tokens": tokens["prompt_tokens"] + tokens["output_tokens"],
        }
        self.looks.append(Look(self._loop.time() - self._began_at, used))
        return self.looks[-1]

    async def _witness(self, tenant: str) -> dict[str, Any]:
        return orjson.loads(await self._page(self._engines[tenant], "/witness"))

    async def _queued(self, gateway: Child) -> int:
        pools = orjson.loads(await self._page(gateway, "/debug/state"))["pools"]
        return sum(pool["queued"] for pool in pools if pool["pool"] == "queue")

    async def _page(self, server: Child, path: str) -> bytes:
        async with self._session.get(server.url + path) as answer:
            return await answer.read()


@asynccontextmanager
async def a_flood(folder: Path, store: str, fleets: Sequence[str] = ("one",) * GATEWAYS) -> AsyncIterator[Flooded]:
    """Flooded gateways with one `store`; each shares with those of the same fleet."""
    async with AsyncExitStack() as stack:
        engine = ["-m", "backend", "embedded", "--port", "0", "--max-num-seqs", str(WIDE), "--end-with-parent"]
        started = await _children(stack, folder, {f"engine-{tenant}": engine for tenant in FLOODS})
        engines = dict(zip(FLOODS, started, strict=True))
        settings = GatewaySettings("vtc", [], "tiny", dict.fromkeys(FLOODS, 1.0), keys=draw_keys(list(FLOODS)))
        commands = {}
        for number, fleet in enumerate(fleets):
            shares = {"store": store, "name": f"gateway-{number}", "fleet": fleet, "expected": fleets.count(fleet)}
            file = folder / f"gateway-{number}.yaml"
            file.write_bytes(orjson.dumps(_document(settings, engines) | {"replicas": shares}))
            commands[f"gateway-{number}"] = ["-m", "gateway", "serve", str(file), "--announce"]
        gateways = await _children(stack, folder, commands)
        loads = {tenant: [_load(tenant, gateway, settings.keys) for gateway in gateways] for tenant in FLOODS}
        flooded = Flooded(gateways, engines, loads, settings.admin_key)
        stack.push_async_callback(flooded.close)
        for load in chain(*loads.values()):
            await stack.enter_async_context(load)
        yield flooded


async def _children(stack: AsyncExitStack, folder: Path, commands: Mapping[str, Sequence[str]]) -> list[Child]:
    """Children that start at the same time; returns when all are ready."""
    children = [
        await stack.enter_async_context(program(name, [sys.executable, *command], folder))
        for name, command in commands.items()
    ]
    await asyncio.gather(*(each.ready(READY_SECONDS) for each in children))
    return children


def _load(tenant: str, gateway: Child, keys: Mapping[str, str]) -> Load:
    flood, fields = FLOODS[tenant], KNOWN_LENGTH | {"stream": False}
    endpoint = Endpoint(gateway.url, tenant, keys, fields=fields)
    return Load(endpoint, [LoadTenant(tenant, ClosedLoop(flood.outstanding), PROMPT, flood.output)], seed=0)


def _document(settings: GatewaySettings, engines: dict[str, Child]) -> dict[str, Any]:
    document: dict[str, Any] = settings.document()
    document["pools"] = [
        {
            "model": tenant,
            "engine_model": "tiny",
            "window": WindowSettings(FLOODS[tenant].window, slack=0).document(),
            "workers": [{"url": engine.url, "name": tenant}],
        }
        for tenant, engine in engines.items()
    ]
    for entry in document["tenants"]:
        flood = FLOODS[entry["name"]]
        entry["limits"] = {flood.field: flood.limit}
    return document
