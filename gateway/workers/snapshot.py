"""A frozen view of one worker, for metrics and the state dump."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.workers.circuit import UP_STATES

_UP_STATES: Final = frozenset(state.value for state in UP_STATES)


class Limit(Enum):
    """The limit that held back the last request for which the worker was asked for room."""

    NOTHING = "nothing"
    SEQUENCES = "sequences"
    PREFILL = "prefill"
    MEMORY = "memory"
    TRIAL = "trial"  # the worker is tried with one request
    PAUSE = "pause"  # the engine had no room a moment ago


class Phase(Enum):
    """Whether the window is still looking for the engine's size."""

    GROWING = "growing"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """The health of one worker, what is in flight there, and its window.

    `kv_demand_tokens` is what the requests in flight are expected to take of the KV cache, which has
    `kv_capacity_tokens` (0: the engine did not say). `degraded` says why the window is the fallback; it is empty while
    the window is tuned. Other replicas of the gateway have `others_sequences` there, or may have, if they fell silent.
    Other packages fill in what the engine says about itself (None: nothing) and the share of its tokens that we have
    not metered (`watch.poller`), and its context length (`endpoints`).
    """

    pool: str
    worker: str
    url: str
    state: str
    sequences_in_flight: int
    window_sequences: int
    prefill_tokens_in_flight: int
    window_prefill_tokens: int
    kv_demand_tokens: int = 0
    kv_capacity_tokens: int = 0
    limited_by: Limit = Limit.NOTHING
    phase: Phase = Phase.SETTLED
    degraded: str = ""
    others_sequences: int = 0
    engine_running: float | None = None
    engine_waiting: float | None = None
    unmetered_share: float | None = None
    max_model_len: int | None = None

    @property
    def is_up(self) -> bool:
        """True in the states in which a worker is given requests."""
        return self.state in _UP_STATES
