"""Panels of pictures from the runs of an experiment, by the names that its file uses.

If the label of a run is the name of a policy, the run has the policy's colour. Other runs take one colour each.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from evaluation.paper.measures import MeasuredRun, MeasuredRuns, figure
from evaluation.pictures.drawing import INK
from evaluation.pictures.picture import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Bar,
    BarPanel,
    Curve,
    LinePanel,
    Mark,
    Panel,
)

SERVICE_UNIT = "cost per second"
COST_UNIT = "cost (input + 2 x output)"
HEADROOM = 1.05


@dataclass(frozen=True, slots=True)
class _Kind:
    """Panels of one series; with `named` four clients have names, `one_scale` is for all panels of a picture."""

    series: str
    title: str
    unit: str
    named: bool = False
    one_scale: bool = False
    colours: Sequence[str] = CYCLE


_KINDS = {
    "rates": _Kind("rates", "Service under {}", SERVICE_UNIT),
    "totals": _Kind("totals", "Accumulated service, {}", COST_UNIT, one_scale=True, colours=(INK, BLUE)),
    "responses": _Kind("responses", "Time to first token under {}", "seconds"),
    "client_demands": _Kind("demands", "Demand over time", SERVICE_UNIT, named=True),
    "client_responses": _Kind("responses", "Time to first token under {}", "seconds", named=True, one_scale=True),
}

# One colour for one policy in every picture.
POLICY_COLOURS = {
    "VTC": BLUE,
    "VTC predict": SKY,
    "VTC ±50 %": SKY,
    "VTC quantile": SKY,
    "VTC stated maximum": GREEN,
    "VTC oracle": GREEN,
    "FCFS": VERMILION,
    "LCF": PURPLE,
    "DRR": GREY,
    **{f"RPM {limit}": ORANGE for limit in (5, 10, 15, 20, 30)},
}


def gaps(
    measured_runs: MeasuredRuns,
    title: str = "Accumulated gap between the tenants",
    *,
    marks: Mapping[str, float] | None = None,
    bound: float | None = None,
    labels: Sequence[str] = (),
    from_second: float = 0.0,
) -> Panel:
    """Largest minus smallest accumulated service, one line for each run, with the published maxima."""
    chosen = labels or list(measured_runs)
    curves = [
        Curve(label, _colour(label, at), measured_runs[label].series.gap(from_second))
        for at, label in enumerate(chosen)
    ]
    lines = [
        Mark(f"published maximum, {label}: {value:,.0f}", value, _colour(label, chosen.index(label)))
        for label, value in (marks or {}).items()
    ]
    if bound is not None:
        lines.append(Mark(f"theoretical bound 2U: {bound:,.0f}", bound, GREY))
    return LinePanel(title, COST_UNIT, curves, lines)


def over_time(
    measured_runs: MeasuredRuns,
    label: str,
    kind: str,
    *,
    shade: tuple[float, float] | None = None,
    top: float | None = None,
) -> Panel:
    """One series of every tenant of a run; `kind` is one of `_KINDS`."""
    asked, measured_run = _KINDS[kind], measured_runs[label]
    if asked.one_scale:
        groups = [values for each in measured_runs.values() for values in getattr(each.series, asked.series).values()]
        # Where nobody waited there is no wait.
        top = HEADROOM * max(value for values in groups for value in values if not math.isnan(value))
    rows = getattr(measured_run.series, asked.series)
    lines = {name: list(zip(measured_run.series.ticks, values, strict=True)) for name, values in rows.items()}
    shown = _named_clients(measured_run) if asked.named else list(lines)
    curves = [Curve("", GREY, line, faint=True) for name, line in lines.items() if name not in shown]
    colours = asked.colours
    curves += [Curve(name, colours[at % len(colours)], lines[name]) for at, name in enumerate(shown)]
    return LinePanel(asked.title.format(label), asked.unit, curves, shade=shade, top=top)


def waits(measured_runs: MeasuredRuns, *, published: Mapping[str, Sequence[float]]) -> Panel:
    """Mean TTFT of each tenant in each run, with the published one as a diamond."""
    bars = []
    for at, label in enumerate(measured_runs):
        printed = published.get(label, ())
        for place, tenant in enumerate(measured_runs[label].summary.tenants):
            value = printed[place] if place < len(printed) else None
            bars.append(Bar(f"{tenant.tenant}, {label}", tenant.mean_ttft_seconds, _colour(label, at), value))
    return BarPanel("Mean time to first token (published: diamond)", "seconds", bars)


def bars(
    measured_runs: MeasuredRuns,
    title: str,
    x_label: str,
    path: str,
    *,
    published: Mapping[str, float] | float | None = None,
    labels: Sequence[str] = (),
) -> Panel:
    """One number of each run; a diamond is the published number (its own, or one for all)."""
    diamonds = published if isinstance(published, Mapping) else dict.fromkeys(labels, published)
    values = [
        Bar(label, figure(measured_runs[label], path), POLICY_COLOURS.get(label, BLUE), diamonds.get(label))
        for label in labels or measured_runs
    ]
    return BarPanel(f"{title}{' (published: diamond)' if published else ''}", x_label, values)


def bounds(measured_runs: MeasuredRuns) -> Panel:
    """Computed bound and observed spread of each run."""
    rows = []
    for label, measured_run in measured_runs.items():
        rows.append(Bar(f"{label}: bound", measured_run.bound.bound, GREY))
        rows.append(Bar("observed spread", measured_run.bound.spread, BLUE))
    return BarPanel("Spread of the counters", COST_UNIT, rows)


def over_percents(measured_runs: MeasuredRuns, title: str, path: str, percents: Sequence[int]) -> Panel:
    """One number of each policy over the percent by which the engine is slower."""
    by_label: dict[str, list[float]] = {}
    for label, measured_run in measured_runs.items():
        by_label.setdefault(label.partition(",")[0], []).append(figure(measured_run, path))
    curves = [
        Curve(label, POLICY_COLOURS[label], list(zip(percents, values, strict=True)))
        for label, values in by_label.items()
    ]
    return LinePanel(title, SERVICE_UNIT, curves, x_label="steps longer than fitted, %")


def requests_of_clients(measured_runs: MeasuredRuns, label: str) -> Panel:
    """How many requests each client sends, the largest first."""
    named = _named_clients(measured_runs[label])
    ordered = sorted(measured_runs[label].summary.tenants, key=lambda each: -each.requests)
    rows = [
        Bar(each.tenant, each.requests, CYCLE[named.index(each.tenant)])
        if each.tenant in named
        else Bar("", each.requests, GREY)
        for each in ordered
    ]
    return BarPanel("Requests in ten minutes", "requests", rows)


def _named_clients(measured_run: MeasuredRun) -> list[str]:
    """Two medium clients and the two with the most requests, as in the paper's pictures."""
    ordered = [
        each.tenant for each in sorted(measured_run.summary.tenants, key=lambda each: (each.requests, each.tenant))
    ]
    middle = len(ordered) // 2
    return [*ordered[middle - 1 : middle + 1], *ordered[-2:]]


def _colour(label: str, at: int) -> str:
    return POLICY_COLOURS.get(label, CYCLE[at % len(CYCLE)])


_BUILDERS = (gaps, over_time, waits, bars, bounds, over_percents, requests_of_clients)
PANELS: Mapping[str, Callable[..., Panel]] = MappingProxyType({panel.__name__: panel for panel in _BUILDERS})
