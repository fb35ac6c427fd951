"""The workers of all pools, and the choice among them: the least loaded that serves and has room.

Answers the scheduler's `Capacity` port. A worker leaves in two steps: `drain` gives it nothing new, and it is forgotten
when its last request has ended. `pause` holds back one that refused for lack of room until the caller resumes it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.workers.circuit import Circuit, CircuitState, Signal
from gateway.workers.sample import EngineFacts, EngineSample
from gateway.workers.snapshot import WorkerSnapshot
from gateway.workers.window import Window, WindowSize


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One engine endpoint: a name unique over all pools, the pool it serves, where it listens, its window."""

    name: str
    pool: str
    url: str
    window: WindowSize


class Asking(Protocol):
    """What is read of a request: its size, where it may run, and the worker it was given."""

    pool: str
    sequences: int
    prompt_tokens: int
    avoid: str
    worker: str


class _Worker:
    __slots__ = ("blind_reason", "circuit", "facts", "is_draining", "is_paused", "sample", "spec", "window")

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.window = Window(spec.window)
        self.circuit = Circuit()
        self.is_draining = False
        self.is_paused = False
        self.sample: EngineSample | None = None
        self.facts: EngineFacts | None = None
        self.blind_reason = ""

    @property
    def serves(self) -> bool:
        return not self.is_draining and self.circuit.state in (CircuitState.CLOSED, CircuitState.HALF_OPEN)

    def has_room(self, sequences: int, prompt_tokens: int) -> bool:
        if self.is_paused or (self.circuit.state is CircuitState.HALF_OPEN and not self.window.is_idle):
            return False
        return self.window.has_room(sequences, prompt_tokens)

    def has_express_room(self, sequences: int, prompt_tokens: int) -> bool:
        if self.is_paused or self.circuit.state is CircuitState.HALF_OPEN:
            return False
        return self.window.has_express_room(sequences, prompt_tokens)

    @property
    def state(self) -> str:
        return "draining" if self.is_draining else self.circuit.state.value


