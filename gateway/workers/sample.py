"""What an engine says about itself: the plain figures of one reading of its metrics.

Gauges show the engine's last step; counters are totals since it started. A figure that the engine does not export is
None. Left to others: whether a reading can be true (`tuning_trust`), fetching (`watch`) and parsing (`wire`).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSample:
    """One reading: gauges and counters, summed over the worker's engines.

    The gateway asked for the reading at `asked_at`, so it is not older. `waiting` does not count requests that are
    `deferred` for reasons of their own (an adapter's slot, a grammar, a transfer). `kv_usage` is the share of the cache
    in use. `step_tokens` counts the tokens of all `steps`, prefilled and generated. `prompt_tokens` counts
    each prompt once for each choice, whether the cache had it or not.
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
    prompt_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine says once: the sizes of its KV cache and of a block, and how many requests of full length fit."""

    kv_tokens: int
    block_tokens: int = 16
    max_full_length_sequences: float | None = None
