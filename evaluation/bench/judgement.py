"""The arithmetic of the benches: what runs show, and the verdicts that several benches give on it.

An empty sample has no share and gives NaN, which no verdict accepts. The general statistics are those of
`evaluation.metrics`.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise

from evaluation.bench.probe import GatewayState, Sample
from evaluation.bench.stage import Run
from evaluation.load.tenants import LoadTenant, weights_of
from evaluation.metrics.statistics import mean, median
from evaluation.report.verdicts import Target, Verdict


def ratio_of_service(services: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Largest over smallest service per weight: 1 is perfectly fair, infinite where somebody got nothing."""
    shares = [service / weights[tenant] for tenant, service in services.items()]
    smallest = min(shares)
    return max(shares) / smallest if smallest > 0 else math.inf


def share_within(samples: Sequence[float], limit: float) -> float:
    """The share of `samples` that are at most `limit`; NaN when empty."""
    return mean([float(sample <= limit) for sample in samples])


def release_moments(finished_at: Sequence[float], same_step_seconds: float) -> list[float]:
    """The moments at which room appears: ends within `same_step_seconds` of the first one are one moment.

    One step of the engine ends several requests at once; whoever waits then waited for one release of
    room, not for several.
    """
    moments: list[float] = []
    for at in sorted(finished_at):
        if not moments or at - moments[-1] > same_step_seconds:
            moments.append(at)
    return moments


def intervals(moments: Sequence[float]) -> list[float]:
    """The distances between consecutive `moments`."""
    return [later - earlier for earlier, later in pairwise(moments)]


def releases_seen(moments: Sequence[float], arrived_at: float, granted_at: float) -> int:
    """How many of the ascending `moments` of release fell into a wait, both of its ends included."""
    return bisect_right(moments, granted_at) - bisect_left(moments, arrived_at)


# -- what runs show


def samples_of(runs: Sequence[Run]) -> list[Sample]:
    """Every sample of these runs."""
    return [sample for run in runs for sample in run.samples]


def rate(runs: Sequence[Run]) -> float:
    """Output tokens per second: the median of the rounds."""
    return median([run.tokens_per_second for run in runs])


def mean_rate(runs: Sequence[Run]) -> float:
    """Output tokens per second over all rounds. The turns have equal length and alternate; each of them counts."""
    return mean([run.tokens_per_second for run in runs])


def mean_running(runs: Sequence[Run]) -> float:
    """How many requests all engines ran at once, on average. Unlike a rate, this does not vary with the machine."""
    return mean([sample.running for sample in samples_of(runs)])


def served(runs: Sequence[Run]) -> dict[str, float]:
    """What each tenant received in all windows together."""
    return {name: sum(run.services[name] for run in runs) for name in runs[0].tallies}


def windows(runs: Sequence[Run]) -> list[float]:
    """The size of every worker's window in each sample."""
    return [window for sample in samples_of(runs) for window in sample.gateway.windows]


def figures(runs: Sequence[Run]) -> dict[str, object]:
    """One way in numbers, as JSON data; what was not sampled is null."""
    samples = samples_of(runs)
    waiting = [sample.waiting for sample in samples]
    return {
        "output_tokens_per_second": [run.tokens_per_second for run in runs],
        "service": [run.services for run in runs],
        "spread_max": max((sample.gateway.spread for sample in samples), default=None),
        "spread_bound": max((sample.gateway.spread_bound for sample in samples), default=None),
        "backlogged": 1 - share_within([queued for run in runs for queued in run.shortest_queues], 0),
        "engine_running_mean": mean_running(runs),
        "engine_waiting_max": max(waiting, default=None),
        "windows": sorted(set(windows(runs))),
        "samples": len(samples),
    }


# -- verdicts


def service(target: Target, runs: Sequence[Run], tenants: Sequence[LoadTenant]) -> Verdict:
    """The service per weight of the tenant served best over that of the one served worst, all windows together."""
    seconds = sum(run.window.seconds for run in runs)
    note = ", ".join(f"{name} {received / seconds:,.0f}/s" for name, received in served(runs).items())
    return target.judge(ratio_of_service(served(runs), weights_of(tenants)), note)


def throughput(target: Target, ours: float, theirs: float, note: str = "") -> Verdict:
    """One rate of output tokens per second over another."""
    return target.judge(ours / theirs, f"{ours:,.0f}/s against {theirs:,.0f}/s{note}")


def spread(target: Target, runs: Sequence[Run]) -> Verdict:
    """The largest observed spread of counters as a part of the bound that held then."""
    states: list[GatewayState] = [sample.gateway for sample in samples_of(runs)]
    worst = max(states, key=lambda state: state.spread_of_bound, default=None)
    if worst is None:
        return target.judge(math.nan)
    note = f"spread {worst.spread:,.0f}, bound {worst.spread_bound:,.0f}, {len(states)} samples"
    return target.judge(worst.spread_of_bound, note)


def engine_queue(target: Target, runs: Sequence[Run], slack: int) -> Verdict:
    """In which part of the moments an engine held at most `slack` waiting requests while the gateway held some too."""
    waiting = [sample.waiting for sample in samples_of(runs) if sample.gateway.queued > 0]
    note = f"largest {max(waiting, default=0)}, {len(waiting)} samples"
    return target.judge(share_within(waiting, slack), note)


def backlogged(target: Target, runs: Sequence[Run]) -> Verdict:
    """In which part of the samples every tenant had requests waiting. Without that the run shows nothing."""
    shortest = [queued for run in runs for queued in run.shortest_queues]
    return target.judge(1 - share_within(shortest, 0), f"{len(shortest)} samples")
