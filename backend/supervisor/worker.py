"""One worker's life, carried out: its process, its timers, its probes.

What follows from what is `life`'s; here signals come from the real world and effects go there. The process is any
server command of ours: it prints `ready URL` when it serves and ends its own children when it is told to end. The
kernel ends it when this program dies. `/health` is asked once a second; an answer below 500 in time is a good one, and
a probe for which this program lacks something says nothing. A fault of our own costs a life or a probe, no worker.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import assert_never

import aiohttp

from backend.supervisor.crashes import Crashes
from backend.supervisor.gpus import NoGpuLeft
from backend.supervisor.life import HAS_PROCESS, TABLE, Effect, LifeSignal, State
from backend.supervisor.machine import CannotStart, Machine, Recipe
from backend.supervisor.plan import WorkerPlan
from backend.supervisor.reporter import Reporter
from backend.vllm.process import ProcessTree

KEPT_LINES = 40
MAX_LINE_CHARS = 500
_READY = "ready "
# Errors of this machine, not of a worker.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a worker is asked, and how patient everybody is."""

    probe_seconds: float = 1.0
    probe_limit_seconds: float = 2.0
    failures_in_a_row: int = 3
    unhealthy_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a worker; `url` is empty unless it serves, and `reason` says why it is in its state."""

    worker: str
    state: str
    url: str
    engine: str
    reason: str
    restarts: int
    is_crash_loop: bool
    last_lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerCallbacks:
    """Who hears of a worker: of every change, and of the lines that it writes as far as they are not too many."""

    changed: Callable[[Status], None]
    wrote: Callable[[str, str], None]


class SupervisedWorker:
    """One worker from its first start to its last end."""

    def __init__(
        self, plan: WorkerPlan, machine: Machine, callbacks: WorkerCallbacks, pace: Pace, random: Random
    ) -> None:
        """A worker that does not run yet."""
        self.plan = plan
        self.state = State.STOPPED
        self._machine = machine
        self._callbacks = callbacks
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._crashes = Crashes(random)
        self._url = self._engine = self._reason = ""
        self._last_lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._reporter = Reporter()
        self._life: asyncio.Task[None] | None = None
        self._probes: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_loaded = asyncio.Event()
        self._is_ending = False
        self._last_status: Status | None = None

    # -- what its owner does

    def start(self, plan: WorkerPlan) -> None:
        """Run by `plan`, or go on; a running process keeps its own, but for how patient its supervisor is."""
        if self.state in HAS_PROCESS:
            self.plan = self.plan.as_patient_as(plan)
        else:
            if plan != self.plan or self.state is State.FAILED:
                self._crashes.forget()
            self.plan = plan
        self.feed(LifeSignal.START, "asked to start")

    def stop(self) -> None:
        """End, and stay so."""
        self.feed(LifeSignal.STOP, "asked to stop")

    def restart(self, reason: str) -> None:
        """End a process that serves, and start it anew; one that does not serve is started anew anyway."""
        self.feed(LifeSignal.CONDEMNED, reason)

    async def ended(self) -> None:
        """Wait until no process is left."""
        if self._life is not None:
            await asyncio.wait({self._life})

    # -- the table

    def feed(self, signal: LifeSignal, reason: str) -> None:
        """Take in what happened."""
        before = self.state
        self.state, effects = TABLE[before, signal]
        if self.state is not before:
            self._enter(reason)
        for effect in effects:
            self._carry_out(effect, reason)
        if self.state is not before and Effect.LAUNCH not in effects:  # a launch tells when its engine is chosen
            self._report()

    def _carry_out(self, effect: Effect, reason: str) -> None:
        match effect:
            case Effect.LAUNCH:
                self._is_ending = False
                self._life = asyncio.create_task(self._live(), name=f"life of worker {self.plan.name}")
            case Effect.END:
                assert self._life is not None
                if not self._is_ending:  # a second cancellation would break off the orderly end
                    self._reason = reason
                    self._is_ending = True
                    self._life.cancel()
                    self._probe_while_it_serves()
            case Effect.WAIT:
                self._wait_or_give_up()
            case _:
                assert_never(effect)

    def _enter(self, reason: str) -> None:
        self._reason = reason
        self._disarm()
        if self.state is State.READY:
            self._crashes.served(self._loop.time())
        if self.state is not State.LOADING:
            self._is_loaded.set()
        if self.state is State.UNHEALTHY:
            self._arm(self._pace.unhealthy_seconds, f"no good answer for {self._pace.unhealthy_seconds:g} s more")
        self._probe_while_it_serves()

    def _wait_or_give_up(self) -> None:
        self._crashes.died(self._loop.time())
        limit = self.plan.max_failed_starts
        if limit is not None and self._crashes.failed_starts_in_a_row >= limit:
            self.feed(LifeSignal.GAVE_UP, f"{self._reason}; given up after {limit} failed starts")
            return
        delay = self._crashes.delay_seconds()
        loop = ", in a crash loop" if self._crashes.is_loop(self._loop.time()) else ""
        self._reason = f"{self._reason}{loop}; the next start in {delay:.1f} s"
        self._arm(delay, "trying again")

    def _arm(self, seconds: float, reason: str) -> None:
        self._disarm()
        self._timer = self._loop.call_later(seconds, self.feed, LifeSignal.OVERDUE, reason)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- its process

    async def _live(self) -> None:
        """One life: from the command to the end of the last process of its tree."""
        self._is_loaded.clear()
        self._url, reason = "", "ended before it was started"
        try:
            recipe = self._machine.recipe(self.plan)
            self._engine = recipe.engine
            self._report()
            reason = await self._run(recipe)
        except CannotStart as fault:
            self._machine.give_back(self.plan.name)
            self.feed(LifeSignal.GAVE_UP, str(fault))
            return
        except NoGpuLeft as fault:
            reason = str(fault)  # a worker that is ending, or another's plan, may make room
        except OSError as error:
            reason = f"cannot be started: {error.strerror}"
        except asyncio.CancelledError:
            reason = self._reason  # of whoever ended it
        except Exception as fault:
            reason = f"the supervisor met a fault of its own: {type(fault).__name__}"
            self._tell_fault("a life", fault)
        self._machine.give_back(self.plan.name)
        self._url = ""
        self.feed(LifeSignal.ENDED, reason)

    async def _run(self, recipe: Recipe) -> str:
        """Start the process and stay with it; how it ended."""
        turn = self._machine.turn(recipe)
        await turn.acquire()
        try:
            tree = await ProcessTree.start(recipe.command, recipe.environment, self._take)
        except BaseException:
            turn.release()
            raise
        loaded = asyncio.create_task(self._is_loaded.wait(), name="loaded")
        loaded.add_done_callback(lambda _: turn.release())
        try:
            if self.state is State.LOADING:
                seconds = self.plan.start_seconds
                self._arm(seconds, f"not ready within {seconds:g} s")
            status = await tree.wait()
            return f"ended with status {status}"
        finally:
            loaded.cancel()
            await tree.end(recipe.grace_seconds)

    def _take(self, line: str) -> None:
        line = line[:MAX_LINE_CHARS]
        if line.startswith(_READY) and self.state is State.LOADING:
            self._url = line.removeprefix(_READY).strip()
            self.feed(LifeSignal.ANNOUNCED, "serves")
            return
        self._last_lines.append(line)
        for shown in self._reporter.report(line, self._loop.time()):
            self._callbacks.wrote(self.plan.name, shown)

    # -- its health

    def _probe_while_it_serves(self) -> None:
        serves = self.state in (State.READY, State.UNHEALTHY) and not self._is_ending
        if serves and self._probes is None:
            self._probes = asyncio.create_task(self._probe_on(), name=f"probes of worker {self.plan.name}")
            self._probes.add_done_callback(self._have_broken)
        elif not serves and self._probes is not None:
            self._probes.cancel()
            self._probes = None

    def _have_broken(self, probes: asyncio.Task[None]) -> None:
        """Probe on after a pause where the probes broke."""
        if not probes.cancelled() and (fault := probes.exception()) is not None:
            self._tell_fault("the probes", fault)
            self._probes = None if self._probes is probes else self._probes
            self._loop.call_later(self._pace.probe_seconds, self._probe_while_it_serves)

    def _tell_fault(self, what: str, fault: BaseException) -> None:
        message = f"{what} of worker {self.plan.name} broke"
        self._loop.call_exception_handler({"message": message, "exception": fault})

    async def _probe_on(self) -> None:
        failures = 0
        limit = aiohttp.ClientTimeout(total=self._pace.probe_limit_seconds)
        async with aiohttp.ClientSession(timeout=limit) as session:
            while True:
                await asyncio.sleep(self._pace.probe_seconds)
                try:
                    fault = await _fault(session, self._url)
                except _Short:
                    continue
                failures = 0 if fault is None else failures + 1
                if fault is None:
                    self.feed(LifeSignal.PROBE_OK, "answers again")
                elif failures >= self._pace.failures_in_a_row:
                    self.feed(LifeSignal.PROBE_FAILED, f"{failures} probes in a row failed: {fault}")

    # -- what is reported

    @property
    def status(self) -> Status:
        """The present state."""
        url = self._url if self.state is State.READY else ""
        is_loop = self._crashes.is_loop(self._loop.time())
        lines = tuple(self._last_lines)
        return Status(
            self.plan.name, self.state.value, url, self._engine, self._reason, self._crashes.total, is_loop, lines
        )

    def _report(self) -> None:
        status = self.status
        if status != self._last_status:
            self._last_status = status
            self._callbacks.changed(status)


class _Short(Exception):
    """There is no descriptor, port or memory here to ask a worker with."""


async def _fault(session: aiohttp.ClientSession, url: str) -> str | None:
    """What is wrong with the answer of `/health`, None if nothing is; raises `_Short`."""
    try:
        async with session.get(f"{url}/health") as answer:
            return None if answer.status < 500 else f"status {answer.status}"
    except TimeoutError:
        return "no answer"
    except aiohttp.ClientError as error:
        if isinstance(error, OSError) and error.errno in _OURS:
            raise _Short from None
        return str(error) or type(error).__name__
