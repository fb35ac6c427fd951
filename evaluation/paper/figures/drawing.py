"""Draws a picture as a PNG: one style for all of them, names at the lines' ends, no legend where a name fits.

Needs matplotlib (the extra `plots`), imported only when a picture is drawn.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from evaluation.paper.figures.picture import INK, BarPanel, Curve, LinePanel, Panel, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAINT = "#8a8a8a"
GRID = "#e6e6e6"
SHADE = "#f4f1ec"
PANEL_WIDTH = 5.4
HEIGHT = 3.7
DPI = 110


def draw(picture: Picture, path: Path) -> None:
    """Write the picture to `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = len(picture.panels)
    figure = Figure(figsize=(PANEL_WIDTH * columns, HEIGHT), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, columns, squeeze=False)[0], picture.panels, strict=True):
        _draw_panel(axes, panel)
    _arrange(figure, picture)
    figure.savefig(path, format="png", metadata={"Software": None})


def _arrange(figure: "Figure", picture: Picture) -> None:
    columns = len(picture.panels)
    figure.text(0.09 / columns, 0.945, picture.title, fontsize=13, fontweight="bold", color=INK)
    has_names = any(isinstance(panel, BarPanel) for panel in picture.panels)
    left = 0.27 if has_names else 0.13
    figure.subplots_adjust(
        left=left / columns, right=1 - 0.17 / columns, top=0.8, bottom=0.15, wspace=0.55 if has_names else 0.42
    )


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=INK, pad=8)
    axes.set_xlabel(panel.x_label, color=INK, fontsize=9.5)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.set_axisbelow(True)
    match panel:
        case LinePanel():
            _draw_lines(axes, panel)
        case BarPanel():
            _draw_bars(axes, panel)
        case _:
            assert_never(panel)


def _draw_lines(axes: "Axes", panel: LinePanel) -> None:
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_ylabel(panel.y_label, color=INK, fontsize=9.5)
    if panel.shade is not None:
        axes.axvspan(*panel.shade, color=SHADE, zorder=0)
    for curve in panel.curves:
        axes.plot(*zip(*curve.points, strict=True), **_look(curve))
    for mark in panel.marks:
        axes.axhline(mark.value, color=mark.colour, linewidth=1.2, linestyle=(0, (1, 2)))
    _scale(axes, panel)
    for mark in panel.marks:
        axes.annotate(
            mark.text,
            xy=(0.015, mark.value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            color=mark.colour,
            fontsize=8.5,
        )
    _name_ends(axes, panel.curves)


def _look(curve: Curve) -> dict[str, Any]:
    return {
        "color": curve.colour,
        "linewidth": 0.8 if curve.faint else 2.0,
        "alpha": 0.5 if curve.faint else 1.0,
        "linestyle": (0, (5, 3)) if curve.dashed else "-",
    }


def _scale(axes: "Axes", panel: LinePanel) -> None:
    if panel.log:
        axes.set_yscale("log")
        axes.minorticks_off()
    else:
        axes.set_ylim(0, panel.top)
        low, high = axes.get_ylim()
        highest = max((mark.value for mark in panel.marks), default=0.0)
        if panel.top is None:
            axes.set_ylim(low, max(high, highest * 1.12))
    axes.yaxis.set_major_formatter(_short)
    starts = [x for curve in panel.curves for x, _ in curve.points]
    axes.set_xlim(min(starts), max(starts))


def _draw_bars(axes: "Axes", panel: BarPanel) -> None:
    rows = range(len(panel.bars))
    values = [0.0 if math.isnan(bar.value) else bar.value for bar in panel.bars]
    axes.barh(rows, values, color=[bar.colour for bar in panel.bars], height=0.62)
    axes.set_yticks(rows, [bar.name for bar in panel.bars], fontsize=9.5)
    axes.invert_yaxis()
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.xaxis.set_major_formatter(_short)
    published = [(bar.published, row) for row, bar in enumerate(panel.bars) if bar.published is not None]
    if panel.log:
        axes.set_xscale("log")
        axes.minorticks_off()
    if published:
        values_published, places = zip(*published, strict=True)
        axes.scatter(values_published, places, marker="D", s=34, color="white", edgecolors=INK, zorder=3)
    axes.margins(x=0.02)
    for row, bar in enumerate(panel.bars):
        right = max(values[row], bar.published or 0.0)
        axes.annotate(
            _short(bar.value, 0), xy=(right, row), xytext=(8, 0), textcoords="offset points", fontsize=9, va="center"
        )


def _short(value: float, _position: float) -> str:
    """A number for an axis: 12k, 1.5k, 300, 0.35."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 10_000:
        return f"{value / 1000:,.0f}k"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _name_ends(axes: "Axes", curves: Sequence[Curve]) -> None:
    """Name each line at its right end, moved apart where two would overlap."""
    to_pixels = axes.transData.transform
    ends = [(curve, _last(curve)) for curve in curves if curve.name]
    lowest = -math.inf
    for curve, value in sorted(ends, key=lambda end: end[1]):
        pixel = float(to_pixels((0.0, value))[1])
        shifted = max(pixel, lowest)
        lowest = shifted + 9.5 * DPI / 72
        axes.annotate(
            curve.name,
            xy=(1, value),
            xycoords=("axes fraction", "data"),
            xytext=(5, (shifted - pixel) * 72 / DPI),
            textcoords="offset points",
            color=curve.colour,
            fontsize=9,
            fontweight="bold",
            va="center",
            annotation_clip=False,
        )


def _last(curve: Curve) -> float:
    return next((y for _, y in reversed(curve.points) if not math.isnan(y)), math.nan)
