"""What the gateway and the engine say about themselves while a load runs, sampled at a fixed rate.

The probe asks the gateway for `/debug/state` and each engine for the few figures that the benches use. It asks for a
filtered metrics page, because the whole page costs the engine milliseconds of its event loop. It leaves a sample out if
it cannot take it.
"""

import asyncio
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import aiohttp

SECONDS_BETWEEN_SAMPLES = 0.2
ANSWER_SECONDS = 5.0

_FIGURE = re.compile(r"^([a-z_:]+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
_GAUGES = ("vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:num_preemptions_total")
# With the slash, vLLM's page obeys `name[]`; without it another handler ignores the filter.
_PAGE = "/metrics/?" + "&".join(f"name[]={name}" for name in _GAUGES)


def figures_of(page: str, names: Sequence[str], absent: float) -> list[float]:
    """Those figures of a metrics page, each the sum of its series; `absent` where there is none."""
    series = _FIGURE.findall(page)
    found = [[float(value) for name, value in series if name == wanted] for wanted in names]
    return [sum(values) if values else absent for values in found]


class TenantState(NamedTuple):
    """One tenant's account in the bench's pool."""

    counter: float
    queued: int
    in_flight: int
    service: float = 0.0


@dataclass(frozen=True, slots=True)
class GatewayState:
    """The bench's pool at one moment; `windows` are the sizes of its workers' windows."""

    queued: int
    spread: float
    spread_bound: float
    tenants: Mapping[str, TenantState]
    windows: Sequence[int] = ()
    in_flight: int = 0

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
        rows = pool["tenants"]["busiest_first"]
        return cls(
            queued=pool["queued"],
            spread=pool["spread"],
            spread_bound=pool["spread_bound"],
            tenants={row["tenant"]: TenantState(*(row[name] for name in TenantState._fields)) for row in rows},
            windows=[row["window_sequences"] for row in document["workers"]],
            in_flight=pool["in_flight"],
        )


class Gauges(NamedTuple):
    """One engine's own account: its requests, and its preemptions since it started."""

    waiting: int
    running: int
    preemptions: int = 0

    @classmethod
    def parse(cls, page: str) -> Self:
        """The figures of a metrics page, summed over its ranks; an absent one counts as 0."""
        return cls(*map(int, figures_of(page, _GAUGES, 0.0)))


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
        """How many requests wait at the engine with the most of them."""
        return max(engine.waiting for engine in self.engines)


class Probe:
    """Asks the engines and, where there is one, the gateway."""

    def __init__(
        self, session: aiohttp.ClientSession, engine_urls: Sequence[str], gateway_url: str = "", admin_key: str = ""
    ) -> None:
        self._session = session
        self._engine_urls = engine_urls
        self._gateway_url = gateway_url
        self._headers = {"Authorization": f"Bearer {admin_key}"}
        self.samples: list[Sample] = []

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
        async with repeated(self._sample, SECONDS_BETWEEN_SAMPLES):
            yield self

    async def _sample(self) -> None:
        gateway, engines = await asyncio.gather(self.gateway(), self.gauges())
        self.samples.append(Sample(asyncio.get_running_loop().time(), gateway, engines))

    async def _engine(self, url: str) -> Gauges:
        async with self._session.get(url + _PAGE) as answer:
            answer.raise_for_status()
            return Gauges.parse(await answer.text())


@asynccontextmanager
async def repeated(work: Callable[[], Awaitable[None]], seconds: float) -> AsyncIterator[None]:
    """Do `work` every so many seconds until the context ends; it is left out if a server does not answer."""

    async def repeat() -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            with suppress(aiohttp.ClientError, TimeoutError):
                await work()
            due = max(due + seconds, loop.time())
            await asyncio.sleep(due - loop.time())

    task = asyncio.create_task(repeat(), name="bench")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def probe_session() -> aiohttp.ClientSession:
    """The HTTP session of a probe: short time-outs, and no connection kept longer than vLLM keeps its own."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
        connector=aiohttp.TCPConnector(keepalive_timeout=3.0),
    )
