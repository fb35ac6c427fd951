"""One sequence: a prompt being continued. A request of n choices over p prompts is n * p sequences.

The scheduler owns the mutable half; the caller reads it. A sequence has `total_tokens` known tokens, of which the
first `computed_tokens` are in the KV cache; a step that computes the last known one produces the next.
"""

from dataclasses import dataclass, field
from enum import Enum


class Status(Enum):
    """Where a sequence stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PREEMPTED = "preempted"
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Sequence:
    """What the caller asks for, and how far the engine has come with it.

    `output_limit` counts the end-of-sequence token, at least 1. `block_hashes` name the full blocks of the prompt,
    each hash covering everything before it and the tenant's salt; empty means that nothing is shared.
    """

    sequence_id: str
    prompt_tokens: int
    output_limit: int
    arrived_at: float
    priority: int = 0
    block_hashes: tuple[int, ...] = ()

    status: Status = Status.WAITING
    computed_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    scheduled_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    blocks: list[int] = field(default_factory=list)

    @property
    def total_tokens(self) -> int:
        """Tokens known so far: the prompt and what was generated."""
        return self.prompt_tokens + self.output_tokens

    @property
    def uncomputed_tokens(self) -> int:
        """Known tokens that are not in the KV cache yet: 1 while decoding, more while prefilling."""
        return self.prompt_tokens + self.output_tokens - self.computed_tokens

    @property
    def is_prefilling(self) -> bool:
        """True until the prompt, and after a preemption what had been generated, is in the KV cache."""
        return self.uncomputed_tokens > 1 or self.output_tokens == 0

    @property
    def is_finished(self) -> bool:
        """True once no step will touch it again."""
        return self.status is Status.FINISHED
