"""Verdicts that several benches give: service, spread, the engine's own queue, whether all were backlogged."""

import math
from collections.abc import Mapping, Sequence

from evaluation.bench.measures import ratio_of_service, share_within
from evaluation.bench.stage import Run
from evaluation.load.tenants import LoadTenant
from evaluation.metrics import mean
from evaluation.report.verdicts import Target, Verdict


def service(target: Target, runs: Sequence[Run], tenants: Sequence[LoadTenant]) -> Verdict:
    """The service per weight of the tenant served best over that of the one served worst, all windows together."""
    weights = {tenant.name: tenant.weight for tenant in tenants}
    services = served(runs)
    seconds = sum(run.window.seconds for run in runs)
    note = ", ".join(f"{name} {received / seconds:,.0f}/s" for name, received in services.items())
    return target.judge(ratio_of_service(services, weights), note)


def mean_rate(runs: Sequence[Run]) -> float:
    """Output tokens per second over all rounds: of turns of equal length that alternate, none is left out."""
    return mean([run.tokens_per_second for run in runs])


def served(runs: Sequence[Run]) -> Mapping[str, float]:
    """What each tenant received in all windows together."""
    return {name: sum(run.services[name] for run in runs) for name in runs[0].tallies}


def spread(target: Target, runs: Sequence[Run]) -> Verdict:
    """The largest observed spread of counters as a part of the bound that held then."""
    states = [sample.gateway for run in runs for sample in run.samples]
    worst = max(states, key=lambda state: state.spread_of_bound, default=None)
    if worst is None:
        return target.judge(math.nan)
    note = f"spread {worst.spread:,.0f}, bound {worst.spread_bound:,.0f}, {len(states)} samples"
    return target.judge(worst.spread_of_bound, note)


def engine_queue(target: Target, runs: Sequence[Run], slack: int) -> Verdict:
    """How often an engine held at most `slack` waiting requests, of the moments when the gateway held some too."""
    waiting = [sample.waiting for run in runs for sample in run.samples if sample.gateway.queued > 0]
    note = f"largest {max(waiting, default=0)}, {len(waiting)} samples"
    return target.judge(share_within(waiting, slack), note)


def backlogged(target: Target, runs: Sequence[Run]) -> Verdict:
    """How often every tenant had requests waiting: without that nothing was shown."""
    shortest = [queued for run in runs for queued in run.shortest_queues]
    return target.judge(1 - share_within(shortest, 0), f"{len(shortest)} samples")
