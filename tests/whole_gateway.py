"""The whole gateway on a stage: built as in production, real sockets, engines in the same loop, every event recorded.

What a stage can be asked for after each scene: that nothing is queued or in flight anywhere, that the accounts add up,
and that every request ended once. A test opens a `stage`, or is made one by `with_gateway`.
"""

import asyncio
import inspect
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from raw_client import Answer, Client, ask, request_bytes
from virtual_time import run_in_virtual_time
from workers_on_stage import INSTANT, MODEL, AnyWorker, EngineWorker, Sent

from backend.engine.config import EngineConfig
from backend.engine.witness import RequestCount, Witness
from gateway.app import Gateway
from gateway.clients.custody import Custody
from gateway.clients.server import HttpServer
from gateway.config import (
    Admin,
    Anonymous,
    Config,
    Ledger,
    Listen,
    Loaded,
    LogFormat,
    LogLevel,
    Pool,
    Replicas,
    ResolvedKey,
    Scheduler,
    Tenant,
    Timeouts,
    Webhook,
    Window,
    Worker,
    digest,
)
from gateway.endpoints.workers import WorkerEndpoints
from gateway.events import Event, RequestDispatched, RequestFinished, RequestQueued, WorkerChanged
from gateway.fairness import PoolAccount, check_invariants
from gateway.fairness.holdings import Holdings
from gateway.fairness.shared_time import SharedTime
from gateway.outcomes import Outcome
from gateway.proxy.budgets import Budgets
from gateway.store.client import StoreClient
from gateway.store.sharing import Connect
from gateway.telemetry.logs import Log
from gateway.workers import Fleet, Signal

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
ADMIN_KEY = "vtc-admin"
STUCK_SECONDS = 3600.0  # of virtual time, after which a test counts as stuck
_SECONDS_TO_SETTLE = 2.0
_TURN_SECONDS = 0.001
_MAX_TURNS = 1_000_000


def key_of(tenant: str, number: int = 1) -> str:
    """The key that `tenant` presents."""
    return f"vtc-key-{number}-of-{tenant}"


def tenant(name: str, keys: int = 1, **terms: Any) -> Tenant:
    """A tenant with as many keys; `terms` are fields of `Tenant`."""
    resolved = tuple(ResolvedKey(id=f"key{n}", digest=digest(key_of(name, n))) for n in range(1, keys + 1))
    return Tenant(name=name, keys=resolved, **terms)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the configuration says; `listen`, `scheduler`, `pool` and `worker` hold what differs from the ordinary."""

    tenants: Sequence[Tenant] = (tenant("alice"), tenant("bob"))
    listen: Mapping[str, Any] = field(default_factory=dict)
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    pool: Mapping[str, Any] = field(default_factory=dict)
    worker: Mapping[str, Any] = field(default_factory=dict)
    window: Window = field(default_factory=lambda: Window(sequences=4, slack=1, prefill_tokens=2048))
    anonymous: str | None = None
    replicas: Replicas | None = None
    ledger: Ledger | None = None
    webhook: Webhook | None = None

    def config(self, urls: Sequence[str]) -> Config:
        """The configuration in front of workers `w0`, `w1`, ... at `urls`."""
        workers = tuple(
            Worker(name=f"w{index}", url=url, window=self.window, **self.worker) for index, url in enumerate(urls)
        )
        pool: dict[str, Any] = {
            "model": MODEL,
            "engine_model": MODEL,
            "aliases": ("org/alias",),
            "max_model_len": 2048,
            "window": self.window,
            "timeouts": Timeouts(connect_seconds=2, first_byte_seconds=20, stall_seconds=5),
            "workers": workers,
        }
        return Config(
            listen=Listen(**({"port": 0, "drain_seconds": 5, "write_stall_seconds": 10} | dict(self.listen))),
            admin=Admin(digest=digest(ADMIN_KEY)),
            scheduler=Scheduler.model_validate(dict(self.scheduler)),
            pools=(Pool(**(pool | dict(self.pool))),),
            tenants=tuple(self.tenants),
            anonymous=Anonymous(tenant=self.anonymous),
            ledger=self.ledger,
            webhook=self.webhook,
        )


class _Recorder:
    """Keeps every event and log line, and wakes whoever waits for an event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.news = asyncio.Event()
        self.lines = io.StringIO()
        self.log = Log(self.lines, LogFormat.JSON, LogLevel.INFO)

    def observe(self, event: Event) -> None:
        """Keep `event`."""
        self.events.append(event)
        self.news.set()


