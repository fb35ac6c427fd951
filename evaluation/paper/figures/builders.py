"""Pictures from readings: accumulated gaps, service over time, response times, waits as bars.

Each function returns a builder, so that an experiment names its picture in one line. Labels of runs are names of
policies where they have a colour of their own.
"""

from collections.abc import Callable, Mapping, Sequence

from evaluation.paper.figures.picture import (
    BLUE,
    CYCLE,
    GREY,
    POLICY_COLOURS,
    Bar,
    BarPanel,
    Curve,
    LinePanel,
    Mark,
    Panel,
    Picture,
)
from evaluation.paper.reading import Reading, Values

Readings = Mapping[str, Reading]
Builder = Callable[[Readings], Picture]
PanelBuilder = Callable[[Readings], Panel]

SERVICE_UNIT = "cost per second"


def picture(title: str, alt: str, *panels: PanelBuilder) -> Builder:
    """A picture of these panels, side by side."""
    return lambda readings: Picture(title, [panel(readings) for panel in panels], alt)


def gaps(
    title: str = "Accumulated gap between the tenants",
    *,
    marks: Mapping[str, float] | None = None,
    bound: float | None = None,
    labels: Sequence[str] = (),
    from_second: float = 0.0,
) -> PanelBuilder:
    """Largest minus smallest accumulated service, one line for each run, with the published maxima."""

    def build(readings: Readings) -> Panel:
        chosen = labels or list(readings)
        curves = [
            Curve(label, _colour(label, at), readings[label].series.gap(from_second)) for at, label in enumerate(chosen)
        ]
        lines = [
            Mark(f"published maximum, {label}: {value:,.0f}", value, _colour(label, chosen.index(label)))
            for label, value in (marks or {}).items()
        ]
        if bound is not None:
            lines.append(Mark(f"theoretical bound 2U: {bound:,.0f}", bound, GREY))
        return LinePanel(title, "cost (input + 2 x output)", curves, lines)

    return build


def rates(label: str, *, shade: tuple[float, float] | None = None, top: float | None = None) -> PanelBuilder:
    """What each tenant got over time in one run; what it asked for is dashed."""

    def build(readings: Readings) -> Panel:
        series = readings[label].series
        curves = [
            Curve(name, CYCLE[at % len(CYCLE)], _points(series.ticks, values))
            for at, (name, values) in enumerate(series.rates.items())
        ]
        return LinePanel(f"Service under {label}", SERVICE_UNIT, curves, shade=shade, top=top)

    return build


def responses(label: str, *, named: Sequence[str] = (), top: float | None = None) -> PanelBuilder:
    """Mean TTFT over time in one run. With `named` the other tenants stay in the background."""

    def build(readings: Readings) -> Panel:
        series = readings[label].series
        shown = named or list(series.responses)
        others = [
            Curve("", GREY, _points(series.ticks, values), faint=True)
            for name, values in series.responses.items()
            if name not in shown
        ]
        curves = [
            Curve(name, CYCLE[at % len(CYCLE)], _points(series.ticks, series.responses[name]))
            for at, name in enumerate(shown)
        ]
        return LinePanel(f"Time to first token under {label}", "seconds", [*others, *curves], top=top)

    return build


def waits(published: Mapping[str, Sequence[float]] | None = None, labels: Sequence[str] = ()) -> PanelBuilder:
    """Mean TTFT of each tenant in each run, with the published one as a diamond."""

    def build(readings: Readings) -> Panel:
        bars = []
        for at, label in enumerate(labels or readings):
            printed = (published or {}).get(label, ())
            for place, tenant in enumerate(readings[label].summary.tenants):
                value = printed[place] if place < len(printed) else None
                bars.append(Bar(f"{tenant.tenant}, {label}", tenant.mean_ttft_seconds, _colour(label, at), value))
        return BarPanel(f"Mean time to first token{_diamond(published)}", "seconds", bars)

    return build


def bars(
    title: str,
    x_label: str,
    measure: Callable[[Reading], float],
    *,
    published: Mapping[str, float] | None = None,
    labels: Sequence[str] = (),
) -> PanelBuilder:
    """One number of each run, with the published one as a diamond."""

    def build(readings: Readings) -> Panel:
        values = [
            Bar(label, measure(readings[label]), POLICY_COLOURS.get(label, BLUE), (published or {}).get(label))
            for label in labels or readings
        ]
        return BarPanel(f"{title}{_diamond(published)}", x_label, values)

    return build


def _diamond(published: object) -> str:
    return " (published: diamond)" if published else ""


def _colour(label: str, at: int) -> str:
    """The policy's own colour; runs that differ by something else take one each."""
    return POLICY_COLOURS.get(label, CYCLE[at % len(CYCLE)])


def _points(ticks: Values, values: Values) -> list[tuple[float, float]]:
    return list(zip(ticks, values, strict=True))
