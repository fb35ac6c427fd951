"""A frozen view of one worker, for metrics and the state dump."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """Health of one worker and what is in flight there next to its window."""

    pool: str
    worker: str
    url: str
    state: str
    sequences_in_flight: int
    window_sequences: int
    prefill_tokens_in_flight: int
    window_prefill_tokens: int
