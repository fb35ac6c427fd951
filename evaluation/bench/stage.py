"""The stage of a bench: engines for the whole of it, gateways and loads for its parts.

Every part starts from rest: the stage cuts a load at its end, and the next load waits until no engine holds anything.
A run is a warm-up and then a measured window; a `Run` holds what happened in the window. Children and files live in a
temporary folder that is removed with the stage. Only this module reads the wall clock, to find the window in the
gateway's log.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from evaluation.bench.probe import Probe, Sample, probe_session
from evaluation.bench.settings import POOL, EngineChoice, GatewaySettings, WindowSettings, draw_key, draw_keys
from evaluation.bench.store import Store, a_store
from evaluation.load.client import KNOWN_LENGTH, RUNNING_USAGE, Address, Endpoint, Surface
from evaluation.load.connection import ExchangeRecord
from evaluation.load.processes import Child, child
from evaluation.load.series import Span
from evaluation.load.tenants import ClosedLoop, Load, LoadTenant, Tally
from evaluation.report.terminal import Progress

ENGINE_READY_SECONDS = 240.0
GATEWAY_READY_SECONDS = 120.0
IDLE_SECONDS = 30.0
SECONDS_BETWEEN_CHECKS = 0.25


@dataclass(frozen=True, slots=True)
class Part:
    """One load to run: warm-up, a measured window, and how long the window's stragglers are awaited."""

    name: str
    tenants: Sequence[LoadTenant]
    seed: int
    warmup_seconds: float
    seconds: float
    grace_seconds: float = 0.0
    is_sampled: bool = True
    surface: Surface = Surface.COMPLETIONS
    fields: Mapping[str, object] = field(default_factory=lambda: KNOWN_LENGTH | RUNNING_USAGE)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run saw; `window` is loop time, `wall_window` the same on the wall clock.

    The load went on until `observed_until`, so that requests of the window that nobody follows up could end.
    """

    tallies: Mapping[str, Tally]
    window: Span
    wall_window: Span
    observed_until: float
    samples: Sequence[Sample]
    finished: Sequence[Mapping[str, Any]]

    @property
    def services(self) -> dict[str, float]:
        """Service that reached each tenant within the window."""
        return {name: tally.service.within(self.window) for name, tally in self.tallies.items()}

    @property
    def tokens_per_second(self) -> float:
        """Output tokens that reached all tenants, per second of the window."""
        return sum(tally.tokens.within(self.window) for tally in self.tallies.values()) / self.window.seconds

    @property
    def shortest_queues(self) -> list[int]:
        """In each sample, how many requests the tenant with the fewest had waiting at the gateway."""
        return [min(sample.gateway.queued_of(name) for name in self.tallies) for sample in self.samples]

    @property
    def faults(self) -> list[str]:
        """What went wrong with each request that failed by itself."""
        records = (record for tally in self.tallies.values() for record in tally.records)
        return [f"{record.tenant}: {record.error}" for record in records if record.has_failed]

    def sent(self, tenant: str) -> list[ExchangeRecord]:
        """What became of the requests that `tenant` sent within the window."""
        return self.tallies[tenant].sent_between(self.window.start, self.window.end)


@dataclass(frozen=True, slots=True)
class Server:
    """A running engine, or a gateway, and where its clients send."""

    process: Child
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Gateway(Server):
    """A running gateway, with the settings and the file that it was started from."""

    settings: GatewaySettings
    file: Path


class Stage:
    """Running engines and what is needed to run loads on them, with a gateway before them or without."""

    def __init__(self, engines: Sequence[Server], folder: Path, progress: Progress) -> None:
        self.engines = engines
        self.progress = progress
        self._folder = folder
        self._gateways = 0

    @property
    def engine(self) -> Server:
        """The engine where there is one only."""
        (engine,) = self.engines
        return engine

    @asynccontextmanager
    async def gateway(
        self,
        policy: str,
        weights: Mapping[str, float],
        window: WindowSettings,
        *,
        program: Sequence[str] = ("gateway",),
        **more: Any,
    ) -> AsyncIterator[Gateway]:
        """Run a gateway for tenants of these `weights` while the context is open, in front of every engine.

        `program` is the module that runs, with arguments before those of the gateway; `more` are further
        `GatewaySettings`.
        """
        self._gateways += 1
        name = f"gateway-{self._gateways}-{policy.replace(':', '-')}"
        self.progress.step(f"starting the gateway ({policy})")
        urls = [engine.process.url for engine in self.engines]
        more.setdefault("keys", draw_keys(list(weights)))
        settings = GatewaySettings(policy, urls, self.engines[0].endpoint.model, weights, window, **more)
        file = settings.write(self._folder / f"{name}.yaml")
        serve = ["-m", *program, "serve", str(file), "--announce"]
        async with child(name, serve, self._folder, GATEWAY_READY_SECONDS) as process:
            async with probe_session() as session:
                await process.until(partial(_is_ready, session, process.url), GATEWAY_READY_SECONDS)
            yield Gateway(process, Endpoint(process.url, POOL, settings.keys), settings, file)

    @asynccontextmanager
    async def fleet(
        self,
        count: int,
        policy: str,
        weights: Mapping[str, float],
        window: WindowSettings,
        *,
        store: AbstractAsyncContextManager[Store] | None = None,
    ) -> AsyncIterator[Gateway]:
        """Run `count` gateways for the same keys, which share one account if there is a `store`; it lives as long.

        What is given is the first one, whose clients send to all.
        """
        known: dict[str, Any] = {"keys": draw_keys(list(weights)), "admin_key": draw_key()}
        async with AsyncExitStack() as stack:
            url = "" if store is None else (await stack.enter_async_context(store)).url
            gateways = [
                await stack.enter_async_context(
                    self.gateway(policy, weights, window, replicas=_replica(number, count, url), **known)
                )
                for number in range(count)
            ]
            more = [gateway.process.url for gateway in gateways[1:]]
            yield replace(gateways[0], endpoint=replace(gateways[0].endpoint, more_urls=more))

    def store(self) -> AbstractAsyncContextManager[Store]:
        """A store for a fleet, which runs while the context is open. Raises `FileNotFoundError` with a remedy."""
        return a_store(self._folder)

    async def run(self, part: Part, target: Server) -> Run:
        """Put the load of `part` on `target` and measure its window."""
        endpoint = replace(target.endpoint, surface=part.surface, fields=part.fields)
        async with probe_session() as session:
            probe = self.probe(session, target)
            async with Load(endpoint, part.tenants, part.seed) as load:
                await self.watch(f"{part.name}: warm-up", part.warmup_seconds, target, load)
                start, wall_start = asyncio.get_running_loop().time(), time.time()
                async with AsyncExitStack() as stack:
                    if isinstance(target, Gateway) and part.is_sampled:
                        await stack.enter_async_context(probe.sampling())
                    await self.watch(part.name, part.seconds, target, load)
                end, wall_end = asyncio.get_running_loop().time(), time.time()
                await self._stragglers(part, load, start, end)
                observed_until = asyncio.get_running_loop().time()
            self.progress.step(f"{part.name}: waiting for the engine to be idle")
            await probe.idle(IDLE_SECONDS)
        return Run(
            tallies=load.tallies,
            window=Span(start, end),
            wall_window=Span(wall_start, wall_end),
            observed_until=observed_until,
            samples=tuple(probe.samples),
            finished=finished_requests(target.process.log) if isinstance(target, Gateway) else (),
        )

    def probe(self, session: aiohttp.ClientSession, target: Server) -> Probe:
        """The probe of `target`: a gateway with every engine, or an engine alone."""
        if isinstance(target, Gateway):
            urls = [engine.process.url for engine in self.engines]
            return Probe(session, urls, target.process.url, target.settings.admin_key)
        return Probe(session, [target.process.url])

    async def watch(self, what: str, seconds: float, target: Server, *loads: Load) -> None:
        """Let `seconds` pass while the loads run; raises as soon as a child or the load has failed."""
        self.progress.step(what, seconds)
        loop = asyncio.get_running_loop()
        last, end = loop.time(), loop.time() + seconds
        while (now := loop.time()) < end:
            await asyncio.sleep(min(SECONDS_BETWEEN_CHECKS, end - now))
            self.progress.advance(loop.time() - last)
            last = loop.time()
            for engine in self.engines:
                engine.process.raise_if_ended()
            for load in loads:
                load.raise_failure()
            target.process.raise_if_ended()

    async def _stragglers(self, part: Part, load: Load, start: float, end: float) -> None:
        """Give open-loop requests of the window time to end while the load goes on.

        Without it the slowest answers, still under way at the end, would be missing from every percentile.
        """
        names = [tenant.name for tenant in part.tenants if not isinstance(tenant.arrivals, ClosedLoop)]
        records = [record for name in names for record in load.tallies[name].sent_between(start, end)]
        if records and part.grace_seconds:
            self.progress.step(f"{part.name}: waiting for the last answers")
            await load.settled(records, part.grace_seconds)


def _replica(number: int, count: int, store: str) -> dict[str, object]:
    """The section `replicas` of gateway `number`, from 0."""
    return {"store": store, "name": f"replica-{number + 1}", "expected": count} if store else {}


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(f"{url}/ready") as answer:
        return answer.status == 200


def finished_requests(log: Path) -> list[Mapping[str, Any]]:
    """The gateway's own account of each finished request, from its log: the fields that are known, one line each."""
    with log.open("rb") as lines:
        return [orjson.loads(line) for line in lines if b'"event":"request"' in line]


@asynccontextmanager
async def stage(progress: Progress, *choices: EngineChoice) -> AsyncIterator[Stage]:
    """Start engines in a temporary folder; ends everything it started, in order, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="vtc-bench-") as name:
        folder = Path(name)
        progress.step(f"starting {', '.join(f'an engine ({choice.kind.value})' for choice in choices)}")
        try:
            async with AsyncExitStack() as stack:
                engines = [
                    await stack.enter_async_context(_engine(choice, f"engine-{number}", folder))
                    for number, choice in enumerate(choices, 1)
                ]
                yield Stage(engines, folder, progress)
        finally:
            progress.clear()


@asynccontextmanager
async def _engine(choice: EngineChoice, name: str, folder: Path) -> AsyncIterator[Server]:
    async with child(name, choice.arguments, folder, ENGINE_READY_SECONDS) as process:
        model = await Address.parse(process.url).first_model(None)
        yield Server(process, Endpoint(process.url, model))
