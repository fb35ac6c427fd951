"""A frozen view of one worker, for metrics and the state dump."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from gateway.workers.circuit import UP_STATES

_UP_STATES: Final = frozenset(state.value for state in UP_STATES)


class Limit(Enum):
    """What held back the next request when the worker was last asked for room."""

    NOTHING = "nothing"
    SEQUENCES = "sequences"
    PREFILL = "prefill"
    MEMORY = "memory"
    TRIAL = "trial"  # it is being tried with one request
    PAUSE = "pause"  # its engine had no room a moment ago


class Phase(Enum):
    """Whether the window is still looking for the engine's size."""

    GROWING = "growing"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """Health of one worker and what is in flight there next to its window.

    `kv_demand_tokens` is what the requests in flight are expected to take of the KV cache, of `kv_capacity_tokens` (0:
    the engine did not say); `degraded` is why the window is the fallback instead of tuned, empty where it is tuned.
    What the engine says itself (None: nothing) and the part of its tokens that we have not metered are filled in by
    whoever reads its metrics, its context length by whoever asks for its models.
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
    engine_running: float | None = None
    engine_waiting: float | None = None
    unmetered_share: float | None = None
    max_model_len: int | None = None

    @property
    def is_up(self) -> bool:
        """True in the states in which a worker is given requests."""
        return self.state in _UP_STATES
