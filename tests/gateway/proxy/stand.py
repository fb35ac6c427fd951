"""A whole gateway before an embedded engine, in one event loop, over real sockets and in virtual time.

`with_gateway` turns a coroutine into a test: it gets a `Stand`, and when it is done no request may be in flight.
"""

import asyncio
import inspect
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from virtual_time import run_in_virtual_time

from backend.engine.config import EngineConfig
from backend.engine.faults import Fault, FaultScript
from backend.engine.server import ENGINE, bind, make_app
from backend.engine.server import serve as serve_engine
from backend.engine.witness import Witness
from gateway.app import Gateway
from gateway.config import (
    Admin,
    Anonymous,
    Config,
    Listen,
    Loaded,
    LogFormat,
    LogLevel,
    Pool,
    ResolvedKey,
    Scheduler,
    Tenant,
    Window,
    Worker,
    digest,
)
from gateway.events import Event, RequestFinished, RequestQueued, WorkerChanged
from gateway.telemetry.logs import Log

from .wire_client import Answer, Wire

MODEL = "tiny"
ADMIN_KEY = "vtc-admin"
STUCK_SECONDS = 3600.0  # of virtual time, after which a test counts as stuck


def key_of(tenant: str, number: int = 1) -> str:
    """The key that `tenant` presents."""
    return f"vtc-key-{number}-of-{tenant}"


def tenant(name: str, keys: int = 1, **terms: Any) -> Tenant:
    """A tenant with as many keys; `terms` are fields of `Tenant`."""
    resolved = tuple(ResolvedKey(id=f"key{n}", digest=digest(key_of(name, n))) for n in range(1, keys + 1))
    return Tenant(name=name, keys=resolved, **terms)


def chat(prompt: str = "Hello", model: str = MODEL, **fields: Any) -> dict[str, Any]:
    """The body of a chat request."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


@dataclass(slots=True)
class Plan:
    """What to build; everything has a small default."""

    tenants: Sequence[Tenant] = (tenant("alice"), tenant("bob"))
    listen: dict[str, Any] = field(default_factory=dict)
    pool: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    window: dict[str, Any] = field(default_factory=dict)
    anonymous: str | None = None
    profile: str = "instant"
    engine: dict[str, int] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    is_real_time: bool = False  # also: errors may be logged

    def config(self, engine_url: str) -> Config:
        """The gateway's configuration."""
        window = Window(**self.window)
        worker = Worker(name="w0", url=engine_url, window=window)
        terms = {"model": MODEL, "engine_model": MODEL, "max_model_len": 8192, "aliases": ("org/alias",)}
        pool = Pool(**(terms | {"window": window, "workers": (worker,)} | self.pool))
        return Config(
            listen=Listen(**({"port": 0, "drain_seconds": 0.2} | self.listen)),
            admin=Admin(digest=digest(ADMIN_KEY)),
            scheduler=Scheduler.model_validate(self.scheduler),
            pools=(pool,),
            tenants=tuple(self.tenants),
            anonymous=Anonymous(tenant=self.anonymous),
        )


