"""What replicas of the gateway hear of each other about one worker: the limits found there, and what each has there."""

from typing import NamedTuple

from gateway.workers.snapshot import Limit


class TunedLimits(NamedTuple):
    """The limits of one worker's window, for all replicas together.

    Whoever tunes found that `sequences` and `prompt_tokens` (not yet read) may be in flight, and that the KV cache
    holds `kv_tokens` (0: unknown). `state` is all that a successor needs to go on tuning (`tuning_state`).
    """

    sequences: int
    prompt_tokens: int
    kv_tokens: int
    state: str = ""


class Others(NamedTuple):
    """What all other replicas have at one worker, as far as this one has heard.

    They have `sequences` in flight, of which `prompt_tokens` are not yet read, and `kv_tokens` are promised to them.
    They may send `idle_sequences` more at once. `are_waiting` means that they have work that found no room. Of replicas
    that fell silent `silent_sequences` may still be there; only a reading of the engine can show that they are not.
    """

    sequences: int = 0
    prompt_tokens: int = 0
    kv_tokens: int = 0
    idle_sequences: int = 0
    are_waiting: bool = False
    silent_sequences: int = 0


class Holding(NamedTuple):
    """What this replica has at one worker: prompt tokens that are not yet read, and promised tokens of the KV cache."""

    prompt_tokens: int
    kv_tokens: int


def most_used(limits: TunedLimits, sequences: int, prompt_tokens: int, kv_tokens: int) -> Limit:
    """The limit of which the largest part is used by what is there."""
    used = {
        Limit.SEQUENCES: sequences / limits.sequences,
        Limit.PREFILL: prompt_tokens / limits.prompt_tokens,
        Limit.MEMORY: kv_tokens / limits.kv_tokens if limits.kv_tokens else 0.0,
    }
    return max(used, key=used.__getitem__)
