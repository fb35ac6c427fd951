"""Decides whether a worker may be used: one table from (state, signal) to the next state.

A worker that serves is trusted. It goes down on evidence that no request can cause alone: there is no connection, the
engine stands still with requests in it, or several probes in a row fail. A worker that is down gets nothing.

A request that fails is weaker evidence, because its tenant or its body may be the cause. Several failures in a row put
the worker in doubt if they come from two tenants, or from three bodies of one tenant while no other tenant was seen
there. While the pool has another, trusted worker, a doubted one gets one request at a time. Tenants whose requests did
not fail there may try at once, the others after more and more probes. If the pool has no trusted worker, a doubted one
gets requests as before. So no tenant can take a worker away from others. A worker that fails fast attracts no load
either: a tenant whose request failed at a worker is sent there last, even if the worker is still trusted.

A successful probe puts a worker that is down on trial with one request. The trial ends, and the worker serves, with the
request's first byte, with progress of what runs there, or after some seconds. A worker that breaks again soon after it
came back must answer twice as many probes in a row as before, until it is tried again. So a worker that comes and goes
costs fewer and fewer requests.
"""

from enum import Enum
from typing import Final, assert_never


class CircuitState(Enum):
    """State of one worker; the value is what an operator reads."""

    STARTING = "starting"  # not seen yet
    SERVING = "serving"
    DOUBTED = "doubted"
    DOWN = "down"
    ON_TRIAL = "on_trial"

    __hash__ = object.__hash__  # Enum's own is a Python function, and every request looks states up


class Signal(Enum):
    """What was seen of a worker."""

    ANSWERED = "answered"  # a request got its first byte, or the engine's own refusal
    FAULT = "fault"  # a request failed there
    GONE = "gone"  # no connection
    STALLED = "stalled"  # it has requests and makes no progress with any of them, whatever its server says
    MOVED = "moved"  # bytes of answers, steps of the engine, or a trial that goes on
    PROBE_OK = "probe_ok"
    PROBE_FAILED = "probe_failed"

    __hash__ = object.__hash__


UP_STATES: Final = frozenset({CircuitState.SERVING, CircuitState.DOUBTED, CircuitState.ON_TRIAL})
"""The states in which a worker gets requests."""

FAULTS_IN_A_ROW: Final = 3
BODIES_OF_ONE: Final = 3  # so many bodies must fail if all are one tenant's and no other tenant was seen
SEEN_PROBES: Final = 60  # for so many probes a tenant that was answered is a witness for the worker
SHUNNED_PROBES: Final = 10  # for so many probes a tenant whose request failed is sent there last
MAX_SHUNNING: Final = 64  # so many such tenants are remembered
MAX_PROBES_BEFORE_TRIAL: Final = (
    32  # probes come once a second: a worker that is well again waits half a minute at most
)
PROBES_TO_FORGIVE: Final = 60  # after so many good probes in a row a worker that serves is trusted like a new one