class Journal:
    """Keeps every event and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def observe(self, event: Event) -> None:
        """Note `event`."""
        self.events.append(event)
        self._news.set()

    @property
    def finished(self) -> list[RequestFinished]:
        """Every request that has ended."""
        return [event for event in self.events if isinstance(event, RequestFinished)]

    @property
    def queued(self) -> list[RequestQueued]:
        """Every request that was about to wait."""
        return [event for event in self.events if isinstance(event, RequestQueued)]

    @property
    def workers(self) -> list[WorkerChanged]:
        """Every change of a worker."""
        return [event for event in self.events if isinstance(event, WorkerChanged)]

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait, event by event, until `fact` holds."""
        while not fact():
            self._news.clear()
            await self._news.wait()


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as the worker received it; header names in lower case."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class Stand:
    """The running gateway as a test sees it."""

    gateway: Gateway
    url: str
    journal: Journal
    witness: Witness
    engine_url: str
    sent: list[Sent]
    _log: Log
    _lines: io.StringIO

    @property
    def address(self) -> tuple[str, int]:
        """Where the gateway listens."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    async def connect(self) -> Wire:
        """A fresh client connection."""
        return await Wire.connect(*self.address)

    async def ask(self, raw: bytes) -> Answer:
        """The answer to `raw` on a connection of its own."""
        wire = await self.connect()
        try:
            wire.send(raw)
            return await wire.answer()
        finally:
            await wire.close()

    async def post(self, path: str, body: object, key: str | None = None, headers: Sequence[str] = ()) -> Answer:
        """The answer to a POST of `body` (bytes as they are, anything else as JSON)."""
        return await self.ask(post(path, body, key_of("alice") if key is None else key, headers))

    async def get(self, path: str, key: str | None = None) -> Answer:
        """The answer to a GET."""
        credential = f"Authorization: Bearer {key}\r\n" if key else ""
        return await self.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n{credential}\r\n".encode())

    async def generate(self, tenant_name: str = "alice", **fields: Any) -> Answer:
        """The answer to a chat request of `tenant_name`."""
        return await self.post("/v1/chat/completions", chat(**fields), key_of(tenant_name))

    def end_log(self) -> str:
        """Everything that was logged; nothing is logged afterwards."""
        self._log.close()
        return self._lines.getvalue()

    def service(self, tenant_name: str) -> float:
        """What the tenant has been charged, in cost units."""
        return sum(account.service for account in self._accounts(tenant_name))

    def counter(self, tenant_name: str) -> float:
        """The tenant's virtual counter."""
        return sum(account.counter for account in self._accounts(tenant_name))

    def _accounts(self, tenant_name: str) -> list[Any]:
        return [account for pool in self.gateway.pools() for account in pool.tenants if account.tenant == tenant_name]

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return sum(pool.queued for pool in self.gateway.pools())

    @property
    def in_flight(self) -> int:
        """Sequences at the worker, as the gateway counts them."""
        return sum(worker.sequences_in_flight for worker in self.gateway.workers())


def post(path: str, body: object, key: str, headers: Sequence[str] = ()) -> bytes:
    """A whole POST as bytes."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@asynccontextmanager
async def standing(plan: Plan) -> AsyncIterator[Stand]:
    """A `Stand` built as `plan` says."""
    config = EngineConfig.of_profile(plan.profile, MODEL, **plan.engine)
    engine = make_app(replace(config, faults=FaultScript(tuple(plan.faults))))
    sent: list[Sent] = []
    engine.middlewares.append(_recorder(sent))
    lines, journal = io.StringIO(), Journal()
    async with serve_engine(engine, bind("127.0.0.1", 0)) as engine_url:
        log = Log(lines, LogFormat.JSON, LogLevel.INFO)
        gateway = Gateway(Loaded(plan.config(engine_url), Path("config.yaml"), ()), log, [journal])
        try:
            url = await gateway.start()
            yield Stand(gateway, url, journal, engine[ENGINE].witness, engine_url, sent, log, lines)
        finally:
            await gateway.stop()
            log.close()
        assert all(pool.queued == 0 and pool.in_flight == 0 for pool in gateway.pools())
        assert all(worker.sequences_in_flight == 0 for worker in gateway.workers())


def _recorder(sent: list[Sent]) -> Any:
    @web.middleware
    async def record(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.method == "POST":
            headers = {name.lower(): value for name, value in request.headers.items()}
            sent.append(Sent(request.path, headers, orjson.loads(await request.read())))
        response: web.StreamResponse = await handler(request)
        return response

    return record


def with_gateway(**plan: Any) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run a coroutine function whose first parameter is a `Stand` as a test; `plan` are fields of `Plan`."""

    def decorate(steps: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        def test(**arguments: Any) -> None:
            chosen = Plan(**plan)
            run = asyncio.run if chosen.is_real_time else run_in_virtual_time
            run(_run(chosen, lambda stand: steps(stand, **arguments)))

        signature = inspect.signature(steps)
        test.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=list(signature.parameters.values())[1:], return_annotation=None
        )
        test.__name__, test.__doc__, test.__module__ = steps.__name__, steps.__doc__, steps.__module__
        test.__dict__.update(steps.__dict__)
        return test

    return decorate


async def _run(plan: Plan, steps: Callable[[Stand], Awaitable[None]]) -> None:
    async with asyncio.timeout(STUCK_SECONDS), standing(plan) as stand:
        await steps(stand)
