"""The controller that sizes a worker's window: its three dimensions, the causes, trust, and its invariants."""

import math
from dataclasses import dataclass, replace
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.workers import EngineFacts, EngineSample, Limit, Phase, WindowSize
from gateway.workers.tuning import Tuning
from gateway.workers.tuning_causes import CAUSES
from gateway.workers.tuning_memory import Memory
from gateway.workers.tuning_prefill import (
    FEWEST_PREFILL_TOKENS,
    FIRST_PREFILL_TOKENS,
    LADDER,
    Prefill,
    after_no_queue,
    after_queue,
)
from gateway.workers.tuning_sequences import (
    FEWEST_SEQUENCES,
    FIRST_SEQUENCES,
    MOST_SEQUENCES,
    SETTLED_PACE,
    SequenceController,
    Sequences,
    SlotReading,
)

AUTO = WindowSize(None, 1, None)


@dataclass(eq=False)
class RunningRequest:
    """A request at a worker."""

    sequences: int = 1
    prompt_tokens: int = 10
    max_output_tokens: int = 1000
    accrued_tokens: int = 0
    output_tokens: int = 0


# -- sequences


CONTROLLER = SequenceController(1)


def full(known: Sequences, slots: int, *, ended: int = 0) -> SlotReading:
    """A reading of an engine of so many slots with all of a full window."""
    ran = min(slots, known.limit)
    return SlotReading(ran - ended, known.limit - ran, known.limit, is_limiting=True, is_taken=True)


def test_a_window_that_was_all_run_grows_by_a_quarter() -> None:
    """While nothing is known, each full window without a queue adds a quarter."""
    known = CONTROLLER.start()
    sizes = [known.limit]
    while len(sizes) < 8:
        known = CONTROLLER.step(known, full(known, 99))
        sizes.append(known.limit)
    assert sizes == [8, 10, 12, 15, 18, 22, 27, 33]


@pytest.mark.parametrize(
    "reading",
    [
        SlotReading(8, 0, 8, is_limiting=False, is_taken=False),
        SlotReading(3, 0, 8, is_limiting=True, is_taken=False),
        SlotReading(6, 1, 8, is_limiting=True, is_taken=False),
    ],
)
def test_a_window_does_not_grow_without_evidence(reading: SlotReading) -> None:
    """However many readings come, the window does not grow without held-back work, or if a queue waits."""
    known = CONTROLLER.start()
    for _ in range(99):
        known = CONTROLLER.step(known, reading)
    assert known.limit == FIRST_SEQUENCES


def test_a_queue_settles_at_what_the_engine_can_have_run() -> None:
    """Two readings in a row with a queue settle at what is there less what waits, plus the slack."""
    known = Sequences(12)
    known = CONTROLLER.step(known, full(known, 9))
    known = CONTROLLER.step(known, SlotReading(9, 0, 9, is_limiting=False, is_taken=False))
    known = CONTROLLER.step(known, full(known, 9))
    assert known.limit == 12
    known = CONTROLLER.step(known, full(known, 9, ended=9))
    assert (known.limit, known.phase) == (10, Phase.SETTLED)


def test_a_right_size_is_not_lost_to_one_reading_of_few() -> None:
    """Readings at which the slack waits do not add up with a moment at which few run and many wait."""
    known = Sequences(9, SETTLED_PACE)
    for _ in range(20):
        known = CONTROLLER.step(known, full(known, 8))
        known = CONTROLLER.step(known, SlotReading(5, 4, 9, is_limiting=True, is_taken=False))
        known = CONTROLLER.step(known, full(known, 8))
    assert known.limit == 9


def test_an_engine_that_runs_more_than_it_was_thought_to_is_followed() -> None:
    """One sequence beyond the known size is evidence; growth starts at one and doubles."""
    known, sizes = Sequences(41, SETTLED_PACE), []
    for _ in range(4):
        known = CONTROLLER.step(known, full(known, 99))
        sizes.append(known.limit)
    assert sizes == [42, 44, 48, 56]


def test_an_engine_that_became_smaller_is_followed_down() -> None:
    """The window follows an engine that became smaller."""
    known = Sequences(41, SETTLED_PACE)
    for _ in range(2):
        known = CONTROLLER.step(known, full(known, 16))
    assert known.limit == 17


# -- prompts


def overflowing(known: Prefill) -> Prefill:
    """Two queues in a row."""
    return after_queue(after_queue(known))


