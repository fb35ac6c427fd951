"""The costs as a picture: processor time for each chunk and each request, a bar for each proxy.

Needs matplotlib (the extra `bench`), imported only when a picture is asked for.
"""

import math
from pathlib import Path

from evaluation.bench.datapath.contenders import DIRECT, GATEWAY
from evaluation.bench.datapath.findings import Findings
from evaluation.bench.datapath.loads import FEW, MANY, WHOLE, Load
from evaluation.bench.datapath.targets import cost

OURS, THEIRS, INK = "#c4452f", "#9aa8b5", "#222222"
# One that costs many times what the others do would leave no room to tell those apart.
MOST_TIMES_MEDIAN = 6.0


def draw(findings: Findings, path: Path) -> None:
    """Write the picture to `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    loads = [load for load in (FEW, MANY, WHOLE) if _bars(findings, load)]
    if not loads:
        return
    figure = Figure(figsize=(4.2 * len(loads), 3.8), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    for axes, load in zip(figure.subplots(1, len(loads), squeeze=False)[0], loads, strict=True):
        bars = _bars(findings, load)
        names, values = list(bars), list(bars.values())
        most = MOST_TIMES_MEDIAN * sorted(values)[len(values) // 2]
        shown = [min(value, most) for value in values]
        axes.barh(names, shown, color=[OURS if name == GATEWAY else THEIRS for name in names])
        axes.invert_yaxis()
        for place, value in enumerate(values):
            axes.text(min(value, most), place, f" {value:,.1f}", va="center", fontsize=8, color=INK)
        axes.set_title(f"{load.name}, us of CPU per {'request' if load is WHOLE else 'chunk'}", loc="left", fontsize=9)
        axes.set_xlim(0, max(shown) * 1.2)
        for side in ("top", "right", "bottom"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0, labelsize=8)
    figure.savefig(path, format="png")


def _bars(findings: Findings, load: Load) -> dict[str, float]:
    """The cost of every proxy that brought anything at all."""
    costs = {name: findings.median(load, name, cost) for name in findings.names(load) if name != DIRECT}
    return {name: value for name, value in costs.items() if math.isfinite(value)}