_S, _G = CircuitState, Signal
TABLE: Final[dict[tuple[CircuitState, Signal], CircuitState]] = {
    (_S.STARTING, _G.ANSWERED): _S.SERVING,
    (_S.STARTING, _G.FAULT): _S.STARTING,
    (_S.STARTING, _G.GONE): _S.STARTING,
    (_S.STARTING, _G.STALLED): _S.STARTING,
    (_S.STARTING, _G.MOVED): _S.STARTING,
    (_S.STARTING, _G.PROBE_OK): _S.SERVING,
    (_S.STARTING, _G.PROBE_FAILED): _S.STARTING,
    (_S.SERVING, _G.ANSWERED): _S.SERVING,
    (_S.SERVING, _G.FAULT): _S.DOUBTED,  # once the failures in a row are enough
    (_S.SERVING, _G.GONE): _S.DOWN,
    (_S.SERVING, _G.STALLED): _S.DOWN,
    (_S.SERVING, _G.MOVED): _S.SERVING,
    (_S.SERVING, _G.PROBE_OK): _S.SERVING,
    (_S.SERVING, _G.PROBE_FAILED): _S.DOWN,  # once FAULTS_IN_A_ROW have come
    (_S.DOUBTED, _G.ANSWERED): _S.SERVING,
    (_S.DOUBTED, _G.FAULT): _S.DOUBTED,
    (_S.DOUBTED, _G.GONE): _S.DOWN,
    (_S.DOUBTED, _G.STALLED): _S.DOWN,
    (_S.DOUBTED, _G.MOVED): _S.DOUBTED,  # old requests go on: that says nothing of new ones
    (_S.DOUBTED, _G.PROBE_OK): _S.DOUBTED,
    (_S.DOUBTED, _G.PROBE_FAILED): _S.DOWN,  # its requests fail and its server does not answer
    (_S.DOWN, _G.ANSWERED): _S.DOWN,  # an old request that still runs says nothing about new ones
    (_S.DOWN, _G.FAULT): _S.DOWN,
    (_S.DOWN, _G.GONE): _S.DOWN,
    (_S.DOWN, _G.STALLED): _S.DOWN,
    (_S.DOWN, _G.MOVED): _S.DOWN,
    (_S.DOWN, _G.PROBE_OK): _S.ON_TRIAL,
    (_S.DOWN, _G.PROBE_FAILED): _S.DOWN,
    (_S.ON_TRIAL, _G.ANSWERED): _S.SERVING,
    (_S.ON_TRIAL, _G.FAULT): _S.DOUBTED,
    (_S.ON_TRIAL, _G.GONE): _S.DOWN,
    (_S.ON_TRIAL, _G.STALLED): _S.DOWN,
    (_S.ON_TRIAL, _G.MOVED): _S.SERVING,
    (_S.ON_TRIAL, _G.PROBE_OK): _S.ON_TRIAL,
    (_S.ON_TRIAL, _G.PROBE_FAILED): _S.DOWN,
}


class FailedTenants:
    """The tenants whose requests failed at a worker since it last answered, and which bodies of each; bounded."""

    __slots__ = ("_bodies",)

    def __init__(self) -> None:
        """Start with no failure."""
        self._bodies: dict[str, set[bytes]] = {}

    def __contains__(self, tenant: str) -> bool:
        """True if a request of `tenant` failed."""
        return tenant in self._bodies

    def add(self, tenant: str, body: bytes) -> None:
        """Note that a request of `tenant` failed; `body` is any digest of its body."""
        if tenant not in self._bodies and len(self._bodies) >= MAX_SHUNNING:
            self._bodies.pop(next(iter(self._bodies)))
        bodies = self._bodies.setdefault(tenant, set())
        if len(bodies) < BODIES_OF_ONE:
            bodies.add(body)

    def clear(self) -> None:
        """Forget all failures, because the worker answered."""
        self._bodies.clear()

    @property
    def are_several(self) -> bool:
        """True if requests of more than one tenant failed."""
        return len(self._bodies) > 1

    def has_many_bodies(self, tenant: str) -> bool:
        """True if so many bodies of `tenant` failed that no single one can be the cause."""
        return len(self._bodies.get(tenant, ())) >= BODIES_OF_ONE


