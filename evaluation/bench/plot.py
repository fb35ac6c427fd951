"""The demo's picture: service, TTFT and the spread of counters over one time axis, as a PNG file.

Needs matplotlib (the extra `bench`), imported only here and only when a picture is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.console.plots import FAINT, GRID, INK, lay_bare, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

FLOOD_SHADE = "#f4f1ec"


@dataclass(frozen=True, slots=True)
class Curve:
    """One tenant: service per second over time, and the TTFT of each request at the time it was sent."""

    name: str
    colour: str
    rates: Points
    ttfts: Points


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is drawn; times are seconds since the start."""

    title: str
    subtitle: str
    seconds: float
    flood_at: float
    curves: Sequence[Curve]
    spread: Points
    bound: Points


def draw(picture: Picture, path: Path) -> None:
    """Write the picture to `path`."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    service, ttft, spread = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [3, 3, 2]})
    for axes in (service, ttft, spread):
        _prepare(axes, picture)
    _draw_service(service, picture)
    _draw_ttft(ttft, picture)
    _draw_spread(spread, picture)
    spread.set_xlabel("seconds since the start", color=INK)
    _head(figure, picture)
    figure.savefig(path, format="png")


def _prepare(axes: "Axes", picture: Picture) -> None:
    axes.set_xlim(0, picture.seconds)
    axes.axvspan(picture.flood_at, picture.seconds, color=FLOOD_SHADE, zorder=0)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    lay_bare(axes)


def _draw_service(axes: "Axes", picture: Picture) -> None:
    _name(axes, "Service received, tokens per second (input + 2 x output)")
    for curve in picture.curves:
        axes.plot(*_columns(curve.rates), color=curve.colour, linewidth=2.2)
    # Room above the highest line for the words about the flood.
    axes.set_ylim(0, axes.get_ylim()[1] * 1.12)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    _label_ends(axes, [(curve.name, curve.colour, curve.rates[-1][1]) for curve in picture.curves if curve.rates])
    axes.text(
        picture.flood_at,
        0.97,
        "  the flood begins",
        transform=axes.get_xaxis_transform(),
        color=FAINT,
        fontsize=9,
        va="top",
    )


def _draw_ttft(axes: "Axes", picture: Picture) -> None:
    _name(axes, "Time to first token of each request, seconds (log scale)")
    axes.set_yscale("log")
    for curve in picture.curves:
        axes.plot(
            *_columns(curve.ttfts),
            linestyle="none",
            marker="o",
            markersize=4,
            markeredgewidth=0,
            alpha=0.65,
            color=curve.colour,
            label=curve.name,
        )
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    legend = axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(picture.curves),
        frameon=False,
        fontsize=10,
        handletextpad=0.0,
        columnspacing=1.0,
        borderaxespad=0.2,
    )
    for text, curve in zip(legend.get_texts(), picture.curves, strict=True):
        text.set_color(curve.colour)
        text.set_fontweight("bold")


def _draw_spread(axes: "Axes", picture: Picture) -> None:
    _name(axes, "Spread of the waiting tenants' counters, next to the computed bound")
    times, spreads = _columns(picture.spread)
    axes.fill_between(times, spreads, color="#b9c4cf", linewidth=0)
    axes.plot(times, spreads, color="#4a6178", linewidth=1.2)
    axes.plot(*_columns(picture.bound), color=INK, linewidth=1.4, linestyle=(0, (5, 3)))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    ends = [("bound", INK, picture.bound), ("spread", "#4a6178", picture.spread)]
    _label_ends(axes, [(name, colour, points[-1][1]) for name, colour, points in ends if points])


def _name(axes: "Axes", text: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, color=INK, pad=8)


def _head(figure: "Figure", picture: Picture) -> None:
    figure.subplots_adjust(left=0.075, right=0.9, top=0.875, bottom=0.065, hspace=0.3)
    figure.text(0.075, 0.955, picture.title, fontsize=16, fontweight="bold", color=INK)
    figure.text(0.075, 0.928, picture.subtitle, fontsize=10, color=FAINT)


def _label_ends(axes: "Axes", ends: Sequence[tuple[str, str, float]]) -> None:
    """Name each line at its right end, moved apart where two would overlap."""
    low, high = axes.get_ylim()
    gap = (high - low) * 0.075
    lowest = low
    for name, colour, value in sorted(ends, key=lambda end: end[2]):
        at = max(value, lowest)
        axes.annotate(
            name,
            xy=(1, at),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            fontsize=10,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )
        lowest = at + gap


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]
