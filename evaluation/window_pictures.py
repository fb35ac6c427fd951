"""The pictures of docs/window.md: `python -m evaluation.window_pictures docs/images`.

Each is drawn from runs of the production window on the vLLM-like engine in virtual time, so it is the same each time.
The module needs matplotlib (the extra `bench`). Tests check what the pictures show; this module judges nothing.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from backend.engine.core import EngineCapacity
from backend.engine.profile import load_profile
from evaluation.pictures.drawing import draw
from evaluation.pictures.picture import BLUE, GREEN, ORANGE, VERMILION, Curve, LinePanel, Mark, Picture
from evaluation.requests import Request
from evaluation.simulation.gauges import GaugeReading, Polling, dead, honest
from evaluation.simulation.result import Result
from evaluation.simulation.run import simulate
from evaluation.simulation.settings import EngineModel, Outage, Settings
from gateway.workers import WindowSize

PROFILE = load_profile("cpu-tiny")
AMPLE = PROFILE.capacity.resized({"max_num_seqs": 64, "num_blocks": 4096})
SMALL_CACHE = PROFILE.capacity.resized({"max_num_seqs": 64, "num_blocks": 80, "block_size": 64})
AUTO = WindowSize(None, 1, None)
SWEEP = (8, 12, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64)
SECONDS = 80.0
WARM_SECONDS = 12

Series = Mapping[str, tuple[str, Callable[[GaugeReading], float]]]
"""What is drawn of each reading: a colour and the figure, by the curve's name."""

SEQUENCES: Series = {
    "window": (BLUE, lambda reading: reading.window.window_sequences),
    "running": (GREEN, lambda reading: reading.truth.running),
    "waiting": (VERMILION, lambda reading: reading.truth.waiting),
}
IN_USE: Series = {"in use": (ORANGE, lambda reading: 100 * (reading.truth.kv_usage or 0))}
PROMISED: Series = {
    "promised": (
        BLUE,
        lambda reading: 100 * (reading.window.kv_demand_tokens or 0) / (reading.window.kv_capacity_tokens or 1),
    )
}


def backlog(requests: int = 3000) -> list[Request]:
    """Two tenants that are never out of work, long requests and short ones, lengths unknown to the gateway."""
    random = Random(1)
    return [
        Request(0.0, tenant, random.randint(*prompt), random.randint(*output), max_output_tokens=1024)
        for tenant, prompt, output in (("a", (150, 250), (150, 250)), ("b", (20, 60), (20, 100)))
        for _ in range(requests)
    ]


def play(
    capacity: EngineCapacity, window: WindowSize, seconds: float = SECONDS, outage: Outage | None = None
) -> Result:
    """One run; nobody reads the metrics for a window of fixed size."""
    rules = Settings(
        predictor="moving_average",
        engine=EngineModel.VLLM,
        step_cost=PROFILE.cost,
        batching=capacity,
        window=window,
        polling=Polling(0.25, honest if window.sequences is None else dead),
        outage=outage,
        until_seconds=seconds,
    )
    return simulate(backlog(), rules)


def over_time(title: str, unit: str, result: Result, series: Series, top: float | None = None) -> LinePanel:
    """Figures of the first worker over time."""
    curves = [
        Curve(name, colour, [(reading.at, figure(reading)) for reading in result.readings])
        for name, (colour, figure) in series.items()
    ]
    return LinePanel(title, unit, curves, top=top)


def start_up() -> Picture:
    """An engine of 64 slots whose size nobody stated, and the same engine after a crash."""
    runs = {
        "start": play(AMPLE, AUTO, 12.0),
        "the worker dies at 15 s and is back at 19 s": play(AMPLE, AUTO, 40.0, Outage(15.0, 4.0)),
    }
    return Picture(
        "64 slots are found, and found again after a restart",
        [over_time(title, "sequences", result, SEQUENCES) for title, result in runs.items()],
        "The window climbs from 8 by quarters beyond 64, comes back to 65 and stays, after the restart too",
    )


def pressure() -> Picture:
    """A cache that fills long before the slots do: tuned beside a fixed window of the engine's slots."""
    tuned, fixed = play(SMALL_CACHE, AUTO), play(SMALL_CACHE, WindowSize(64, 1, 2048))
    cache = "% of the KV cache"
    return Picture(
        "5,120 tokens of KV cache behind 64 slots",
        [
            over_time("tuned: nothing waits", "sequences", tuned, SEQUENCES),
            over_time("fixed at 64 slots: the rest waits at the engine", "sequences", fixed, SEQUENCES),
            over_time("tuned", cache, tuned, {**IN_USE, **PROMISED}, 115.0),
            over_time("fixed at 64 slots: full, with preemptions all the time", cache, fixed, IN_USE, 115.0),
        ],
        "Tuned, about 22 run and nothing waits; fixed, as many run and thirty wait at the engine, whose cache is full",
    )


def sweep() -> Picture:
    """Throughput of fixed windows of many sizes and of the tuned one after the start, and how often more than the slack
    of 1 waited at the engine."""

    def service(result: Result) -> float:
        return sum(sums[-1] - sums[WARM_SECONDS] for sums in result.timeline.cumulative().values())

    def queue(result: Result) -> float:
        waits = [reading.truth.waiting > 1 for reading in result.readings if reading.at >= WARM_SECONDS]
        return 100 * sum(waits) / len(waits)

    tuned = play(SMALL_CACHE, AUTO)
    fixed = {size: play(SMALL_CACHE, WindowSize(size - 1, 1, 2048)) for size in SWEEP}
    best = max(map(service, fixed.values()))
    throughputs = [(float(size), 100 * service(result) / best) for size, result in fixed.items()]
    queues = [(float(size), queue(result)) for size, result in fixed.items()]
    return Picture(
        "Fixed windows and the tuned one, 5,120 tokens of KV cache",
        [
            _by_size("throughput", "% of the best fixed", throughputs, 100 * service(tuned) / best),
            _by_size("more than the slack waits", "% of the readings", queues, queue(tuned)),
        ],
        "Smaller fixed windows lose throughput, larger ones leave a queue at the engine; the tuned one does neither",
    )


def _by_size(title: str, unit: str, points: Sequence[tuple[float, float]], tuned: float) -> LinePanel:
    mark = Mark(f"tuned {tuned:.1f}", tuned, BLUE)
    return LinePanel(title, unit, [Curve("fixed", VERMILION, points)], [mark], "sequences of the fixed window", 115.0)


if __name__ == "__main__":
    for file, make in {"start": start_up, "memory": pressure, "sweep": sweep}.items():
        draw(make(), Path(sys.argv[1]) / f"window-{file}.png")
