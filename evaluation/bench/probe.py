"""What the gateway and the engine say about themselves while a load runs, sampled at a fixed rate.

The gateway is asked for `/debug/state`, the engine for its gauge of waiting requests alone (a filtered
metrics page: the whole one costs the engine milliseconds of its event loop). A sample that could not be
taken is counted, never invented.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

SAMPLES_PER_SECOND = 5.0
ANSWER_SECONDS = 5.0

_WAITING = "vllm:num_requests_waiting"
_RUNNING = "vllm:num_requests_running"
_GAUGE = re.compile(r"^(vllm:num_requests_(?:waiting|running))(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TenantState:
    """One tenant's account in the bench's pool."""

    tenant: str
    counter: float
    service: float
    queued: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The bench's pool at one moment."""

    queued: int
    in_flight: int
    spread: float
    spread_bound: float
    tenants: Mapping[str, TenantState]

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
        return cls(
            queued=int(pool["queued"]),
            in_flight=int(pool["in_flight"]),
            spread=float(pool["spread"]),
            spread_bound=float(pool["spread_bound"]),
            tenants={
                row["tenant"]: TenantState(
                    tenant=row["tenant"],
                    counter=float(row["counter"]),
                    service=float(row["service"]),
                    queued=int(row["queued"]),
                    in_flight=int(row["in_flight"]),
                )
                for row in pool["tenants"]["busiest_first"]
            },
        )


@dataclass(frozen=True, slots=True)
class Gauges:
    """The engine's own count of its requests."""

    waiting: int
    running: int

    @classmethod
    def parse(cls, page: str) -> Self:
        """Both gauges of a metrics page, summed over its engines; an absent gauge counts as 0."""
        sums = {_WAITING: 0.0, _RUNNING: 0.0}
        for name, value in _GAUGE.findall(page):
            sums[name] += float(value)
        return cls(waiting=int(sums[_WAITING]), running=int(sums[_RUNNING]))


@dataclass(frozen=True, slots=True)
class Sample:
    """Both programs at one moment of loop time."""

    at: float
    gateway: GatewayState
    engine: Gauges


class Probe:
    """Asks the engine and, where there is one, the gateway."""

    def __init__(self, session: aiohttp.ClientSession, engine_url: str, gateway_url: str, admin_key: str) -> None:
        self._session = session
        self._engine_url = engine_url
        self._gateway_url = gateway_url
        self._headers = {"Authorization": f"Bearer {admin_key}"}
        self.samples: list[Sample] = []
        self.failures = 0

    async def gauges(self) -> Gauges:
        """The engine's gauges now; raises aiohttp.ClientError or TimeoutError."""
        # With the slash, vLLM's page obeys `name[]`; without it another handler ignores the filter.
        return Gauges.parse(await self._text(f"{self._engine_url}/metrics/?name[]={_WAITING}&name[]={_RUNNING}", {}))

    async def gateway(self) -> GatewayState:
        """The gateway's state now; raises aiohttp.ClientError or TimeoutError."""
        async with self._session.get(f"{self._gateway_url}/debug/state", headers=self._headers) as answer:
            answer.raise_for_status()
            return GatewayState.parse(await answer.json())

    async def idle(self, timeout_seconds: float) -> None:
        """Wait until the engine runs and holds nothing, `timeout_seconds` at most."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while asyncio.get_running_loop().time() < deadline:
            gauges = await self.gauges()
            if gauges.waiting == 0 and gauges.running == 0:
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
                gateway, engine = await asyncio.gather(self.gateway(), self.gauges())
            except (aiohttp.ClientError, TimeoutError):
                self.failures += 1
            else:
                self.samples.append(Sample(loop.time(), gateway, engine))
            due = max(due + 1 / SAMPLES_PER_SECOND, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _text(self, url: str, headers: Mapping[str, str]) -> str:
        async with self._session.get(url, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.text()


def probe_session() -> aiohttp.ClientSession:
    """The HTTP session of a probe: short time-outs, and no connection kept longer than vLLM keeps its own."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        connector=aiohttp.TCPConnector(keepalive_timeout=3.0),
    )
