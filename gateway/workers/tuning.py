"""Sizes one worker's window from readings of its engine's metrics, in three dimensions: sequences, prefill, memory.

If more than the slack waits at the engine, the cause decides which dimension shrinks (`CAUSES`). The rules:
- The gateway itself counts what is in flight, unread and promised. Readings move the limits and show what has ended.
- A number in the configuration never changes, whatever the engine says.
- A limit grows only on evidence that the engine took all of it while this limit alone held work back.
- Nothing is done on a reading asked for before the last action, without a step, or against our own counts (`Trust`).
- Without readings that can be believed, the window is fixed and marked as degraded (docs/window.md).
"""

from collections import deque
from dataclasses import dataclass

from gateway.workers.sample import EngineFacts, EngineSample
from gateway.workers.snapshot import Limit, Phase
from gateway.workers.tuning_memory import Memory, RunningRequest
from gateway.workers.tuning_prefill import Prefill, after_no_queue, after_queue
from gateway.workers.tuning_pulse import Pulse
from gateway.workers.tuning_sequences import FEWEST_SEQUENCES, SETTLED_PACE, SequenceController, Sequences, SlotReading
from gateway.workers.tuning_trust import LAG_SEQUENCES, SHORT_QUEUE, OwnCounts, Trust
from gateway.workers.window import UNTUNED_PREFILL_TOKENS, UNTUNED_SEQUENCES, WindowSize

# By (the cache is full, prefill cannot be the cause): what is waited for if more than the slack waits. Prefill cannot
# be the cause if the engine ran as many as it ever did and prefill was not the last limit to grow, or if a smaller
# limit of prefill would have held back nothing of what is unread.
CAUSES: dict[tuple[bool, bool], Limit] = {
    (True, True): Limit.MEMORY,
    (True, False): Limit.MEMORY,
    (False, True): Limit.SEQUENCES,
    (False, False): Limit.PREFILL,
}
_TRUSTED = 10  # plausible readings in a row after which a window may serve as the fallback
_FOREIGN_READINGS = 3  # the sequences of other clients are the least that so many readings show


@dataclass(frozen=True, slots=True)
class _Queue:
    """A long queue at the engine: the reading that first showed it, and our requests that were there then."""

    sample: EngineSample
    requests: frozenset[RunningRequest]


