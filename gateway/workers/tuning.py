"""Sizes one worker's window from readings of its engine's metrics, in three dimensions: sequences, prefill, memory.

If more than the slack waits at the engine, the cause decides which dimension shrinks (`CAUSES`). The rules:
- The gateway itself counts what is in flight, unread and promised. Readings move the limits and show what has ended.
- A number in the configuration never changes, whatever the engine says.
- A limit grows only on evidence that the engine took all of it while this limit alone held work back.
- Nothing is done on a reading asked for before the last action, without a step, or against our own counts (`Trust`).
- Without readings that can be believed, the window is fixed and marked as degraded (docs/window.md).
"""

from dataclasses import replace

from gateway.workers.sample import EngineFacts, EngineSample
from gateway.workers.snapshot import Limit, Phase
from gateway.workers.tuned_limits import Others, TunedLimits, most_used
from gateway.workers.tuning_causes import Causes
from gateway.workers.tuning_foreign import Foreign
from gateway.workers.tuning_memory import Memory, RunningRequest
from gateway.workers.tuning_prefill import Prefill, after_no_queue, after_queue
from gateway.workers.tuning_pulse import Pulse
from gateway.workers.tuning_sequences import FEWEST_SEQUENCES, SETTLED_PACE, SequenceController, Sequences, SlotReading
from gateway.workers.tuning_state import TunerState, read_state
from gateway.workers.tuning_tally import Tally
from gateway.workers.tuning_trust import LAG_SEQUENCES, OwnCounts, Trust
from gateway.workers.window import UNTUNED_PREFILL_TOKENS, UNTUNED_SEQUENCES, WindowSize

_TRUSTED = 10  # plausible readings in a row after which a window may serve as the fallback


