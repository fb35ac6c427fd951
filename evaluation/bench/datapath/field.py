"""The field: the engine and the proxies as running processes, each on its core, and the rounds that measure them.

The proxies share a core, and one of them at a time has work. Engine and load client share another core, or have one
each if the machine has three. A proxy serves once it has answered a request and streamed one. The bench reports a peer
that does not serve and leaves it out. Without the gateway there is no bench. A round in which nginx cost something else
than usual says that the machine was busy. It is repeated, as often as there are rounds.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

import aiohttp

from evaluation.bench.datapath.client import Order, observe
from evaluation.bench.datapath.contenders import DIRECT, GATEWAY, INTERPRETED, OURS, Contender, ProxySetup
from evaluation.bench.datapath.findings import Findings
from evaluation.bench.datapath.loads import Load, Observation, Shape
from evaluation.bench.processes import family
from evaluation.bench.settings import POOL, draw_keys
from evaluation.load.processes import Child, ChildFailed, child, program
from evaluation.report.terminal import Progress

TENANTS = tuple(f"tenant-{number}" for number in range(16))
READY_SECONDS = 90.0

_ENGINE = ("-m", "evaluation.bench.datapath.engine")


def _cores() -> tuple[int | None, int | None, int | None]:
    """The processors of proxy, engine and client; None where the machine has too few to keep them apart."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1], usable[min(2, len(usable) - 1)]) if len(usable) > 1 else (None, None, None)


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that serves (or the engine itself): its port and its processes."""

    name: str
    port: int
    pids: Sequence[int]
    most_streams: int


class Field:
    """The engine, proxies started in front of it, and what was found of them; `failures`: why one does not serve."""

    def __init__(self, engine: Child, folder: Path, clients: ProcessPoolExecutor, progress: Progress) -> None:
        self.findings = Findings()
        self.failures: dict[str, str] = {}
        self._engine = engine
        self._direct = Running(DIRECT, int(engine.url.rpartition(":")[2]), (), sys.maxsize)
        self._folder = folder
        self._clients = clients
        self._progress = progress
        self._keys = draw_keys(TENANTS)
        self._started = 0

    # -- what is measured

    async def rounds(self, contenders: Sequence[Contender], loads: Sequence[Load], rounds: int) -> None:
        """Every load on the engine alone and on every contender in turn, `rounds` times."""
        shared = [load for load in loads if not load.fresh]
        if shared:
            async with self.proxies(contenders) as proxies:
                for number in range(rounds):
                    for load in shared:
                        await self._round(load, proxies, number)
                for load in shared * rounds:
                    if (odd := self.findings.odd_round(load)) is not None:
                        await self._round(load, proxies, odd)
        for load in (load for load in loads if load.fresh):
            for number in range(rounds):
                await self._fresh_round(load, contenders, number)

    async def _round(self, load: Load, proxies: Mapping[str, Running], number: int) -> None:
        """Every proxy under `load`, one after another."""
        for proxy in (self._direct, *proxies.values()):
            if load.count <= proxy.most_streams:
                self.findings.add(load, proxy.name, number, await self.measure(load, proxy))

    async def _fresh_round(self, load: Load, contenders: Sequence[Contender], number: int) -> None:
        """Every contender under `load`, each just started."""
        if load.shape is Shape.REST:
            able, workers = [contender for contender in contenders if contender.name in OURS], load.count
        else:
            able, workers = [contender for contender in contenders if load.count <= contender.most_streams], 1
            self.findings.add(load, DIRECT, number, await self.measure(load, self._direct))
        for contender in able:
            async with self.proxies([contender], workers) as proxies:
                for proxy in proxies.values():
                    self.findings.add(load, proxy.name, number, await self.measure(load, proxy))

    async def measure(self, load: Load, proxy: Running) -> Observation:
        """What the client saw of one load on one proxy."""
        self._progress.step(f"{proxy.name}: {load.name}")
        order = Order(load, proxy.port, list(self._keys.values()), proxy.pids)
        return await asyncio.get_running_loop().run_in_executor(self._clients, observe, order, _cores()[2])

    # -- proxies

    @asynccontextmanager
    async def proxies(self, contenders: Sequence[Contender], workers: int = 1) -> AsyncIterator[Mapping[str, Running]]:
        """Run those of `contenders` that serve while the context is open."""
        async with AsyncExitStack() as stack:
            running: dict[str, Running] = {}
            for contender in contenders:
                if contender.name in self.failures:
                    continue
                try:
                    running[contender.name] = await stack.enter_async_context(self._proxy(contender, workers))
                except (ChildFailed, OSError) as error:
                    if contender.module == GATEWAY and contender.name != INTERPRETED:
                        raise
                    self.failures[contender.name] = str(error)
            yield running

    @asynccontextmanager
    async def _proxy(self, contender: Contender, workers: int) -> AsyncIterator[Running]:
        self._started += 1
        self._progress.step(f"starting {contender.name}")
        folder = self._folder / f"{self._started}-{contender.name}"
        folder.mkdir()
        setup = ProxySetup(folder, _free_port(), _free_port(), self._engine.url, self._keys, workers)
        assert contender.path is not None
        command, environment = contender.command(setup), setup.environment(contender.path)
        core = _cores()[0] if contender.processes == 1 else None
        async with program(contender.name, command, folder, environment=environment, core=core) as process:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_SECONDS)) as session:
                await process.until(lambda: self._serves(session, setup), READY_SECONDS)
            yield Running(contender.name, setup.port, family(process.pid), contender.most_streams)

    async def _serves(self, session: aiohttp.ClientSession, setup: ProxySetup) -> bool:
        """Whether a proxy answers a request and streams one."""
        url = f"http://127.0.0.1:{setup.port}/v1/chat/completions"
        headers = {"Authorization": f"Bearer {self._keys[TENANTS[0]]}"}
        for stream in (False, True):
            messages = [{"role": "user", "content": "as fast as you like"}]
            body = {"model": POOL, "messages": messages, "max_tokens": 2, "stream": stream}
            try:
                async with session.post(url, json=body, headers=headers) as answer:
                    if answer.status != 200 or b"word" not in await answer.read():
                        return False
            except (aiohttp.ClientError, OSError):
                return False
        return True


@asynccontextmanager
async def field(folder: Path, progress: Progress) -> AsyncIterator[Field]:
    """Start the engine; ends everything that was started, whatever happens."""
    progress.step("starting the paced engine")
    try:
        async with child("engine", _ENGINE, folder, READY_SECONDS, core=_cores()[1]) as engine:
            with ProcessPoolExecutor(1, _preloaded(), max_tasks_per_child=1) as clients:
                yield Field(engine, folder, clients, progress)
    finally:
        progress.clear()


def _preloaded() -> ForkServerContext:
    """Makes processes that have imported the load client already."""
    context = get_context("forkserver")
    context.set_forkserver_preload([observe.__module__])
    return context


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
