"""Continuous batching as vLLM 0.32's V1 engine does it, without tensors: which tokens are computed in which step.

Rules: running sequences go before waiting ones; one step computes at most `max_num_batched_tokens` tokens for at
most `max_num_seqs` sequences; long prompts are prefilled in chunks; a sequence that finds no KV block preempts the
last in line, which recomputes from its first token; nothing is admitted in a step that preempted. Everything here is
deterministic: time comes in as an argument, durations go out as numbers, nobody sleeps.
"""

from backend.engine.core.blocks import BlockPool
from backend.engine.core.cost import Batch, StepCost
from backend.engine.core.scheduler import EngineCapacity, Scheduler, Step, Tally
from backend.engine.core.sequence import Sequence, Status
from backend.engine.core.waiting import Policy

__all__ = [
    "Batch",
    "BlockPool",
    "EngineCapacity",
    "Policy",
    "Scheduler",
    "Sequence",
    "Status",
    "Step",
    "StepCost",
    "Tally",
]
