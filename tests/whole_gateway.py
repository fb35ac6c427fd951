"""The whole gateway on a stage: built as in production, real sockets, engines in the same loop, every event recorded.

Engines are the embedded one with scripted faults, or a script that speaks raw HTTP. What a stage can be asked for after
each scene: that nothing is queued or in flight anywhere, that the accounts add up, and that every request ended once.
"""

import asyncio
import io
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from raw_client import Answer, Client, ask

from backend.engine.config import EngineConfig
from backend.engine.faults import Fault, FaultKind, FaultScript
from backend.engine.loop import Engine
from backend.engine.server import ENGINE, KEEP_ALIVE_SECONDS, bind, make_app
from backend.engine.witness import RequestCount
from gateway.app import Gateway
from gateway.config import (
    Config,
    Listen,
    Loaded,
    LogFormat,
    LogLevel,
    PolicySpec,
    Pool,
    PredictorName,
    ResolvedKey,
    Right,
    Scheduler,
    Tenant,
    Timeouts,
    Window,
    Worker,
    digest,
)
from gateway.events import Event, RequestDispatched, RequestFinished, WorkerChanged
from gateway.fairness import check_invariants
from gateway.outcomes import Outcome
from gateway.telemetry.logs import Log

MODEL = "tiny"
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
ENGINE_CONFIG = EngineConfig.of_profile("cpu-tiny", MODEL, max_num_seqs=4)
_SECONDS_TO_SETTLE = 2.0
_TURNS_TO_ACCEPT = 4
_TURN_SECONDS = 0.001
_MAX_TURNS = 1_000_000

_engine_log = logging.getLogger("engine")
_engine_log.disabled = True  # what an engine says of a client that broke off is not the gateway's

