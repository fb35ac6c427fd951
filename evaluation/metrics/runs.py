"""One run in numbers: how long clients waited, what became of their requests, how modest tenants fared.

A request that never had a first token has no TTFT: read these figures beside the counts of endings. A tenant is
*modest* if its demand over the loaded time lies within its max-min share of what the engine delivered in that time. It
should hardly notice the others: it waits little and gets all that it asks for. A refused request counts as demand.
The summary has difference, throughput, refusals and isolation side by side, so that none is read alone.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from evaluation.metrics.service import (
    WINDOW_SECONDS,
    Difference,
    cost_received,
    cost_wanted,
    measure_difference,
    measure_service,
    throughput,
)
from evaluation.metrics.statistics import jain_index, max_min_shares, mean, percentile
from evaluation.requests import Ending, Served


def ttfts(records: Iterable[Served]) -> list[float]:
    """Seconds to the first token of each request that had one, in the order given."""
    return [served.ttft_seconds for served in records if served.ttft_seconds is not None]


def response_at(records: Iterable[Served], at: float) -> float:
    """Mean TTFT of the requests whose first token came in the window centred on `at`; NaN if none came."""
    start, end = at - WINDOW_SECONDS / 2, at + WINDOW_SECONDS / 2
    return mean(ttfts(s for s in records if s.first_token_at is not None and start <= s.first_token_at < end))


@dataclass(frozen=True, slots=True)
class TenantSummary:
    """One tenant's run. TTFTs are seconds, NaN where it never had a token; costs are in cost units."""

    tenant: str
    requests: int
    completed: int
    refused: int
    left: int
    unfinished: int
    prompt_tokens: int
    output_tokens: int
    cost_received: float
    cost_wanted: float
    mean_ttft_seconds: float
    median_ttft_seconds: float
    p95_ttft_seconds: float
    p99_ttft_seconds: float


def summarise_tenant(tenant: str, records: Sequence[Served]) -> TenantSummary:
    """The summary of `records`, all of `tenant`; prompt tokens are those of requests that had a first token."""
    endings = Counter(served.ending for served in records)
    waits = ttfts(records)
    return TenantSummary(
        tenant=tenant,
        requests=len(records),
        completed=endings[Ending.COMPLETED],
        refused=endings[Ending.REFUSED],
        left=endings[Ending.CLIENT_LEFT],
        unfinished=endings[Ending.UNFINISHED],
        prompt_tokens=sum(s.request.prompt_tokens for s in records if s.first_token_at is not None),
        output_tokens=sum(served.output_tokens for served in records),
        cost_received=sum(cost_received(served) for served in records),
        cost_wanted=sum(cost_wanted(served.request) for served in records),
        mean_ttft_seconds=mean(waits),
        median_ttft_seconds=percentile(waits, 50),
        p95_ttft_seconds=percentile(waits, 95),
        p99_ttft_seconds=percentile(waits, 99),
    )


def by_tenant(records: Iterable[Served]) -> dict[str, list[Served]]:
    """The records of each tenant, tenants in order of name."""
    ordered = sorted(records, key=lambda served: served.request.tenant)
    return {tenant: list(group) for tenant, group in groupby(ordered, key=lambda served: served.request.tenant)}


def refused_share(records: Sequence[Served]) -> float:
    """The share of the requests that were refused for good."""
    return mean([float(served.ending is Ending.REFUSED) for served in records])


# Demands this close to the share count as within it: demand comes in whole requests, a share does not.
MODEST_MARGIN = 1.01


@dataclass(frozen=True, slots=True)
class Isolation:
    """The modest tenants: how long they waited, and how much of what they asked for they ever got (0 to 1).

    NaN if no tenant is modest.
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


def loaded_time(records: Sequence[Served], until: float | None = None) -> Loaded:
    """Demand, and what of it was delivered until this second; the default is the second of the last arrival."""
    if until is None:
        until = max(served.request.arrival_seconds for served in records)
    service = measure_service(records, count_refused=True)
    return Loaded(
        {tenant: service.received[tenant].until(until) for tenant in service.tenants},
        {tenant: service.demanded[tenant].total for tenant in service.tenants},
    )


def measure_isolation(records: Sequence[Served], weights: Mapping[str, float]) -> Isolation:
    """How the modest tenants of this run fared."""
    loaded = loaded_time(records)
    shares = loaded.shares(weights)
    modest = tuple(name for name, demand in loaded.demanded.items() if demand <= shares[name] * MODEST_MARGIN)
    groups = by_tenant(records)
    theirs = [served for tenant in modest for served in groups[tenant]]
    waits = ttfts(theirs)
    wanted = sum(cost_wanted(served.request) for served in theirs)
    got = sum(cost_received(served) for served in theirs)
    return Isolation(modest, mean(waits), percentile(waits, 99), mean([got / wanted] if wanted else []))


def measure_jain(records: Sequence[Served], weights: Mapping[str, float]) -> float:
    """Jain's index of what each tenant got over its max-min share, while requests arrive."""
    loaded = loaded_time(records)
    shares = loaded.shares(weights)
    return jain_index([loaded.received[tenant] / shares[tenant] for tenant in shares if shares[tenant] > 0])


@dataclass(frozen=True, slots=True)
class RunSummary:
    """The whole run and each tenant. `difference_with_refused` counts the refused requests as demand not met."""

    end_seconds: float
    difference: Difference
    difference_with_refused: Difference
    tokens_per_second: float
    refused_share: float
    jain_index: float
    isolation: Isolation
    mean_ttft_seconds: float
    p99_ttft_seconds: float
    preemptions: int
    tenants: tuple[TenantSummary, ...]


def summarise(records: Sequence[Served], end_seconds: float, weights: Mapping[str, float]) -> RunSummary:
    """Every figure of a run that ended at `end_seconds`; `weights` are those of all its tenants."""
    waits = ttfts(records)
    return RunSummary(
        end_seconds=end_seconds,
        difference=measure_difference(measure_service(records)),
        difference_with_refused=measure_difference(measure_service(records, count_refused=True)),
        tokens_per_second=throughput(records, end_seconds),
        refused_share=refused_share(records),
        jain_index=measure_jain(records, weights),
        isolation=measure_isolation(records, weights),
        mean_ttft_seconds=mean(waits),
        p99_ttft_seconds=percentile(waits, 99),
        preemptions=sum(served.preemptions for served in records),
        tenants=tuple(summarise_tenant(tenant, group) for tenant, group in by_tenant(records).items()),
    )