class Stage:
    """A running gateway with its workers."""

    def __init__(
        self, gateway: Gateway, path: Path, url: str, recorder: _Recorder, workers: Sequence[AnyWorker]
    ) -> None:
        """The stage of `gateway`, which has its configuration of `path` and listens at `url`."""
        self.gateway = gateway
        self.path = path
        self.url = url
        self.events = recorder.events
        self.workers = workers
        self._recorder = recorder
        self._is_stopped = False
        self._turns = 0

    async def stop(self) -> None:
        """Drain and end the gateway, once."""
        if not self._is_stopped:
            self._is_stopped = True
            await self.gateway.stop()

    def reload(self, config: Config) -> None:
        """Let the gateway take `config` over, as if its file had been read again."""
        self.gateway.reload(Loaded(config, self.path, ()))

    def emit(self, event: Event) -> None:
        """Let the gateway's observers hear `event`."""
        self.gateway._emit(event)

    def signal(self, worker: str, signal: Signal) -> None:
        """Let the gateway hear `signal` of `worker`, as from a request that it carried."""
        self.gateway._health.report(worker, signal, "the test says so")

    def begin_draining(self) -> None:
        """Let the gateway say that it drains, without an end."""
        self.gateway._router.is_draining = True

    # -- asking

    async def ask(self, body: object, tenant: str = "alice", path: str = CHAT, *, version: str = "1.1") -> Answer:
        """One request of `tenant`, its answer read to the end."""
        return await ask(self.url, path, body, self.credential(tenant), version=version)

    def asking(self, body: object, tenant: str = "alice", path: str = CHAT) -> "asyncio.Task[Answer]":
        """The same as a task; cancelling it breaks the connection off."""
        return asyncio.create_task(self.ask(body, tenant, path), name=f"client of {tenant}")

    async def open(self, body: object, tenant: str = "alice", path: str = CHAT, **options: Any) -> Client:
        """A request sent on a connection of its own, nothing read yet."""
        client = await Client.connect(self.url, **options)
        client.send(path, body, self.credential(tenant))
        return client

    async def connect(self) -> Client:
        """A connection on which nothing was sent yet."""
        return await Client.connect(self.url)

    async def exchange(self, request: bytes) -> Answer:
        """The answer to the bytes of `request` on a connection of its own."""
        client = await self.connect()
        try:
            client.send_raw(request)
            return await client.read()
        finally:
            await client.close()

    async def post(self, path: str, body: object, key: str | None = None, headers: Sequence[str] = ()) -> Answer:
        """The answer to a POST of `body` (bytes as they are, anything else as JSON), of alice where no key is given."""
        return await self.exchange(post(path, body, key_of("alice") if key is None else key, headers))

    async def generate(self, tenant: str = "alice", **fields: Any) -> Answer:
        """The answer to a chat of `tenant` of which only `fields` are said."""
        return await self.post(CHAT, question(**fields), key_of(tenant))

    async def get(self, path: str, key: str | None = None) -> Answer:
        """GET a page."""
        return await ask(self.url, path, headers={"Authorization": f"Bearer {key}"} if key else {})

    def credential(self, tenant: str) -> dict[str, str]:
        """The header that says who asks."""
        return {"Authorization": f"Bearer {key_of(tenant)}"}

    # -- waiting: the loop's turns are the clock, and a story that waits in vain ends by its count of them

    async def turn(self, turns: int = 1) -> None:
        """Let the loop turn."""
        for _ in range(turns):
            self._turns += 1
            assert self._turns < _MAX_TURNS, "waited in vain"
            await asyncio.sleep(_TURN_SECONDS)

    async def until(self, holds: Callable[[], object]) -> None:
        """Return in the first turn in which `holds()` is true, without time passing by itself."""
        while not holds():
            self._turns += 1
            assert self._turns < _MAX_TURNS, "waited in vain"
            await asyncio.sleep(0)

    async def when(self, holds: Callable[[], object]) -> None:
        """Return after the first event after which `holds()` is true; time passes meanwhile."""
        while not holds():
            self._recorder.news.clear()
            await self._recorder.news.wait()

    async def until_worker_is(self, state: str, worker: int = 0) -> None:
        """Return when a worker is in `state`."""
        while self.gateway.workers()[worker].state != state:
            await self.turn()

    async def until_finished(self, requests: int) -> None:
        """Return when so many requests have ended."""
        while len(self.finished) < requests:
            await self.turn()

    def end_log(self) -> str:
        """Everything that was logged; nothing is logged afterwards."""
        self._recorder.log.close()
        return self._recorder.lines.getvalue()

    def cancel_handlers(self) -> int:
        """Cancel whatever handles a request now, as happens when its client leaves; how many there were."""
        busy = [each for each in self._server.connections if each._task is not None]
        for connection in busy:
            assert connection._task is not None
            connection._task.cancel()
        return len(busy)

    def stopping(self) -> "asyncio.Task[None]":
        """The gateway's stop, begun."""
        return asyncio.create_task(self.stop(), name="stop")

    # -- looking

    @property
    def engines(self) -> list[EngineWorker]:
        """The workers that are embedded engines."""
        return [worker for worker in self.workers if isinstance(worker, EngineWorker)]

    @property
    def witness(self) -> Witness:
        """What the first engine counts itself."""
        return self.engines[0].engine.witness

    @property
    def sent(self) -> list[Sent]:
        """Every request as it reached the first engine."""
        return self.engines[0].sent

    @property
    def finished(self) -> list[RequestFinished]:
        """Every request that has ended, in order."""
        return [event for event in self.events if isinstance(event, RequestFinished)]

    @property
    def submitted(self) -> list[RequestQueued]:
        """Every request that was about to wait, in order."""
        return [event for event in self.events if isinstance(event, RequestQueued)]

    @property
    def dispatched(self) -> list[RequestDispatched]:
        """Every grant, in order."""
        return [event for event in self.events if isinstance(event, RequestDispatched)]

    @property
    def changes(self) -> list[WorkerChanged]:
        """Every change of a worker, in order."""
        return [event for event in self.events if isinstance(event, WorkerChanged)]

    @property
    def last(self) -> RequestFinished:
        """The request that ended last."""
        return self.finished[-1]

    @property
    def outcomes(self) -> list[Outcome]:
        """How each request ended, in order."""
        return [event.outcome for event in self.finished]

    @property
    def queued(self) -> int:
        """Requests that wait."""
        return sum(pool.queued for pool in self.gateway.pools())

    @property
    def in_flight(self) -> int:
        """Sequences at the workers, by the gateway's account."""
        return sum(worker.sequences_in_flight for worker in self.gateway.workers())

    @property
    def held_bytes(self) -> int:
        """What all requests hold in memory."""
        return sum(holding.size_bytes for holding in self.gateway.held_bodies())

    @property
    def open_requests(self) -> int:
        """Requests that have arrived and have not ended."""
        return len(self.gateway._router.exchanges)

    @property
    def open_connections(self) -> int:
        """Clients' connections."""
        return len(self._server.connections)

    @property
    def unread_bytes(self) -> list[int]:
        """Bytes that wait in the gateway for each of its clients."""
        transports = [connection._line.transport for connection in self._server.connections]
        return [transport.get_write_buffer_size() for transport in transports if transport is not None]

    @property
    def waiting_bytes(self) -> list[int]:
        """Bytes of bodies that wait on each connection for a handler to take them."""
        return [connection._incoming.waiting_bytes for connection in self._server.connections]

    @property
    def fleet(self) -> Fleet:
        """The gateway's workers, as placement sees them."""
        return self.gateway._fleet

    @property
    def endpoints(self) -> WorkerEndpoints:
        """The gateway's workers, as bytes reach them."""
        return self.gateway._endpoints

    @property
    def holdings(self) -> Holdings[Custody]:
        """What each request holds in memory."""
        return self.gateway._holdings

    def shared_times(self) -> dict[str, SharedTime]:
        """How the time of each worker was divided up to now."""
        return dict(self.gateway._admission.running.times(asyncio.get_running_loop().time()))

    @property
    def limited_tenants(self) -> set[str]:
        """The tenants whose rates the gateway keeps."""
        return {tenant for tenant, _ in self.gateway._admission.tenants.allowances()}

    @property
    def budgets(self) -> Budgets:
        """What tenants may use; the gateway must keep a ledger."""
        budgets = self.gateway._books.budgets
        assert budgets is not None
        return budgets

    @property
    def _server(self) -> HttpServer:
        server = self.gateway._entrance.server
        assert server is not None
        return server

    def account(self, model: str) -> PoolAccount:
        """What the scheduler keeps of the pool of `model`."""
        return self.gateway._dispatcher.account(model)

    def service(self, tenant: str) -> float:
        """What the scheduler has charged `tenant` in cost units."""
        return sum(each.service for pool in self.gateway.pools() for each in pool.tenants if each.tenant == tenant)

    def counter(self, tenant: str) -> float:
        """The tenant's virtual counter."""
        return self.counters()[tenant]

    def counters(self) -> dict[str, float]:
        """Every tenant's virtual counter."""
        return {each.tenant: each.counter for pool in self.gateway.pools() for each in pool.tenants}

    def engine_count(self, request_id: str) -> list[RequestCount]:
        """What the engines counted for a request, one entry for each time it reached one."""
        return [
            count for worker in self.workers if isinstance(worker, EngineWorker) for count in worker.count(request_id)
        ]

    # -- judging

    def check(self) -> None:
        """What must hold at any moment."""
        check_invariants(self.gateway._admission)

    def check_idle(self) -> None:
        """Nothing is queued, in flight or on a timer; what a tenant settled is the sum of what the events say of it."""
        self.check()
        assert self.queued == 0
        assert self.in_flight == 0
        assert self.fleet.is_idle
        assert not list(self.gateway._dispatcher.queued())
        assert self.open_requests == 0
        assert self.holdings.held_bytes == 0
        ids = [event.request_id for event in self.finished]
        assert len(ids) == len(set(ids)), "a request that ended twice"
        configured = {tenant.name for tenant in self.gateway.config.tenants}
        for tenant in {event.tenant for event in self.finished} & configured:
            reported = sum(event.service for event in self.finished if event.tenant == tenant)
            assert self.service(tenant) == pytest.approx(reported, abs=1e-3), f"settled charges of {tenant}"

    async def settled(self) -> None:
        """Return when every request has had ample time to end, and check that nothing is left of any."""
        await asyncio.sleep(_SECONDS_TO_SETTLE)
        self.check_idle()


