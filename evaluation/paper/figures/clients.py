"""Pictures of many clients, of windows and of tenants with several keys."""

from collections.abc import Callable, Iterable, Mapping

from evaluation.console.plots import INK
from evaluation.paper.figures.builders import SERVICE_UNIT, PanelBuilder, Readings, responses
from evaluation.paper.figures.picture import (
    BLUE,
    CYCLE,
    GREY,
    POLICY_COLOURS,
    Bar,
    BarPanel,
    Curve,
    LinePanel,
    Panel,
)
from evaluation.paper.reading import Reading


def named_clients(reading: Reading) -> list[str]:
    """Two medium clients and the two with the most requests, as in the paper's pictures."""
    ordered = [each.tenant for each in sorted(reading.summary.tenants, key=lambda each: (each.requests, each.tenant))]
    middle = len(ordered) // 2
    return [*ordered[middle - 1 : middle + 1], *ordered[-2:]]


def client_waits(label: str) -> PanelBuilder:
    """Mean TTFT over time, four clients named, all panels on one scale."""

    def build(readings: Readings) -> Panel:
        everything = [
            value
            for reading in readings.values()
            for values in reading.series.responses.values()
            for value in values
            if value == value  # NaN: nobody waited then
        ]
        return responses(label, named=named_clients(readings[label]), top=max(everything) * 1.05)(readings)

    return build


def requests_of_clients(label: str) -> PanelBuilder:
    """How many requests each client sends, the largest first."""

    def build(readings: Readings) -> Panel:
        summary = readings[label].summary
        named = named_clients(readings[label])
        ordered = sorted(summary.tenants, key=lambda each: -each.requests)
        return BarPanel(
            "Requests in ten minutes",
            "requests",
            [
                Bar(each.tenant, each.requests, CYCLE[named.index(each.tenant)])
                if each.tenant in named
                else Bar("", each.requests, GREY)
                for each in ordered
            ],
        )

    return build


def demand_of_clients(label: str) -> PanelBuilder:
    """What each client asks for over time, four of them named."""

    def build(readings: Readings) -> Panel:
        reading = readings[label]
        named = named_clients(reading)
        points = {
            name: list(zip(reading.series.ticks, values, strict=True))
            for name, values in reading.series.demands.items()
        }
        others = [Curve("", GREY, line, faint=True) for name, line in points.items() if name not in named]
        curves = [Curve(name, CYCLE[at], points[name]) for at, name in enumerate(named)]
        return LinePanel("Demand over time", SERVICE_UNIT, [*others, *curves])

    return build


def bounds() -> PanelBuilder:
    """Computed bound and observed spread of each run."""

    def build(readings: Readings) -> Panel:
        rows = []
        for label, reading in readings.items():
            rows.append(Bar(f"{label}: bound", reading.bound.bound, GREY))
            rows.append(Bar("observed spread", reading.bound.spread, BLUE))
        return BarPanel("Spread of the counters", "cost (input + 2 x output)", rows)

    return build


def over_percents(title: str, runs: Mapping[str, Iterable[int]], measure: Callable[[Reading], float]) -> PanelBuilder:
    """One number of each policy over the percent by which the engine is slower."""

    def build(readings: Readings) -> Panel:
        by_label: dict[str, list[float]] = {}
        for label, reading in readings.items():
            by_label.setdefault(label.partition(",")[0], []).append(measure(reading))
        curves = [
            Curve(label, POLICY_COLOURS[label], list(zip(percents, by_label[label], strict=True)))
            for label, percents in runs.items()
        ]
        return LinePanel(title, SERVICE_UNIT, curves, x_label="steps longer than fitted, %")

    return build


def shares(label: str) -> PanelBuilder:
    """Accumulated service of each tenant over time in one run."""

    def build(readings: Readings) -> Panel:
        series = readings[label].series
        colours = (INK, BLUE)
        curves = [
            Curve(name, colours[at % 2], list(zip(series.ticks, values, strict=True)))
            for at, (name, values) in enumerate(series.totals.items())
        ]
        top = max(values[-1] for reading in readings.values() for values in reading.series.totals.values())
        return LinePanel(f"Accumulated service, {label}", "cost (input + 2 x output)", curves, top=top * 1.05)

    return build
