"""The pure scheduler keeps its invariants at every step of every workload."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.engine.core import BlockPool, EngineCapacity, Policy, Scheduler, Sequence, Status, Step, StepCost

COST = StepCost(step_seconds=0.01, prefill_token_seconds=1e-4, decode_sequence_seconds=1e-3, context_token_seconds=1e-6)
ROOMY = EngineCapacity(max_num_seqs=4, max_num_batched_tokens=32, max_model_len=64, num_blocks=64, block_size=4)
TIGHT = EngineCapacity(max_num_seqs=8, max_num_batched_tokens=16, max_model_len=32, num_blocks=10, block_size=4)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One sequence of a workload: submitted before step `at_step`, aborted before `abort_step` if that comes."""

    at_step: int
    prompt_tokens: int
    output_tokens: int
    priority: int
    prefix: int
    abort_step: int | None


arrivals = st.builds(
    Arrival,
    at_step=st.integers(0, 20),
    prompt_tokens=st.integers(1, 24),
    output_tokens=st.integers(1, 8),
    priority=st.integers(-2, 2),
    prefix=st.integers(0, 2),
    abort_step=st.none() | st.integers(0, 40),
)
capacities = st.builds(
    EngineCapacity,
    max_num_seqs=st.integers(1, 6),
    max_num_batched_tokens=st.integers(1, 40),
    max_model_len=st.just(32),
    num_blocks=st.integers(8, 24),
    block_size=st.just(4),
    policy=st.sampled_from(Policy),
)


