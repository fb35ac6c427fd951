"""Whether a worker may be used: one table from (state, signal) to the next state.

Only worker faults count (no connection, 5xx, time-outs, failed probes), never a 4xx: a tenant's bad request must not
make a worker look unhealthy. A refused connection opens the circuit at once; other faults open it when they come in a
row. A probe that succeeds lets one request through; its first byte closes the circuit.
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
    PROBE_OK = "probe_ok"
    PROBE_FAILED = "probe_failed"


FAULTS_IN_A_ROW = 3

_S, _G = CircuitState, Signal
TABLE: dict[tuple[CircuitState, Signal], CircuitState] = {
    (_S.STARTING, _G.ANSWERED): _S.CLOSED,
    (_S.STARTING, _G.FAULT): _S.STARTING,
    (_S.STARTING, _G.DOWN): _S.STARTING,
    (_S.STARTING, _G.PROBE_OK): _S.CLOSED,
    (_S.STARTING, _G.PROBE_FAILED): _S.STARTING,
    (_S.CLOSED, _G.ANSWERED): _S.CLOSED,
    (_S.CLOSED, _G.FAULT): _S.OPEN,  # once FAULTS_IN_A_ROW have come
    (_S.CLOSED, _G.DOWN): _S.OPEN,
    (_S.CLOSED, _G.PROBE_OK): _S.CLOSED,
    (_S.CLOSED, _G.PROBE_FAILED): _S.OPEN,  # once FAULTS_IN_A_ROW have come
    (_S.OPEN, _G.ANSWERED): _S.OPEN,  # an old request still running says nothing of new ones
    (_S.OPEN, _G.FAULT): _S.OPEN,
    (_S.OPEN, _G.DOWN): _S.OPEN,
    (_S.OPEN, _G.PROBE_OK): _S.HALF_OPEN,
    (_S.OPEN, _G.PROBE_FAILED): _S.OPEN,
    (_S.HALF_OPEN, _G.ANSWERED): _S.CLOSED,
    (_S.HALF_OPEN, _G.FAULT): _S.OPEN,
    (_S.HALF_OPEN, _G.DOWN): _S.OPEN,
    (_S.HALF_OPEN, _G.PROBE_OK): _S.HALF_OPEN,
    (_S.HALF_OPEN, _G.PROBE_FAILED): _S.OPEN,
}

_PATIENT = {(_S.CLOSED, _G.FAULT), (_S.CLOSED, _G.PROBE_FAILED)}


class Circuit:
    """The state of one worker, and its failed requests and failed probes in a row."""

    __slots__ = ("_failed_probes", "_faults", "state")

    def __init__(self) -> None:
        """A worker that was not seen yet."""
        self.state = CircuitState.STARTING
        self._faults = 0
        self._failed_probes = 0

    def feed(self, signal: Signal) -> bool:
        """Take in `signal`; True where the state changed."""
        self._count(signal)
        is_patient = (self.state, signal) in _PATIENT
        if is_patient and max(self._faults, self._failed_probes) < FAULTS_IN_A_ROW:
            return False
        before, self.state = self.state, TABLE[self.state, signal]
        if self.state is not before:
            self._faults = self._failed_probes = 0
        return self.state is not before

    def _count(self, signal: Signal) -> None:
        """A good probe does not excuse failing requests: an engine's /health stays green while its requests fail."""
        match signal:
            case Signal.FAULT | Signal.DOWN:
                self._faults += 1
            case Signal.PROBE_FAILED:
                self._failed_probes += 1
            case Signal.PROBE_OK:
                self._failed_probes = 0
            case Signal.ANSWERED:
                self._faults = self._failed_probes = 0
            case _:
                assert_never(signal)
