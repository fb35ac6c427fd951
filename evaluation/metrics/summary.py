"""One run in numbers: difference, throughput, refusals and isolation side by side, so that none is read alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.metrics.isolation import Isolation, measure_isolation, measure_jain
from evaluation.metrics.response import TenantSummary, by_tenant, refused_share, summarise_tenant, ttfts
from evaluation.metrics.service import LINEAR, TABLE_TICKS, Difference, measure_difference, measure_service, throughput
from evaluation.metrics.statistics import mean, percentile
from evaluation.requests import Served
from gateway.fairness.cost import CostFunction


@dataclass(frozen=True, slots=True)
class Measure:
    """How a run is measured: whose weights, which cost is service, at which ticks."""

    weights: Mapping[str, float]
    cost: CostFunction = LINEAR
    ticks: Sequence[float] = TABLE_TICKS


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


def summarise(records: Sequence[Served], end_seconds: float, measure: Measure) -> RunSummary:
    """Every figure of a run that ended at `end_seconds`."""
    cost = measure.cost
    waits = ttfts(records)
    honest = measure_service(records, cost, count_refused=True)
    return RunSummary(
        end_seconds=end_seconds,
        difference=measure_difference(measure_service(records, cost), measure.ticks),
        difference_with_refused=measure_difference(honest, measure.ticks),
        tokens_per_second=throughput(records, end_seconds),
        refused_share=refused_share(records),
        jain_index=measure_jain(records, measure.weights, cost),
        isolation=measure_isolation(records, measure.weights, cost),
        mean_ttft_seconds=mean(waits),
        p99_ttft_seconds=percentile(waits, 99),
        preemptions=sum(served.preemptions for served in records),
        tenants=tuple(summarise_tenant(tenant, group, cost) for tenant, group in by_tenant(records).items()),
    )
