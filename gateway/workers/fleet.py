"""The workers of all pools; the fleet implements the scheduler's `Capacity`.

A worker leaves in two steps: after `drain` it gets nothing new, and the fleet forgets it when its last request has
ended. `pause` gives nothing to a worker that refused for lack of room, until the caller resumes it. Left to
`placement`: which worker of its pool a request gets.
"""

from collections.abc import Callable, Sequence

from gateway.workers.circuit import CircuitState, Signal
from gateway.workers.placement import Placement
from gateway.workers.sample import EngineFacts, EngineSample
from gateway.workers.snapshot import Limit, WorkerSnapshot
from gateway.workers.worker import Asking, Worker, WorkerSpec


class Fleet:
    """Every worker by name, and by pool."""

    def __init__(self) -> None:
        """Start without workers; `configure` adds them."""
        self._workers: dict[str, Worker] = {}
        self._pools: dict[str, Placement[Worker, Asking]] = {}
        self._expecting: set[str] = set()
        self._note_departure: Callable[[str], None] = _nobody

    def __contains__(self, name: str) -> bool:
        """True for every worker, also for one that drains until it is idle."""
        return name in self._workers

    # -- configuration

    def configure(self, spec: WorkerSpec) -> None:
        """Add a worker, change its window or pool, or stop draining it."""
        worker = self._workers.get(spec.name)
        before = None if worker is None else worker.spec
        if worker is None:
            worker = self._workers[spec.name] = Worker(spec)
        elif worker.spec.pool != spec.pool:
            self._pools[worker.spec.pool].leave(worker)
            self._weigh_doubts(worker.spec.pool)
        worker.spec = spec
        if before is None or before.pool != spec.pool:
            self._placement(spec.pool).join(worker)
        elif before.url != spec.url:
            self._pools[spec.pool].restarted(spec.name)
        if before is not None and (before.url, before.window) != (spec.url, spec.window):
            worker.window.resize(spec.window)
            worker.tuning.resize(spec.window)
            worker.apply_limits()
        worker.is_draining = False
        self._weigh_doubts(spec.pool)

    def tell_of_departures(self, hear: Callable[[str], None]) -> None:
        """From now on `hear` is called with the name of each worker that the fleet has forgotten."""
        self._note_departure = hear

    def set_locality(self, pool: str, quantum: float) -> None:
        """Set how far a tenant may get ahead for the sake of a cached prompt, in cost units."""
        self._placement(pool).set_quantum(quantum)

    def _placement(self, pool: str) -> Placement[Worker, Asking]:
        return self._pools.setdefault(pool, Placement())

    def _workers_of(self, pool: str) -> Sequence[Worker]:
        placement = self._pools.get(pool)
        return () if placement is None else placement.candidates

    def drain(self, name: str) -> None:
        """Send nothing new to a worker, and forget it when it is idle."""
        worker = self._workers[name]
        worker.is_draining = True
        self._weigh_doubts(worker.spec.pool)
        self._forget_if_done(worker)

    def expect(self, pool: str, *, is_expected: bool) -> None:
        """Say whether requests of `pool` may wait while no worker serves, because one is about to."""
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
        """Reserve room at the worker that `placement` chooses and return its name; None if no worker has room now."""
        return self._place(request, Worker.has_room)

    def take_express(self, request: Asking, /) -> str | None:
        """As `take`, but in the express lanes."""
        return self._place(request, Worker.has_express_room)

    def has_express(self, pool: str) -> bool:
        """True if a worker of `pool` has an express lane."""
        return any(worker.window.has_express for worker in self._workers_of(pool))

    def affinity(self, request: Asking, /) -> int:
        """How many prompt tokens are cached at the worker where the request would run now."""
        placement = self._pools.get(request.pool)
        return 0 if placement is None else placement.affinity(request, Worker.has_room)

    def _place(self, request: Asking, has_room: "HasRoom") -> str | None:
        placement = self._pools.get(request.pool)
        if placement is None:
            return None
        chosen = placement.choose(request, has_room)
        if chosen is None:
            _note_limits(request, placement.candidates)
            return None
        chosen.window.take(request.sequences, request.prompt_tokens)
        chosen.tuning.memory.take(request)
        chosen.tuning.limited_by = Limit.NOTHING
        if chosen.is_tried:
            chosen.trial, chosen.trial_probes = request, 0
        placement.sent(request, chosen.name)
        return chosen.name

    def counted(self, request: Asking, prompt_tokens: int, cached_tokens: int) -> None:
        """Learn how many tokens the engine counted in a running request's prompt, and how many it found cached."""
        self._pools[request.pool].counted(request, prompt_tokens, cached_tokens)

    def prefilled(self, request: Asking, /) -> None:
        """Give back the prefill room of a prompt."""
        self._workers[request.worker].window.prefilled(request.prompt_tokens)

    def give(self, request: Asking, /) -> None:
        """Give back the sequences of a request that ended."""
        self._pools[request.pool].ended(request)
        state = self._workers[request.worker]
        state.window.give(request.sequences)
        state.tuning.memory.give(request)
        state.tuning.memory.running_part = state.window.running_part
        if state.trial is request:
            state.trial = None
        self._forget_if_done(state)

    def serves(self, pool: str) -> bool:
        """True if a worker of `pool` serves."""
        for worker in self._workers_of(pool):  # noqa: SIM110 - asked of every request: no generator is made
            if worker.serves:
                return True
        return False

    def awaits(self, pool: str) -> bool:
        """True if `expect` said that requests of `pool` may wait for a worker that does not serve yet."""
        return pool in self._expecting

    def least_loaded(self, pool: str) -> str | None:
        """The serving worker of `pool` with the least in flight, for requests that take no room."""
        serving = [worker for worker in self._workers_of(pool) if worker.serves]
        return min(serving, key=lambda worker: worker.window.load).spec.name if serving else None

    # -- health

    def signal(self, name: str, signal: Signal, tenant: str = "", body: bytes = b"") -> str | None:
        """Take in what was seen of a worker; `tenant` and a digest of its `body` name the request that showed it.

        Returns the worker's new state if it changed, else None.
        """
        worker = self._workers.get(name)
        if worker is None:
            return None
        if not worker.feed(signal, tenant, body):
            return None
        worker.trial = None
        self._weigh_doubts(worker.spec.pool)
        if signal is Signal.GONE:
            worker.tuning.restart()
            worker.apply_limits()
        if worker.circuit.state is CircuitState.DOWN:
            self._pools[worker.spec.pool].restarted(name)  # it has restarted or will: its cache cannot be counted on
        return worker.circuit.state.value

    def _weigh_doubts(self, pool: str) -> None:
        """Spare a doubted worker only while another worker of its pool is trusted, so that one always serves."""
        workers = self._workers_of(pool)
        is_one_trusted = any(
            worker.circuit.state is CircuitState.SERVING and not worker.is_draining for worker in workers
        )
        for worker in workers:
            worker.is_spared = is_one_trusted and worker.circuit.state is CircuitState.DOUBTED

    def refused(self, name: str, tenant: str) -> bool:
        """Note that a worker had no room for a request of `tenant`; True if it refused other tenants' requests too."""
        worker = self._workers.get(name)
        if worker is None:
            return False
        worker.full_for.add(tenant, b"")
        return worker.full_for.are_several

    def refuses_everywhere(self, pool: str, tenant: str) -> bool:
        """True if every worker that serves `pool` has refused `tenant` for lack of room since it last answered."""
        return all(tenant in worker.full_for for worker in self._workers_of(pool) if worker.serves)

    def pause(self, name: str) -> None:
        """Give nothing to a worker until `resume`, because it refused for lack of room."""
        if name in self._workers:
            self._workers[name].is_paused = True

    def resume(self, name: str) -> None:
        """End the pause of a worker."""
        if name in self._workers:
            self._workers[name].is_paused = False

    # -- what the engines say

    def observe(self, name: str, sample: EngineSample, now: float) -> bool:
        """Take in a reading of a worker's metrics; it ends what `blind` began.

        True if room may have appeared; then the caller dispatches the worker's pool.
        """
        worker = self._workers.get(name)
        if worker is None or now < sample.asked_at:
            return False
        window, tuning = worker.window, worker.tuning
        sequences, prefill_tokens = window.max_sequences, window.max_prefill_tokens
        has_grown = tuning.observe(sample, window.sequences_in_flight, window.prefill_tokens_in_flight, now)
        there, ended = tuning.engine_sequences, tuning.ended_sequences
        has_ended = window.blind() if tuning.degraded else window.read(there, ended)
        worker.apply_limits()  # even a reading that cannot be trusted may widen them, back to the fallback
        is_wider = window.max_sequences > sequences or window.max_prefill_tokens > prefill_tokens
        return has_grown or has_ended or is_wider

    def learn(self, name: str, facts: EngineFacts) -> None:
        """Take in what a worker's engine says once at its start."""
        if name in self._workers:
            worker = self._workers[name]
            worker.tuning.learn(facts)
            self._pools[worker.spec.pool].bound(name, facts.kv_tokens)

    def blind(self, name: str, reason: str) -> None:
        """Use a safe window until the next good reading, because a worker's metrics are absent, stale or wrong."""
        if name in self._workers:
            worker = self._workers[name]
            worker.tuning.blind(reason)
            worker.window.blind()
            worker.apply_limits()

    # -- views

    @property
    def is_idle(self) -> bool:
        """True if nothing is in flight at any worker, and nothing is kept about requests that were."""
        windows = [worker.window for worker in self._workers.values()]
        are_idle = all(window.is_idle and not window.prefills_in_flight for window in windows)
        return are_idle and all(placement.is_idle for placement in self._pools.values())

    def look(self, name: str) -> WorkerSnapshot | None:
        """The snapshot of one worker; None if it is unknown."""
        worker = self._workers.get(name)
        return None if worker is None else worker.snapshot()

    def snapshot(self) -> tuple[WorkerSnapshot, ...]:
        """The snapshots of all workers."""
        return tuple(worker.snapshot() for worker in self._workers.values())

    def check_invariants(self) -> None:
        """Assert that what is known of the workers' caches adds up."""
        for placement in self._pools.values():
            placement.check_invariants()

    def _forget_if_done(self, worker: Worker) -> None:
        if worker.is_draining and worker.window.is_idle:
            del self._workers[worker.spec.name]
            self._pools[worker.spec.pool].leave(worker)
            self._weigh_doubts(worker.spec.pool)
            self._note_departure(worker.spec.name)


def _nobody(worker: str) -> None:
    pass


HasRoom = Callable[[Worker, Asking], bool]


def _note_limits(request: Asking, workers: Sequence[Worker]) -> None:
    """Note which limit of each worker kept `request` out: only a limit that held work back may grow."""
    for worker in workers:
        if worker.serves:
            worker.tuning.limited_by = worker.limit_on(request)
