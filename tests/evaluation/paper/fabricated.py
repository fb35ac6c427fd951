"""Makes measured runs with invented numbers, always the same numbers for the same trial."""

from collections.abc import Sequence
from functools import cache
from random import Random

from evaluation import workloads
from evaluation.metrics.runs import Isolation, RunSummary, TenantSummary
from evaluation.metrics.service import Difference
from evaluation.paper.experiment import TRACE, Experiment, Trial
from evaluation.paper.findings import Findings, find, trial_name
from evaluation.paper.measures import Bound, MeasuredRun, Series, Values, grid


@cache
def _tenants(workload: str) -> tuple[tuple[str, ...], float]:
    drawn = workloads.load("arena_like" if workload == TRACE else workload)
    return tuple(sorted(drawn.tenants)), drawn.seconds


def _series(random: Random, tenants: Sequence[str], ticks: Values) -> Series:
    def values(low: float, high: float) -> dict[str, Values]:
        return {tenant: tuple(random.uniform(low, high) for _ in ticks) for tenant in tenants}

    totals = {tenant: tuple(at * random.uniform(100, 900) for at in ticks) for tenant in tenants}
    return Series(ticks, values(100, 900), values(100, 900), totals, values(0.1, 100))


def _tenant(random: Random, name: str) -> TenantSummary:
    requests = random.randint(10, 300)
    waits = sorted(random.uniform(0.1, 200) for _ in range(4))
    return TenantSummary(name, requests, requests - 3, 1, 1, 1, 9000, 9000, 27000, 30000, *waits)


def fabricate(trial: Trial) -> MeasuredRun:
    """Return a measured run with the tenants of the trial's workload."""
    random = Random(trial_name(trial))
    tenants, seconds = _tenants(trial.workload)
    difference = Difference(*(random.uniform(1, 900) for _ in range(3)))
    summary = RunSummary(
        end_seconds=700.0,
        difference=difference,
        difference_with_refused=difference,
        tokens_per_second=random.uniform(300, 900),
        refused_share=random.random(),
        jain_index=random.uniform(0.5, 1),
        isolation=Isolation(tenants[:1], random.uniform(0.1, 50), random.uniform(50, 90), 0.5),
        mean_ttft_seconds=random.uniform(1, 100),
        p99_ttft_seconds=random.uniform(100, 200),
        preemptions=0,
        tenants=tuple(_tenant(random, name) for name in tenants),
    )
    bound = Bound(random.uniform(1, 900), random.uniform(1000, 2000), 0)
    return MeasuredRun(summary, difference, difference, _series(random, tenants, grid(seconds)), bound)


def findings_of(experiments: Sequence[Experiment], *, real_trace: bool = True) -> list[Findings]:
    """Return every experiment with fabricated runs."""
    trials = {trial for experiment in experiments for trial in experiment.trials.values()}
    measured_runs = {trial: fabricate(trial) for trial in trials}
    return [find(experiment, measured_runs, real_trace=real_trace) for experiment in experiments]
