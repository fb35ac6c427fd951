"""Whether a worker may be used: one table from (state, signal) to the next state.

Only worker faults count (no connection, 5xx, time-outs, failed probes), never a 4xx: a tenant's bad request must not
make a worker look unhealthy. A refused connection and an engine that stands still with requests in it open the circuit
at once; other faults open it when they come in a row. A probe that succeeds lets one request through; its first byte
closes the circuit. A worker that breaks again soon after it came back must answer twice as many probes in a row as the
last time before it is tried: one that comes and goes costs fewer and fewer requests.
"""

from enum import Enum
from typing import assert_never


class CircuitState(Enum):
    """State of one worker."""

    STARTING = "starting"
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Signal(Enum):
    """What was seen of a worker."""

    ANSWERED = "answered"  # a request got its first byte, or any answer below 500
    FAULT = "fault"  # a 5xx or a time-out before the first byte, a stream that broke or went silent
    DOWN = "down"  # no connection
    STALLED = "stalled"  # it has requests and makes no progress with any, whatever its server says
    PROBE_OK = "probe_ok"
    PROBE_FAILED = "probe_failed"


FAULTS_IN_A_ROW = 3
MAX_PROBES_BEFORE_TRIAL = 32  # probes come once a second: a worker that is well again waits half a minute at most
PROBES_TO_FORGIVE = 60  # good ones in a row while it serves, after which a worker is trusted like a new one

_S, _G = CircuitState, Signal
TABLE: dict[tuple[CircuitState, Signal], CircuitState] = {
    (_S.STARTING, _G.ANSWERED): _S.CLOSED,
    (_S.STARTING, _G.FAULT): _S.STARTING,
    (_S.STARTING, _G.DOWN): _S.STARTING,
    (_S.STARTING, _G.STALLED): _S.STARTING,
    (_S.STARTING, _G.PROBE_OK): _S.CLOSED,
    (_S.STARTING, _G.PROBE_FAILED): _S.STARTING,
    (_S.CLOSED, _G.ANSWERED): _S.CLOSED,
    (_S.CLOSED, _G.FAULT): _S.OPEN,  # once FAULTS_IN_A_ROW have come
    (_S.CLOSED, _G.DOWN): _S.OPEN,
    (_S.CLOSED, _G.STALLED): _S.OPEN,
    (_S.CLOSED, _G.PROBE_OK): _S.CLOSED,
    (_S.CLOSED, _G.PROBE_FAILED): _S.OPEN,  # once FAULTS_IN_A_ROW have come
    (_S.OPEN, _G.ANSWERED): _S.OPEN,  # an old request still running says nothing of new ones
    (_S.OPEN, _G.FAULT): _S.OPEN,
    (_S.OPEN, _G.DOWN): _S.OPEN,
    (_S.OPEN, _G.STALLED): _S.OPEN,
    (_S.OPEN, _G.PROBE_OK): _S.HALF_OPEN,
    (_S.OPEN, _G.PROBE_FAILED): _S.OPEN,
    (_S.HALF_OPEN, _G.ANSWERED): _S.CLOSED,
    (_S.HALF_OPEN, _G.FAULT): _S.OPEN,
    (_S.HALF_OPEN, _G.DOWN): _S.OPEN,
    (_S.HALF_OPEN, _G.STALLED): _S.OPEN,
    (_S.HALF_OPEN, _G.PROBE_OK): _S.HALF_OPEN,
    (_S.HALF_OPEN, _G.PROBE_FAILED): _S.OPEN,
}

_PATIENT = {(_S.CLOSED, _G.FAULT), (_S.CLOSED, _G.PROBE_FAILED)}


class Circuit:
    """The state of one worker, its failed requests and its probes in a row, and how far it is trusted."""

    __slots__ = ("_failed_probes", "_faults", "_good_probes", "_probes_before_trial", "state")

    def __init__(self) -> None:
        """A worker that was not seen yet."""
        self.state = CircuitState.STARTING
        self._faults = 0
        self._failed_probes = 0
        self._good_probes = 0
        self._probes_before_trial = 0  # 0: it has not broken, or long ago

    def feed(self, signal: Signal) -> bool:
        """Take in `signal`; True where the state changed."""
        self._count(signal)
        if not self._is_enough(signal):
            return False
        before, self.state = self.state, TABLE[self.state, signal]
        if self.state is before:
            return False
        self._faults = self._failed_probes = self._good_probes = 0
        if self.state is CircuitState.OPEN:
            self._probes_before_trial = min(max(1, 2 * self._probes_before_trial), MAX_PROBES_BEFORE_TRIAL)
        return True

    def _is_enough(self, signal: Signal) -> bool:
        """False for a signal that must come more often in a row before the table holds."""
        if (self.state, signal) in _PATIENT:
            return max(self._faults, self._failed_probes) >= FAULTS_IN_A_ROW
        if (self.state, signal) == (CircuitState.OPEN, Signal.PROBE_OK):
            return self._good_probes >= self._probes_before_trial
        return True

    def _count(self, signal: Signal) -> None:
        """A good probe does not excuse failing requests: an engine's /health stays green while its requests fail."""
        match signal:
            case Signal.FAULT | Signal.DOWN | Signal.STALLED:
                self._faults += 1
            case Signal.PROBE_FAILED:
                self._failed_probes += 1
                self._good_probes = 0
            case Signal.PROBE_OK:
                self._failed_probes = 0
                self._good_probes += 1
                if self.state is CircuitState.CLOSED and self._good_probes >= PROBES_TO_FORGIVE:
                    self._probes_before_trial = 0
            case Signal.ANSWERED:
                self._faults = self._failed_probes = 0
            case _:
                assert_never(signal)
