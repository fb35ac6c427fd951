"""The tuning of the window beside requests of several sequences: their memory, queue and ends do not mislead it."""

from dataclasses import dataclass

import pytest

from gateway.workers import EngineFacts, EngineSample, WindowSize
from gateway.workers.tuning import Tuning
from gateway.workers.tuning_memory import Memory


@dataclass(eq=False)
class RunningRequest:
    """A request at a worker."""

    sequences: int = 1
    prompt_tokens: int = 10
    max_output_tokens: int = 0
    accrued_tokens: int = 0
    output_tokens: int = 0


def tuning_of(*requests: RunningRequest, kv_tokens: int = 1000) -> Tuning:
    """The controller of a window of 8 and a slack of 1, settled, with `requests` there since the reading before."""
    tuning = Tuning(WindowSize(8, 1, None))
    tuning.learn(EngineFacts(kv_tokens, 10))
    for request in requests:
        tuning.memory.take(request)
    return tuning


def read(tuning: Tuning, at: float, running: float, waiting: float = 0.0, deferred: float = 0.0) -> None:
    in_flight = sum(request.sequences for request in tuning.memory.requests)
    tuning.observe(EngineSample(at, running, waiting, kv_usage=0.99, deferred=deferred), in_flight, 0, at)


@pytest.mark.parametrize(("running", "waiting", "deferred", "ended"), [(1, 0, 0, 14), (8, 9, 0, 0), (1, 0, 15, 0)])
def test_sequences_that_the_engine_has_no_more_have_ended(
    running: int, waiting: int, deferred: int, ended: int
) -> None:
    """Sequences missing at a second reading have ended, less a step's lag; deferred ones are there; trust remains."""
    tuning = tuning_of(RunningRequest(sequences=17))
    read(tuning, 1.0, 8, 9)
    assert tuning.ended_sequences == 0, "a request is known from the reading after its grant on"
    for at in range(2, 20):
        read(tuning, at, running, waiting, deferred)
        assert (tuning.ended_sequences, tuning.degraded) == (ended, "")


def test_an_engine_that_has_none_of_many_requests_is_still_distrusted() -> None:
    """Control: one sequence of every request counts as there until the request ends."""
    tuning = tuning_of(*[RunningRequest(sequences=2) for _ in range(17)])
    for at in range(1, 9):
        read(tuning, at, 1)
    assert "while 17 of ours are there" in tuning.degraded
    assert tuning.ended_sequences == 0


def test_one_sequence_of_a_request_must_fit_the_memory_not_all() -> None:
    """A list of prompts larger than the cache goes as soon as one fits, and then holds other requests back."""
    memory = Memory()
    memory.learn(EngineFacts(1000, 10))
    memory.take(RunningRequest(prompt_tokens=800))
    assert memory.has_room(RunningRequest(sequences=20, prompt_tokens=3_000))
    assert not memory.has_room(RunningRequest(sequences=2, prompt_tokens=3_000))
    memory.take(RunningRequest(sequences=20, prompt_tokens=3_000))
    assert memory.overdrawn_sequences == 19
    assert not memory.has_room(RunningRequest())
    memory.running_part = 0.05
    assert memory.has_room(RunningRequest()), "of twenty one is left"
    assert memory.overdrawn_sequences == 0


@pytest.mark.parametrize("sequences", [1, 20])
def test_the_queue_of_a_wide_request_is_no_lack_of_memory(sequences: int) -> None:
    """A queue that exists because a wide request went early does not lower what is promised to others."""
    tuning = tuning_of(RunningRequest(prompt_tokens=800), RunningRequest(sequences=sequences, prompt_tokens=3_000))
    before = tuning.memory.reserve
    for at in range(1, 9):
        read(tuning, at, 4, 15)
    assert (tuning.memory.reserve > before) == (sequences == 1)


def test_what_a_token_takes_of_the_cache_is_not_learned_from_a_wide_request() -> None:
    """Sequences that have ended use no cache, so the gauge beside them does not show what a token takes."""
    memory = Memory()
    memory.learn(EngineFacts(1000, 10))
    memory.take(RunningRequest(sequences=10, prompt_tokens=1_000))
    memory.weigh(0.11)
    assert memory.capacity_tokens == 1000
