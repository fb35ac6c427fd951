"""One worker of a pool: whether a request may run there now, and what keeps it out.

`window` and `tuning` say how much fits, `circuit` says whether the worker is trusted. A worker that is not trusted is
tried with one request at a time, whatever else still runs there. `fleet` keeps the workers.
"""

from dataclasses import dataclass
from typing import Final, Protocol

from gateway.workers.circuit import UP_STATES, Circuit, CircuitState, FailedTenants, Signal
from gateway.workers.snapshot import Limit, WorkerSnapshot
from gateway.workers.tuning import Tuning
from gateway.workers.tuning_memory import RunningRequest
from gateway.workers.window import Window, WindowSize

DRAINING: Final = "draining"  # the state of a worker that leaves, whatever its circuit says
PROBES_OF_TRIAL: Final = 5  # after so many good probes during a trial the trial has shown enough


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One engine endpoint: its name, unique over all pools, the pool that it serves, its URL, its window."""

    name: str
    pool: str
    url: str
    window: WindowSize


class Asking(RunningRequest, Protocol):
    """What the workers read of a request: its size, how its prompt begins, where it may run, the worker that it got."""

    pool: str
    tenant: str
    reserved_tokens: int
    prefix: tuple[int, ...]
    avoid: str
    worker: str


class Worker:
    """One worker; its window, its circuit and its trials decide what it may get."""

    __slots__ = (
        "circuit",
        "full_for",
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
        """Start with a worker of which nothing is known."""
        self.name = spec.name
        self.spec = spec
        self.window = Window(spec.window)
        self.tuning = Tuning(spec.window)
        self.circuit = Circuit()
        self.full_for = FailedTenants()  # tenants that it had no room for since it last answered
        self.is_draining = False
        self.is_paused = False
        self.is_spared = False  # it is in doubt, and another worker of its pool is trusted
        self.trial: Asking | None = None  # the request that it is tried with
        self.trial_probes = 0  # good probes since that request was sent
        self.was_stalled = False  # it stood still and has not moved since
        self.apply_limits()

    @property
    def load(self) -> float:
        """What is in flight, relative to the window."""
        return self.window.load

    @property
    def serves(self) -> bool:
        """True if the worker may get requests."""
        return not self.is_draining and self.circuit.state in UP_STATES

    @property
    def is_tried(self) -> bool:
        """True if the worker gets one request at a time, whatever else still runs there."""
        return self.is_spared or self.circuit.state is CircuitState.ON_TRIAL

    def may_be_tried_with(self, request: Asking) -> bool:
        """False while a trial runs, and after a stall until the engine moves again or all its requests have left."""
        is_stuck = self.was_stalled and not self.window.is_idle
        return self.trial is None and not is_stuck and self.circuit.may_try(request.tenant)

    def is_shunned_by(self, tenant: str) -> bool:
        """True if a request of `tenant` failed here lately."""
        return self.circuit.is_shunned_by(tenant)

    def has_room(self, request: Asking) -> bool:
        """True if `request` may run here now."""
        return self.limit_on(request) is Limit.NOTHING

    def has_express_room(self, request: Asking) -> bool:
        """True if `request` may run here now in the express lane."""
        if self.is_paused or self.is_tried:
            return False
        fits_window = self.window.has_express_room(request.sequences, request.prompt_tokens)
        return fits_window and self.tuning.fits_memory(request)

    def limit_on(self, request: Asking) -> Limit:
        """The limit that keeps `request` from running here now."""
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
        """Give the window the size that the tuning says."""
        self.window.limit(self.tuning.max_sequences, self.tuning.max_prefill_tokens)
        self.tuning.memory.running_part = self.window.running_part

    @property
    def state(self) -> str:
        """The state in one word."""
        return DRAINING if self.is_draining else self.circuit.state.value

    def feed(self, signal: Signal, tenant: str, body: bytes) -> bool:
        """Feed `signal` to the circuit; True if its state changed.

        A trial that outlives some probes counts as progress, except after a stall: an engine that stands still answers
        probes too.
        """
        match signal:
            case Signal.STALLED:
                self.was_stalled = True
            case Signal.MOVED:
                self.was_stalled = False
            case Signal.ANSWERED:
                self.was_stalled = False
                self.full_for.clear()
            case Signal.PROBE_OK if self.trial is not None and not self.was_stalled:
                self.trial_probes += 1
                if self.trial_probes >= PROBES_OF_TRIAL:
                    signal = Signal.MOVED
            case _:
                pass
        return self.circuit.feed(signal, tenant, body)

    def snapshot(self) -> WorkerSnapshot:
        """The worker at this moment."""
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
            others_sequences=window.others_sequences,
        )
