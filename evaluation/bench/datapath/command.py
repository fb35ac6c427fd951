"""The bench itself: rounds in which every proxy has its turn under every load, then tables, verdicts and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evaluation.bench.datapath.contenders import CONTENDERS, OURS, installed
from evaluation.bench.datapath.field import field
from evaluation.bench.datapath.findings import picture, sheets, verdicts
from evaluation.bench.datapath.loads import LOADS
from evaluation.pictures.drawing import draw, require_matplotlib
from evaluation.report.delivery import Delivery, Report
from evaluation.report.terminal import Progress
from gateway.compilation import IS_COMPILED

_QUICK: Mapping[str, Any] = {
    "parts": ("steps", "spread", "short", "whole", "burst", "rest"),
    "peers": ("nginx", "vllm-router", "smg"),
    "rounds": 1,
    "seconds": 1.0,
}


@dataclass(frozen=True, slots=True)
class DatapathOptions(Delivery):
    """What to run: `parts` and `peers` none means all; `seconds` None is each load's own window.

    `quick`: the most important parts beside three peers, one round of a second each.
    """

    parts: Sequence[str] = ()
    peers: Sequence[str] = ()
    rounds: int = 5
    seconds: float | None = None
    plot: Path | None = None
    quick: bool = False


async def measure(options: DatapathOptions) -> Report:
    """Measure every part that is wanted and judge it; raises `PlotsMissing` before where a picture cannot be drawn."""
    if options.quick:
        options = replace(options, **_QUICK)
    if options.plot is not None:
        require_matplotlib()
    ours = [name for name in OURS if name in CONTENDERS]
    wanted = () if not options.peers else (*ours, *(name for name in options.peers if name not in ours))
    contenders, missing = installed(wanted)
    parts = options.parts or tuple(LOADS)
    with TemporaryDirectory(prefix="vtc-bench-") as folder:
        async with field(Path(folder), Progress()) as running:
            loads = [load for part in parts for load in LOADS[part]]
            loads = [replace(load, seconds=options.seconds or load.seconds) for load in loads]
            await running.rounds(contenders, loads, options.rounds)
    costs = picture(running.findings)
    if options.plot is not None and costs.panels:
        draw(costs, options.plot)
    names = " ".join(f"{contender.name} {contender.version}".strip() for contender in contenders)
    return Report(
        title="datapath",
        setting={"rounds": options.rounds, "compiled": IS_COMPILED, "proxies": names},
        verdicts=verdicts(running.findings),
        measurements=running.findings.document(),
        warnings=[
            *(f"{name} is not installed (scripts/install-bench --all): not compared" for name in missing),
            *(f"{name} does not serve here: not compared. {reason}" for name, reason in running.failures.items()),
        ],
        sheets=list(sheets(running.findings)),
    )
