"""The field: the engine and the proxies as running processes, each on its core, and one measurement of one of them.

Proxies share a core, of which one at a time has work; engine and load client share another, or have one each where the
machine has three. A proxy serves once it has answered a request and streamed one; a peer that does not is told of and
left out, without the gateway there is no bench.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from evaluation.bench.datapath.contenders import DIRECT, GATEWAY, Contender, Site
from evaluation.bench.datapath.loads import Load, Observation, Order
from evaluation.bench.processes import group_members
from evaluation.bench.settings import POOL, draw_keys
from evaluation.load.processes import Child, ChildFailed, child, program
from evaluation.report.terminal import Progress

TENANTS = tuple(f"tenant-{number}" for number in range(16))
READY_SECONDS = 90.0
CLIENT_SECONDS = 60.0

_ENGINE = "evaluation.bench.datapath.engine"
_CLIENT = "evaluation.bench.datapath.client"


@dataclass(frozen=True, slots=True)
class Cores:
    """Which processor each kind of process runs on; None where the machine has too few to keep them apart."""

    proxy: int | None
    engine: int | None
    client: int | None

    @classmethod
    def of_machine(cls) -> "Cores":
        """The processors that this process may use, dealt out."""
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return cls(None, None, None)
        return cls(usable[0], usable[1], usable[2] if len(usable) > 2 else usable[1])


@dataclass(frozen=True, slots=True)
class Running:
    """A proxy that serves (or the engine itself): its port and its processes."""

    name: str
    port: int
    pids: Sequence[int]


class Field:
    """The engine, and proxies started in front of it."""

    def __init__(self, engine: Child, folder: Path, cores: Cores, progress: Progress) -> None:
        self._engine = engine
        self._folder = folder
        self._cores = cores
        self._progress = progress
        self._keys = draw_keys(TENANTS)
        self._started = 0
        self.failures: dict[str, str] = {}

    @property
    def direct(self) -> Running:
        """The engine without a proxy."""
        return Running(DIRECT, int(self._engine.url.rpartition(":")[2]), ())

    @asynccontextmanager
    async def proxy(self, contender: Contender) -> AsyncIterator[Running]:
        """Run `contender` while the context is open."""
        self._started += 1
        self._progress.step(f"starting {contender.name}")
        folder = self._folder / f"{self._started}-{contender.name}"
        folder.mkdir()
        site = Site(folder, _free_port(), _free_port(), self._engine.url, self._keys)
        assert contender.path is not None
        environment = site.environment(contender.path)
        running = program(
            contender.name, contender.command(site), folder, environment=environment, core=self._cores.proxy
        )
        async with running as process:
            await self._until_it_serves(process, site)
            yield Running(contender.name, site.port, group_members(process.pid))

    @asynccontextmanager
    async def proxies(self, contenders: Sequence[Contender]) -> AsyncIterator[Mapping[str, Running]]:
        """Run those of `contenders` that serve while the context is open; why others do not is in `failures`."""
        async with AsyncExitStack() as stack:
            running: dict[str, Running] = {}
            for contender in contenders:
                if contender.name in self.failures:
                    continue
                try:
                    running[contender.name] = await stack.enter_async_context(self.proxy(contender))
                except (ChildFailed, OSError) as error:
                    if contender.name == GATEWAY:
                        raise
                    self.failures[contender.name] = str(error)
            yield running

    async def measure(self, load: Load, proxy: Running, seconds: float) -> Observation:
        """Put `load` on `proxy` and measure it for `seconds`."""
        self._progress.step(f"{proxy.name}: {load.name}")
        order = Order(
            shape=load.shape,
            port=proxy.port,
            model=POOL,
            keys=list(self._keys.values()),
            count=load.count,
            seconds=seconds,
            pace=load.pace,
            pids=proxy.pids,
            engine_pids=[self._engine.pid],
        )
        command = [sys.executable, "-m", _CLIENT, order.encode()]
        async with program("client", command, self._folder, core=self._cores.client) as client:
            return Observation.decode(await client.printed(CLIENT_SECONDS))

    async def _until_it_serves(self, process: Child, site: Site) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_SECONDS)) as session:
            while loop.time() < deadline:
                process.raise_if_ended()
                if await self._serves(session, site, stream=False) and await self._serves(session, site, stream=True):
                    return
                await asyncio.sleep(0.1)
        raise process.failure(f"did not serve within {READY_SECONDS:.0f} s")

    async def _serves(self, session: aiohttp.ClientSession, site: Site, *, stream: bool) -> bool:
        body = {
            "model": POOL,
            "messages": [{"role": "user", "content": "pace 50"}],
            "max_tokens": 2,
            "stream": stream,
        }
        headers = {"Authorization": f"Bearer {self._keys[TENANTS[0]]}"}
        url = f"http://127.0.0.1:{site.port}/v1/chat/completions"
        try:
            async with session.post(url, json=body, headers=headers) as answer:
                return answer.status == 200 and b"word" in await answer.read()
        except (aiohttp.ClientError, OSError):
            return False


@asynccontextmanager
async def field(folder: Path, progress: Progress) -> AsyncIterator[Field]:
    """Start the engine; ends everything that was started, whatever happens."""
    cores = Cores.of_machine()
    progress.step("starting the paced engine")
    try:
        async with child("engine", ["-m", _ENGINE], folder, READY_SECONDS, core=cores.engine) as engine:
            yield Field(engine, folder, cores, progress)
    finally:
        progress.clear()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