def make_sequence(name: str, arrival: Arrival, now: float) -> Sequence:
    """A sequence whose prompt shares blocks with all others of its prefix."""
    hashes = tuple(100 * arrival.prefix + block for block in range(arrival.prompt_tokens // 4))
    return Sequence(
        sequence_id=name,
        prompt_tokens=arrival.prompt_tokens,
        output_limit=arrival.output_tokens,
        arrived_at=now,
        priority=arrival.priority,
        block_hashes=hashes if arrival.prefix else (),
    )


class Run:
    """A workload played step by step, everything checked at each."""

    def __init__(self, capacity: EngineCapacity, workload: list[Arrival]) -> None:
        self.scheduler = Scheduler(capacity, COST)
        self.workload = workload
        self.sequences: dict[int, Sequence] = {}
        self.gained: dict[Sequence, int] = {}
        self.trace: list[tuple[object, ...]] = []
        self.now = 0.0

    def play(self) -> None:
        """Until everything was submitted and the engine is idle."""
        step_number = 0
        last_arrival = max((arrival.at_step for arrival in self.workload), default=0)
        while step_number <= last_arrival or not self.scheduler.is_idle:
            assert step_number < 5000, "the scheduler makes no progress"
            self._events(step_number)
            step = self.scheduler.begin(self.now)
            self.scheduler.check_invariants()
            if step is not None:
                self._complete(step)
            else:
                assert self.scheduler.is_idle
            step_number += 1

    def _events(self, step_number: int) -> None:
        for index, arrival in enumerate(self.workload):
            if arrival.at_step == step_number:
                self.sequences[index] = make_sequence(str(index), arrival, self.now)
                self.scheduler.submit(self.sequences[index])
            if arrival.abort_step == step_number and index in self.sequences:
                self.scheduler.abort(self.sequences[index])

    def _complete(self, step: Step) -> None:
        capacity = self.scheduler.capacity
        assert 0 < sum(step.tokens.values()) <= capacity.max_num_batched_tokens
        assert len(step.tokens) <= len(self.scheduler.running) <= capacity.max_num_seqs
        assert step.batch.tokens == sum(step.tokens.values())
        assert step.seconds == COST.seconds(step.batch)
        self.now += step.seconds
        for sequence in self.scheduler.complete(step, self.now):
            self.gained[sequence] = self.gained.get(sequence, 0) + 1
        self.scheduler.check_invariants()
        self.trace.append(tuple((sequence.sequence_id, tokens) for sequence, tokens in step.tokens.items()))


@given(capacity=capacities, workload=st.lists(arrivals, max_size=12))
def test_every_workload_ends_with_everything_conserved(capacity: EngineCapacity, workload: list[Arrival]) -> None:
    """Budgets hold in each step, each sequence gains exactly its tokens, and an idle engine holds no block."""
    run = Run(capacity, workload)
    run.play()
    assert run.scheduler.pool.free_blocks == capacity.num_blocks
    for index, sequence in run.sequences.items():
        assert sequence.is_finished
        gained = run.gained.get(sequence, 0)
        assert gained == sequence.output_tokens <= sequence.output_limit
        assert gained == sequence.output_limit or workload[index].abort_step is not None
    assert run.scheduler.tally.generated_tokens == sum(run.gained.values())
    assert run.scheduler.tally.preemptions == sum(sequence.preemptions for sequence in run.sequences.values())


@given(capacity=capacities, workload=st.lists(arrivals, max_size=8))
def test_the_same_workload_runs_the_same(capacity: EngineCapacity, workload: list[Arrival]) -> None:
    """Two runs compute the same tokens in the same steps."""
    first, second = Run(capacity, workload), Run(capacity, workload)
    first.play()
    second.play()
    assert first.trace == second.trace
    assert first.now == second.now


def run_to_idle(scheduler: Scheduler) -> list[Sequence]:
    """Step until idle; sequences in the order of their first token."""
    order: dict[Sequence, None] = {}
    while (step := scheduler.begin(0.0)) is not None:
        for sequence in scheduler.complete(step, 0.0):
            order.setdefault(sequence)
    return list(order)


def submit(scheduler: Scheduler, *sequences: Sequence) -> None:
    """Submit all sequences."""
    for sequence in sequences:
        scheduler.submit(sequence)


def sequence(name: str, prompt: int = 4, output: int = 3, priority: int = 0, **fields: object) -> Sequence:
    """A sequence that arrived at zero."""
    return Sequence(name, prompt, output, 0.0, priority, **fields)  # type: ignore[arg-type]


def names(sequences: list[Sequence]) -> str:
    """The sequences' names in order."""
    return "".join(sequence.sequence_id for sequence in sequences)


def test_fcfs_admits_in_arrival_order() -> None:
    """First tokens come in the order of arrival, whatever the priorities say."""
    scheduler = Scheduler(ROOMY, COST)
    submit(scheduler, *(sequence(name, priority=-ord(name)) for name in "abcdefgh"))
    assert names(run_to_idle(scheduler)) == "abcdefgh"


def test_priority_admits_the_least_first_and_never_evicts_for_an_arrival() -> None:
    """A running sequence keeps its slot when a more urgent one arrives; the waiting ones go by priority."""
    capacity = EngineCapacity(1, 32, 64, 64, 4, Policy.PRIORITY)
    scheduler = Scheduler(capacity, COST)
    submit(scheduler, sequence("a", priority=9))
    step = scheduler.begin(0.0)
    assert step is not None
    scheduler.complete(step, 0.0)
    submit(scheduler, sequence("b", priority=5), sequence("c", priority=-3), sequence("d", priority=5))
    assert names(run_to_idle(scheduler)) == "acbd"


def test_a_long_prompt_is_prefilled_in_chunks_beside_decoding_ones() -> None:
    """The budget is shared: decoding sequences first, the rest for the chunk; no token before the last chunk."""
    scheduler = Scheduler(ROOMY, COST)
    short, long = sequence("s", prompt=4, output=9), sequence("l", prompt=60, output=1)
    submit(scheduler, short, long)
    chunks = []
    while (step := scheduler.begin(0.0)) is not None:
        chunks.append((step.tokens.get(short, 0), step.tokens.get(long, 0)))
        scheduler.complete(step, 0.0)
    assert chunks[:3] == [(4, 28), (1, 31), (1, 1)]
    assert long.output_tokens == 1


def test_when_blocks_run_out_the_newest_is_preempted_and_resumes() -> None:
    """The victim gives all its blocks back, goes to the front of the queue and ends with all its tokens."""
    scheduler = Scheduler(TIGHT, COST)
    old, new, late = sequence("o", 12, 16), sequence("n", 12, 16), sequence("x", 4, 2)
    submit(scheduler, old, new)
    while new.preemptions == 0:
        step = scheduler.begin(0.0)
        assert step is not None
        if new.preemptions:
            assert new.status is Status.PREEMPTED
            assert not new.blocks
        scheduler.complete(step, 0.0)
    submit(scheduler, late)
    assert scheduler.waiting.head() is new
    run_to_idle(scheduler)
    assert old.preemptions == 0
    assert [old.output_tokens, new.output_tokens, late.output_tokens] == [16, 16, 2]
    assert scheduler.tally.preemptions >= 1


def test_under_priority_the_least_urgent_is_preempted() -> None:
    """When memory runs out the victim is the running sequence of the largest (priority, arrival)."""
    scheduler = Scheduler(EngineCapacity(8, 16, 32, 10, 4, Policy.PRIORITY), COST)
    idle, urgent = sequence("i", 12, 16, priority=7), sequence("u", 12, 16, priority=0)
    submit(scheduler, idle)
    step = scheduler.begin(0.0)
    assert step is not None
    scheduler.complete(step, 0.0)
    submit(scheduler, urgent)
    run_to_idle(scheduler)
    assert urgent.preemptions == 0
    assert idle.preemptions >= 1


def test_a_prompt_that_does_not_fit_blocks_those_behind_it() -> None:
    """Admission stops at the head of the line: nobody overtakes."""
    scheduler = Scheduler(TIGHT, COST)
    submit(scheduler, sequence("a", 28, 4), sequence("b", 28, 4), sequence("c", 4, 4))
    step = scheduler.begin(0.0)
    assert step is not None
    scheduler.complete(step, 0.0)
    step = scheduler.begin(0.0)
    assert step is not None
    assert names(list(step.tokens)) == "a"


def test_the_prefix_of_an_earlier_prompt_is_not_computed_again() -> None:
    """Shared full blocks are found by hash, the last token of the prompt is always computed."""
    scheduler = Scheduler(ROOMY, COST)
    first = sequence("a", 16, 1, block_hashes=(1, 2, 3, 4))
    again = sequence("b", 16, 1, block_hashes=(1, 2, 3, 4))
    other = sequence("c", 16, 1, block_hashes=(1, 2, 9, 10))
    for one in (first, again, other):
        submit(scheduler, one)
        run_to_idle(scheduler)
    assert [first.cached_tokens, again.cached_tokens, other.cached_tokens] == [0, 12, 8]
    assert (scheduler.tally.cache_queries, scheduler.tally.cache_hits) == (48, 20)


def test_an_aborted_sequence_gains_nothing_from_the_open_step() -> None:
    """An abort between begin and complete frees the blocks at once and leaves no token behind."""
    scheduler = Scheduler(ROOMY, COST)
    doomed, spared = sequence("d"), sequence("s")
    submit(scheduler, doomed, spared)
    step = scheduler.begin(0.0)
    assert step is not None
    scheduler.abort(doomed)
    scheduler.check_invariants()
    assert scheduler.complete(step, 0.0) == [spared]
    assert doomed.output_tokens == 0
    scheduler.abort(doomed)
    assert scheduler.running == [spared]


def test_times_are_those_of_the_steps() -> None:
    """Scheduling is stamped with the step's beginning, tokens with its end."""
    scheduler = Scheduler(ROOMY, COST)
    one = sequence("a", output=2)
    submit(scheduler, one)
    for begin, end in ((1.0, 1.5), (1.5, 1.75)):
        step = scheduler.begin(begin)
        assert step is not None
        scheduler.complete(step, end)
    assert (one.scheduled_at, one.first_token_at, one.last_token_at) == (1.0, 1.5, 1.75)


def test_a_cache_that_holds_no_whole_sequence_is_refused() -> None:
    """An engine with such a cache could wait for ever."""
    with pytest.raises(ValueError, match="do not hold one sequence"):
        EngineCapacity(max_num_seqs=1, max_num_batched_tokens=1, max_model_len=32, num_blocks=7, block_size=4)


def test_a_free_block_keeps_its_content_until_it_is_taken() -> None:
    """Freed blocks are found by hash; the one that has been free longest is handed out first."""
    pool = BlockPool(3, 4)
    blocks = pool.take(2)
    pool.publish(blocks[0], 11)
    pool.publish(blocks[1], 12)
    pool.release(blocks)
    assert pool.find([11, 12]) == blocks
    pool.take(1)
    assert pool.find([11, 12]) == blocks
    pool.take(1)
    assert pool.find([11, 12]) == [blocks[0]]
    assert pool.find([12]) == []