class Fleet:
    """Every worker by name, and by pool."""

    def __init__(self) -> None:
        """No workers yet; `configure` adds them."""
        self._workers: dict[str, _Worker] = {}
        self._pools: dict[str, list[_Worker]] = {}
        self._expecting: set[str] = set()

    def __contains__(self, name: str) -> bool:
        """True until a worker that drains is idle."""
        return name in self._workers

    # -- configuration

    def configure(self, spec: WorkerSpec) -> None:
        """Add a worker, or change its window or pool, or take back one that was draining."""
        worker = self._workers.get(spec.name)
        if worker is None:
            worker = self._workers[spec.name] = _Worker(spec)
        else:
            self._pools[worker.spec.pool].remove(worker)
        self._pools.setdefault(spec.pool, []).append(worker)
        worker.spec = spec
        worker.window.resize(spec.window)
        worker.is_draining = False

    def drain(self, name: str) -> None:
        """Send nothing new to a worker; it is forgotten once idle."""
        worker = self._workers[name]
        worker.is_draining = True
        self._forget_if_done(worker)

    def expect(self, pool: str, *, is_expected: bool) -> None:
        """Let requests of `pool` wait although no worker serves: one is about to; or no longer."""
        if is_expected:
            self._expecting.add(pool)
        else:
            self._expecting.discard(pool)

    def specs(self) -> tuple[WorkerSpec, ...]:
        """Every worker that is not draining."""
        return tuple(worker.spec for worker in self._workers.values() if not worker.is_draining)

    def spec(self, name: str) -> WorkerSpec:
        """The worker called `name`."""
        return self._workers[name].spec

    # -- the scheduler's port

    def take(self, request: Asking, /) -> str | None:
        """Reserve room at the least loaded worker that serves, None where the request fits none now."""
        return self._place(request, _Worker.has_room)

    def take_express(self, request: Asking, /) -> str | None:
        """As `take`, in the express lanes."""
        return self._place(request, _Worker.has_express_room)

    def has_express(self, pool: str) -> bool:
        """True where a worker of `pool` has an express lane."""
        return any(worker.window.has_express for worker in self._pools.get(pool, ()))

    def affinity(self, request: Asking, /) -> int:
        """Prompt tokens cached where the request would run now."""
        return 0

    def _place(self, request: Asking, has_room: Callable[["_Worker", int, int], bool]) -> str | None:
        serving = [worker for worker in self._pools.get(request.pool, ()) if worker.serves]
        others = [worker for worker in serving if worker.spec.name != request.avoid] or serving
        fitting = [worker for worker in others if has_room(worker, request.sequences, request.prompt_tokens)]
        if not fitting:
            return None
        chosen = min(fitting, key=lambda worker: worker.window.load)
        chosen.window.take(request.sequences, request.prompt_tokens)
        return chosen.spec.name

    def prefilled(self, request: Asking, /) -> None:
        """Give back a prompt's prefill room."""
        self._workers[request.worker].window.prefilled(request.prompt_tokens)

    def give(self, request: Asking, /) -> None:
        """Give back an ended request's sequences."""
        state = self._workers[request.worker]
        state.window.give(request.sequences)
        self._forget_if_done(state)

    def serves(self, pool: str) -> bool:
        """True where a worker of `pool` can be expected to answer, now or soon."""
        return pool in self._expecting or any(worker.serves for worker in self._pools.get(pool, ()))

    def least_loaded(self, pool: str) -> str | None:
        """The serving worker of `pool` with the least in flight, for requests that take no room."""
        serving = [worker for worker in self._pools.get(pool, ()) if worker.serves]
        return min(serving, key=lambda worker: worker.window.load).spec.name if serving else None

    # -- health

    def signal(self, name: str, signal: Signal) -> str | None:
        """Take in what was seen of a worker; its new state where that changed, else None."""
        worker = self._workers.get(name)
        if worker is None or not worker.circuit.feed(signal):
            return None
        return worker.circuit.state.value

    def pause(self, name: str) -> None:
        """Give nothing to a worker that refused for lack of room, until `resume`."""
        if name in self._workers:
            self._workers[name].is_paused = True

    def resume(self, name: str) -> None:
        """End a pause."""
        if name in self._workers:
            self._workers[name].is_paused = False

    # -- what the engines say

    def observe(self, name: str, sample: EngineSample, now: float) -> bool:
        """Take in a reading of a worker's metrics; True where room may have appeared: dispatch its pool.

        It ends what `blind` began.
        """
        worker = self._workers.get(name)
        if worker is None or now < sample.asked_at:
            return False
        worker.sample, worker.blind_reason = sample, ""
        return False

    def learn(self, name: str, facts: EngineFacts) -> None:
        """Take in what a worker's engine says once, at its start."""
        if name in self._workers:
            self._workers[name].facts = facts

    def blind(self, name: str, reason: str) -> None:
        """A worker's metrics are absent, stale or wrong: use a safe window until the next good reading."""
        if name in self._workers:
            self._workers[name].blind_reason = reason

    # -- views

    @property
    def is_idle(self) -> bool:
        """True where nothing is in flight anywhere, in either dimension."""
        return all(worker.window.is_idle and not worker.window.prefills_in_flight for worker in self._workers.values())

    def snapshot(self) -> tuple[WorkerSnapshot, ...]:
        """Every worker."""
        return tuple(_snapshot(worker) for worker in self._workers.values())

    def _forget_if_done(self, worker: _Worker) -> None:
        if worker.is_draining and worker.window.is_idle:
            del self._workers[worker.spec.name]
            self._pools[worker.spec.pool].remove(worker)


def _snapshot(worker: _Worker) -> WorkerSnapshot:
    window = worker.window
    return WorkerSnapshot(
        pool=worker.spec.pool,
        worker=worker.spec.name,
        url=worker.spec.url,
        state=worker.state,
        sequences_in_flight=window.sequences_in_flight,
        window_sequences=window.max_sequences,
        prefill_tokens_in_flight=window.prefill_tokens_in_flight,
        window_prefill_tokens=window.max_prefill_tokens,
        kv_capacity_tokens=0 if worker.facts is None else worker.facts.kv_tokens,
        degraded=worker.blind_reason,
    )
