"""The costs as a picture: processor time for each chunk and each request, a bar for each proxy."""

import math
from pathlib import Path

from evaluation.bench.datapath.contenders import DIRECT, GATEWAY
from evaluation.bench.datapath.findings import Findings
from evaluation.bench.datapath.loads import FEW, MANY, WHOLE, Load
from evaluation.bench.datapath.targets import cost
from evaluation.metrics import median
from evaluation.pictures.drawing import draw
from evaluation.pictures.picture import GREY, VERMILION, Bar, BarPanel, Picture

MOST_TIMES_MEDIAN = 6.0


def draw_costs(findings: Findings, path: Path) -> None:
    """Write the picture to `path`, where anything was measured that it shows."""
    panels = [_panel(findings, load) for load in (FEW, MANY, WHOLE)]
    if shown := [panel for panel in panels if panel.bars]:
        draw(Picture("Processor time of each proxy", shown, "Bars by proxy for each load."), path)


def _panel(findings: Findings, load: Load) -> BarPanel:
    costs = {name: findings.median(load, name, cost) for name in findings.names(load) if name != DIRECT}
    bars = [
        Bar(name, value, VERMILION if name == GATEWAY else GREY)
        for name, value in costs.items()
        if math.isfinite(value)
    ]
    most = MOST_TIMES_MEDIAN * median([bar.value for bar in bars])
    return BarPanel(f"{load.name}, per {'request' if load is WHOLE else 'chunk'}", "us of CPU", bars, most)
