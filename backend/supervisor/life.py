"""The life of one worker: one table from (state, signal) to the next state and what is to be done.

Rules: at most one process at a time, so LAUNCH only leaves a state in which none runs; a process is ended by END and is
gone when ENDED comes, never sooner; whoever asks to stop gets STOPPED in the end, whatever happens in between. A worker
that stops answering is ended and started again like one that died, and so is one that answers its probes and nothing
else. How long each state may last is the caller's.
"""

from enum import Enum


class State(Enum):
    """Where a worker is in its life."""

    STOPPED = "stopped"
    LOADING = "loading"
    READY = "ready"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    BACK_OFF = "back_off"
    FAILED = "failed"


class LifeSignal(Enum):
    """What happens to a worker."""

    START = "start"  # somebody wants it to run
    STOP = "stop"  # somebody wants it to end
    ANNOUNCED = "announced"  # its process says that it serves
    ENDED = "ended"  # its process is gone
    PROBE_OK = "probe_ok"
    PROBE_FAILED = "probe_failed"  # several in a row
    CONDEMNED = "condemned"  # whoever sends it requests says that it no longer works on them
    OVERDUE = "overdue"  # the state has lasted too long
    GAVE_UP = "gave_up"  # it cannot be started, or was tried often enough


class Effect(Enum):
    """What is to be done."""

    LAUNCH = "launch"  # start the process
    END = "end"  # end the process, by force where it does not go
    WAIT = "wait"  # OVERDUE when the back-off is over


Next = tuple[State, tuple[Effect, ...]]

_S, _G = State, LifeSignal
_LAUNCH: Next = (_S.LOADING, (Effect.LAUNCH,))
_RETRY: Next = (_S.BACK_OFF, (Effect.WAIT,))
_DRAIN: Next = (_S.DRAINING, (Effect.END,))


def _stay(state: State, *effects: Effect) -> Next:
    return state, effects


TABLE: dict[tuple[State, LifeSignal], Next] = {
    (_S.STOPPED, _G.START): _LAUNCH,
    (_S.STOPPED, _G.STOP): _stay(_S.STOPPED),
    (_S.STOPPED, _G.ANNOUNCED): _stay(_S.STOPPED),
    (_S.STOPPED, _G.ENDED): _stay(_S.STOPPED),
    (_S.STOPPED, _G.PROBE_OK): _stay(_S.STOPPED),
    (_S.STOPPED, _G.PROBE_FAILED): _stay(_S.STOPPED),
    (_S.STOPPED, _G.CONDEMNED): _stay(_S.STOPPED),
    (_S.STOPPED, _G.OVERDUE): _stay(_S.STOPPED),
    (_S.STOPPED, _G.GAVE_UP): _stay(_S.STOPPED),
    (_S.LOADING, _G.START): _stay(_S.LOADING),
    (_S.LOADING, _G.STOP): _DRAIN,
    (_S.LOADING, _G.ANNOUNCED): _stay(_S.READY),
    (_S.LOADING, _G.ENDED): _RETRY,
    (_S.LOADING, _G.PROBE_OK): _stay(_S.LOADING),  # only its own word says that it is ready
    (_S.LOADING, _G.PROBE_FAILED): _stay(_S.LOADING),
    (_S.LOADING, _G.CONDEMNED): _stay(_S.LOADING),  # it serves nobody yet
    (_S.LOADING, _G.OVERDUE): _stay(_S.LOADING, Effect.END),
    (_S.LOADING, _G.GAVE_UP): _stay(_S.FAILED),  # there was no process yet
    (_S.READY, _G.START): _stay(_S.READY),
    (_S.READY, _G.STOP): _DRAIN,
    (_S.READY, _G.ANNOUNCED): _stay(_S.READY),
    (_S.READY, _G.ENDED): _RETRY,
    (_S.READY, _G.PROBE_OK): _stay(_S.READY),
    (_S.READY, _G.PROBE_FAILED): _stay(_S.UNHEALTHY),
    (_S.READY, _G.CONDEMNED): _stay(_S.UNHEALTHY, Effect.END),
    (_S.READY, _G.OVERDUE): _stay(_S.READY),
    (_S.READY, _G.GAVE_UP): _stay(_S.READY),
    (_S.UNHEALTHY, _G.START): _stay(_S.UNHEALTHY),
    (_S.UNHEALTHY, _G.STOP): _DRAIN,
    (_S.UNHEALTHY, _G.ANNOUNCED): _stay(_S.UNHEALTHY),
    (_S.UNHEALTHY, _G.ENDED): _RETRY,
    (_S.UNHEALTHY, _G.PROBE_OK): _stay(_S.READY),
    (_S.UNHEALTHY, _G.PROBE_FAILED): _stay(_S.UNHEALTHY),
    (_S.UNHEALTHY, _G.CONDEMNED): _stay(_S.UNHEALTHY, Effect.END),
    (_S.UNHEALTHY, _G.OVERDUE): _stay(_S.UNHEALTHY, Effect.END),
    (_S.UNHEALTHY, _G.GAVE_UP): _stay(_S.UNHEALTHY),
    (_S.DRAINING, _G.START): _stay(_S.DRAINING),  # the caller starts it again when it has stopped
    (_S.DRAINING, _G.STOP): _stay(_S.DRAINING),
    (_S.DRAINING, _G.ANNOUNCED): _stay(_S.DRAINING),
    (_S.DRAINING, _G.ENDED): _stay(_S.STOPPED),
    (_S.DRAINING, _G.PROBE_OK): _stay(_S.DRAINING),
    (_S.DRAINING, _G.PROBE_FAILED): _stay(_S.DRAINING),
    (_S.DRAINING, _G.CONDEMNED): _stay(_S.DRAINING),
    (_S.DRAINING, _G.OVERDUE): _stay(_S.DRAINING),
    (_S.DRAINING, _G.GAVE_UP): _stay(_S.STOPPED),
    (_S.BACK_OFF, _G.START): _LAUNCH,  # somebody wants it now
    (_S.BACK_OFF, _G.STOP): _stay(_S.STOPPED),
    (_S.BACK_OFF, _G.ANNOUNCED): _stay(_S.BACK_OFF),
    (_S.BACK_OFF, _G.ENDED): _stay(_S.BACK_OFF),
    (_S.BACK_OFF, _G.PROBE_OK): _stay(_S.BACK_OFF),
    (_S.BACK_OFF, _G.PROBE_FAILED): _stay(_S.BACK_OFF),
    (_S.BACK_OFF, _G.CONDEMNED): _stay(_S.BACK_OFF),
    (_S.BACK_OFF, _G.OVERDUE): _LAUNCH,
    (_S.BACK_OFF, _G.GAVE_UP): _stay(_S.FAILED),
    (_S.FAILED, _G.START): _LAUNCH,
    (_S.FAILED, _G.STOP): _stay(_S.STOPPED),
    (_S.FAILED, _G.ANNOUNCED): _stay(_S.FAILED),
    (_S.FAILED, _G.ENDED): _stay(_S.FAILED),
    (_S.FAILED, _G.PROBE_OK): _stay(_S.FAILED),
    (_S.FAILED, _G.PROBE_FAILED): _stay(_S.FAILED),
    (_S.FAILED, _G.CONDEMNED): _stay(_S.FAILED),
    (_S.FAILED, _G.OVERDUE): _stay(_S.FAILED),
    (_S.FAILED, _G.GAVE_UP): _stay(_S.FAILED),
}

# The states in which a process runs or is being started.
HAS_PROCESS = frozenset({_S.LOADING, _S.READY, _S.UNHEALTHY, _S.DRAINING})
