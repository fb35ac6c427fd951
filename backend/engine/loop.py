"""Runs the scheduler in the event loop: one task, one step at a time, asleep while there is nothing to compute.

A step takes what the cost model says, measured from the planned end of the step before, so that late timers and a busy
machine do not slow the engine down; one that fell `MAX_DEBT_SECONDS` behind starts anew. Requests enter by `submit` and
leave by their natural end or by `abort`, after which their blocks are free.
"""

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from random import Random

from backend.engine.config import EngineConfig
from backend.engine.core import Scheduler, Sequence, Step
from backend.engine.metrics import EngineMetrics
from backend.engine.prose import prose, recital, seed_of
from backend.engine.witness import RequestCount, Witness
from backend.engine.work import Choice, Generation, Work

# Lost time that is made up for: more would turn a long stall into a burst.
MAX_DEBT_SECONDS = 0.5


class QueueOverflowError(Exception):
    """`max_num_queued_reqs` sequences are in the engine already."""


class Engine:
    """One engine: scheduler, metrics, witness, and the task that steps them."""

    def __init__(self, config: EngineConfig, exit_process: Callable[[], None]) -> None:
        self.config = config
        self.scheduler = Scheduler(config.capacity, config.profile.cost)
        self.metrics = EngineMetrics(config.model, self.scheduler)
        self.witness = Witness()
        self._owners: dict[Sequence, tuple[Choice, Generation, RequestCount]] = {}
        self._work = asyncio.Event()
        self._thaw = asyncio.Event()
        self._thaw.set()
        self._exit = exit_process

    @property
    def sequences(self) -> int:
        """Sequences in the engine, running and waiting."""
        return len(self._owners)

    def submit(self, work: Work, now: float) -> Generation:
        """Queue every sequence of `work`; raises QueueOverflowError."""
        if not self.has_room(work.n * len(work.prompts)):
            self.refuse()
            raise QueueOverflowError
        count = self.witness.start(work.request_id, work.prompt_tokens, work.n * len(work.prompts))
        choices = [
            self._choice(work, prompt, index * work.n + sibling, now)
            for index, prompt in enumerate(work.prompts)
            for sibling in range(work.n)
        ]
        block_size = self.config.capacity.block_size
        generation = Generation(work, choices, len(choices[0].sequence.block_hashes) * block_size)
        for choice in choices:
            self._owners[choice.sequence] = (choice, generation, count)
            self.scheduler.submit(choice.sequence)
        self._work.set()
        return generation

    def has_room(self, sequences: int) -> bool:
        """True if `sequences` more stay within `max_num_queued_reqs`."""
        limit = self.config.max_num_queued_reqs
        return limit is None or self.sequences + sequences <= limit

    def refuse(self) -> None:
        """Book a request that found no room."""
        self.metrics.observe_rejection()
        self.witness.refused += 1

    def _choice(self, work: Work, prompt: bytes, index: int, now: float) -> Choice:
        random = Random(seed_of(self.config.seed, work.seed or 0, index, prompt))
        room = self.config.capacity.max_model_len - len(prompt)
        limit = room if work.max_tokens is None else min(work.max_tokens, room)
        natural: int | None
        if work.script is not None:
            passage, natural = recital(work.script), len(work.script) + 1
        else:
            passage = prose(random)
            drawn = max(self.config.profile.output.draw(random), work.min_tokens + 1)
            natural = None if work.ignore_eos else drawn
        sequence = Sequence(
            sequence_id=f"{work.request_id}-{index}",
            prompt_tokens=len(prompt),
            output_limit=limit if natural is None else min(limit, natural),
            arrived_at=now,
            priority=work.priority,
            block_hashes=_block_hashes(prompt, f"{work.cache_salt}\0{work.adapter}", self.config.capacity.block_size),
        )
        return Choice(index, sequence, passage, natural)

    def abort(self, generation: Generation) -> None:
        """End what is left of a request; does nothing once it has ended."""
        aborted = False
        for choice in generation.choices:
            owner = self._owners.pop(choice.sequence, None)
            if owner is not None:
                self.scheduler.abort(choice.sequence)
                owner[2].ending = "aborted"
                aborted = True
        if aborted:
            self.witness.aborted += 1
            self.metrics.observe_queue()

    def fail(self, message: str) -> None:
        """The engine core dies: every request in it ends with an error."""
        for sequence, (_, generation, count) in self._owners.items():
            self.scheduler.abort(sequence)
            if not count.ending:
                self.witness.failed += 1
            count.ending = "failed"
            generation.fail(message)
        self._owners.clear()
        self.metrics.observe_queue()

    def freeze(self) -> None:
        """Stop stepping: streams fall silent, gauges stand still, the server goes on answering."""
        self._thaw.clear()

    def thaw(self) -> None:
        """Go on stepping."""
        self._thaw.set()

    def exit(self) -> None:
        """Die as a crashed process does; what that means is the owner's choice."""
        self._exit()

    async def run(self) -> None:
        """Step for ever; the caller cancels."""
        clock = asyncio.get_running_loop().time
        planned = clock()
        while True:
            await self._thaw.wait()
            step = self.scheduler.begin(clock())
            if step is None:
                self._work.clear()
                await self._work.wait()
                planned = clock()
                continue
            if clock() - planned > MAX_DEBT_SECONDS:
                planned = clock()
            planned += step.seconds
            await asyncio.sleep(max(planned - clock(), 0))
            await self._thaw.wait()
            self._deliver(step, clock())

    def _deliver(self, step: Step, now: float) -> None:
        self.witness.see(len(self.scheduler.running), len(self.scheduler.waiting))
        told_before = {sequence: sequence.last_token_at for sequence in step.tokens}
        generated = self.scheduler.complete(step, now)
        generations: dict[Generation, None] = {}
        output_tokens = 0
        for sequence in generated:
            choice, generation, count = self._owners[sequence]
            choice.advance(generation.work)
            if not generation.work.is_pooling:
                count.output_tokens += 1
                output_tokens += 1
            self._observe(sequence, told_before[sequence], now)
            if choice.finish_reason is not None:
                self._retire(sequence)
            if choice.has_news(generation.work):
                generations[generation] = None
        for generation in generations:
            generation.announce()
        self.witness.output_tokens += output_tokens
        self.metrics.observe_step(step, output_tokens)

    def _observe(self, sequence: Sequence, last_token_at: float | None, now: float) -> None:
        if last_token_at is None:
            self.metrics.observe_first_token(sequence)
        else:
            self.metrics.observe_gap(now - last_token_at)

    def _retire(self, sequence: Sequence) -> None:
        """A choice has its end: by a stop string while the sequence could go on, or by its last token."""
        choice, generation, count = self._owners.pop(sequence)
        self.scheduler.abort(sequence)
        assert choice.finish_reason is not None
        work = generation.work
        self.metrics.observe_finished(sequence, choice.finish_reason, work.n, work.max_tokens)
        if generation.is_finished:
            count.ending = "finished"
            self.witness.finished += 1


def _block_hashes(prompt: bytes, salt: str, block_size: int) -> tuple[int, ...]:
    """One hash for each full block of the prompt, covering salt, adapter and all that stands before."""
    digest = blake2b(salt.encode(), digest_size=8)
    hashes = []
    for start in range(0, len(prompt) - block_size + 1, block_size):
        digest.update(prompt[start : start + block_size])
        hashes.append(int.from_bytes(digest.digest(), "big"))
    return tuple(hashes)
