"""The field: the engine and the proxies as running processes, each on its core, and the rounds that measure them.

The proxies share a core, and one of them at a time has work. Engine and load client share another core, or have one
each if the machine has three. A proxy serves once it has answered a request and streamed one. The bench reports a peer
that does not serve and leaves it out. Without the gateway there is no bench.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import aiohttp

from evaluation.bench.datapath.client import Order, observe
from evaluation.bench.datapath.contenders import DIRECT, GATEWAY, Contender, ProxySetup
from evaluation.bench.datapath.findings import CLEAN_SECONDS, Findings
from evaluation.bench.datapath.loads import MANY, Load, Observation
from evaluation.bench.processes import group_members
from evaluation.bench.settings import POOL, draw_keys
from evaluation.load.processes import Child, ChildFailed, child, program
from evaluation.report.terminal import Progress

TENANTS = tuple(f"tenant-{number}" for number in range(16))
READY_SECONDS = 90.0
CAPACITY_GROWTH = 1.25
MOST_CAPACITY = 9000  # streams: two descriptors each in a proxy that may have 20,000

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


class Field:
    """The engine, proxies started in front of it, and what was found of them; `failures`: why one does not serve."""

    def __init__(self, engine: Child, folder: Path, clients: ProcessPoolExecutor, progress: Progress) -> None:
        self.findings = Findings()
        self.failures: dict[str, str] = {}
        self._engine = engine
        self._direct = Running(DIRECT, int(engine.url.rpartition(":")[2]), ())
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
            async with self._proxies(contenders) as proxies:
                for load in shared * rounds:
                    await self._note(load, self._direct)
                    for contender in _able(contenders, load):
                        if contender.name in proxies:
                            await self._note(load, proxies[contender.name])
        for load in (load for load in loads if load.fresh for _ in range(rounds)):
            await self._note(load, self._direct)
            for contender in _able(contenders, load):
                async with self._proxies([contender]) as proxies:
                    for proxy in proxies.values():
                        await self._note(load, proxy)

    async def capacities(self, contenders: Sequence[Contender], seconds: float) -> None:
        """How many streams each of them carries."""
        self.findings.most_streams[DIRECT] = await self._capacity(self._direct, seconds)
        for contender in _able(contenders, MANY):
            async with self._proxies([contender]) as proxies:
                for name, proxy in proxies.items():
                    self.findings.most_streams[name] = await self._capacity(proxy, seconds)

    async def _capacity(self, proxy: Running, seconds: float) -> int:
        """The largest number of streams, in steps of a quarter, of which every token came on time."""
        clean, count = 0, MANY.count
        while count <= MOST_CAPACITY:
            load = replace(MANY, name=f"{count} streams", count=count, seconds=seconds)
            seen = await self._measure(load, proxy)
            if seen.faults or not seen.late_max <= CLEAN_SECONDS:
                break
            clean, count = count, round(count * CAPACITY_GROWTH)
        return clean

    async def _note(self, load: Load, proxy: Running) -> None:
        self.findings.add(load, proxy.name, await self._measure(load, proxy))

    async def _measure(self, load: Load, proxy: Running) -> Observation:
        self._progress.step(f"{proxy.name}: {load.name}")
        order = Order(load, proxy.port, list(self._keys.values()), proxy.pids)
        return await asyncio.get_running_loop().run_in_executor(self._clients, observe, order, _cores()[2])

    # -- proxies

    @asynccontextmanager
    async def _proxies(self, contenders: Sequence[Contender]) -> AsyncIterator[Mapping[str, Running]]:
        """Run those of `contenders` that serve while the context is open."""
        async with AsyncExitStack() as stack:
            running: dict[str, Running] = {}
            for contender in contenders:
                if contender.name in self.failures:
                    continue
                try:
                    running[contender.name] = await stack.enter_async_context(self._proxy(contender))
                except (ChildFailed, OSError) as error:
                    if contender.name == GATEWAY:
                        raise
                    self.failures[contender.name] = str(error)
            yield running

    @asynccontextmanager
    async def _proxy(self, contender: Contender) -> AsyncIterator[Running]:
        self._started += 1
        self._progress.step(f"starting {contender.name}")
        folder = self._folder / f"{self._started}-{contender.name}"
        folder.mkdir()
        setup = ProxySetup(folder, _free_port(), _free_port(), self._engine.url, self._keys)
        assert contender.path is not None
        command, environment = contender.command(setup), setup.environment(contender.path)
        async with program(contender.name, command, folder, environment=environment, core=_cores()[0]) as process:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_SECONDS)) as session:
                await process.until(lambda: self._serves(session, setup), READY_SECONDS)
            yield Running(contender.name, setup.port, group_members(process.pid))

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
            with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as clients:
                yield Field(engine, folder, clients, progress)
    finally:
        progress.clear()


def _able(contenders: Sequence[Contender], load: Load) -> list[Contender]:
    return [contender for contender in contenders if load.count <= contender.most_streams]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
