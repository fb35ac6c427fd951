"""How long clients waited for their first token, and what became of their requests.

A request that never had a first token has no TTFT: read these figures beside the counts of endings.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from evaluation.metrics.service import LINEAR, WINDOW_SECONDS, cost_received, cost_wanted
from evaluation.metrics.statistics import mean, percentile
from evaluation.requests import Ending, Served
from gateway.fairness.cost import CostFunction


def ttfts(records: Iterable[Served]) -> list[float]:
    """Seconds to the first token of each request that had one, in the order given."""
    return [served.ttft_seconds for served in records if served.ttft_seconds is not None]


def response_at(records: Iterable[Served], at: float, window_seconds: float = WINDOW_SECONDS) -> float:
    """Mean TTFT of the requests whose first token came in the window centred on `at`; NaN where none came."""
    start, end = at - window_seconds / 2, at + window_seconds / 2
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


def summarise_tenant(tenant: str, records: Sequence[Served], cost: CostFunction = LINEAR) -> TenantSummary:
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
        cost_received=sum(cost_received(served, cost) for served in records),
        cost_wanted=sum(cost_wanted(served.request, cost) for served in records),
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
