"""The law that sizes one worker's window from readings of its engine's metrics, in three dimensions.

Why something waits at the engine beyond the slack decides which of them answers (`CAUSES`). Rules that hold throughout:
- our own counts first: what is in flight, unread and promised is counted by us; readings only move the limits;
- a limit grows only on evidence that the engine took all of it, while work was held back by that limit alone;
- no action on a reading asked for before the last action, nor while a reading contradicts our own counts (`Trust`);
- without readings that can be believed the window is a fixed one and marked degraded.
The steps and their reasons are in `tuning_sequences`, `tuning_prefill` and `tuning_memory`; docs/window.md has it all.
"""

import math
from collections import deque
from dataclasses import dataclass

from gateway.workers.sample import EngineFacts, EngineSample
from gateway.workers.snapshot import Limit, Phase
from gateway.workers.tuning_memory import Flight, Memory
from gateway.workers.tuning_prefill import PrefillLaw
from gateway.workers.tuning_sequences import FEWEST_SEQUENCES, SequenceLaw
from gateway.workers.tuning_trust import LAG_SEQUENCES, SHORT_QUEUE, Own, Trust
from gateway.workers.window import UNTUNED_PREFILL_TOKENS, UNTUNED_SEQUENCES, WindowSize

# (the cache is full, the engine runs as many as it ever did and prefill was not the last to grow): what more than the
# slack waits for
CAUSES: dict[tuple[bool, bool], Limit] = {
    (True, True): Limit.MEMORY,
    (True, False): Limit.MEMORY,
    (False, True): Limit.SEQUENCES,
    (False, False): Limit.PREFILL,
}
_TRUSTED = 10  # plausible readings in a row after which a window may serve as the fallback
_FOREIGN_READINGS = 3  # other clients are as many as the least of so many readings shows


@dataclass(frozen=True, slots=True)
class _Queue:
    """A long queue at the engine: the reading that first told of it, and our requests that were there then."""

    sample: EngineSample
    flights: frozenset[Flight]


