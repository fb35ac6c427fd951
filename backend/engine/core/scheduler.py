"""Chooses what each step computes, and books what it produced.

`begin(now)` plans a step and says how long it takes; `complete(step, now)` ends it and returns the sequences that
gained a token. One step is open at a time. Between the two, sequences may be submitted or aborted: an aborted one
gives its blocks back at once and gains nothing. The caller owns time, text and the reason why a sequence ends.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.engine.core.blocks import BlockPool
from backend.engine.core.cost import Batch, StepCost
from backend.engine.core.sequence import Sequence, Status
from backend.engine.core.waiting import Policy, waiting_queue


@dataclass(frozen=True, slots=True)
class EngineCapacity:
    """The sizes that bound a step and the cache; vLLM's options of the same names."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_model_len: int
    num_blocks: int
    block_size: int
    policy: Policy = Policy.FCFS

    def __post_init__(self) -> None:
        if min(self.max_num_seqs, self.max_num_batched_tokens, self.max_model_len, self.block_size) < 1:
            raise ValueError("every size of an engine is at least 1")
        if self.num_blocks * self.block_size < self.max_model_len:
            raise ValueError(
                f"{self.num_blocks} KV blocks of {self.block_size} tokens do not hold one sequence of "
                f"max_model_len {self.max_model_len}: raise the blocks or lower the length"
            )

    def resized(self, sizes: Mapping[str, int]) -> "EngineCapacity":
        """The same with some sizes replaced, by name."""
        return replace(self, **dict[str, Any](sizes))


_NO_BATCH = Batch(prefill_tokens=0, decode_sequences=0, context_tokens=0)


@dataclass(slots=True)
class Step:
    """The tokens that each sequence computes in one pass, in scheduling order."""

    tokens: dict[Sequence, int] = field(default_factory=dict)
    batch: Batch = _NO_BATCH
    seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """What the scheduler has done since it was built; every field only grows."""

    steps: int = 0
    computed_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    cache_queries: int = 0
    cache_hits: int = 0


