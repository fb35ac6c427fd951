"""The window that tunes itself before vLLM-like engines: they are busy, hardly have a queue, and may lie.

Every run is in virtual time and the same each time; what is compared are ratios within one load.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from random import Random

import pytest

from backend.engine.core import EngineCapacity
from backend.engine.profile import load_profile
from evaluation.requests import Request
from evaluation.simulation.gauges import GaugeReading, Polling, dead, honest
from evaluation.simulation.result import Result
from evaluation.simulation.run import simulate
from evaluation.simulation.settings import EngineModel, Outage, Settings
from gateway.workers import EngineSample, Phase, WindowSize

PROFILE = load_profile("cpu-tiny")
AUTO = WindowSize(None, 1, None)
SLACK = 1
WARM = 0.15  # of a run, which the window has to find its size
READ = Polling(0.25)
UNREAD = Polling(0.25, dead)  # nobody reads the metrics: a fixed window

Saying = Callable[[EngineSample], EngineSample | None]
_Lengths = tuple[int, int]
LOADS: dict[str, dict[str, tuple[_Lengths, _Lengths | float]]] = {  # tenant: prompt, output (a number: mean of any)
    "mixed": {"a": ((150, 250), (150, 250)), "b": ((20, 60), (20, 100))},
    "unknown": {"a": ((20, 200), 150.0), "b": ((20, 60), 80.0)},
    "long prompts": {"a": ((800, 1200), (50, 150)), "b": ((10, 30), (50, 150))},
}

FLOODS: dict[str, dict[str, tuple[_Lengths, _Lengths | float]]] = {
    "flood beside long answers": {"a": ((20, 60), (1, 1)), "b": ((20, 60), (20, 100))},
    "flood alone": {"a": ((20, 60), (1, 1))},
}


@cache
def backlog(name: str, requests: int = 0) -> tuple[Request, ...]:
    """All are there at once: two tenants that are never out of work; nobody states how long its answer is."""
    random = Random(1)
    return tuple(
        Request(0.0, tenant, random.randint(*prompt), _length(random, output), max_output_tokens=1024)
        for tenant, (prompt, output) in (LOADS | FLOODS)[name].items()
        for _ in range(requests or (3000 if name in LOADS else 6000))
    )


def _length(random: Random, output: _Lengths | float) -> int:
    if isinstance(output, tuple):
        return random.randint(*output)
    return min(1024, max(1, int(random.expovariate(1 / output))))


def engine(sequences: int, blocks: int = 4096, block_size: int = 16) -> EngineCapacity:
    """An engine of `sequences` slots; the default cache never fills."""
    return PROFILE.capacity.resized({"max_num_seqs": sequences, "num_blocks": blocks, "block_size": block_size})


SMALL_CACHE = engine(64, 80, 64)  # 5,120 tokens: about 22 of the 64 slots can be used


def run(
    load: str,
    capacity: EngineCapacity,
    window: WindowSize = AUTO,
    *,
    seconds: float = 80.0,
    polling: Polling = READ,
    slowness: tuple[float, ...] = (1.0,),
    outage: Outage | None = None,
) -> Result:
    """One run under VTC with the default predictor."""
    rules = Settings(
        predictor="moving_average",
        engine=EngineModel.VLLM,
        step_cost=PROFILE.cost,
        batching=capacity,
        window=window,
        polling=polling,
        slowness=slowness,
        outage=outage,
        until_seconds=seconds,
    )
    return simulate(backlog(load), rules)


def service(result: Result) -> float:
    """What all tenants got after the start."""
    start = int(WARM * result.ended_at)
    return sum(sums[-1] - sums[start] for sums in result.timeline.cumulative().values())


def settled(result: Result) -> list[GaugeReading]:
    """The readings after the start."""
    return [reading for reading in result.readings if reading.at >= WARM * result.ended_at]


def queue_share(readings: Iterable[GaugeReading]) -> float:
    """Part of the readings at which more than the slack waited at the engine."""
    waits = [reading.truth.waiting > SLACK for reading in readings]
    return sum(waits) / len(waits)


@cache
def fixed(load: str, sequences: int) -> Result:
    """A window of fixed size before the small cache."""
    return run(load, SMALL_CACHE, WindowSize(sequences, SLACK, 2048), polling=UNREAD)


@cache
def service_of_known_slots(slots: int) -> float:
    """What a fixed window of the right size lets through of the mixed load, before an engine of so many slots."""
    return service(run("mixed", engine(slots), WindowSize(slots, SLACK, 2048), seconds=40.0))


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("sequences", [None, 64], ids=["unknown slots", "known slots"])
def test_memory_is_used_without_a_queue_at_the_engine(load: str, sequences: int | None) -> None:
    """A cache too small for the slots: 97 % of the best fixed window's throughput, a queue in 1 % of the readings."""
    tuned = run(load, SMALL_CACHE, WindowSize(sequences, SLACK, None))
    best = max(service(fixed(load, size)) for size in (16, 20, 24))
    assert service(tuned) >= 0.97 * best
    assert queue_share(settled(tuned)) <= 0.01
    assert tuned.spread.violations == 0