class Tuning:
    """The limits of one worker's window."""

    __slots__ = (
        "_acted_at",
        "_foreign",
        "_generated",
        "_good_readings",
        "_last_grown",
        "_queue",
        "_size",
        "_steps",
        "_trusted_limit",
        "degraded",
        "ended_sequences",
        "held",
        "memory",
        "prefill",
        "sequences",
        "trust",
    )

    def __init__(self, size: WindowSize) -> None:
        """Limits as `size` says, or where it leaves them open, of an engine that is not known."""
        self.memory = Memory()
        self.degraded = ""
        self.held = Limit.NOTHING  # what held back the last request that asked for room
        self._generated: dict[Flight, int] = {}
        self.resize(size)

    def resize(self, size: WindowSize) -> None:
        """Take over a new size and forget what was learned under the old one."""
        self._size = size
        self._begin()

    def _begin(self) -> None:
        self.sequences = SequenceLaw(self._size.sequences, self._size.slack, self._learned_express)
        self.prefill = PrefillLaw(self._size.prefill_tokens)
        self.trust = Trust()
        self._queue: _Queue | None = None
        self.ended_sequences = 0  # of ours, so many the last reading did not have
        self._acted_at = float("-inf")
        self._foreign: deque[int] = deque(maxlen=_FOREIGN_READINGS)
        self._good_readings = 0
        self._last_grown = Limit.NOTHING
        self._steps: float | None = None
        self._trusted_limit: int | None = None

    # -- the limits

    @property
    def max_sequences(self) -> int:
        """Sequences that may be in flight, without the express lane."""
        if self.degraded:
            return self._fallback
        learned = self._learned_express
        settled = self._size.slack if learned and self.sequences.phase is Phase.SETTLED else 0
        fewest = min(FEWEST_SEQUENCES, self.sequences.most)
        return max(fewest, self.sequences.limit - learned - settled - self._foreign_sequences)

    @property
    def _learned_express(self) -> int:
        """The express lane, where it is a part of the slots that are found out."""
        return 0 if self._size.sequences is not None else self._size.express

    @property
    def _fallback(self) -> int:
        if self._size.sequences is not None:
            return self._size.sequences + self._size.slack
        return self._trusted_limit or UNTUNED_SEQUENCES + self._size.slack

    @property
    def max_prefill_tokens(self) -> int:
        """Prompt tokens that may be in flight without a first token."""
        return (self._size.prefill_tokens or UNTUNED_PREFILL_TOKENS) if self.degraded else self.prefill.limit

    def fits_memory(self, flight: Flight) -> bool:
        """True where the engine's KV cache holds one more such request, as far as that is the gateway's care."""
        return self._size.is_open or self.memory.has_room(flight)

    @property
    def phase(self) -> Phase:
        """Growing while it looks for the engine's size and has the work to find it."""
        is_growing = self.sequences.phase is Phase.GROWING and self.held is Limit.SEQUENCES and not self.degraded
        return Phase.GROWING if is_growing else Phase.SETTLED

    # -- what is told

    def learn(self, facts: EngineFacts) -> None:
        """Take in what the engine says once."""
        self.memory.learn(facts)

    def blind(self, reason: str) -> None:
        """Use the fallback until the next reading that can be believed."""
        self.degraded = reason
        self._good_readings = 0

    def restart(self) -> None:
        """The engine has started anew: what it can take is to be found out again, from a small window on."""
        self.memory.forget()
        self._begin()

    def observe(self, sample: EngineSample, in_flight: int, unread_tokens: int, now: float) -> bool:
        """Take in a reading; True where room may have appeared."""
        own = self._count(in_flight, unread_tokens, self._leapt(sample))
        if self._has_restarted(sample):
            self.restart()
        may_act = self.trust.judge(sample, own)
        there = sample.running + sample.waiting + sample.deferred if may_act else math.inf
        self.ended_sequences = int(max(0.0, own.lasting_sequences - there - LAG_SEQUENCES))
        if self.trust.is_lost:
            if not self.degraded:
                self.memory.forget()  # what its gauges taught of the cache may be as wrong
            self.blind(self.trust.reason)
            return False
        was_degraded, self.degraded = bool(self.degraded), ""
        if may_act:
            self._good_readings += 1
            is_plain = self._queue is None and self.sequences.phase is Phase.SETTLED
            if self._good_readings >= _TRUSTED and is_plain:
                self._trusted_limit = self.max_sequences
            if self._act(sample, own, now):
                return True
        return was_degraded

    # -- the law

    def _act(self, sample: EngineSample, own: Own, now: float) -> bool:
        running, waiting = int(sample.running), int(sample.waiting)
        self._foreign.append(running + waiting - own.in_flight)
        usage = sample.kv_usage or 0.0
        if waiting == 0 and 8 * own.unread_tokens < self.memory.demand_tokens:
            self.memory.weigh(usage)
        if sample.asked_at <= self._acted_at or self._size.is_open:
            return False
        before = self._limits
        overdrawn = max(0, own.in_flight - self.max_sequences, self.memory.overdrawn_sequences)
        excess = waiting - self._size.slack - overdrawn
        if excess > 0:
            self._shrink(running, excess, usage)
        elif waiting == 0:
            self._grow(running, own)
        elif self.held is Limit.SEQUENCES is self._cause(running, usage):
            self.sequences.brimmed(running)
        if self._limits != before:
            self._acted_at = now
        return any(after > old for after, old in zip(self._limits, before, strict=True))

    @property
    def _limits(self) -> tuple[float, float, float]:
        return self.max_sequences, self.max_prefill_tokens, -self.memory.reserve

    def _shrink(self, running: int, excess: int, usage: float) -> None:
        match self._cause(running, usage):
            case Limit.MEMORY:
                self.memory.ran_out()
            case Limit.SEQUENCES:
                self.sequences.overflowed(running, excess)
            case Limit.PREFILL:
                if self.prefill.overflowed():
                    self._last_grown = Limit.NOTHING
            case Limit.NOTHING:
                raise AssertionError("what waits has a cause")

    def _cause(self, running: int, usage: float) -> Limit:
        runs_most = running >= self.sequences.seen - self.sequences.seen // 8 and self._last_grown is not Limit.PREFILL
        return CAUSES[self.memory.is_full(usage), runs_most or self.prefill.is_least]

    def _grow(self, running: int, own: Own) -> None:
        by_sequences = self.held is Limit.SEQUENCES
        if self.sequences.fitted(running, own.in_flight + self._foreign_sequences, is_held=by_sequences):
            self._last_grown = Limit.SEQUENCES
        has_empty_slots = 8 * own.in_flight < 7 * self.max_sequences
        if self.prefill.fitted(is_held=self.held is Limit.PREFILL and has_empty_slots):
            self._last_grown = Limit.PREFILL
        self.memory.held_out(is_held=self.held is Limit.MEMORY)

    # -- own counts

    @property
    def _foreign_sequences(self) -> int:
        """Sequences at the engine that are not ours, beyond what the lag of a reading explains."""
        if len(self._foreign) < _FOREIGN_READINGS:
            return 0
        least = min(self._foreign)
        return least if least > max(2, self.sequences.limit // 16) else 0

    def _leapt(self, sample: EngineSample) -> int:
        """Sequences answered whole before the queue that they were sent behind can have been served.

        Each of those ahead gets a token first. Of answers that are not streamed nothing else is seen.
        """
        ended = tuple(self.memory.answered)
        self.memory.answered.clear()
        queue, self._queue = self._queue, self._queue_told(sample)
        if queue is None or self._queue is None:
            return 0
        served = (sample.output_tokens or 0.0) - (queue.sample.output_tokens or 0.0)
        if served >= queue.sample.waiting:
            return 0
        return sum(flight.sequences for flight in ended if flight not in queue.flights)

    def _queue_told(self, sample: EngineSample) -> "_Queue | None":
        """The queue that the engine has told of since it first did, None where there is none to speak of."""
        if sample.waiting <= len(self.memory.flights) + SHORT_QUEUE:
            return None
        return self._queue or _Queue(sample, frozenset(self.memory.flights))

    def _count(self, in_flight: int, unread_tokens: int, leapt: int) -> Own:
        """Our own count; of a request of several sequences one is there for certain, the others may have ended."""
        before, now_generated = self._generated, {}
        lasting = lasting_sequences = progressing = prompt = 0
        for flight in self.memory.flights:
            generated = flight.output_tokens
            now_generated[flight] = generated
            if flight in before:
                lasting += 1
                lasting_sequences += flight.sequences
            elif generated:
                prompt += flight.sequences
            if generated > before.get(flight, 0):
                progressing += 1
        self._generated = now_generated
        generated = self.memory.generated_tokens
        return Own(in_flight, lasting, progressing, prompt, unread_tokens, generated, leapt, lasting_sequences)

    def _has_restarted(self, sample: EngineSample) -> bool:
        """A total that shrinks is one that began again."""
        total = sample.steps if sample.steps is not None else sample.output_tokens
        before, self._steps = self._steps, total
        return before is not None and total is not None and total < before
