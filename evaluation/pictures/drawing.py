"""Draws a picture as a PNG. All pictures share one style: names stand at the lines' ends, without a legend if they fit.

It needs matplotlib (the extra `bench`, which a gateway in production does without) and imports it only to draw.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from evaluation.pictures.picture import GREY, BarPanel, Curve, LinePanel, Panel, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#222222"
GRID = "#e6e6e6"
SHADE = "#f4f1ec"
# Inches of one panel by the number of columns: about 1,200 pixels in all, so that a page shows them unscaled.
PANEL_WIDTH = {1: 7.0, 2: 5.5, 3: 3.9}
PANEL_HEIGHT = 3.3
TITLE_INCHES = 0.35
MOST_COLUMNS = 3
HEADROOM = 1.08
MANY_BARS = 15
DPI = 110


class PlotsMissing(Exception):
    """matplotlib is not installed; the message names the remedy."""


def require_matplotlib() -> None:
    """Raise `PlotsMissing` if pictures cannot be drawn."""
    if find_spec("matplotlib") is None:
        raise PlotsMissing("drawing the plot needs matplotlib, the extra `bench`: pip install 'vtc-gateway[bench]'")


def draw(picture: Picture, path: Path) -> None:
    """Write the picture to `path`; raises `PlotsMissing`."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = len(picture.panels)
    columns = count if count <= MOST_COLUMNS else 2
    rows = -(-count // columns)
    size = (PANEL_WIDTH[columns] * columns, PANEL_HEIGHT * rows + TITLE_INCHES)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08, wspace=0.04, hspace=0.04)
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    figure.suptitle(picture.title, x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    panels = _on_one_scale(picture.panels)
    for axes, panel in zip(figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False):
        _draw_panel(axes, panel)
    figure.savefig(path, format="png", metadata={"Software": None})


def _on_one_scale(panels: Sequence[Panel]) -> list[Panel]:
    """Give line panels of one unit one scale, so that what looks larger is larger."""
    tops: dict[str, float] = {}
    for panel in panels:
        if isinstance(panel, LinePanel) and panel.top is None:
            tops[panel.y_label] = max(tops.get(panel.y_label, 0.0), _highest(panel) * HEADROOM)
    return [
        replace(panel, top=tops[panel.y_label]) if isinstance(panel, LinePanel) and panel.top is None else panel
        for panel in panels
    ]


def _highest(panel: LinePanel) -> float:
    values = [y for curve in panel.curves for _, y in curve.points if not math.isnan(y)]
    return max([*values, *(mark.value for mark in panel.marks)], default=1.0)


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=INK, pad=8)
    axes.set_xlabel(panel.x_label, color=INK, fontsize=9.5)
    _lay_bare(axes)
    match panel:
        case LinePanel():
            _draw_lines(axes, panel)
        case BarPanel():
            _draw_bars(axes, panel)
        case _:
            assert_never(panel)


def _lay_bare(axes: "Axes") -> None:
    """Keep only the base line of the frame, with labels and without ticks, all of it behind the data."""
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)


def _draw_lines(axes: "Axes", panel: LinePanel) -> None:
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_ylabel(panel.y_label, color=INK, fontsize=9.5)
    if panel.shade is not None:
        axes.axvspan(*panel.shade, color=SHADE, zorder=0)
    for curve in panel.curves:
        width, alpha = (0.8, 0.5) if curve.faint else (2.0, 1.0)
        axes.plot(
            [x for x, _ in curve.points], [y for _, y in curve.points], color=curve.colour, linewidth=width, alpha=alpha
        )
    _scale(axes, panel)
    for mark in panel.marks:
        axes.axhline(mark.value, color=mark.colour, linewidth=1.2, linestyle=(0, (1, 2)))
        axes.annotate(
            mark.text,
            xy=(0.015, mark.value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            color=mark.colour,
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
        )
    _name_ends(axes, panel.curves)


def _scale(axes: "Axes", panel: LinePanel) -> None:
    axes.set_ylim(0, panel.top or 1.0)
    axes.yaxis.set_major_formatter(_short)
    starts = [x for curve in panel.curves for x, _ in curve.points]
    axes.set_xlim(min(starts, default=0.0), max(starts, default=1.0))


def _draw_bars(axes: "Axes", panel: BarPanel) -> None:
    rows = range(len(panel.bars))
    values = [0.0 if math.isnan(bar.value) else bar.value for bar in panel.bars]
    axes.barh(rows, values, color=[bar.colour for bar in panel.bars], height=0.62)
    axes.set_yticks(rows, [bar.name for bar in panel.bars], fontsize=9.5 if len(rows) < MANY_BARS else 7)
    axes.invert_yaxis()
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.xaxis.set_major_formatter(_short)
    published = [(bar.published, row) for row, bar in enumerate(panel.bars) if bar.published is not None]
    if published:
        values_published, places = zip(*published, strict=True)
        axes.scatter(values_published, places, marker="D", s=34, color="white", edgecolors=INK, zorder=3)
    axes.margins(x=0.02)
    for row, bar in enumerate(panel.bars):
        if not bar.name:
            continue
        right = max(values[row], bar.published or 0.0)
        text = _short(bar.value, 0) + (f"  ({_short(bar.published, 0)})" if bar.published is not None else "")
        axes.annotate(
            text, xy=(right, row), xytext=(8, 0), textcoords="offset points", fontsize=8.5, va="center", color=INK
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
    """Name each line at its right end. Names that would overlap are moved apart."""
    to_pixels = axes.transData.transform
    ends = [(curve, _last(curve)) for curve in curves if curve.name and curve.points]
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