def held(known: Prefill, readings: int) -> Prefill:
    """The state after so many readings in a row at which this window alone held work back and slots were empty."""
    for _ in range(readings):
        known = after_no_queue(known, is_limiting=True)
    return known


def test_unread_prompts_grow_after_patience_only() -> None:
    """The window grows after four such readings in a row; any other reading starts the count again."""
    known = after_no_queue(held(Prefill(), 3), is_limiting=False)
    assert held(known, 3).limit == FIRST_PREFILL_TOKENS
    assert held(known, 4).limit == FIRST_PREFILL_TOKENS * 5 // 4


def test_unread_prompts_go_back_to_before_they_grew() -> None:
    """A size that was too large is reached again only after much longer patience; the window shrinks to a floor."""
    known = held(Prefill(), 4)
    assert after_queue(known).limit == known.limit
    known = overflowing(known)
    assert known.limit == FIRST_PREFILL_TOKENS
    assert held(known, 63).limit == FIRST_PREFILL_TOKENS
    assert held(known, 64).limit == FIRST_PREFILL_TOKENS * 5 // 4
    for _ in LADDER:
        known = overflowing(known)
    assert known.limit == FEWEST_PREFILL_TOKENS


@pytest.mark.parametrize("rung", range(len(LADDER)))
@pytest.mark.parametrize("safe_rung", range(len(LADDER)))
def test_no_size_of_unread_prompts_is_a_trap(rung: int, safe_rung: int) -> None:
    """From every state what is held back without a queue gets the largest size, and queues the smallest."""
    for strikes, count in product((0, 1, 99, 100, 199), (0, 3, 63, 64)):
        known = Prefill(rung, safe_rung, strikes, count)
        assert held(known, 64 * (len(LADDER) - 1 - rung)).limit == LADDER[-1]
        for _ in LADDER:
            known = overflowing(known)
        assert known.limit == LADDER[0]


# -- memory


def memory_of(tokens: int = 1000, *requests: RunningRequest) -> Memory:
    """A cache of so many tokens, known and in blocks of ten, with requests in it."""
    memory = Memory()
    memory.learn(EngineFacts(tokens, 10))
    for request in requests:
        memory.take(request)
    return memory


def test_memory_holds_back_what_would_not_fit() -> None:
    """Demand counts whole blocks and a share of the mean answer to grow; the first request always fits."""
    memory = memory_of(1000)
    requests = []
    while memory.has_room(RunningRequest(prompt_tokens=95)):
        requests.append(RunningRequest(prompt_tokens=95))
        memory.take(requests[-1])
    assert len(requests) == math.floor(1000 / (100 + memory.reserve * 256))
    assert memory_of(1000).has_room(RunningRequest(prompt_tokens=5000))


def test_memory_counts_what_was_generated_since() -> None:
    """Requests that have grown leave no room for what fitted before."""
    requests = [RunningRequest(prompt_tokens=100) for _ in range(3)]
    memory = memory_of(1000, *requests)
    assert memory.has_room(RunningRequest(prompt_tokens=100))
    for request in requests:
        request.output_tokens = 150
    assert not memory.has_room(RunningRequest(prompt_tokens=100))


def test_an_unknown_cache_holds_nothing_back_until_its_gauge_has_shown_it() -> None:
    """If the engine does not say its size, a token's share of the cache comes from the gauge and our own count."""
    memory = Memory()
    requests = [RunningRequest(prompt_tokens=100) for _ in range(5)]
    for request in requests:
        memory.take(request)
    assert memory.has_room(RunningRequest(prompt_tokens=10**6))
    memory.weigh(0.5)
    assert memory.capacity_tokens == 1000
    assert not memory.has_room(RunningRequest(prompt_tokens=10**6))


def test_shared_prompts_leave_more_room() -> None:
    """A gauge that stays below our count lets more requests in."""
    memory = memory_of(1000, *(RunningRequest(prompt_tokens=150) for _ in range(4)))
    assert not memory.has_room(RunningRequest(prompt_tokens=200))
    for _ in range(20):
        memory.weigh(0.25)
    assert memory.has_room(RunningRequest(prompt_tokens=200))