@asynccontextmanager
async def stage(
    *workers: AnyWorker, plan: Plan | None = None, path: Path = Path("config.yaml")
) -> AsyncIterator[Stage]:
    """A gateway in front of `workers` (default: one engine); at the end all accounts must be at rest."""
    async with several_gateways(1, *workers, plan=plan, path=path) as (scene,):
        yield scene


@asynccontextmanager
async def several_gateways(
    gateways: int,
    *workers: AnyWorker,
    plan: Plan | None = None,
    path: Path = Path("config.yaml"),
    connect: Connect = StoreClient,
) -> AsyncIterator[Sequence[Stage]]:
    """Some gateways in front of the same `workers` (default: one engine), the last one stopped first.

    Several share an account by the store that `connect` leads to; they are called `g0`, `g1`, ...
    """
    plan = plan or Plan()
    workers = workers or (EngineWorker(),)
    async with AsyncExitStack() as stack:
        for worker in workers:
            await worker.start()
            stack.push_async_callback(worker.stop)
        config = plan.config([worker.url for worker in workers])
        stack.enter_context(numbered_requests())
        scenes = []
        for number in range(gateways):
            replicas = plan.replicas
            if gateways > 1:
                shared = plan.replicas or Replicas(store="unix:///stage")
                replicas = shared.model_copy(update={"name": f"g{number}", "expected": gateways})
            recorder = _Recorder()
            stack.callback(recorder.log.close)
            ledger = config.ledger
            if ledger is not None and gateways > 1:
                ledger = ledger.model_copy(update={"folder": ledger.folder / f"g{number}"})
            loaded = Loaded(config.model_copy(update={"replicas": replicas, "ledger": ledger}), path, ())
            gateway = Gateway(loaded, recorder.log, (recorder,), connect=connect)
            scene = Stage(gateway, path, await gateway.start(), recorder, workers)
            stack.push_async_callback(scene.stop)
            scenes.append(scene)
        yield scenes
        for scene in reversed(scenes):
            await scene.stop()
        for scene in scenes:
            scene.check_idle()


