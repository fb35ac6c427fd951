"""What becomes of the tenants that ask for less than their share while others ask for more.

A tenant is *modest* where its demand over the loaded time lies within its max-min share of what the engine delivered
in it. It should hardly notice the others: it waits little and gets all that it asks for. A refused request counts as
asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.metrics.response import by_tenant, ttfts
from evaluation.metrics.service import LINEAR, Service, cost_received, cost_wanted, measure_service
from evaluation.metrics.statistics import jain_index, max_min_shares, mean, percentile
from evaluation.requests import Served
from gateway.fairness.cost import CostFunction

# Demands this close to the share count as within it: whole requests arrive, shares are divided.
MODEST_MARGIN = 1.01


@dataclass(frozen=True, slots=True)
class Isolation:
    """The modest tenants: how long they waited, and how much of what they asked for they ever got (0 to 1).

    NaN where no tenant is modest.
    """

    modest: tuple[str, ...]
    mean_ttft_seconds: float
    p99_ttft_seconds: float
    served_share: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """Service and demand of every tenant while requests arrive, from the start to the last arrival or later."""

    received: dict[str, float]
    demanded: dict[str, float]

    def shares(self, weights: Mapping[str, float]) -> dict[str, float]:
        """The max-min division of what was delivered."""
        return max_min_shares(self.demanded, weights, sum(self.received.values()))


def loaded_time(records: Sequence[Served], cost: CostFunction = LINEAR, until: float | None = None) -> Loaded:
    """What was asked for, and what of it was delivered until this second: by default that of the last arrival."""
    if until is None:
        until = max(served.request.arrival_seconds for served in records)
    service: Service = measure_service(records, cost, count_refused=True)
    return Loaded(
        {tenant: service.received[tenant].until(until) for tenant in service.tenants},
        {tenant: service.demanded[tenant].total for tenant in service.tenants},
    )


def measure_isolation(
    records: Sequence[Served], weights: Mapping[str, float], cost: CostFunction = LINEAR
) -> Isolation:
    """How the modest tenants of this run fared."""
    loaded = loaded_time(records, cost)
    shares = loaded.shares(weights)
    modest = tuple(name for name, demand in loaded.demanded.items() if demand <= shares[name] * MODEST_MARGIN)
    return _fared(records, modest, cost)


def measure_jain(records: Sequence[Served], weights: Mapping[str, float], cost: CostFunction = LINEAR) -> float:
    """Jain's index of what each tenant got over its max-min share, while requests arrive."""
    loaded = loaded_time(records, cost)
    shares = loaded.shares(weights)
    return jain_index([loaded.received[tenant] / shares[tenant] for tenant in shares if shares[tenant] > 0])


def _fared(records: Sequence[Served], modest: tuple[str, ...], cost: CostFunction) -> Isolation:
    groups = by_tenant(records)
    theirs = [served for tenant in modest for served in groups[tenant]]
    waits = ttfts(theirs)
    wanted = sum(cost_wanted(served.request, cost) for served in theirs)
    got = sum(cost_received(served, cost) for served in theirs)
    return Isolation(modest, mean(waits), percentile(waits, 99), mean([got / wanted] if wanted else []))