class Scheduler:
    """Continuous batching over one block pool."""

    def __init__(self, capacity: EngineCapacity, cost: StepCost) -> None:
        self.capacity = capacity
        self.cost = cost
        self.pool = BlockPool(capacity.num_blocks, capacity.block_size)
        self.waiting = waiting_queue(capacity.policy)
        self.running: list[Sequence] = []
        self.tally = Tally()
        self._open: Step | None = None

    @property
    def is_idle(self) -> bool:
        """True when no sequence waits or runs."""
        return not self.running and len(self.waiting) == 0

    def submit(self, sequence: Sequence) -> None:
        """Queue a new sequence; its prompt and output together fit `max_model_len`."""
        assert sequence.prompt_tokens >= 1 and sequence.output_limit >= 1
        assert sequence.prompt_tokens + sequence.output_limit <= self.capacity.max_model_len
        self.waiting.push(sequence)

    def abort(self, sequence: Sequence) -> None:
        """End a sequence early, wherever it stands; ending it twice does nothing."""
        match sequence.status:
            case Status.WAITING | Status.PREEMPTED:
                self.waiting.remove(sequence)
            case Status.RUNNING:
                self.running.remove(sequence)
            case Status.FINISHED:
                return
        self._finish(sequence)

    def begin(self, now: float) -> Step | None:
        """The next step, or None when there is nothing to compute."""
        assert self._open is None
        step = Step()
        if not self._continue_running(step):
            self._admit_waiting(step, now)
        if not step.tokens:
            return None
        step.batch = _batch(step)
        step.seconds = self.cost.seconds(step.batch)
        self._open = step
        return step

    def complete(self, step: Step, now: float) -> list[Sequence]:
        """Book an open step; returns the sequences that gained one token, those now finished included."""
        assert self._open is step
        self._open = None
        self.tally.steps += 1
        self.tally.computed_tokens += step.batch.tokens
        generated = [
            sequence
            for sequence, tokens in step.tokens.items()
            if sequence.status is Status.RUNNING and self._advance(sequence, tokens, now)
        ]
        self.tally.generated_tokens += len(generated)
        if any(sequence.is_finished for sequence in generated):
            self.running = [sequence for sequence in self.running if not sequence.is_finished]
        return generated

    def _advance(self, sequence: Sequence, tokens: int, now: float) -> bool:
        before = sequence.computed_tokens
        sequence.computed_tokens += tokens
        if sequence.block_hashes and before < sequence.prompt_tokens:
            self._publish(sequence, before)
        if sequence.uncomputed_tokens:
            return False
        sequence.output_tokens += 1
        sequence.last_token_at = now
        if sequence.first_token_at is None:
            sequence.first_token_at = now
        if sequence.output_tokens >= sequence.output_limit:
            self._finish(sequence)
        return True

    def _publish(self, sequence: Sequence, computed_before: int) -> None:
        size = self.capacity.block_size
        full = min(sequence.computed_tokens // size, len(sequence.block_hashes))
        for index in range(computed_before // size, full):
            self.pool.publish(sequence.blocks[index], sequence.block_hashes[index])

    def _finish(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks)
        sequence.blocks.clear()
        sequence.status = Status.FINISHED

    def _continue_running(self, step: Step) -> bool:
        """Give running sequences their tokens; True when memory ran out and somebody was preempted.

        A sequence may be its own victim; those behind it go on, and the last one left fits alone, so a step is never
        empty while something runs.
        """
        budget = self.capacity.max_num_batched_tokens
        preempted = False
        for sequence in tuple(self.running):
            if budget == 0:
                break
            if sequence.status is not Status.RUNNING:
                continue
            tokens = min(sequence.uncomputed_tokens, budget)
            while sequence.status is Status.RUNNING and not self._grow(sequence, tokens):
                budget += self._preempt(step)
                preempted = True
            if sequence.status is Status.RUNNING:
                step.tokens[sequence] = tokens
                budget -= tokens
        return preempted

    def _grow(self, sequence: Sequence, tokens: int) -> bool:
        needed = self.pool.blocks_for(sequence.computed_tokens + tokens) - len(sequence.blocks)
        if needed <= 0:
            return True
        if needed > self.pool.free_blocks:
            return False
        sequence.blocks += self.pool.take(needed)
        return True

    def _preempt(self, step: Step) -> int:
        """Push the last in line back to the queue; returns the tokens it had been given in this step."""
        rank = self.capacity.policy.rank
        victim = max(reversed(self.running), key=rank)
        self.running.remove(victim)
        self.pool.release(victim.blocks)
        victim.blocks.clear()
        victim.status = Status.PREEMPTED
        victim.computed_tokens = 0
        victim.preemptions += 1
        self.tally.preemptions += 1
        self.waiting.push_back(victim)
        return step.tokens.pop(victim, 0)

    def _admit_waiting(self, step: Step, now: float) -> None:
        if not len(self.waiting):
            return
        budget = self.capacity.max_num_batched_tokens - sum(step.tokens.values())
        while budget > 0 and len(self.running) < self.capacity.max_num_seqs:
            sequence = self.waiting.head()
            if sequence is None or not self._admit(sequence, now):
                return
            tokens = min(sequence.uncomputed_tokens, budget)
            grown = self._grow(sequence, tokens)
            assert grown
            step.tokens[sequence] = tokens
            budget -= tokens

    def _admit(self, sequence: Sequence, now: float) -> bool:
        """Give the head of the queue a slot if its whole prompt fits; the cached part takes no computing."""
        size = self.capacity.block_size
        usable = min(len(sequence.block_hashes), (sequence.total_tokens - 1) // size)
        cached = self.pool.find(sequence.block_hashes[:usable])
        new_blocks = self.pool.blocks_for(sequence.total_tokens) - len(cached)
        if new_blocks + self.pool.count_free(cached) > self.pool.free_blocks:
            return False
        self.waiting.remove(sequence)
        self.pool.share(cached)
        sequence.blocks = cached
        sequence.computed_tokens = len(cached) * size
        if sequence.scheduled_at is None:
            sequence.scheduled_at = now
            sequence.cached_tokens = sequence.computed_tokens
            self.tally.cache_queries += sequence.prompt_tokens
            self.tally.cache_hits += sequence.computed_tokens
        sequence.status = Status.RUNNING
        self.running.append(sequence)
        return True

    def check_invariants(self) -> None:
        """Assert everything that can be summed."""
        self.pool.check_invariants([sequence.blocks for sequence in self.running])
        assert len(self.running) <= self.capacity.max_num_seqs
        assert max(Counter(self.running).values(), default=1) == 1
        assert all(sequence.status is Status.RUNNING for sequence in self.running)
        assert all(sequence.status in (Status.WAITING, Status.PREEMPTED) for sequence in self.waiting)
        assert all(not sequence.blocks for sequence in self.waiting)


def _batch(step: Step) -> Batch:
    prefill_tokens = decode_sequences = context_tokens = 0
    for sequence, tokens in step.tokens.items():
        if sequence.is_prefilling:
            prefill_tokens += tokens
        else:
            decode_sequences += 1
            context_tokens += sequence.computed_tokens
    return Batch(prefill_tokens, decode_sequences, context_tokens)
