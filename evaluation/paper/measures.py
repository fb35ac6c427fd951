"""What the laboratory keeps of one run, and the measurements that claims use.

A measured run has its summary, its curves on a fixed grid, and the scheduler's report on its own bound. It is small
enough to pass between processes and to be written out whole. It does not hold the requests. The measurements are
functions of the runs of an experiment, by the names that its file uses.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any

from evaluation.metrics.runs import RunSummary, TenantSummary, by_tenant, response_at
from evaluation.metrics.service import FIGURE_TICKS, Difference, measure_service
from evaluation.metrics.statistics import jain_index, mean
from evaluation.requests import Served

GRID_SECONDS = 10
FIFTH_MINUTE = 300.0  # when all tenants still ask for more
HALF_WINDOW_SECONDS = 30
SMALL_CLIENTS = 20
Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """Every tenant's values at `ticks`: cost per second got and asked for, cost so far, mean TTFT (NaN: none)."""

    ticks: Values
    rates: Mapping[str, Values]
    demands: Mapping[str, Values]
    totals: Mapping[str, Values]
    responses: Mapping[str, Values]

    def gap(self, from_second: float = 0.0, to_second: float = math.inf) -> list[tuple[float, float]]:
        """Largest minus smallest accumulated service of any tenant, at each tick of the interval."""
        columns = zip(self.ticks, *self.totals.values(), strict=True)
        gaps = ((at, max(totals) - min(totals)) for at, *totals in columns)
        return [(at, gap) for at, gap in gaps if from_second <= at <= to_second]


@dataclass(frozen=True, slots=True)
class Bound:
    """The production scheduler's report: the largest observed spread of the counters and the bound, in cost units.

    `violations` counts the dispatches at which the spread was over the bound of that moment. Only `vtc` promises one.
    """

    spread: float
    bound: float
    violations: int


@dataclass(frozen=True, slots=True)
class MeasuredRun:
    """One run, measured.

    `profiled` is the difference where service and demand are the profiled cost; `profiled_as_published` keeps the
    demand in tokens, as the published Tables 3 and 4 do.
    """

    summary: RunSummary
    profiled: Difference
    profiled_as_published: Difference
    series: Series
    bound: Bound

    def tenant(self, name: str) -> TenantSummary:
        """The summary of one tenant."""
        return next(tenant for tenant in self.summary.tenants if tenant.tenant == name)

    @property
    def refused_percent(self) -> float:
        """The part of the requests that was refused for good, in percent."""
        return 100 * self.summary.refused_share

    @property
    def largest_gap(self) -> float:
        """The largest accumulated gap at the ticks of the published figures."""
        return max(gap for at, gap in self.series.gap() if at in FIGURE_TICKS)


MeasuredRuns = Mapping[str, MeasuredRun]
"""The runs of an experiment by label."""


def record_series(records: Sequence[Served], ticks: Values) -> Series:
    """The curves of a run at `ticks`."""
    service = measure_service(records)
    groups = by_tenant(records)
    rates = [service.rates(at) for at in ticks]
    demands = [service.demands(at) for at in ticks]
    return Series(
        ticks=ticks,
        rates={name: _rounded([each[name] for each in rates]) for name in service.tenants},
        demands={name: _rounded([each[name] for each in demands]) for name in service.tenants},
        totals={name: _rounded([service.received[name].until(at) for at in ticks]) for name in service.tenants},
        responses={name: _rounded([response_at(groups[name], at) for at in ticks]) for name in service.tenants},
    )


def grid(seconds: float) -> Values:
    """Ticks every 10 s, over ten minutes at least: the published tables look at the same ten minutes of every run."""
    return tuple(float(at) for at in range(GRID_SECONDS, int(max(seconds, 600)) + 1, GRID_SECONDS))


def _rounded(values: Sequence[float]) -> Values:
    """Three decimals: what is drawn and written out needs no more."""
    return tuple(round(value, 3) for value in values)


# -- measurements


