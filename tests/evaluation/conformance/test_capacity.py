"""The ramp's arithmetic: Little's law, the knee, refusals, and sizes for engines of any speed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.conformance.capacity import (
    ANSWERS_PER_WINDOW,
    LONGEST_ANSWER_TOKENS,
    MAX_OUTSTANDING,
    SHORTEST_ANSWER_TOKENS,
    EndpointCapacity,
    Level,
    Limit,
    capacity_of,
    is_enough,
    scale_of,
    waiting_share,
)


def level(outstanding: int, ttft: float, duration: float, rate: float = 100.0, refused: int = 0) -> Level:
    """A level with 100 completed requests."""
    return Level(outstanding, 100, refused, ttft, duration, 0.0, rate)


@given(slots=st.integers(1, 128), service=st.floats(0.01, 10), first=st.floats(0.001, 1))
def test_littles_law_finds_the_slots(slots: int, service: float, first: float) -> None:
    """With twice as many outstanding as run at once a request waits half of its time, whatever the engine's speed."""
    duration = service + first
    levels = [level(1, first, duration), level(2 * slots, first + duration, 2 * duration)]
    assert waiting_share(levels) == pytest.approx(0.5)
    assert is_enough(levels)
    found = capacity_of(levels, 16)
    assert found.limit is Limit.QUEUES
    assert found.outstanding in (slots, slots + 1)
    assert found.token_seconds == pytest.approx(duration / 16)


def test_an_unloaded_endpoint_is_ramped_on() -> None:
    """Time for the first token that is there without load is no waiting."""
    assert not is_enough([level(2, 0.4, 0.5), level(4, 0.4, 0.5)])


def test_refusals_end_the_ramp() -> None:
    """What was served without refusals is the capacity."""
    levels = [level(2, 0.1, 0.5), level(4, 0.1, 0.5), level(8, 0.1, 0.5, refused=50)]
    assert not is_enough(levels[:2])
    assert is_enough(levels)
    found = capacity_of(levels, 16)
    assert (found.outstanding, found.limit) == (4, Limit.REFUSES)


def test_an_endpoint_that_refuses_from_the_first_has_a_capacity_of_one_each() -> None:
    """There is always something to measure with."""
    assert capacity_of([level(2, 0.1, 0.5, refused=50)], 16).outstanding == 2


def test_without_queue_and_refusals_the_knee_of_the_throughput_counts() -> None:
    """The least load that gives nine tenths of the most throughput."""
    rates = {2: 100.0, 64: 900.0, 128: 1000.0, MAX_OUTSTANDING: 990.0}
    levels = [level(outstanding, 0.1, 0.5, rate) for outstanding, rate in rates.items()]
    assert is_enough(levels)
    found = capacity_of(levels, 16)
    assert (found.outstanding, found.limit) == (64, Limit.UNSEEN)


@given(token=st.floats(1e-5, 5), start=st.floats(0, 5), seconds=st.floats(0.5, 60))
def test_every_window_holds_enough_answers(token: float, start: float, seconds: float) -> None:
    """Windows are as long as asked for, or as long as it takes for the shares to mean something."""
    scale = scale_of(EndpointCapacity(4, Limit.QUEUES, start, token), seconds)
    assert SHORTEST_ANSWER_TOKENS <= scale.answer_tokens <= LONGEST_ANSWER_TOKENS
    assert scale.window_seconds >= seconds
    assert scale.window_seconds >= ANSWERS_PER_WINDOW * scale.answer_seconds * (1 - 1e-9)
    assert scale.warmup_seconds == scale.window_seconds / 2


LEVELS = st.lists(
    st.builds(
        Level,
        outstanding=st.integers(1, 256),
        completed=st.integers(0, 100),
        refused=st.integers(0, 100),
        ttft_seconds=st.floats(0, 10),
        duration_seconds=st.floats(0, 10),
        token_seconds=st.floats(0, 1),
        tokens_per_second=st.floats(0, 1e6),
    ),
    min_size=1,
    max_size=9,
)


@given(levels=LEVELS, seconds=st.floats(0.5, 60))
def test_every_ramp_gives_sizes(levels: list[Level], seconds: float) -> None:
    """Whatever was timed, or nothing: sizes are above zero and finite."""
    scale = scale_of(capacity_of(levels, 16), seconds)
    assert scale.outstanding >= 1
    assert 0 < scale.answer_seconds < math.inf
    assert seconds <= scale.window_seconds < math.inf


def test_sizes_by_hand() -> None:
    """8 s, 10 ms a token: twenty answers of 40 tokens."""
    scale = scale_of(EndpointCapacity(4, Limit.QUEUES, 0.0, 0.01), 8.0)
    assert (scale.answer_tokens, scale.answer_seconds, scale.window_seconds) == (40, 0.4, 8.0)


def test_answers_outweigh_their_start() -> None:
    """0.5 s to start and 10 ms a token: 50 tokens run as long as they take to start, twenty times in a window."""
    scale = scale_of(EndpointCapacity(4, Limit.QUEUES, 0.5, 0.01), 8.0)
    assert (scale.answer_tokens, scale.answer_seconds, scale.window_seconds) == (50, 1.0, 20.0)


def test_the_tokens_part_of_an_answer_is_distinguished_from_its_start() -> None:
    """Half of a request waits, the rest starts and runs: 0.4 s of which 15 steps of 10 ms run."""
    loaded = Level(8, 100, 0, 0.45, 0.8, 0.01, 100.0)
    found = capacity_of([level(1, 0.05, 0.4), loaded], 16)
    assert (found.token_seconds, found.start_seconds) == (pytest.approx(0.01), pytest.approx(0.24))
