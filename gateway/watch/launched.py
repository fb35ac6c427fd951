"""The workers that the gateway itself has started: which of them serve, and how they change to a new configuration.

A launched worker is in the fleet exactly while the supervisor calls it ready, at the address that it then has. A
changed plan is carried out worker by worker: the worker gets nothing new, its running requests finish, its process is
replaced, and only when the new process is ready does the next worker follow. If a new process does not come up, the
change stops there, so that the other workers go on serving. A change that no process sees replaces none. New workers
start at once; removed workers end when their requests have ended. A worker that stands still for longer than a stream
may is started anew, whatever its server says. The supervisor runs the processes; the fleet chooses a request's worker;
`outages` says how long requests wait while none serves.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pydantic import SecretStr

from gateway.background import Background
from gateway.config import Pool, Window, Worker
from gateway.endpoints.workers import worker_name
from gateway.events import Event, RequestFinished, WorkerChanged, WorkerRemarked, WorkerStalled, WorkerWrote
from gateway.watch.supervisor import (
    LaunchFailed,
    LaunchStatus,
    Supervisor,
    SupervisorCallbacks,
    SupervisorProcess,
    WorkerPlan,
    runs_alike,
)
from gateway.workers import CircuitState, Fleet, WorkerSnapshot
from gateway.workers.window import UNTUNED_PREFILL_TOKENS, UNTUNED_SEQUENCES

READY = "ready"
_STOPPED = LaunchStatus("", "stopped")
_UNDER_WAY = frozenset({"loading", "draining", "stopped"})  # from these states a worker may still become ready
_WITH_PROCESS = frozenset({READY, "unhealthy"})
_BROKEN = frozenset({"back_off", "failed"})
_ENDED = frozenset({"unhealthy", "draining", "stopped"})  # states in which the supervisor ends a process, or has
_REPORTED_LINES = 5


@dataclass(frozen=True, slots=True)
class LaunchContext:
    """The parts of the gateway that launched workers act on.

    `is_visited` says whether requests that take no room are at a worker. `enlist` lets a worker serve. `renew` is
    called with the pool in which a worker is being replaced, "" for none. `emit` emits an event.
    """

    fleet: Fleet
    is_visited: Callable[[str], bool]
    enlist: Callable[[Pool, Worker], None]
    renew: Callable[[str], None]
    emit: Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    pool: Pool
    worker: Worker
    plan: WorkerPlan

    def runs_as(self, other: "_Wanted") -> bool:
        """True if a process started for the one does as well for the other."""
        return runs_alike(self.plan, other.plan)


class LaunchedWorkers:
    """Every worker of the configuration that has `launch`."""

    def __init__(
        self, context: LaunchContext, supervise: Callable[[SupervisorCallbacks], Supervisor] = SupervisorProcess
    ) -> None:
        """Start without workers; `supervise` makes the supervisor that runs them."""
        self._context = context
        self._wanted: dict[str, _Wanted] = {}
        self._running: dict[str, _Wanted] = {}  # as last ordered
        self._replaced = ""  # the worker that is being emptied for its replacement
        self._stalls: dict[str, asyncio.TimerHandle] = {}  # of workers that stand still
        self._failure: str | None = None
        self._statuses: dict[str, LaunchStatus] = {}
        self._news = asyncio.Event()
        # Without this task the workers run on by the old plan.
        self._rollout = Background("rolling restart", self._roll, "the rolling restart broke off")
        self._drains: list[Background] = []
        self._supervisor = supervise(SupervisorCallbacks(self._changed, self._wrote, self._lost))

    # -- what the composition root does

    def configure(self, pools: Iterable[Pool]) -> None:
        """Begin to bring the workers to what `pools` say."""
        before, self._wanted = self._wanted, {each: wanted for pool in pools for each, wanted in _wanted(pool)}
        for name in before.keys() - self._wanted.keys():
            self._retire(name, before[name])
        for name, wanted in self._wanted.items():
            if name not in self._running:
                self._order(name)
            elif self._running[name].runs_as(wanted):
                if self._running[name].plan != wanted.plan:
                    self._supervisor.start(name, wanted.plan)
                self._running[name] = wanted
                self._serve_if_ready(name)
        if self._outdated() is not None:
            self._rollout.start()
        self._news.set()

    async def started(self) -> None:
        """Wait until each worker serves or has failed once; raises `LaunchFailed` if a pool has none that serves."""
        await self._until(lambda: self._failure is not None or self._have_all_begun())
        if self._failure is not None:
            raise LaunchFailed(self._failure)
        serving = {wanted.pool.model for name, wanted in self._wanted.items() if self._status(name).state == READY}
        failed = [name for name, wanted in self._wanted.items() if wanted.pool.model not in serving]
        if failed:
            raise LaunchFailed("; ".join(_words(self._status(name)) for name in failed))

    def _have_all_begun(self) -> bool:
        return all(self._status(name).state not in _UNDER_WAY for name in self._wanted)

    async def stop(self) -> None:
        """End every worker."""
        for stall in self._stalls.values():
            stall.cancel()
        self._stalls.clear()
        for work in (self._rollout, *self._drains):
            await work.stop()
        await self._supervisor.close()

    def observe(self, event: Event) -> None:
        """Look again after each request, which may be a worker's last; set a timer to restart a worker that stalls."""
        match event:
            case RequestFinished():
                self._news.set()
            case WorkerStalled(_, worker, is_stalled, reason) if worker in self._wanted:
                self._forget_stall(worker)
                if is_stalled:
                    # When the timer ends, the worker's streams have ended by their own limit.
                    seconds = self._wanted[worker].pool.timeouts.stall_seconds
                    loop = asyncio.get_running_loop()
                    self._stalls[worker] = loop.call_later(seconds, self._renew, worker, reason)
            case _:
                pass

    def _forget_stall(self, name: str) -> None:
        stall = self._stalls.pop(name, None)
        if stall is not None:
            stall.cancel()

    def _renew(self, name: str, reason: str) -> None:
        """Restart a worker that has not moved since it was reported, by force if it does not end."""
        self._stalls.pop(name, None)
        view = self._context.fleet.look(name)
        # It may have answered meanwhile and have nothing more to do.
        if view is not None and view.state != CircuitState.SERVING.value:
            self._supervisor.restart(name, reason)

    def is_being_ended(self, name: str) -> bool:
        """True for a worker whose process is ended on purpose, so that its death is no request's fault."""
        return name in self._statuses and self._statuses[name].state in _ENDED

    # -- views

    def amended(self, fleet: Sequence[WorkerSnapshot]) -> tuple[WorkerSnapshot, ...]:
        """`fleet`, and the launched workers that do not serve, in the states that the supervisor gives."""
        known = {snapshot.worker for snapshot in fleet}
        seen = [self._amended(snapshot) for snapshot in fleet]
        absent = [_absent(wanted, self._status(name)) for name, wanted in self._wanted.items() if name not in known]
        return (*seen, *absent)

    def statuses(self) -> tuple[LaunchStatus, ...]:
        """What the supervisor says of each worker."""
        return tuple(self._status(name) for name in self._wanted)

    def _amended(self, snapshot: WorkerSnapshot) -> WorkerSnapshot:
        state = self._status(snapshot.worker).state
        is_ours = snapshot.worker in self._wanted
        return replace(snapshot, state=state) if is_ours and state != READY else snapshot

    def _status(self, name: str) -> LaunchStatus:
        return self._statuses.get(name) or replace(_STOPPED, worker=name)

    # -- what the supervisor says

    def _changed(self, status: LaunchStatus) -> None:
        name, before = status.worker, self._status(status.worker)
        self._statuses[name] = status
        if status.state not in _WITH_PROCESS:
            self._forget_stall(name)  # the process that stood still has ended
        wanted = self._wanted.get(name)
        if wanted is not None:
            self._serve_if_ready(name)
            if (status.state, status.reason, status.engine) != (before.state, before.reason, before.engine):
                self._context.emit(WorkerChanged(wanted.pool.model, name, status.state, _words(status)))
        elif status.state == "stopped":
            del self._statuses[name]
        self._news.set()

    def _wrote(self, worker: str, line: str) -> None:
        self._context.emit(WorkerWrote(worker, line))

    def _lost(self, reason: str) -> None:
        """Note that the supervisor died, and every worker with it; it is started again."""
        self._failure = reason
        for name in list(self._statuses):
            if name in self._wanted:
                remark = f"{reason}; it is started again, and its workers"
                self._context.emit(WorkerRemarked(self._wanted[name].pool.model, name, remark))
            self._changed(replace(self._status(name), state="stopped", url="", reason=reason))
        self._news.set()

    def _serve_if_ready(self, name: str) -> None:
        """Let a worker serve, as its running process was ordered, if it is ready; else give it nothing new."""
        running, status = self._running[name], self._status(name)
        if status.state == READY and name != self._replaced:
            key = SecretStr(self._supervisor.api_key)
            self._context.enlist(running.pool, running.worker.model_copy(update={"url": status.url, "api_key": key}))
        else:
            self._rest(name)

    def _rest(self, name: str) -> None:
        if name in self._context.fleet:
            self._context.fleet.drain(name)

    # -- change

    def _order(self, name: str) -> None:
        wanted = self._wanted[name]
        self._running[name] = replace(wanted, plan=self._supervisor.start(name, wanted.plan))

    def _outdated(self) -> str | None:
        """The name of a worker that runs by another plan than it should; None if there is none."""
        wanted = self._wanted.items()
        return next((name for name, each in wanted if not self._running[name].runs_as(each)), None)

    async def _roll(self) -> None:
        while (name := self._outdated()) is not None:
            await self._replace(name, self._wanted[name].pool.model)

    async def _replace(self, name: str, pool: str) -> None:
        self._context.renew(pool)
        try:
            await self._empty(name)
            if name not in self._wanted:
                return
            self._order(name)
            ordered = self._running[name]
            await self._until(lambda: self._has_come(name, ordered) or self._status(name).state in _BROKEN)
        finally:
            self._context.renew("")
        # A broken one is tried again; meanwhile the pool's requests wait only as long as in any outage.
        await self._until(lambda: self._has_come(name, ordered))

    async def _empty(self, name: str) -> None:
        """End a worker's process when its requests have ended."""
        self._replaced = name
        try:
            self._rest(name)
            await self._idle(name, self._running[name])
            self._supervisor.stop(name)
            await self._until(lambda: self._status(name).state == "stopped")
        finally:
            self._replaced = ""

    def _has_come(self, name: str, ordered: _Wanted) -> bool:
        """True if a replacement serves, or the configuration no longer wants it."""
        wanted = self._wanted.get(name)
        return wanted is None or not wanted.runs_as(ordered) or self._status(name).state == READY

    def _retire(self, name: str, wanted: _Wanted) -> None:
        """End a worker that the configuration no longer has, once its requests have ended."""
        work = f"end of worker {name}"
        drain = Background(work, partial(self._end, name, wanted), f"the {work} broke off")
        drain.start()
        self._drains = [drain, *(each for each in self._drains if each.is_running)]

    async def _end(self, name: str, wanted: _Wanted) -> None:
        await self._idle(name, wanted)
        if name not in self._wanted:
            self._running.pop(name, None)
            self._supervisor.stop(name)

    async def _idle(self, name: str, wanted: _Wanted) -> None:
        """Wait until no request is at the worker, but for at most its `drain_seconds`."""
        assert wanted.worker.launch is not None
        try:
            async with asyncio.timeout(wanted.worker.launch.drain_seconds):
                await self._until(lambda: name not in self._context.fleet and not self._context.is_visited(name))
        except TimeoutError:
            return

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()