class Circuit:
    """The state of one worker, with what it depends on: failed requests, probes in a row, tenants with an answer."""

    __slots__ = (
        "_failed",
        "_failed_probes",
        "_faults",
        "_good_probes",
        "_probes",
        "_probes_before_retrial",
        "_probes_before_trial",
        "_retrial_at",
        "_shunning",
        "_witnesses",
        "state",
    )

    def __init__(self) -> None:
        """Start with a worker that was not seen yet."""
        self.state = CircuitState.STARTING
        self._faults = 0
        self._failed_probes = 0
        self._good_probes = 0
        self._probes = 0  # all good probes ever; they are the circuit's clock
        self._probes_before_trial = 0  # 0 if it never broke, or long ago
        self._probes_before_retrial = 0
        self._retrial_at = 0
        self._failed = FailedTenants()
        self._shunning: dict[str, int] = {}  # by tenant: until which probe it is sent here last
        self._witnesses: list[tuple[str, int]] = []  # the two tenants that were answered last, and at which probe

    def feed(self, signal: Signal, tenant: str = "", body: bytes = b"") -> bool:
        """Take in `signal`; `tenant` and `body` name the request that caused it. True if the state changed."""
        self._count(signal, tenant, body)
        if not self._is_enough(signal, tenant):
            return False
        before, self.state = self.state, TABLE[self.state, signal]
        if self.state is CircuitState.DOUBTED and signal is Signal.FAULT:
            self._put_off_retrial()
        if self.state is before:
            return False
        self._failed_probes = self._good_probes = 0
        if self.state is CircuitState.DOWN:
            self._probes_before_trial = min(max(1, 2 * self._probes_before_trial), MAX_PROBES_BEFORE_TRIAL)
        if self.state is not CircuitState.DOUBTED:
            self._faults = 0
            self._failed.clear()
        return True

    def may_try(self, tenant: str) -> bool:
        """True if a worker that is not trusted may be tried with a request of `tenant`."""
        is_suspect = self.state is CircuitState.DOUBTED and tenant in self._failed
        return not is_suspect or self._probes >= self._retrial_at

    def is_shunned_by(self, tenant: str) -> bool:
        """True if a request of `tenant` failed here lately and none was answered since."""
        return bool(self._shunning) and self._shunning.get(tenant, 0) > self._probes

    def _put_off_retrial(self) -> None:
        self._probes_before_retrial = min(max(1, 2 * self._probes_before_retrial), MAX_PROBES_BEFORE_TRIAL)
        self._retrial_at = self._probes + self._probes_before_retrial

    def _is_enough(self, signal: Signal, tenant: str) -> bool:
        """False if the signal must come more often, or from more tenants, before the table applies."""
        if self.state is CircuitState.SERVING and signal is Signal.FAULT:
            return self._faults >= FAULTS_IN_A_ROW and self._is_no_single_fault(tenant)
        if self.state is CircuitState.SERVING and signal is Signal.PROBE_FAILED:
            return self._failed_probes >= FAULTS_IN_A_ROW
        if self.state is CircuitState.DOWN and signal is Signal.PROBE_OK:
            return self._good_probes >= self._probes_before_trial
        return True

    def _is_no_single_fault(self, tenant: str) -> bool:
        """True if no single tenant and no single body can have caused the failures since the last answer."""
        if self._failed.are_several:
            return True
        return self._failed.has_many_bodies(tenant) and not self._has_other_witness(tenant)

    def _has_other_witness(self, tenant: str) -> bool:
        oldest = self._probes - SEEN_PROBES
        return any(other != tenant and seen_at >= oldest for other, seen_at in self._witnesses)

    def _count(self, signal: Signal, tenant: str, body: bytes) -> None:
        """Count `signal`. A good probe does not excuse failed requests: /health can be good while requests fail."""
        match signal:
            case Signal.FAULT:
                self._faults += 1
                self._failed.add(tenant, body)
                self._shun(tenant)
            case Signal.PROBE_FAILED:
                self._failed_probes += 1
                self._good_probes = 0
            case Signal.PROBE_OK:
                self._failed_probes = 0
                self._good_probes += 1
                self._probes += 1
                if self.state is CircuitState.SERVING and self._good_probes >= PROBES_TO_FORGIVE:
                    self._probes_before_trial = self._probes_before_retrial = 0
            case Signal.ANSWERED:
                self._faults = self._failed_probes = 0
                self._failed.clear()
                self._testify(tenant)
            case Signal.GONE | Signal.STALLED | Signal.MOVED:
                pass
            case _:
                assert_never(signal)

    def _shun(self, tenant: str) -> None:
        self._shunning.pop(tenant, None)
        self._shunning[tenant] = self._probes + SHUNNED_PROBES
        if len(self._shunning) > MAX_SHUNNING:
            self._shunning.pop(next(iter(self._shunning)))

    def _testify(self, tenant: str) -> None:
        if self._shunning:
            self._shunning.pop(tenant, None)
        witnesses = self._witnesses
        if witnesses and witnesses[-1][0] == tenant:
            witnesses[-1] = (tenant, self._probes)
            return
        witnesses.append((tenant, self._probes))
        if len(witnesses) > 2:
            del witnesses[0]