Respond = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class EngineWorker:
    """An embedded engine that can be killed and started again at the same address."""

    def __init__(self, config: EngineConfig = ENGINE_CONFIG) -> None:
        """An engine that is not running yet."""
        self._config = config
        self._port = 0
        self._runner: Any = None
        self._listener: socket.socket | None = None
        self._past: list[Any] = []
        self.lives: list[Engine] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def engine(self) -> Engine:
        """The engine of the present life."""
        return self.lives[-1]

    async def start(self, faults: FaultScript | None = None) -> None:
        """Begin a life, with other faults where given."""
        config = self._config if faults is None else replace(self._config, faults=faults)
        app = make_app(config, self.kill)
        runner = web.AppRunner(
            app,
            handler_cancellation=True,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            access_log=None,
            shutdown_timeout=0.5,
            logger=_engine_log,
        )
        await runner.setup()
        self._listener = bind("127.0.0.1", self._port)
        self._port = self._listener.getsockname()[1]
        assert runner.server is not None
        await asyncio.get_running_loop().create_server(runner.server, sock=self._listener)
        self._runner = runner
        self.lives.append(app[ENGINE])

    def kill(self) -> None:
        """Die at once: every connection is reset, the port refuses."""
        if self._listener is None:
            return
        # Not by the server's own `close`: a connection that is being accepted then would be leaked by asyncio.
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        self._past.append(self._runner)
        self._reset(self._runner.server, _TURNS_TO_ACCEPT)

    def _reset(self, server: web.Server, turns: int) -> None:
        """Reset every connection, those too that were being accepted."""
        for connection in list(server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        if turns:
            asyncio.get_running_loop().call_soon(self._reset, server, turns - 1)

    async def stop(self) -> None:
        """End for good."""
        self.kill()
        for runner in self._past:
            await runner.cleanup()
        self._past.clear()

    def count(self, request_id: str) -> list[RequestCount]:
        """What each life counted for the gateway's request."""
        return [count for engine in self.lives for name, count in engine.witness.requests.items() if request_id in name]


class ScriptedWorker:
    """A worker that answers probes and hands every other request to `respond`, one after another."""

    def __init__(self, respond: Respond) -> None:
        """A worker whose `respond` gets the connection, the request read, and leaves it open or closed."""
        self._respond = respond
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.requests: list[tuple[bytes, Any]] = []
        self.connections = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        is_new = True
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    return
                self.connections += is_new
                is_new = False
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append((head, json.loads(await reader.readexactly(length))))
                await self._respond(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return  # cancelled by `stop`: asyncio's streams would report a cancellation as a failure
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Close every connection in order, as an engine does with idle ones."""
        for writer in self._writers:
            writer.close()

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


AnyWorker = EngineWorker | ScriptedWorker


@dataclass(frozen=True, slots=True)
class Plan:
    """What differs from the ordinary configuration."""

    tenants: Mapping[str, float] = field(default_factory=lambda: {"alice": 1.0, "bob": 1.0})
    policy: str = "vtc"
    predictor: PredictorName = PredictorName.QUANTILE
    queue_timeout_seconds: float = 60.0
    max_queued: int = 10_000
    window: Window = field(default_factory=lambda: Window(sequences=4, slack=1, prefill_tokens=2048))
    timeouts: Timeouts = field(
        default_factory=lambda: Timeouts(connect_seconds=2, first_byte_seconds=20, stall_seconds=5)
    )
    drain_seconds: float = 5.0
    write_stall_seconds: float = 10.0
    max_model_len: int = 2048
    keys_per_tenant: int = 1
    tenant_fields: Mapping[str, Any] = field(default_factory=dict)


def key_of(tenant: str, number: int = 0) -> str:
    """One of the keys of a tenant on stage, its first."""
    return f"key-of-{tenant}" if number == 0 else f"key-{number + 1}-of-{tenant}"


def configuration(plan: Plan, urls: Sequence[str]) -> Config:
    """The configuration of a plan in front of workers `w0`, `w1`, ... at `urls`."""
    tenants = tuple(
        Tenant(
            name=name,
            weight=weight,
            keys=tuple(_key(name, number) for number in range(plan.keys_per_tenant)),
            **{"allow": frozenset({Right.IGNORE_EOS}), **plan.tenant_fields},
        )
        for name, weight in plan.tenants.items()
    )
    workers = tuple(Worker(name=f"w{index}", url=url, window=plan.window) for index, url in enumerate(urls))
    pool = Pool(
        model=MODEL,
        engine_model=MODEL,
        max_model_len=plan.max_model_len,
        window=plan.window,
        timeouts=plan.timeouts,
        workers=workers,
    )
    return Config(
        listen=Listen(port=0, drain_seconds=plan.drain_seconds, write_stall_seconds=plan.write_stall_seconds),
        scheduler=Scheduler(
            policy=PolicySpec.parse(plan.policy),
            predictor=plan.predictor,
            queue_timeout_seconds=plan.queue_timeout_seconds,
            max_queued=plan.max_queued,
        ),
        pools=(pool,),
        tenants=tenants,
    )


def _key(tenant: str, number: int) -> ResolvedKey:
    return ResolvedKey(id=f"key{number + 1}", digest=digest(key_of(tenant, number)))


class _Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        """Keep `event`."""
        self.events.append(event)


class Stage:
    """A running gateway with its workers."""

    def __init__(self, gateway: Gateway, url: str, events: list[Event], workers: Sequence[AnyWorker]) -> None:
        """The stage of `gateway`, which listens at `url`."""
        self.gateway = gateway
        self.url = url
        self.events = events
        self.workers = workers
        self._is_stopped = False
        self._turns = 0

    async def stop(self) -> None:
        """Drain and end the gateway, once."""
        if not self._is_stopped:
            self._is_stopped = True
            await self.gateway.stop()

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

    async def get(self, path: str) -> Answer:
        """GET a page."""
        return await ask(self.url, path)

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

    async def until_worker_is(self, state: str, worker: int = 0) -> None:
        """Return when a worker is in `state`."""
        while self.gateway.workers()[worker].state != state:
            await self.turn()

    async def until_finished(self, requests: int) -> None:
        """Return when so many requests have ended."""
        while len(self.finished) < requests:
            await self.turn()

    def cancel_handlers(self) -> int:
        """Cancel whatever handles a request now, as aiohttp does when its client leaves; how many there were."""
        runner = self.gateway._runner
        assert runner is not None
        assert runner.server is not None
        busy = [each for each in runner.server.connections if each._request_in_progress]
        for connection in busy:
            assert connection._task_handler is not None
            connection._task_handler.cancel()
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
    def finished(self) -> list[RequestFinished]:
        """Every request that has ended, in order."""
        return [event for event in self.events if isinstance(event, RequestFinished)]

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

    def service(self, tenant: str) -> float:
        """What the scheduler has charged `tenant` in cost units."""
        return sum(each.service for pool in self.gateway.pools() for each in pool.tenants if each.tenant == tenant)

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
        """Nothing is queued, in flight or on a timer, and what was settled is the sum of what the events say."""
        self.check()
        assert self.queued == 0
        assert self.in_flight == 0
        assert self.gateway._fleet.is_idle
        assert not list(self.gateway._dispatcher.queued())
        assert not self.gateway._listener.exchanges
        ids = [event.request_id for event in self.finished]
        assert len(ids) == len(set(ids)), "a request that ended twice"
        for tenant in {event.tenant for event in self.finished} - {""}:
            told = sum(event.service for event in self.finished if event.tenant == tenant)
            assert self.service(tenant) == pytest.approx(told, abs=1e-3), f"settled charges of {tenant}"

    async def settled(self) -> None:
        """Return when every request has had ample time to end, and check that nothing is left of any."""
        await asyncio.sleep(_SECONDS_TO_SETTLE)
        self.check_idle()


@asynccontextmanager
async def stage(
    *workers: AnyWorker, plan: Plan | None = None, path: Path = Path("config.yaml")
) -> AsyncIterator[Stage]:
    """A gateway in front of `workers` (default: one engine); at the end all accounts must be at rest."""
    plan = plan or Plan()
    workers = workers or (EngineWorker(),)
    async with AsyncExitStack() as stack:
        for worker in workers:
            await worker.start()
            stack.push_async_callback(worker.stop)
        recorder, lines = _Recorder(), io.StringIO()
        log = Log(lines, LogFormat.JSON, LogLevel.INFO)
        stack.callback(log.close)
        config = configuration(plan, [worker.url for worker in workers])
        with numbered_requests():
            gateway = Gateway(Loaded(config, path, ()), log, (recorder,))
            scene = Stage(gateway, await gateway.start(), recorder.events, workers)
            try:
                yield scene
            finally:
                await scene.stop()
        scene.check_idle()


@contextmanager
def numbered_requests() -> Iterator[None]:
    """Give requests numbers instead of random ids while the context lasts, so that a run repeats bit by bit."""
    numbers = count(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.proxy.listener.uuid4", lambda: UUID(int=next(numbers)))
        yield


def chat(tokens: int = 10, *, stream: bool = True, prompt: str = "hi", **fields: Any) -> dict[str, Any]:
    """A chat of exactly `tokens` output tokens."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "stream": stream,
        **fields,
    }


def faults(*script: Fault, seed: int = 0) -> EngineConfig:
    """The ordinary engine under a script."""
    return replace(ENGINE_CONFIG, faults=FaultScript(tuple(script), seed))


def fault(kind: FaultKind, **fields: Any) -> Fault:
    """A fault that strikes the first request unless it says otherwise."""
    if not fields.keys() & {"nth", "every", "probability"}:
        fields["nth"] = 1
    return Fault(kind=kind, **fields)
