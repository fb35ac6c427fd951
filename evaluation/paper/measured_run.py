"""What is kept of one run: its summary, its curves on a fixed grid, and what the scheduler said of its own bound.

Small enough to pass between processes and to be written out whole; the requests themselves are not kept.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.metrics.runs import RunSummary, TenantSummary, by_tenant, response_at
from evaluation.metrics.service import FIGURE_TICKS, Difference, measure_service
from evaluation.requests import Served

GRID_SECONDS = 10
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
    """The production scheduler's word on itself: largest observed spread of the counters, computed bound, cost units.

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
