"""The bench itself: rounds in which every proxy has its turn under every load, then tables and verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evaluation.bench.datapath.contenders import CONTENDERS, OURS, installed
from evaluation.bench.datapath.field import field
from evaluation.bench.datapath.findings import sheets, verdicts
from evaluation.bench.datapath.loads import LOADS
from evaluation.report.delivery import Delivery, Report
from evaluation.report.terminal import Progress
from gateway.compilation import IS_COMPILED

_QUICK: Mapping[str, Any] = {
    "loads": ("steps-64", "steps-600", "spread", "short-64", "short-600", "whole", "burst", "rest-1"),
    "peers": ("nginx", "vllm-router", "smg"),
    "rounds": 1,
    "seconds": 1.0,
}


@dataclass(frozen=True, slots=True)
class DatapathOptions(Delivery):
    """What to run: `loads` and `peers` none means all; `seconds` None is each load's own window.

    `quick`: the most important loads beside three peers, one round of a second each.
    """

    loads: Sequence[str] = ()
    peers: Sequence[str] = ()
    rounds: int = 5
    seconds: float | None = None
    quick: bool = False


async def measure(options: DatapathOptions) -> Report:
    """Measure every load that is wanted and judge it."""
    if options.quick:
        options = replace(options, **_QUICK)
    ours = [name for name in OURS if name in CONTENDERS]
    wanted = () if not options.peers else (*ours, *(name for name in options.peers if name not in ours))
    contenders, missing = installed(wanted)
    loads = [LOADS[name] for name in options.loads or LOADS]
    loads = [replace(load, seconds=options.seconds or load.seconds) for load in loads]
    with TemporaryDirectory(prefix="vtc-bench-") as folder:
        async with field(Path(folder), Progress()) as running:
            await running.rounds(contenders, loads, options.rounds)
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
