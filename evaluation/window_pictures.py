"""The pictures of docs/window.md: `python -m evaluation.window_pictures docs/images`.

Each is drawn from runs of the production window on the vLLM-like engine in virtual time: the same picture each time.
Needs matplotlib (the extra `bench`). What the pictures show is held by tests; nothing is judged here.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from backend.engine.core import EngineCapacity
from backend.engine.profile import load_profile
from evaluation.pictures.drawing import draw, require_matplotlib
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


# -- figures of a run


def service(result: Result) -> float:
    """What all tenants got after the start."""
    return sum(sums[-1] - sums[WARM_SECONDS] for sums in result.timeline.cumulative().values())


def queue_share(result: Result) -> float:
    """Part of the readings after the start at which more than the slack of 1 waited at the engine."""
    waits = [reading.truth.waiting > 1 for reading in result.readings if reading.at >= WARM_SECONDS]
    return sum(waits) / len(waits)


def curve(name: str, colour: str, result: Result, figure: Callable[[GaugeReading], float]) -> Curve:
    """A figure of the first worker over time."""
    return Curve(name, colour, [(reading.at, figure(reading)) for reading in result.readings])


def sequences(title: str, result: Result) -> LinePanel:
    """Window, running and waiting over time."""
    return LinePanel(
        title,
        "sequences",
        [
            curve("window", BLUE, result, lambda reading: reading.window.window_sequences),
            curve("running", GREEN, result, lambda reading: reading.truth.running),
            curve("waiting", VERMILION, result, lambda reading: reading.truth.waiting),
        ],
    )


def memory(title: str, result: Result) -> LinePanel:
    """What is in use of the cache over time, and what the gateway has promised of it."""

    def promised(reading: GaugeReading) -> float:
        capacity = reading.window.kv_capacity_tokens
        return 100 * reading.window.kv_demand_tokens / capacity if capacity else 0.0

    curves = [curve("in use", ORANGE, result, lambda reading: 100 * (reading.truth.kv_usage or 0.0))]
    if any(reading.window.kv_capacity_tokens for reading in result.readings):
        curves.append(curve("promised", BLUE, result, promised))
    return LinePanel(title, "% of the KV cache", curves, top=115.0)


# -- pictures


def start_up() -> Picture:
    """An engine of 64 slots that nobody told of, and the same one after a crash."""
    first = play(AMPLE, AUTO, 12.0)
    again = play(AMPLE, AUTO, 40.0, Outage(15.0, 4.0))
    return Picture(
        "64 slots are found, and found again after a restart",
        [sequences("start", first), sequences("the worker dies at 15 s and is back at 19 s", again)],
        "The window climbs from 8 by quarters beyond 64, comes back to 65 and stays, after the restart too",
    )


def pressure() -> Picture:
    """A cache that fills long before the slots do: tuned beside a fixed window of the engine's slots."""
    tuned, fixed = play(SMALL_CACHE, AUTO), play(SMALL_CACHE, WindowSize(64, 1, 2048))
    return Picture(
        "5,120 tokens of KV cache behind 64 slots",
        [
            sequences("tuned: nothing waits", tuned),
            sequences("fixed at 64 slots: the rest waits at the engine", fixed),
            memory("tuned", tuned),
            memory("fixed at 64 slots: full, with preemptions all the time", fixed),
        ],
        "Tuned, about 22 run and nothing waits; fixed, as many run and thirty wait at the engine, whose cache is full",
    )


def sweep() -> Picture:
    """Throughput and queue of fixed windows of many sizes, and of the tuned one."""
    tuned = play(SMALL_CACHE, AUTO)
    fixed = {size: play(SMALL_CACHE, WindowSize(size - 1, 1, 2048)) for size in SWEEP}
    best = max(map(service, fixed.values()))
    throughputs = [(float(size), 100 * service(result) / best) for size, result in fixed.items()]
    queues = [(float(size), 100 * queue_share(result)) for size, result in fixed.items()]
    return Picture(
        "Fixed windows and the tuned one, 5,120 tokens of KV cache",
        [
            _sizes("throughput", "% of the best fixed", throughputs, 100 * service(tuned) / best),
            _sizes("more than the slack waits", "% of the readings", queues, 100 * queue_share(tuned)),
        ],
        "Smaller fixed windows lose throughput, larger ones leave a queue at the engine; the tuned one does neither",
    )


def _sizes(title: str, unit: str, points: Sequence[tuple[float, float]], tuned: float) -> LinePanel:
    mark = Mark(f"tuned {tuned:.1f}", tuned, BLUE)
    return LinePanel(title, unit, [Curve("fixed", VERMILION, points)], [mark], "sequences of the fixed window", 115.0)


PICTURES: dict[str, Callable[[], Picture]] = {
    "window-start.png": start_up,
    "window-memory.png": pressure,
    "window-sweep.png": sweep,
}


def main(folder: Path) -> None:
    """Draw all pictures into `folder`."""
    require_matplotlib()
    for name, make in PICTURES.items():
        draw(make(), folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