class Tuning:
    """The limits of one worker's window."""

    __slots__ = (
        "_acted_at",
        "_controller",
        "_foreign",
        "_generated",
        "_good_readings",
        "_last_grown",
        "_most_running",
        "_pulse",
        "_queue",
        "_size",
        "_slack",
        "_trusted_limit",
        "degraded",
        "ended_sequences",
        "engine_sequences",
        "limited_by",
        "memory",
        "prefill",
        "sequences",
        "trust",
    )

    def __init__(self, size: WindowSize) -> None:
        """Start with the limits of `size`; limits that it leaves open start as for an unknown engine."""
        self.memory = Memory()
        self.degraded = ""
        self.limited_by = Limit.NOTHING  # what held back the last request that asked for room
        self._generated: dict[RunningRequest, int] = {}
        self.resize(size)

    def resize(self, size: WindowSize) -> None:
        """Take over a new size and forget what was learned under the old one."""
        self._size = size
        self._begin()

    def _begin(self) -> None:
        self._slack = self._size.slack if self._size.sequences is not None else max(1, self._size.slack)
        if self._size.sequences is None:
            self._controller: SequenceController | None = SequenceController(
                self._slack, has_lane=self._size.express > 0
            )
            self.sequences = self._controller.start()
        else:
            self._controller, self.sequences = None, Sequences(self._size.sequences + self._slack, SETTLED_PACE)
        self.prefill = Prefill()
        self.trust = Trust()
        self._queue: _Queue | None = None
        self.engine_sequences: float | None = None  # anybody's, at the last reading; None if it is not believed
        self.ended_sequences = 0  # those of ours that were certainly missing at the last reading
        self._acted_at = float("-inf")
        self._foreign: deque[int] = deque(maxlen=_FOREIGN_READINGS)
        self._good_readings = 0
        self._last_grown = Limit.NOTHING
        self._most_running = 0
        self._pulse = Pulse()
        self._trusted_limit: int | None = None

    # -- the limits

    @property
    def max_sequences(self) -> int:
        """How many sequences may be in flight, without the express lane."""
        if self._controller is None:
            return self.sequences.limit
        if self.degraded:
            return self._trusted_limit or UNTUNED_SEQUENCES + self._slack
        return max(FEWEST_SEQUENCES, self.sequences.limit - self._lane - self._foreign_sequences)

    @property
    def _lane(self) -> int:
        """Slots that stay free for the express lane (with the slack) after the engine's size was found."""
        is_kept = self._size.express and self.sequences.phase is Phase.SETTLED
        return self._size.express + self._slack if is_kept else 0

    @property
    def max_prefill_tokens(self) -> int:
        """How many prompt tokens may be in flight without a first token."""
        return self._size.prefill_tokens or (UNTUNED_PREFILL_TOKENS if self.degraded else self.prefill.limit)

    def fits_memory(self, request: RunningRequest) -> bool:
        """True if the engine's KV cache holds one more such request, or if the gateway does not limit memory."""
        return self._size.is_open or self.memory.has_room(request)

    @property
    def phase(self) -> Phase:
        """GROWING while the gateway looks for the engine's size and has enough work to find it."""
        is_growing = self.sequences.phase is Phase.GROWING and self.limited_by is Limit.SEQUENCES and not self.degraded
        return Phase.GROWING if is_growing else Phase.SETTLED

    # -- what is observed

    def learn(self, facts: EngineFacts) -> None:
        """Take in what the engine says once at its start."""
        self.memory.learn(facts)

    def blind(self, reason: str) -> None:
        """Use the fallback until the next reading that can be believed."""
        self.degraded = reason
        self._good_readings = 0

    def restart(self) -> None:
        """Start again with a small window, because the engine started anew."""
        self.memory.forget()
        self._begin()

    def observe(self, sample: EngineSample, in_flight: int, unread_tokens: int, now: float) -> bool:
        """Take in a reading; True if room may have appeared."""
        own = self._count(in_flight, unread_tokens, self._leapt(sample))
        pulse = self._pulse.next(sample, in_flight, self.memory.given_sequences)
        if pulse.has_restarted:
            self.restart()
        self._pulse = pulse
        may_act = self.trust.judge(sample, own)
        there = sample.running + sample.waiting + sample.deferred
        self.engine_sequences = there if may_act else None
        self.ended_sequences = int(max(0.0, own.lasting_sequences - there - LAG_SEQUENCES)) if may_act else 0
        if self.trust.is_lost:
            if not self.degraded:
                self.memory.forget()  # what its gauges taught about the cache may be wrong too
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

    # -- moving the limits

    def _act(self, sample: EngineSample, own: OwnCounts, now: float) -> bool:
        running, waiting = int(sample.running), int(sample.waiting)
        self._foreign.append(running + waiting - own.in_flight)
        usage = sample.kv_usage or 0.0
        if waiting == 0 and 8 * own.unread_tokens < self.memory.demand_tokens:
            self.memory.weigh(usage)
        if sample.asked_at <= self._acted_at or self._pulse.is_still or self._size.is_open:
            return False
        self._most_running = min(max(self._most_running, running), self.sequences.limit - self._slack)
        before = self._limits
        overdrawn = self.memory.overdrawn_sequences  # those of them that wait, wait for memory
        reading = self._slot_reading(running, waiting, own)
        excess = waiting - self._slack - max(0, own.in_flight - self.max_sequences, overdrawn)
        if excess > 0:
            self._shrink(reading, self._cause(reading, own, usage))
        elif waiting == 0:
            self._grow(reading, own)
        elif reading.is_limiting and not overdrawn and self._cause(reading, own, usage) is Limit.SEQUENCES:
            self._follow(reading)
        if self._limits != before:
            self._acted_at = now
        return any(after > old for after, old in zip(self._limits, before, strict=True))

    @property
    def _limits(self) -> tuple[float, float, float]:
        return self.max_sequences, self.max_prefill_tokens, -self.memory.reserve

    def _slot_reading(self, running: int, waiting: int, own: OwnCounts) -> SlotReading:
        window = self.max_sequences
        ours = max(window, own.in_flight, self._pulse.were_in_flight)
        there = max(ours + self._foreign_sequences, running + waiting)
        is_limiting = self.limited_by is Limit.SEQUENCES
        is_full = 8 * own.in_flight >= 7 * window
        is_taken = is_limiting and is_full and 2 * self._pulse.ran(running) >= window
        return SlotReading(running, waiting, there, is_limiting, is_taken)

    def _follow(self, reading: SlotReading) -> bool:
        """Take what the reading shows of the slots into the window of sequences; True if that grew."""
        before = self.sequences
        if self._controller is not None:
            self.sequences = self._controller.step(before, reading)
        return self.sequences.limit > before.limit

    def _shrink(self, reading: SlotReading, cause: Limit) -> None:
        match cause:
            case Limit.MEMORY:
                self.memory.ran_out()
            case Limit.SEQUENCES:
                self._follow(reading)
            case Limit.PREFILL:
                before, self.prefill = self.prefill, after_queue(self.prefill)
                if self.prefill.rung < before.rung:
                    self._last_grown = Limit.NOTHING
            case Limit.NOTHING:
                raise AssertionError("what waits has a cause")

    def _cause(self, reading: SlotReading, own: OwnCounts, usage: float) -> Limit:
        ran_most = self._pulse.ran(reading.running) >= self._most_running - self._most_running // 8
        ran_most = ran_most and self._last_grown is not Limit.PREFILL
        can_be_prefill = self._size.prefill_tokens is None and own.unread_tokens > self.prefill.smaller_limit
        return CAUSES[self.memory.is_full(usage), ran_most or not can_be_prefill]

    def _grow(self, reading: SlotReading, own: OwnCounts) -> None:
        if self._follow(reading):
            self._last_grown = Limit.SEQUENCES
        has_empty_slots = 8 * own.in_flight < 7 * self.max_sequences
        before, is_limiting = self.prefill, self.limited_by is Limit.PREFILL and has_empty_slots
        self.prefill = after_no_queue(before, is_limiting=is_limiting)
        if self.prefill.rung > before.rung:
            self._last_grown = Limit.PREFILL
        self.memory.sufficed(is_limiting=self.limited_by is Limit.MEMORY)

    # -- own counts

    @property
    def _foreign_sequences(self) -> int:
        """Sequences at the engine that are not ours, if they are more than the lag of a reading explains."""
        if len(self._foreign) < _FOREIGN_READINGS:
            return 0
        least = min(self._foreign)
        return least if least > max(2, self.sequences.limit // 16) else 0

    def _leapt(self, sample: EngineSample) -> int:
        """Sequences that were answered whole before the queue ahead of them can have been served.

        Each request ahead of them gets a token first. Answers that are not streamed show nothing else.
        """
        ended = tuple(self.memory.answered)
        self.memory.answered.clear()
        queue, self._queue = self._queue, self._queue_seen(sample)
        if queue is None or self._queue is None:
            return 0
        served = (sample.output_tokens or 0.0) - (queue.sample.output_tokens or 0.0)
        if served >= queue.sample.waiting:
            return 0
        return sum(request.sequences for request in ended if request not in queue.requests)

    def _queue_seen(self, sample: EngineSample) -> "_Queue | None":
        """The long queue that readings show, as it was at the first of them; None if there is no long queue."""
        if sample.waiting <= len(self.memory.requests) + SHORT_QUEUE:
            return None
        return self._queue or _Queue(sample, frozenset(self.memory.requests))

    def _count(self, in_flight: int, unread_tokens: int, leapt: int) -> OwnCounts:
        """Our own counts; only one sequence of each request is there for certain, the others may have ended."""
        before, now_generated = self._generated, {}
        lasting = lasting_sequences = progressing = prompt = 0
        for request in self.memory.requests:
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
        generated = self.memory.generated_tokens
        return OwnCounts(in_flight, lasting, progressing, prompt, unread_tokens, generated, leapt, lasting_sequences)
