"""One worker of a pool: whether a request may run there now, and what keeps it out.

`fleet` keeps them and tells them what was seen; how much fits is `window`'s and `tuning`'s, whether it is trusted
`circuit`'s. Where it is not, it is tried with one request at a time, beside whatever still runs there.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from gateway.workers.circuit import UP_STATES, Circuit, CircuitState, Signal, Suspects
from gateway.workers.snapshot import Limit, WorkerSnapshot
from gateway.workers.tuning import Tuning
from gateway.workers.tuning_memory import RunningRequest
from gateway.workers.window import Window, WindowSize

DRAINING: Final = "draining"  # the state of a worker that leaves, whatever its circuit says
PROBES_OF_TRIAL: Final = 5  # good ones while a trial runs, after which it has said enough


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One engine endpoint: a name unique over all pools, the pool it serves, where it listens, its window."""

    name: str
    pool: str
    url: str
    window: WindowSize


class Asking(RunningRequest, Protocol):
    """What is read of a request: its size, how its prompt begins, where it may run, the worker it was given."""

    pool: str
    tenant: str
    reserved_tokens: int
    prefix: tuple[int, ...]
    avoid: str
    worker: str


class Worker:
    """One worker: what it may be given, by its window, its circuit and its trials."""

    __slots__ = (
        "circuit",
        "fulls",
        "is_draining",
        "is_paused",
        "is_spared",
        "name",
        "spec",
        "trial",
        "trial_probes",
        "tuning",
        "was_stalled",
        "window",
    )

    def __init__(self, spec: WorkerSpec) -> None:
        """A worker of which nothing was heard yet."""
        self.name = spec.name
        self.spec = spec
        self.window = Window(spec.window)
        self.tuning = Tuning(spec.window)
        self.circuit = Circuit()
        self.fulls = Suspects()  # whom it had no room for since it last answered
        self.is_draining = False
        self.is_paused = False
        self.is_spared = False  # it is in doubt, and another worker of its pool is trusted
        self.trial: Asking | None = None  # what it is being tried with
        self.trial_probes = 0  # good ones while that runs
        self.was_stalled = False  # and has not moved since
        self.apply_limits()

    @property
    def load(self) -> float:
        """What is in flight relative to the window."""
        return self.window.load

    @property
    def serves(self) -> bool:
        """True where it may be given requests."""
        return not self.is_draining and self.circuit.state in UP_STATES

    @property
    def is_tried(self) -> bool:
        """True where it gets one request at a time, whatever else still runs there."""
        return self.is_spared or self.circuit.state is CircuitState.ON_TRIAL

    def may_be_tried_with(self, request: Asking) -> bool:
        """False while a trial runs, or while what the engine stood still with has not moved or left."""
        is_stuck = self.was_stalled and not self.window.is_idle
        return self.trial is None and not is_stuck and self.circuit.may_try(request.tenant)

    def is_shunned_by(self, tenant: str) -> bool:
        """True where a request of `tenant` failed here of late."""
        return self.circuit.is_shunned_by(tenant)

    def has_room(self, request: Asking) -> bool:
        """True where `request` may run here now."""
        return self.limit_on(request) is Limit.NOTHING

    def has_express_room(self, request: Asking) -> bool:
        """True where `request` may run here now, in the express lane."""
        if self.is_paused or self.is_tried:
            return False
        fits_window = self.window.has_express_room(request.sequences, request.prompt_tokens)
        return fits_window and self.tuning.fits_memory(request)

    def limit_on(self, request: Asking) -> Limit:
        """What keeps `request` from running here now."""
        if self.is_paused:
            return Limit.PAUSE
        if self.is_tried and not self.may_be_tried_with(request):
            return Limit.TRIAL
        if not self.window.has_place:
            return Limit.SEQUENCES
        if not self.tuning.fits_memory(request):
            return Limit.MEMORY
        return Limit.NOTHING if self.window.fits_prefill(request.prompt_tokens) else Limit.PREFILL

    def apply_limits(self) -> None:
        """Make the window as large as the tuning says."""
        self.window.limit(self.tuning.max_sequences, self.tuning.max_prefill_tokens)
        self.tuning.memory.running_part = self.window.running_part

    @property
    def state(self) -> str:
        """The state in one word."""
        return DRAINING if self.is_draining else self.circuit.state.value

    def feed(self, signal: Signal, tenant: str, body: bytes) -> bool:
        """Feed the circuit what `signal` is worth; True where its state changed.

        A trial that outlives some probes is progress, but not where the engine stood still: that answers probes too.
        """
        match signal:
            case Signal.STALLED:
                self.was_stalled = True
            case Signal.MOVED:
                self.was_stalled = False
            case Signal.ANSWERED:
                self.was_stalled = False
                self.fulls.clear()
            case Signal.PROBE_OK if self.trial is not None and not self.was_stalled:
                self.trial_probes += 1
                if self.trial_probes >= PROBES_OF_TRIAL:
                    signal = Signal.MOVED
            case _:
                pass
        return self.circuit.feed(signal, tenant, body)

    def snapshot(self) -> WorkerSnapshot:
        """How it stands."""
        window, tuning = self.window, self.tuning
        return WorkerSnapshot(
            pool=self.spec.pool,
            worker=self.spec.name,
            url=self.spec.url,
            state=self.state,
            sequences_in_flight=window.sequences_in_flight,
            window_sequences=window.max_sequences,
            prefill_tokens_in_flight=window.prefill_tokens_in_flight,
            window_prefill_tokens=window.max_prefill_tokens,
            kv_demand_tokens=tuning.memory.demand_tokens,
            kv_capacity_tokens=tuning.memory.capacity_tokens,
            limited_by=tuning.limited_by,
            phase=tuning.phase,
            degraded=tuning.degraded,
        )