def with_gateway(
    *, engine: EngineConfig = INSTANT, is_real_time: bool = False, **plan: Any
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Run a coroutine function whose first parameter is a `Stage` as a test; `plan` are fields of `Plan`.

    `is_real_time` is for what cannot run in virtual time, or must be allowed to log errors.
    """

    def decorate(steps: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        async def story(**arguments: Any) -> None:
            async with asyncio.timeout(STUCK_SECONDS), stage(EngineWorker(engine), plan=Plan(**plan)) as scene:
                await steps(scene, **arguments)

        def test(**arguments: Any) -> None:
            run = asyncio.run if is_real_time else run_in_virtual_time
            run(story(**arguments))

        signature = inspect.signature(steps)
        test.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=list(signature.parameters.values())[1:], return_annotation=None
        )
        test.__name__, test.__doc__, test.__module__ = steps.__name__, steps.__doc__, steps.__module__
        test.__dict__.update(steps.__dict__)
        return test

    return decorate


@contextmanager
def numbered_requests() -> Iterator[None]:
    """Give requests numbers instead of random ids while the context lasts, so that a run repeats bit by bit."""
    numbers = count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "gateway.clients.request_ids.token_hex",
            lambda size: "".join(f"{next(numbers):08x}" for _ in range(size // 4)),
        )
        yield


def question(prompt: str = "Hello", model: str = MODEL, **fields: Any) -> dict[str, Any]:
    """The body of a chat request that says nothing of its answer but `fields`."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def chat(tokens: int = 10, *, stream: bool = True, prompt: str = "hi", **fields: Any) -> dict[str, Any]:
    """A chat of exactly `tokens` output tokens, streamed unless said."""
    return question(prompt, stream=stream, **exactly(tokens), **fields)


def exactly(tokens: int) -> dict[str, Any]:
    """What a request says that wants just so many tokens."""
    return {"max_tokens": tokens, "min_tokens": tokens}


def post(path: str, body: object, key: str, headers: Sequence[str] = ()) -> bytes:
    """A whole POST with `key` as bytes; `headers` are lines."""
    return request_bytes(path, body, [f"Authorization: Bearer {key}", *headers])
