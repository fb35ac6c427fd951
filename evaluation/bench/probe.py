"""What the gateway and the engine say about themselves while a load runs, sampled at a fixed rate.

The gateway is asked for `/debug/state`, each engine for the few figures that are looked at (a filtered metrics
page: the whole one costs the engine milliseconds of its event loop). A sample that could not be taken is counted,
never invented.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from typing import Any, Self

import aiohttp

SAMPLES_PER_SECOND = 5.0
ANSWER_SECONDS = 5.0

_WAITING = "vllm:num_requests_waiting"
_RUNNING = "vllm:num_requests_running"
_PREEMPTIONS = "vllm:num_preemptions_total"
_KV_USAGE = "vllm:kv_cache_usage_perc"
_NAMES = (_WAITING, _RUNNING, _PREEMPTIONS, _KV_USAGE)
_FIGURE = re.compile(rf"^({'|'.join(_NAMES)})(?:\{{[^}}]*\}})? (\S+)$", re.MULTILINE)
# With the slash, vLLM's page obeys `name[]`; without it another handler ignores the filter.
_PAGE = "/metrics/?" + "&".join(f"name[]={name}" for name in _NAMES)


@dataclass(frozen=True, slots=True)
class TenantState:
    """One tenant's account in the bench's pool."""

    tenant: str
    counter: float
    service: float
    queued: int
    in_flight: int

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        """The tenant of one row of the dump."""
        return cls(*(row[field.name] for field in fields(cls)))


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker's window, and why the gateway runs it without metrics that it could believe, where it does."""

    worker: str
    window: int
    in_flight: int
    degraded: str = ""

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> Self:
        """The worker of one row of the dump."""
        return cls(row["worker"], row["window_sequences"], row["sequences_in_flight"], row.get("degraded") or "")


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The bench's pool at one moment."""

    queued: int
    in_flight: int
    spread: float
    spread_bound: float
    tenants: Mapping[str, TenantState]
    workers: Sequence[WorkerState] = ()

    @property
    def spread_of_bound(self) -> float:
        """The observed spread as a part of the bound; infinite where there is spread and nothing bounds it."""
        if self.spread_bound > 0:
            return self.spread / self.spread_bound
        return math.inf if self.spread > 0 else 0.0

    def queued_of(self, tenant: str) -> int:
        """How many requests of `tenant` wait; none where it has no account yet."""
        return self.tenants[tenant].queued if tenant in self.tenants else 0

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """The only pool of a `/debug/state` answer."""
        (pool,) = document["pools"]
        tenants = [TenantState.parse(row) for row in pool["tenants"]["busiest_first"]]
        return cls(
            queued=pool["queued"],
            in_flight=pool["in_flight"],
            spread=pool["spread"],
            spread_bound=pool["spread_bound"],
            tenants={tenant.tenant: tenant for tenant in tenants},
            workers=tuple(map(WorkerState.parse, document["workers"])),
        )


@dataclass(frozen=True, slots=True)
class Gauges:
    """One engine's own account: its requests, its preemptions since it started, the part of its KV cache in use."""

    waiting: int
    running: int
    preemptions: int = 0
    kv_usage: float = 0.0

    @classmethod
    def parse(cls, page: str) -> Self:
        """The figures of a metrics page, summed over its ranks; an absent one counts as 0."""
        sums = dict.fromkeys(_NAMES, 0.0)
        for name, value in _FIGURE.findall(page):
            sums[name] += float(value)
        return cls(int(sums[_WAITING]), int(sums[_RUNNING]), int(sums[_PREEMPTIONS]), sums[_KV_USAGE])


@dataclass(frozen=True, slots=True)
class Sample:
    """The gateway and every engine at one moment of loop time."""

    at: float
    gateway: GatewayState
    engines: Sequence[Gauges]

    @property
    def running(self) -> int:
        """What all engines run together."""
        return sum(engine.running for engine in self.engines)

    @property
    def waiting(self) -> int:
        """What waits at the engine where most do."""
        return max(engine.waiting for engine in self.engines)

    @property
    def preemptions(self) -> int:
        """What all engines have preempted since they started."""
        return sum(engine.preemptions for engine in self.engines)


class Probe:
    """Asks the engines and, where there is one, the gateway."""

    def __init__(
        self, session: aiohttp.ClientSession, engine_urls: Sequence[str], gateway_url: str, admin_key: str
    ) -> None:
        self._session = session
        self._engine_urls = engine_urls
        self._gateway_url = gateway_url
        self._headers = {"Authorization": f"Bearer {admin_key}"}
        self.samples: list[Sample] = []
        self.failures = 0

    async def gauges(self) -> list[Gauges]:
        """Every engine's figures now; raises aiohttp.ClientError or TimeoutError."""
        return await asyncio.gather(*(self._engine(url) for url in self._engine_urls))

    async def gateway(self) -> GatewayState:
        """The gateway's state now; raises aiohttp.ClientError or TimeoutError."""
        async with self._session.get(f"{self._gateway_url}/debug/state", headers=self._headers) as answer:
            answer.raise_for_status()
            return GatewayState.parse(await answer.json())

    async def idle(self, timeout_seconds: float) -> None:
        """Wait until no engine runs or holds anything, `timeout_seconds` at most."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while asyncio.get_running_loop().time() < deadline:
            if all(engine.waiting == 0 and engine.running == 0 for engine in await self.gauges()):
                return
            await asyncio.sleep(0.2)

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[Self]:
        """Take samples of both until the context ends."""
        task = asyncio.create_task(self._sample(), name="probe")
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def _sample(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                gateway, engines = await asyncio.gather(self.gateway(), self.gauges())
            except (aiohttp.ClientError, TimeoutError):
                self.failures += 1
            else:
                self.samples.append(Sample(loop.time(), gateway, engines))
            due = max(due + 1 / SAMPLES_PER_SECOND, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _engine(self, url: str) -> Gauges:
        async with self._session.get(url + _PAGE) as answer:
            answer.raise_for_status()
            return Gauges.parse(await answer.text())


def probe_session() -> aiohttp.ClientSession:
    """The HTTP session of a probe: short time-outs, and no connection kept longer than vLLM keeps its own."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        connector=aiohttp.TCPConnector(keepalive_timeout=3.0),
    )
