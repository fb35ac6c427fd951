"""The measurements that experiments are made of: each takes labels and gives a function of the runs."""

from collections.abc import Callable

from evaluation.metrics import mean
from evaluation.paper.experiment import Measure, Readings
from evaluation.paper.reading import Reading, Values


def of(label: str, measure: Callable[[Reading], float]) -> Measure:
    """`measure` of one run."""
    return lambda readings: measure(readings[label])


def largest_gap(label: str) -> Measure:
    """Largest accumulated gap between tenants, at the ticks of the published figures."""
    return of(label, lambda reading: reading.largest_gap)


def gap_at(label: str, second: float) -> Measure:
    """The accumulated gap at one tick."""
    return of(label, lambda reading: dict(reading.series.gap())[second])


def gap_between(label: str, start: float, end: float) -> Measure:
    """The largest accumulated gap within an interval."""
    return of(label, lambda reading: max(gap for _, gap in reading.series.gap(start, end)))


def ttft(label: str, tenant: str) -> Measure:
    """Mean TTFT of one tenant, seconds."""
    return of(label, lambda reading: reading.tenant(tenant).mean_ttft_seconds)


def rate_between(label: str, tenant: str, start: float, end: float) -> Measure:
    """Mean service of one tenant within an interval, cost per second, windows that reach beyond it left out."""

    def measure(reading: Reading) -> float:
        return _mean_between(reading.series.ticks, reading.series.rates[tenant], start + 30, end - 30)

    return of(label, measure)


def service_of(label: str, *tenants: str) -> Measure:
    """Accumulated service of these tenants together at the end of the fifth minute, when all still ask for more."""

    def measure(reading: Reading) -> float:
        at = reading.series.ticks.index(300.0)
        return sum(reading.series.totals[tenant][at] for tenant in tenants)

    return of(label, measure)


def apart(label: str, *tenants: str) -> Measure:
    """The largest over the smallest accumulated service of these tenants at the end of the fifth minute."""

    def measure(readings: Readings) -> float:
        services = [service_of(label, tenant)(readings) for tenant in tenants]
        return max(services) / min(services)

    return measure


def small_clients_ttft(label: str, clients: int = 20) -> Measure:
    """Mean TTFT over all requests of the clients that have the fewest."""

    def measure(reading: Reading) -> float:
        ordered = sorted(reading.summary.tenants, key=lambda tenant: (tenant.requests, tenant.tenant))
        small = [tenant for tenant in ordered[:clients] if tenant.completed]
        waits = sum(tenant.mean_ttft_seconds * tenant.completed for tenant in small)
        return waits / sum(tenant.completed for tenant in small)

    return of(label, measure)


def largest_difference(label: str) -> Measure:
    """Largest service difference over the table's ticks."""
    return of(label, lambda reading: reading.summary.difference.maximum)


def average_difference(label: str) -> Measure:
    """Average service difference over the table's ticks."""
    return of(label, lambda reading: reading.summary.difference.average)


def tokens_per_second(label: str) -> Measure:
    """Throughput of the whole run."""
    return of(label, lambda reading: reading.summary.tokens_per_second)


def spread_over_bound(label: str) -> Measure:
    """Largest observed spread of the counters over the bound that the scheduler computed for itself."""
    return of(label, lambda reading: reading.bound.spread / reading.bound.bound)


def violations(*labels: str) -> Measure:
    """Dispatches at which the spread was over the bound of that moment, in all of these runs."""
    return lambda readings: sum(readings[label].bound.violations for label in labels)


def worst(*measures: Measure) -> Measure:
    """The largest of several measurements."""

    def measure(readings: Readings) -> float:
        return max(each(readings) for each in measures)

    return measure


def _mean_between(ticks: Values, values: Values, start: float, end: float) -> float:
    return mean([value for at, value in zip(ticks, values, strict=True) if start <= at <= end])