def test_fixed_windows_fail_what_the_tuned_one_is_held_to() -> None:
    """Controls: too large a window leaves a queue at the engine, too small a one leaves throughput."""
    best = max(service(fixed("mixed", size)) for size in (16, 20, 24))
    assert queue_share(settled(fixed("mixed", 64))) > 0.5
    assert queue_share(settled(fixed("mixed", 24))) > 0.05
    assert service(fixed("mixed", 12)) < 0.8 * best


@pytest.mark.parametrize("slots", [4, 5, 16, 64, 256])
@pytest.mark.parametrize("load", ["mixed", "long prompts"])
def test_an_unknown_number_of_slots_is_found(load: str, slots: int) -> None:
    """From 8 on it grows until the engine has no slot left, comes back to slots and slack, and stays there."""
    result = run(load, engine(slots, 20_000), seconds=40.0)
    sizes = [reading.window.window_sequences for reading in result.readings]
    assert sizes[0] == 8
    assert max(sizes) <= max(8, 1.25 * (slots + SLACK) + 1)
    last = sizes[len(sizes) // 2 :]
    assert 0.98 * slots <= min(last) <= max(last) <= slots + SLACK + 1
    assert sum(before != after for before, after in pairwise(last)) <= 2
    assert all(reading.window.phase is Phase.SETTLED for reading in result.readings[len(sizes) // 2 :])
    assert queue_share(result.readings[len(sizes) // 2 :]) <= 0.01


@pytest.mark.parametrize("slots", [4, 16])
@pytest.mark.parametrize("load", FLOODS)
def test_a_flood_of_one_token_answers_costs_nobody_the_window(load: str, slots: int) -> None:
    """Beside long answers and alone: the size is found and kept, and as much is served as with the number known."""
    found, known = (run(load, engine(slots), size, seconds=20.0) for size in (AUTO, WindowSize(slots, 1, 2048)))
    sizes = [reading.window.window_sequences for reading in settled(found)]
    assert set(sizes[len(sizes) // 2 :]) == {slots + SLACK}
    assert min(sizes) >= min(8, slots + SLACK)
    assert service(found) >= 0.99 * service(known)


def test_the_found_window_serves_as_much_as_the_right_one() -> None:
    """Of what the engine gives with its number of slots known, 99 % once it was found."""
    found = run("mixed", engine(16), seconds=40.0)
    assert service(found) >= 0.99 * service_of_known_slots(16)


def test_workers_of_different_speed_are_both_kept_busy() -> None:
    """One three times slower: each computes at least 95 % of the time, at 95 % of the sum of what each gives alone."""
    both = run("mixed", engine(16), slowness=(1.0, 3.0), seconds=60.0)
    alone = [run("mixed", engine(16), slowness=(slow,), seconds=60.0) for slow in (1.0, 3.0)]
    assert all(tally.busy_seconds >= 0.95 * 60.0 for tally in both.engines)
    assert service(both) >= 0.95 * sum(map(service, alone))
    assert both.spread.violations == 0


def stale() -> Saying:
    """The same answer again and again."""
    said: list[EngineSample] = []

    def say(truth: EngineSample) -> EngineSample:
        said.append(truth)
        return replace(said[0], asked_at=truth.asked_at)

    return say


def slow() -> Saying:
    """An answer that is one reading old."""
    said: list[EngineSample] = []

    def say(truth: EngineSample) -> EngineSample:
        said.append(truth)
        return said[-2:][0]

    return say


def erratic() -> Saying:
    """Anything up to fifty."""
    random = Random(1)
    return lambda truth: replace(truth, running=random.randrange(50), waiting=random.randrange(50))


SAYINGS: dict[str, Callable[[], Saying]] = {
    "right": lambda: honest,
    "dead": lambda: dead,
    "stale": stale,
    "slow": slow,
    "idle": lambda: lambda truth: replace(truth, running=0, waiting=0, kv_usage=0.0),
    "crowded": lambda: lambda truth: replace(truth, running=1000, waiting=0),
    "queued": lambda: lambda truth: replace(truth, waiting=1000),
    "no number": lambda: lambda truth: replace(truth, running=float("nan")),
    "erratic": erratic,
}


def beginning(say: Saying, from_second: float) -> Saying:
    """The truth before that second."""
    return lambda truth: say(truth) if truth.asked_at >= from_second else truth


@pytest.mark.parametrize("from_second", [0.0, 15.0], ids=["from the start", "later"])
@pytest.mark.parametrize("fault", SAYINGS)
@pytest.mark.parametrize("sequences", [None, 16], ids=["unknown slots", "known slots"])
def test_metrics_that_fail_or_lie_cost_little(fault: str, from_second: float, sequences: int | None) -> None:
    """Dead, frozen, late, or false: traffic goes on at 90 % and more, and the window says that it is degraded."""
    polling = Polling(0.5, beginning(SAYINGS[fault](), from_second))
    result = run("mixed", engine(16), WindowSize(sequences, SLACK, None), polling=polling, seconds=40.0)
    assert service(result) >= 0.9 * service_of_known_slots(16)
    reasons = {reading.window.degraded for reading in result.readings if reading.at > from_second + 5.0}
    assert any(reasons) == (fault not in ("right", "slow"))


def test_a_worker_that_starts_anew_is_found_out_anew() -> None:
    """After a crash the window starts small, overshoots no more than the first time, and ends where it was."""
    result = run("mixed", engine(64), outage=Outage(20.0, 3.0), seconds=60.0)
    sizes = [(reading.at, reading.window.window_sequences) for reading in result.readings]
    assert next(size for at, size in sizes if at >= 23.0) == 8
    assert max(size for at, size in sizes if at >= 23.0) <= max(size for at, size in sizes if at < 20.0)
    assert {size for at, size in sizes if at > 50.0} <= {64, 65, 66}
    assert result.spread.violations == 0


def test_room_taken_is_given_back_when_all_has_ended() -> None:
    """Played to its end, across a crash and with lying metrics, nothing is in flight and nothing promised."""
    rules = Settings(
        engine=EngineModel.VLLM,
        step_cost=PROFILE.cost,
        batching=SMALL_CACHE,
        window=AUTO,
        polling=Polling(0.25, beginning(erratic(), 6.0)),
        outage=Outage(3.0, 1.0),
    )
    requests = [*backlog("mixed", 200), Request(60.0, "a", 10, 5)]
    result = simulate(requests, rules)
    last = result.readings[-1]
    assert last.at >= 60.0
    assert last.window.sequences_in_flight <= 1
    assert last.window.kv_demand_tokens <= SMALL_CACHE.block_size + 1024
