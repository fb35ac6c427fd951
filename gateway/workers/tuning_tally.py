"""Counts our own requests at a worker at each reading, for `Trust` to compare with the engine's figures."""

from collections.abc import Collection
from dataclasses import dataclass

from gateway.workers.sample import EngineSample
from gateway.workers.tuning_memory import Memory, RunningRequest
from gateway.workers.tuning_trust import SHORT_QUEUE, OwnCounts


@dataclass(frozen=True, slots=True)
class _Queue:
    """A long queue at the engine: the reading that first showed it, and our requests that were there then."""

    sample: EngineSample
    requests: frozenset[RunningRequest]


class Tally:
    """What is remembered of our requests since the last reading."""

    __slots__ = ("_generated", "_queue")

    def __init__(self) -> None:
        """Start without a reading."""
        self._generated: dict[RunningRequest, int] = {}
        self._queue: _Queue | None = None

    @property
    def has_queue(self) -> bool:
        """True if the last reading showed a long queue."""
        return self._queue is not None

    def forget_queue(self) -> None:
        """Forget the queue of an engine that started anew."""
        self._queue = None

    def count(self, sample: EngineSample, memory: Memory, in_flight: int, unread_tokens: int) -> OwnCounts:
        """Our own counts; only one sequence of each request is there for certain, the others may have ended."""
        leapt = self._leapt(sample, memory)
        before, now_generated = self._generated, {}
        lasting = lasting_sequences = progressing = prompt = 0
        for request in memory.requests:
            generated = request.output_tokens
            now_generated[request] = generated
            if request in before:
                lasting += 1
                lasting_sequences += request.sequences
            elif generated:
                prompt += request.sequences
            if generated > before.get(request, 0):
                progressing += 1
        self._generated = now_generated
        generated = memory.generated_tokens
        return OwnCounts(in_flight, lasting, progressing, prompt, unread_tokens, generated, leapt, lasting_sequences)

    def _leapt(self, sample: EngineSample, memory: Memory) -> int:
        """Sequences that were answered whole before the queue ahead of them can have been served.

        Each request ahead of them gets a token first. Answers that are not streamed show nothing else.
        """
        ended = tuple(memory.answered)
        memory.answered.clear()
        queue, self._queue = self._queue, self._queue_seen(sample, memory.requests)
        if queue is None or self._queue is None:
            return 0
        served = (sample.output_tokens or 0.0) - (queue.sample.output_tokens or 0.0)
        if served >= queue.sample.waiting:
            return 0
        return sum(request.sequences for request in ended if request not in queue.requests)

    def _queue_seen(self, sample: EngineSample, requests: Collection[RunningRequest]) -> _Queue | None:
        """The long queue that readings show, as it was at the first of them; None if there is no long queue."""
        if sample.waiting <= len(requests) + SHORT_QUEUE:
            return None
        return self._queue or _Queue(sample, frozenset(requests))
