"""The picture of the memory part: what each window gives, and window, running and waiting over time.

Needs matplotlib (the extra `bench`), imported only here and only when a picture is asked for.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.bench.judgement import mean_rate
from evaluation.bench.probe import Sample
from evaluation.bench.stage import Run
from evaluation.bench.window.memory import FIXED, Findings
from evaluation.bench.window.part import rate
from evaluation.console.plots import FAINT, GRID, INK, lay_bare, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW, RUNNING, WAITING, SWEPT = "#0072B2", "#009E73", "#D55E00", "#4a6178"

SERIES: dict[str, tuple[str, Callable[[Sample], float]]] = {
    "window": (WINDOW, lambda sample: sum(worker.window for worker in sample.gateway.workers)),
    "running": (RUNNING, lambda sample: sample.running),
    "waiting": (WAITING, lambda sample: sample.waiting),
}


def draw(findings: Findings, path: Path) -> None:
    """Write the picture to `path`."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 10), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    sweep, auto, control = figure.subplots(3, 1)
    for axes in (sweep, auto, control):
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        lay_bare(axes)
    _draw_sweep(sweep, findings)
    _draw_run(auto, findings.auto[-1], "auto")
    _draw_run(control, findings.fixed[max(FIXED)][0], f"a fixed window of {max(FIXED)}")
    figure.subplots_adjust(left=0.075, right=0.9, top=0.9, bottom=0.06, hspace=0.45)
    figure.text(0.075, 0.955, "A KV cache too small for full concurrency", fontsize=16, fontweight="bold", color=INK)
    figure.savefig(path, format="png")


def _draw_sweep(axes: "Axes", findings: Findings) -> None:
    axes.set_title("Output tokens per second by window, and of auto", loc="left", fontsize=11, color=INK, pad=8)
    for size, runs in findings.fixed.items():
        axes.plot([size] * len(runs), [run.tokens_per_second for run in runs], "o", color=FAINT, markersize=4)
    axes.plot(list(findings.fixed), [rate(runs) for runs in findings.fixed.values()], color=SWEPT, linewidth=2)
    axes.axhline(mean_rate(findings.auto), color=WINDOW, linewidth=1.6, linestyle=(0, (5, 3)))
    axes.annotate(
        "auto",
        (1, mean_rate(findings.auto)),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        color=WINDOW,
        fontweight="bold",
        va="center",
    )
    axes.set_ylim(bottom=0)
    axes.set_xticks(list(findings.fixed))
    axes.set_xlabel("window, sequences", color=INK)


def _draw_run(axes: "Axes", run: Run, name: str) -> None:
    axes.set_title(f"Sequences over time with {name}", loc="left", fontsize=11, color=INK, pad=8)
    for label, (colour, read) in SERIES.items():
        times, values = _columns(run, read)
        axes.step(times, values, where="post", color=colour, linewidth=1.4, label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds of the window", color=INK)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(SERIES), frameon=False, fontsize=10)


def _columns(run: Run, read: Callable[[Sample], float]) -> tuple[Sequence[float], Sequence[float]]:
    return [sample.at - run.window.start for sample in run.samples], [read(sample) for sample in run.samples]