def test_memory_that_ran_out_is_promised_less_and_slowly_more_again() -> None:
    """A hundred readings without a queue undo one shortage; readings at which nothing was held back undo nothing."""
    memory = memory_of()
    first = memory.reserve
    memory.ran_out()
    risen = memory.reserve
    assert risen > first
    memory.sufficed(is_limiting=False)
    assert memory.reserve == risen
    readings = 0
    while memory.reserve > first:
        memory.sufficed(is_limiting=True)
        readings += 1
    assert 100 <= readings <= 200


def test_room_in_memory_is_given_back() -> None:
    """After every request has ended nothing is promised."""
    requests = [RunningRequest(prompt_tokens=n) for n in range(1, 40)]
    memory = memory_of(1000, *requests)
    memory.count()
    for request in requests:
        memory.give(request)
    assert memory.demand_tokens == 0
    assert not memory.requests


# -- the controller


class Worker:
    """A window and what its gateway counts; every request is read and gets a token with each reading."""

    def __init__(self, size: WindowSize = AUTO, facts: EngineFacts | None = None) -> None:
        self.tuning = Tuning(size)
        if facts is not None:
            self.tuning.learn(facts)
        self.running: list[RunningRequest] = []
        self.now = 0.0
        self.tokens = 0
        self.unread = 0

    def fill(self, count: int | None = None) -> None:
        """Send until the window is full, or so many are there; work is held back."""
        wanted = self.tuning.max_sequences if count is None else count
        while len(self.running) < wanted:
            self.running.append(RunningRequest())
            self.tuning.memory.take(self.running[-1])
        self.tuning.limited_by = Limit.SEQUENCES

    def find(self, slots: int) -> None:
        """Fill and read until an engine of so many slots is found."""
        for _ in range(40):
            self.fill()
            self.read(min(slots, len(self.running)), max(0, len(self.running) - slots))
        assert self.tuning.sequences.phase is Phase.SETTLED
        while len(self.running) > self.size:
            self.tuning.memory.give(self.running.pop())

    def read(self, running: float, waiting: float = 0, /, *, age: float = 0.0, **figures: float) -> bool:
        """One reading, half a second after the last; of `unread` prompt tokens."""
        self.now += 0.5
        for request in self.running[: int(running) if math.isfinite(running) else None]:
            self.tokens += 20
            request.output_tokens += 20
        sample = EngineSample(self.now - age, running, waiting, 0.1, 0, self.now * 50, 0, self.tokens)
        return self.tuning.observe(replace(sample, **figures), len(self.running), self.unread, self.now)

    @property
    def size(self) -> int:
        """The window."""
        return self.tuning.max_sequences


def test_every_queue_has_one_cause() -> None:
    """A full cache explains any queue, used-up slots the rest, prefill what is left."""
    assert set(CAUSES) == {(full, used) for full in (True, False) for used in (True, False)}
    assert CAUSES[True, True] is CAUSES[True, False] is Limit.MEMORY
    assert CAUSES[False, True] is Limit.SEQUENCES
    assert CAUSES[False, False] is Limit.PREFILL


def test_a_queue_for_memory_shrinks_neither_of_the_others() -> None:
    """If the cache is full, only the promise of memory changes."""
    worker = Worker(facts=EngineFacts(1000, 10))
    worker.fill()
    worker.read(8)
    worker.fill()
    before = (worker.size, worker.tuning.max_prefill_tokens)
    reserve = worker.tuning.memory.reserve
    for _ in range(4):
        worker.read(8, 2, kv_usage=0.99)
    assert (worker.size, worker.tuning.max_prefill_tokens) == before
    assert worker.tuning.memory.reserve > reserve


def test_a_queue_with_empty_slots_shrinks_prefill() -> None:
    """The engine once ran more than now, so slots are not the cause; few unread prompts are not the cause either."""
    for unread, limit in ((2000, LADDER[LADDER.index(FIRST_PREFILL_TOKENS) - 1]), (500, FIRST_PREFILL_TOKENS)):
        worker = Worker(WindowSize(16, 1, None))
        worker.fill()
        worker.read(16)
        worker.unread = unread
        for _ in range(2):
            worker.read(10, 7)
        assert worker.size == 17
        assert worker.tuning.max_prefill_tokens == limit


def test_a_configured_number_stands_still() -> None:
    """Neither queues, nor others at the engine, nor prompts, nor blindness move what the operator has set."""
    worker = Worker(WindowSize(16, 2, 700))
    limits = (worker.size, worker.tuning.max_prefill_tokens)
    worker.fill()
    for running, waiting in ((5, 13), (16, 2), (3, 15), (24, 12), (18, 0)) * 5:
        worker.tokens += 400
        worker.read(running, waiting)
        assert (worker.size, worker.tuning.max_prefill_tokens) == limits == (18, 700)
    worker.tuning.blind("no answer")
    assert (worker.size, worker.tuning.max_prefill_tokens) == limits


