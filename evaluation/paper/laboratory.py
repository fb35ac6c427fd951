"""Runs each distinct trial once, in several processes side by side, always with the same result.

A process draws its workload itself, so that it receives only the trial and returns only the measured run. No result
depends on which process ran what, or in which order.
"""

import multiprocessing
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from backend.engine.core import StepCost
from evaluation import workloads
from evaluation.metrics.runs import summarise
from evaluation.metrics.service import measure_difference, measure_service
from evaluation.paper.experiment import TRACE, Experiment, Trial
from evaluation.paper.measures import Bound, MeasuredRun, grid, record_series
from evaluation.pictures.drawing import draw
from evaluation.pictures.picture import Picture
from evaluation.simulation.run import simulate
from evaluation.simulation.settings import STEP_COST, RoundsSize, Settings
from evaluation.workloads import Workload
from evaluation.workloads.traces import read_trace
from gateway.fairness import Linear, Profiled
from gateway.workers import WindowSize

GENERATED_TRACE = "arena_like"
PUBLISHED_TRACE = (1500, 27)  # requests, clients

PROCESSES = 2

Advance = Callable[[], None]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """The path of the real trace (None: the generated one stands in for it), and the seed of everything drawn."""

    trace: Path | None
    seed: int


@lru_cache(maxsize=4)
def load_workload(name: str, source: Source) -> Workload:
    """The workload of a trial; `ConfigError` where the trace cannot be read."""
    if name == TRACE and source.trace is not None:
        return read_trace(source.trace)
    return workloads.load(GENERATED_TRACE if name == TRACE else name, source.seed)


def is_published(workload: Workload) -> bool:
    """True if the trace has the size of the published runs' trace."""
    return (len(workload.requests), len(workload.tenants)) == PUBLISHED_TRACE and workload.name != GENERATED_TRACE


def run_trial(trial: Trial, source: Source) -> MeasuredRun:
    """One run, measured."""
    workload = load_workload(trial.workload, source)
    result = simulate(workload.requests, settings_of(trial, workload.tenants))
    weights = {tenant: workload.tenants.get(tenant, 1.0) for tenant in {s.request.tenant for s in result.served}}
    return MeasuredRun(
        summary=summarise(result.served, result.ended_at, weights),
        profiled=measure_difference(measure_service(result.served, Profiled())),
        profiled_as_published=measure_difference(measure_service(result.served, Profiled(), demand_cost=Linear())),
        series=record_series(result.served, grid(workload.seconds)),
        bound=Bound(result.spread.largest, result.spread.bound, result.spread.violations),
    )


def settings_of(trial: Trial, weights: Mapping[str, float]) -> Settings:
    """What the simulator is asked for."""
    window = WindowSize() if trial.window_requests is None else WindowSize(sequences=trial.window_requests)
    return Settings(
        policy=trial.policy,
        predictor=trial.predictor,
        cost=Profiled() if trial.profiled else Linear(),
        weights=weights,
        engine=trial.engine,
        step_cost=_slower(STEP_COST, trial.slower_percent),
        rounds=RoundsSize(pool_tokens=trial.pool_tokens),
        window=window,
        keys_share=trial.keys_share,
        until_seconds=trial.until_seconds,
    )


def _slower(cost: StepCost, percent: int) -> StepCost:
    factor = 1 + percent / 100
    return StepCost(*(seconds * factor for seconds in astuple(cost)))


def distinct_trials(experiments: Iterable[Experiment]) -> list[Trial]:
    """Every trial that some experiment needs, once. Trials of the trace come first, because they take longest."""
    trials = dict.fromkeys(trial for experiment in experiments for trial in experiment.trials.values())
    return sorted(trials, key=lambda trial: trial.workload != TRACE)


def run_trials(trials: Sequence[Trial], source: Source, advance: Advance) -> dict[Trial, MeasuredRun]:
    """The measured runs of all trials, in the order given; `advance` is called after each."""
    return dict(zip(trials, _side_by_side(run_trial, [(trial, source) for trial in trials], advance), strict=True))


def draw_pictures(pictures: Mapping[Path, Picture], advance: Advance) -> None:
    """Draw every picture into its file; `advance` is called after each."""
    _side_by_side(draw, [(picture, path) for path, picture in pictures.items()], advance)


def _side_by_side(function: Callable[..., T], calls: Sequence[tuple[Any, ...]], advance: Advance) -> list[T]:
    """The results of `calls` of `function`, in order. If one fails, those that have not begun are dropped."""
    # Fresh interpreters: the parent has a thread that draws the progress.
    pool = ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"))
    try:
        futures = [pool.submit(function, *arguments) for arguments in calls]
        for future in as_completed(futures):
            future.result()
            advance()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
