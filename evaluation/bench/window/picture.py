"""The picture of the memory part: what each window gives, and window, running and waiting over time."""

from collections.abc import Callable
from pathlib import Path

from evaluation.bench.judgement import mean_rate
from evaluation.bench.probe import Sample
from evaluation.bench.stage import Run
from evaluation.bench.window.memory import FIXED, Findings
from evaluation.bench.window.part import rate
from evaluation.pictures.drawing import draw
from evaluation.pictures.picture import BLUE, GREEN, GREY, VERMILION, Curve, LinePanel, Mark, Picture

SERIES: dict[str, tuple[str, Callable[[Sample], float]]] = {
    "window": (BLUE, lambda sample: sum(worker.window for worker in sample.gateway.workers)),
    "running": (GREEN, lambda sample: sample.running),
    "waiting": (VERMILION, lambda sample: sample.waiting),
}


def draw_memory(findings: Findings, path: Path) -> None:
    """Write the picture to `path`."""
    panels = [
        _sweep(findings),
        _over_time(findings.auto[-1], "auto"),
        _over_time(findings.fixed[max(FIXED)][0], f"a fixed window of {max(FIXED)}"),
    ]
    alt = "Throughput by window; window, running and waiting over time, tuned and with the largest fixed window."
    draw(Picture("A KV cache too small for full concurrency", panels, alt, is_stacked=True), path)


def _sweep(findings: Findings) -> LinePanel:
    turns = [(size, run.tokens_per_second) for size, runs in findings.fixed.items() for run in runs]
    medians = [(size, rate(runs)) for size, runs in findings.fixed.items()]
    curves = [Curve("", GREY, turns, dots=True), Curve("fixed", GREY, medians)]
    marks = [Mark("auto", mean_rate(findings.auto), BLUE)]
    title = "Output tokens per second by window, and of auto"
    return LinePanel(title, "tokens per second", curves, marks, "window, sequences")


def _over_time(run: Run, name: str) -> LinePanel:
    curves = [
        Curve(label, colour, [(sample.at - run.window.start, read(sample)) for sample in run.samples])
        for label, (colour, read) in SERIES.items()
    ]
    return LinePanel(f"Sequences over time with {name}", "sequences", curves, x_label="seconds of the window")