def test_no_action_on_a_reading_older_than_the_last_one() -> None:
    """A reading that was asked for before the window grew says nothing of how it is now."""
    worker = Worker()
    worker.fill()
    assert worker.read(8)
    worker.fill()
    assert not worker.read(10, age=0.5)
    assert worker.read(10)


def test_no_action_on_a_reading_of_no_new_step() -> None:
    """A repeated reading of an engine that stands still is neither a second queue nor calm."""
    worker = Worker()
    worker.fill(3)
    worker.read(3)
    worker.fill()
    worker.read(7, 1)
    steps, tokens = worker.now * 50, worker.tokens
    for _ in range(40):
        worker.now += 0.5
        for waiting in (2, 0):
            sample = EngineSample(worker.now, 6, waiting, 0.1, 0, steps, 0, tokens)
            worker.tuning.observe(sample, 8, 0, worker.now)
    assert not worker.tuning.degraded
    assert worker.size == FIRST_SEQUENCES
    assert worker.tuning.sequences.phase is Phase.GROWING


def test_a_window_that_shrank_waits_for_its_excess() -> None:
    """Requests in flight beyond a window that shrank still wait, and that is no new evidence."""
    worker = Worker()
    worker.tuning.sequences = Sequences(21, SETTLED_PACE)
    worker.fill()
    for _ in range(2):
        worker.read(9, 12)
    assert worker.size == 10
    while len(worker.running) > 11:
        worker.tuning.memory.give(worker.running.pop())
        worker.read(9, len(worker.running) - 9)
        assert worker.size == 10


@pytest.mark.parametrize(("sequences", "fallback"), [(None, 17), (8, 9)])
def test_blind_from_the_start_is_a_fixed_window(sequences: int | None, fallback: int) -> None:
    """The fallback is sixteen and the slack, or the configured size; a credible reading ends it."""
    worker = Worker(WindowSize(sequences, 1, None))
    worker.tuning.blind("no answer")
    assert (worker.size, worker.tuning.max_prefill_tokens) == (fallback, 2048)
    assert worker.tuning.degraded == "no answer"
    worker.fill(4)
    worker.read(4)
    assert not worker.tuning.degraded


def test_blind_after_it_settled_holds_what_was_found() -> None:
    """A size that has proved itself is a better fallback than the first guess."""
    worker = Worker()
    worker.find(29)
    for _ in range(12):
        worker.read(29, 1)
    worker.tuning.blind("no answer")
    assert worker.size == 30


@pytest.mark.parametrize(
    "figures",
    [
        {"running": math.nan},
        {"running": -1},
        {"waiting": math.inf},
        {"kv_usage": 7.0},
        {"running": 0},
        {"running": 1000},
        {"steps": 1, "output_tokens": 1, "step_tokens": 1},
    ],
)
def test_figures_that_contradict_our_own_are_not_believed(figures: dict[str, float]) -> None:
    """Impossible figures lose trust at once, doubtful ones after some readings, until figures are right again."""
    worker = Worker(WindowSize(16, 1, None))
    worker.fill()
    worker.read(16, 1)
    worker.read(16, 1, **figures)
    for _ in range(6):
        worker.read(16, 1, **figures)
    assert worker.tuning.degraded
    assert worker.size == 17
    for _ in range(20):
        worker.read(16, 1, steps=10_000 + worker.now, output_tokens=10_000 + worker.tokens)
    assert not worker.tuning.degraded


def test_others_at_the_same_worker_keep_their_slots() -> None:
    """The window leaves room for others' sequences after three readings have shown them."""
    worker = Worker(WindowSize(None, 1, None))
    worker.tuning.sequences = Sequences(17, SETTLED_PACE)
    worker.fill(8)
    for _ in range(3):
        worker.tokens += 400  # theirs
        worker.read(16)
    assert worker.size == 9


def test_totals_that_begin_again_start_the_search_anew() -> None:
    """An engine that counts from nothing is another engine."""
    worker = Worker()
    worker.find(29)
    assert worker.size == 30
    worker.read(0, 0, steps=1.0, output_tokens=0.0)
    assert worker.size == FIRST_SEQUENCES