def figure(measured_run: MeasuredRun, path: str) -> float:
    """The value at `path` in a measured run, or after `NAME/` in the summary of that tenant."""
    tenant, parted, inner = path.rpartition("/")
    found: float = attrgetter(inner)(measured_run.tenant(tenant) if parted else measured_run)
    return found


def over(measured_runs: MeasuredRuns, above: Any, below: Any) -> float:
    """One measurement, or number, over another; infinite where the second is 0, NaN where both are."""
    top, bottom = (each(measured_runs) if callable(each) else each for each in (above, below))
    if bottom == 0:
        return math.nan if top == 0 else math.inf
    return float(top / bottom)


def percent_off(measured_runs: MeasuredRuns, measure: Callable[[MeasuredRuns], float], published: float) -> float:
    """How far a measurement lies from a published number, percent either way."""
    return 100 * abs(measure(measured_runs) / published - 1)


def gap(measured_runs: MeasuredRuns, label: str, start: float, end: float) -> float:
    """The largest accumulated gap between tenants within an interval."""
    return max(gap for _, gap in measured_runs[label].series.gap(start, end))


def rate(measured_runs: MeasuredRuns, label: str, tenant: str, start: float, end: float) -> float:
    """Mean service of one tenant within an interval, cost per second. Windows that reach beyond it do not count."""
    series = measured_runs[label].series
    within = (start + HALF_WINDOW_SECONDS, end - HALF_WINDOW_SECONDS)
    pairs = zip(series.ticks, series.rates[tenant], strict=True)
    return mean([value for at, value in pairs if within[0] <= at <= within[1]])


def service(measured_runs: MeasuredRuns, label: str, tenant: str) -> float:
    """Accumulated service of a tenant at the end of the fifth minute."""
    series = measured_runs[label].series
    return series.totals[tenant][series.ticks.index(FIFTH_MINUTE)]


def apart(measured_runs: MeasuredRuns, label: str, *tenants: str) -> float:
    """The largest over the smallest accumulated service of these tenants at the end of the fifth minute."""
    services = [service(measured_runs, label, tenant) for tenant in tenants]
    return max(services) / min(services)


def per_weight(measured_runs: MeasuredRuns, label: str) -> list[float]:
    """Service at the end of the fifth minute over the weight, the weights being 1, 2, 3, ... by name of tenant."""
    tenants = sorted(measured_runs[label].series.totals)
    return [service(measured_runs, label, tenant) / weight for weight, tenant in enumerate(tenants, 1)]


def apart_per_weight(measured_runs: MeasuredRuns, label: str) -> float:
    """The largest over the smallest service per weight."""
    shares = per_weight(measured_runs, label)
    return max(shares) / min(shares)


def jain_per_weight(measured_runs: MeasuredRuns, label: str) -> float:
    """Jain's index of service per weight."""
    return jain_index(per_weight(measured_runs, label))


def small_clients_ttft(measured_runs: MeasuredRuns, label: str) -> float:
    """Mean TTFT over all requests of the clients with the fewest requests."""
    ordered = sorted(measured_runs[label].summary.tenants, key=lambda tenant: (tenant.requests, tenant.tenant))
    small = [tenant for tenant in ordered[:SMALL_CLIENTS] if tenant.completed]
    waits = sum(tenant.mean_ttft_seconds * tenant.completed for tenant in small)
    return waits / sum(tenant.completed for tenant in small)


def spread_over_bound(measured_runs: MeasuredRuns, *labels: str) -> float:
    """Largest observed spread of the counters over the bound that the scheduler computed for itself, in any run."""
    return max(measured_runs[label].bound.spread / measured_runs[label].bound.bound for label in labels)


def violations(measured_runs: MeasuredRuns, *labels: str) -> float:
    """Dispatches at which the spread was over the bound of that moment, in all of these runs."""
    return sum(measured_runs[label].bound.violations for label in labels)


_MEASURES = (
    *(over, percent_off, gap, rate, service, apart, apart_per_weight, jain_per_weight),
    *(small_clients_ttft, spread_over_bound, violations),
)
MEASURES: Mapping[str, Callable[..., float]] = MappingProxyType({measure.__name__: measure for measure in _MEASURES})