class Tuning:
    """The limits of one worker's window."""

    __slots__ = (
        "_acted_at",
        "_causes",
        "_controller",
        "_followed",
        "_foreign",
        "_good_readings",
        "_pulse",
        "_readings",
        "_size",
        "_slack",
        "_tally",
        "_trusted_limit",
        "degraded",
        "ended_sequences",
        "engine_sequences",
        "limited_by",
        "memory",
        "others",
        "prefill",
        "sequences",
        "trust",
    )

    def __init__(self, size: WindowSize) -> None:
        """Start with the limits of `size`; limits that it leaves open start as for an unknown engine."""
        self.memory = Memory()
        self.degraded = ""
        self.limited_by = Limit.NOTHING  # what held back the last request that asked for room
        self.others = Others()
        self._tally = Tally()
        self._readings = 0  # that moved or confirmed the limits, by this tuner and those before
        self.resize(size)

    def resize(self, size: WindowSize) -> None:
        """Take over a new size and forget what was learned under the old one."""
        self._size = size
        self._followed: TunedLimits | None = None  # found by the tuner of another replica
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
        self._tally.forget_queue()
        self.engine_sequences: float | None = None  # all but other replicas', if the last reading is believed
        self.ended_sequences = 0  # those of ours that were certainly missing at the last reading
        self._acted_at = float("-inf")
        self._foreign = Foreign()
        self._causes = Causes()
        self._good_readings = 0
        self._pulse = Pulse()
        self._trusted_limit: int | None = None

    # -- the limits

    @property
    def max_sequences(self) -> int:
        """How many sequences may be in flight, without the express lane."""
        if self._controller is None:
            return self.sequences.limit
        if self._followed is not None:
            return self._followed.sequences
        if self.degraded:
            return self._trusted_limit or UNTUNED_SEQUENCES + self._slack
        has_lane = self._size.express and self.sequences.phase is Phase.SETTLED  # slots that stay free, with the slack
        lane = self._size.express + self._slack if has_lane else 0
        return max(FEWEST_SEQUENCES, self.sequences.limit - lane - self._foreign.sequences(self.sequences.limit))

    @property
    def max_prefill_tokens(self) -> int:
        """How many prompt tokens may be in flight without a first token."""
        if self._size.prefill_tokens or self._followed is None:
            return self._size.prefill_tokens or (UNTUNED_PREFILL_TOKENS if self.degraded else self.prefill.limit)
        return self._followed.prompt_tokens

    def fits_memory(self, request: RunningRequest) -> bool:
        """True if the engine's KV cache holds one more such request, or if the gateway does not limit memory."""
        return self._size.is_open or self.memory.has_room(request)

    @property
    def phase(self) -> Phase:
        """GROWING while the gateway looks for the engine's size and has enough work to find it."""
        is_held_back = self.limited_by is Limit.SEQUENCES or self.others.are_waiting
        is_growing = self.sequences.phase is Phase.GROWING and is_held_back and not self.degraded
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
        everybody, unread_tokens = in_flight + self.others.sequences, unread_tokens + self.others.prompt_tokens
        own = self._tally.count(sample, self.memory, everybody, unread_tokens)
        own_part = in_flight / everybody if in_flight else 1.0
        pulse = self._pulse.next(sample, everybody, self.memory.given_sequences, own_part)
        if pulse.has_restarted:
            self.restart()
        self._pulse = pulse
        may_act = self.trust.judge(sample, own)
        there = sample.running + sample.waiting + sample.deferred
        self.engine_sequences = max(0.0, there - self.others.sequences) if may_act else None
        self.ended_sequences = int(max(0.0, own.lasting_sequences - there - LAG_SEQUENCES)) if may_act else 0
        if self.trust.is_lost:
            if not self.degraded:
                self.memory.forget()  # what its gauges taught about the cache may be wrong too
            self.blind(self.trust.reason)
            return False
        was_degraded, self.degraded = bool(self.degraded), ""
        if may_act:
            self._readings += 1 if self._followed is None else 0
            self._good_readings += 1
            is_plain = not self._tally.has_queue and self.sequences.phase is Phase.SETTLED
            if self._good_readings >= _TRUSTED and is_plain:
                self._trusted_limit = self.max_sequences
            if self._act(sample, own, now):
                return True
        return was_degraded

    # -- several replicas

    @property
    def limits(self) -> TunedLimits:
        """What was found out, for all replicas together."""
        capacity = 0 if self._size.is_open else self.memory.capacity_tokens
        return TunedLimits(self.max_sequences, self.max_prefill_tokens, capacity)

    def state(self) -> str:
        """All that a successor needs to go on tuning, as text."""
        return TunerState(
            self._readings,
            self.sequences,
            self.prefill,
            self.memory.learned,
            self._trusted_limit or 0,
            self._causes.most_running,
            self._causes.last_grown,
            self._foreign.readings,
        ).text()

    def follow(self, limits: TunedLimits) -> None:
        """Take over what the tuner of another replica found; until `lead`, readings move only the reserve of memory."""
        if min(limits.sequences, limits.prompt_tokens) < 1:
            return  # nobody has found anything yet
        state = None if limits == self._followed else read_state(limits.state)
        if state is not None:
            self._take_over(state)
        self._followed = limits
        self.memory.take_over_capacity(limits.kv_tokens)

    def lead(self, text: str) -> None:
        """Move the limits from now on; `text` is the state of the last tuner, which counts if it is the later one."""
        self._followed, state = None, read_state(text)
        if state is not None and state.readings > self._readings:
            self._take_over(state)

    def _take_over(self, state: TunerState) -> None:
        self._readings = state.readings
        if self._controller is not None:
            self.sequences = replace(state.sequences, limit=min(state.sequences.limit, self._controller.most))
            self._trusted_limit = state.trusted_limit or None
        self.prefill, self._foreign = state.prefill, Foreign(state.foreign)
        self._causes.most_running, self._causes.last_grown = state.most_running, state.last_grown
        self.memory.take_over(state.memory)

    # -- moving the limits

    def _act(self, sample: EngineSample, own: OwnCounts, now: float) -> bool:
        running, waiting = int(sample.running), int(sample.waiting)
        maybe = self.others.idle_sequences + self.others.silent_sequences  # the store keeps room for the silent already
        self._foreign.read(running + waiting - own.in_flight - maybe)
        usage = sample.kv_usage or 0.0
        if waiting == 0 and 8 * own.unread_tokens < self.memory.promised_tokens:
            self.memory.weigh(usage)
        if sample.asked_at <= self._acted_at or self._pulse.is_still or self._size.is_open:
            return False
        self._causes.note(running, self.sequences.limit - self._slack)
        before = self._limits
        overdrawn = self.memory.overdrawn_sequences  # those of them that wait, wait for memory
        reading = self._slot_reading(running, waiting, own)
        excess = waiting - self._slack - max(0, own.in_flight - self.max_sequences, overdrawn)
        if excess > 0:
            self._shrink(reading, self._cause(reading, own, usage))
        elif waiting == 0:
            self._grow(reading, own)
        elif reading.is_limiting and not overdrawn and self._cause(reading, own, usage) is Limit.SEQUENCES:
            self._step(reading)
        if self._limits != before:
            self._acted_at = now
        return any(after > old for after, old in zip(self._limits, before, strict=True))

    @property
    def _limits(self) -> tuple[float, float, float]:
        return self.max_sequences, self.max_prefill_tokens, -self.memory.reserve

    def _slot_reading(self, running: int, waiting: int, own: OwnCounts) -> SlotReading:
        window = self.max_sequences
        ours = max(window, own.in_flight, self._pulse.were_in_flight)
        there = max(ours + self._foreign.sequences(self.sequences.limit), running + waiting)
        is_limiting = self._limiting(own) is Limit.SEQUENCES
        is_full = 8 * own.in_flight >= 7 * window
        is_taken = is_limiting and is_full and 2 * self._pulse.ran(running) >= window
        return SlotReading(running, waiting, there, is_limiting, is_taken)

    def _step(self, reading: SlotReading) -> bool:
        """Take what the reading shows of the slots into the window of sequences; True if that grew."""
        before = self.sequences
        if self._controller is not None and self._followed is None:
            self.sequences = self._controller.step(before, reading)
        return self.sequences.limit > before.limit

    def _shrink(self, reading: SlotReading, cause: Limit) -> None:
        match cause:
            case Limit.PREFILL if self._followed is not None:
                pass
            case Limit.MEMORY:
                self.memory.ran_out()
            case Limit.SEQUENCES:
                self._step(reading)
            case Limit.PREFILL:
                before, self.prefill = self.prefill, after_queue(self.prefill)
                if self.prefill.rung < before.rung:
                    self._causes.last_grown = Limit.NOTHING
            case Limit.NOTHING:
                raise AssertionError("what waits has a cause")

    def _cause(self, reading: SlotReading, own: OwnCounts, usage: float) -> Limit:
        can_be_prefill = self._size.prefill_tokens is None and own.unread_tokens > self.prefill.smaller_limit
        is_memory_full, ran = self.memory.is_full(usage), self._pulse.ran(reading.running)
        return self._causes.of(is_memory_full=is_memory_full, ran=ran, can_be_prefill=can_be_prefill)

    def _grow(self, reading: SlotReading, own: OwnCounts) -> None:
        if self._step(reading):
            self._causes.last_grown = Limit.SEQUENCES
        has_empty_slots = 8 * own.in_flight < 7 * self.max_sequences
        limiting = self._limiting(own)
        self.memory.sufficed(is_limiting=limiting is Limit.MEMORY)
        before, is_limiting = self.prefill, limiting is Limit.PREFILL and has_empty_slots
        self.prefill = before if self._followed is not None else after_no_queue(before, is_limiting=is_limiting)
        if self.prefill.rung > before.rung:
            self._causes.last_grown = Limit.PREFILL

    def _limiting(self, own: OwnCounts) -> Limit:
        """The limit that holds work back: here, or else at other replicas, where it is the one that is used most."""
        if self.limited_by is not Limit.NOTHING or not self.others.are_waiting:
            return self.limited_by
        return most_used(self.limits, own.in_flight, own.unread_tokens, self.memory.promised_tokens)
