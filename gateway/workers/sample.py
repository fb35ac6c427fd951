"""What an engine says of itself, as one reading of its metrics: plain figures, unjudged.

Gauges are the engine's at its last step; counters are its totals since it started. A figure that the engine does not
export is None. Whether a reading can be true is `tuning`'s to judge; fetching and parsing are the proxy's.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One reading: gauges and counters summed over the worker's engines.

    `asked_at` is when the reading was asked for, so it is no older than that; `waiting` leaves out what is `deferred`
    for reasons of its own (an adapter's slot, a grammar, a transfer); `kv_usage` is the share of the cache in use;
    `step_tokens` sums the tokens of all `steps`, prefilled and generated.
    """

    asked_at: float
    running: float
    waiting: float
    kv_usage: float | None = None
    preemptions: float | None = None
    steps: float | None = None
    step_tokens: float | None = None
    output_tokens: float | None = None
    deferred: float = 0.0


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says once: the size of its KV cache and of a block, and how many full-length requests fit."""

    kv_tokens: int
    block_tokens: int = 16
    max_full_length_sequences: float | None = None