def test_the_express_lane_is_a_part_of_what_was_found() -> None:
    """The lane's slots are kept free within a size that was found; a configured number does not include them."""
    worker = Worker(replace(AUTO, express=4))
    worker.find(24)
    assert worker.size == 24 - 4
    assert Worker(WindowSize(16, 1, None, express=4)).size == 17


READINGS = 150 + 2 * len(LADDER)  # those of the sequences, and what may be blamed on prompts before


@given(
    slots=st.integers(2, 40),
    limit=st.integers(2, 90),
    pace=st.sampled_from((0, 1, 2, 4)),
    rung=st.integers(0, len(LADDER) - 1),
    is_least=st.booleans(),
    endings=st.lists(st.integers(0, 40), min_size=1, max_size=20),
)
def test_whatever_was_learned_a_full_engine_is_found_again(
    slots: int, limit: int, pace: int, rung: int, is_least: bool, endings: list[int]
) -> None:
    """From any learned state the window reaches slots and slack, whatever ends and whichever limit is blamed."""
    worker = Worker()
    worker.tuning.sequences = Sequences(limit, pace)
    worker.tuning.prefill = Prefill(rung)
    worker.unread = 0 if is_least else 9000
    for step in range(READINGS):
        while len(worker.running) > worker.size:
            worker.tuning.memory.give(worker.running.pop())
        worker.fill()
        before, ran = worker.size, min(slots, worker.size)
        ended = min(ran, endings[step % len(endings)])
        for request in worker.running[:ended]:
            worker.tuning.memory.give(request)
        del worker.running[:ended]
        worker.fill()
        worker.read(ran - ended, before - ran, steps=float(step))
        assert worker.size >= min(before, slots + 1)
    assert worker.size == slots + 1


def fill_with(worker: Worker, prompt_tokens: int) -> None:
    """Send requests of such a prompt until the window or the memory is full; work is held back."""
    memory = worker.tuning.memory
    while len(worker.running) < worker.size:
        request = RunningRequest(prompt_tokens=prompt_tokens, max_output_tokens=60)
        if not memory.has_room(request):
            worker.tuning.limited_by = Limit.MEMORY
            return
        worker.running.append(request)
        memory.take(request)
    worker.tuning.limited_by = Limit.SEQUENCES


def taken_by_engine(requests: list[RunningRequest], slots: int, cache: int) -> tuple[int, int]:
    """How many of the requests run in so many slots and tokens of cache, first come first served, and their tokens."""
    running, used = 0, 0
    for request in requests:
        need = request.prompt_tokens + request.output_tokens + 20
        if running == slots or used + need > max(cache, need):
            break
        running, used = running + 1, used + need
    return running, used


@given(
    slots=st.integers(2, 80),
    cache=st.integers(200, 4000),
    prompts=st.lists(st.integers(1, 120), min_size=1, max_size=30),
    sequences=st.one_of(st.none(), st.integers(2, 80)),
)
@example(52, 3742, [120, 20, 17, 75, 59, 107, 45, 90, 28, 15, 59, 99, 99, 104, 8, 95, 118, 10, 74], None)
def test_before_any_engine_the_window_moves_towards_its_slots_only(
    slots: int, cache: int, prompts: list[int], sequences: int | None
) -> None:
    """With a backlog the window grows to slots and slack, or shrinks to it, for any number of slots and any cache.

    Where memory holds back most, this can take long: only what fits at once tells of slots. When all ended it is empty.
    """
    worker = Worker(WindowSize(sequences, 1, None), EngineFacts(cache, 1))
    memory = worker.tuning.memory
    right = slots + 1
    for step in range(320):
        fill_with(worker, prompts[step % len(prompts)])
        running, used = taken_by_engine(worker.running, slots, cache)
        before, in_flight = worker.size, len(worker.running)
        worker.read(running, in_flight - running, kv_usage=min(1.0, used / cache))
        if sequences is not None:
            assert worker.size == before == sequences + 1
        elif worker.size > before:
            assert before < right and in_flight == before and running >= before - 1
        elif worker.size < before:
            assert worker.size >= right
        for request in [each for each in worker.running if each.output_tokens >= 60]:
            worker.running.remove(request)
            memory.give(request)
        assert FEWEST_SEQUENCES <= worker.size <= MOST_SEQUENCES + 1
    for request in worker.running:
        memory.give(request)
    assert memory.demand_tokens == 0
