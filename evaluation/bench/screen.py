"""The demo's live view: who gets how much, and how far apart the counters are next to the bound.

A pure rendering of a `View`; it measures nothing. Without a terminal the same view is one plain line.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evaluation.report.verdicts import number

BAR_WIDTH = 28


@dataclass(frozen=True, slots=True)
class TenantRow:
    """One tenant now; rates in service per second, times in seconds, None where nothing was seen yet."""

    name: str
    behaviour: str
    colour: str
    service_per_second: float
    ttft_p50_seconds: float | None
    ttft_p95_seconds: float | None
    queued: int
    in_flight: int
    counter: float


@dataclass(frozen=True, slots=True)
class View:
    """One moment of the demo."""

    policy: str
    elapsed_seconds: float
    seconds: float
    rows: Sequence[TenantRow]
    spread: float
    spread_bound: float
    engine_running: int
    engine_waiting: int

    @property
    def service_per_second(self) -> float:
        """All tenants together."""
        return sum(row.service_per_second for row in self.rows)


def render(view: View) -> RenderableType:
    """The view for a terminal."""
    title = f"[bold]vtc-gateway demo[/] policy [bold]{view.policy}[/] {view.elapsed_seconds:.0f}/{view.seconds:.0f} s"
    return Panel(Group(_tenants(view), Text(""), _spread(view), _engine(view)), title=title, padding=(1, 2))


def line(view: View) -> str:
    """The view as one line of text."""
    tenants = "; ".join(
        f"{row.name} {row.service_per_second:,.0f}/s, TTFT {seconds_text(row.ttft_p50_seconds)}, "
        f"queued {row.queued}, in flight {row.in_flight}"
        for row in view.rows
    )
    spread = f"spread {view.spread:,.0f} of {view.spread_bound:,.0f}"
    return f"{view.elapsed_seconds:5.1f} s  {tenants}; {spread}"


def seconds_text(seconds: float | None) -> str:
    """A duration for people."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _tenants(view: View) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("tenant", no_wrap=True)
    table.add_column("share of the service", width=BAR_WIDTH)
    for heading in ("service/s", "TTFT p50", "TTFT p95", "queued", "in flight", "counter"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in view.rows:
        table.add_row(
            f"[{row.colour}]{row.name}[/] [dim]{row.behaviour}[/]",
            ProgressBar(
                total=max(view.service_per_second, 1),
                completed=row.service_per_second,
                width=BAR_WIDTH,
                complete_style=row.colour,
                finished_style=row.colour,
            ),
            f"{row.service_per_second:,.0f}",
            seconds_text(row.ttft_p50_seconds),
            seconds_text(row.ttft_p95_seconds),
            str(row.queued),
            str(row.in_flight),
            f"{row.counter:,.0f}",
        )
    return table


def _spread(view: View) -> Table:
    is_within = view.spread <= view.spread_bound
    colour = "green" if is_within else "red"
    table = Table.grid(padding=(0, 2))
    table.add_row(
        "observed spread of counters",
        ProgressBar(
            total=max(view.spread_bound, 1),
            completed=min(view.spread, view.spread_bound),
            width=BAR_WIDTH,
            complete_style=colour,
            finished_style=colour,
        ),
        f"[{colour}]{number(round(view.spread))}[/] of {number(round(view.spread_bound))}, the computed bound",
    )
    return table


def _engine(view: View) -> Text:
    text = f"engine: {view.engine_running} running, {view.engine_waiting} waiting, "
    return Text(text + f"{view.service_per_second:,.0f} service/s in all", style="dim")