def _wanted(pool: Pool) -> Iterable[tuple[str, _Wanted]]:
    for worker in pool.workers:
        if worker.is_launched:
            yield worker_name(pool, worker), _Wanted(pool, worker, plan_of(pool, worker))


def plan_of(pool: Pool, worker: Worker) -> WorkerPlan:
    """The order for the supervisor to run `worker`: names and sizes from the pool, the rest from `launch`."""
    launch, window = worker.launch, worker.window
    assert launch is not None
    variables = (variable.get_secret_value().partition("=") for variable in launch.environment)
    return {
        "name": worker_name(pool, worker),
        "model": launch.model or pool.engine_model,
        "served_name": pool.engine_model,
        "engine": launch.engine.value,
        "profile": launch.profile,
        "max_model_len": pool.assumed_model_len,
        "sequences": _engine_sequences(window),
        "prefill_tokens": window.fixed_prefill_tokens,
        "gpus": launch.gpus,
        "engine_order": worker.engine_order.value,
        "adapters": {adapter.name: adapter.path or "" for adapter in pool.adapters},
        "arguments": list(launch.arguments),
        "environment": {name: value for name, _, value in variables},
        "start_seconds": launch.start_seconds,
        "max_failed_starts": launch.max_failed_starts,
    }


def _engine_sequences(window: Window) -> int | None:
    """How many sequences the engine is to run at once; None if that is learned.

    With an express lane this is all that the engine may be sent.
    """
    if window.fixed_sequences is None or window.express == 0:
        return window.fixed_sequences
    return window.fixed_sequences + window.slack + window.express


def _words(status: LaunchStatus) -> str:
    """A status in one line; for a worker that does not work, also its name and its last words."""
    parts = [status.reason, status.engine]
    if status.state in _BROKEN:
        parts = [f"worker {status.worker}", *parts, *status.last_lines[-_REPORTED_LINES:]]
    return "; ".join(filter(None, parts))


def _absent(wanted: _Wanted, status: LaunchStatus) -> WorkerSnapshot:
    window = wanted.worker.window
    return WorkerSnapshot(
        pool=wanted.pool.model,
        worker=worker_name(wanted.pool, wanted.worker),
        url=status.url,
        state=status.state,
        sequences_in_flight=0,
        window_sequences=(window.fixed_sequences or UNTUNED_SEQUENCES) + window.slack,
        prefill_tokens_in_flight=0,
        window_prefill_tokens=window.fixed_prefill_tokens or UNTUNED_PREFILL_TOKENS,
    )
