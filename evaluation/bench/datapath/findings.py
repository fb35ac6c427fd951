"""What the rounds found: every observation by load and proxy, shown as tables, a picture and verdicts.

One table has the figures, one says which of them a load shows, and one has the targets. A ratio or a difference is
taken within each round, because a slow machine then slows both sides. The report shows the median over the rounds. A
peer that is not installed gets no verdict; the command names it in a warning.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from operator import sub, truediv
from typing import NamedTuple

from evaluation.bench.datapath.contenders import DIRECT, GATEWAY
from evaluation.bench.datapath.loads import (
    ARRIVALS,
    BURST,
    CROWD,
    FEW,
    IDLE,
    MANY,
    SPREAD,
    WHOLE,
    Load,
    Observation,
    Shape,
)
from evaluation.metrics.statistics import median
from evaluation.pictures.picture import GREY, VERMILION, Bar, BarPanel, Picture
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.verdicts import Comparison, Target, Verdict, number

CLEAN_SECONDS = 0.1
MOST_TIMES_MEDIAN = 6.0  # in the picture

CPU, MEMORY, BROKEN = "CPU us", "kB each", "broken"
FIRST_P50, FIRST_P99, GAP_P50, GAP_P99, LATEST = "first p50 ms", "first p99 ms", "gap p50 ms", "gap p99 ms", "latest ms"
RATE = "per second"
FIGURES: Mapping[str, Callable[[Load, Observation], float]] = {
    CPU: lambda _, seen: seen.processor_seconds / seen.done * 1e6 if seen.done else math.nan,  # of a chunk, a request
    FIRST_P50: lambda _, seen: seen.first_p50 * 1e3,
    FIRST_P99: lambda _, seen: seen.first_p99 * 1e3,
    GAP_P50: lambda _, seen: seen.gap_p50 * 1e3,
    GAP_P99: lambda _, seen: seen.gap_p99 * 1e3,
    LATEST: lambda _, seen: seen.late_max * 1e3,
    RATE: lambda _, seen: seen.done / seen.window_seconds,
    MEMORY: lambda load, seen: seen.added_bytes / load.count / 1e3,  # of a connection
    BROKEN: lambda _, seen: seen.faults,
}
COLUMNS: Mapping[Shape, tuple[str, Sequence[str]]] = {
    Shape.STREAMS: ("{0.pace} tokens/s each, per chunk", (CPU, GAP_P50, GAP_P99, LATEST, RATE, MEMORY, BROKEN)),
    Shape.WHOLE: ("{0.count} connections, per request", (CPU, RATE, FIRST_P50, FIRST_P99, BROKEN)),
    Shape.ARRIVALS: ("per stream of a few tokens", (CPU, FIRST_P50, FIRST_P99, BROKEN)),
    Shape.BURST: ("per stream of a few tokens", (CPU, FIRST_P50, FIRST_P99, BROKEN)),
    Shape.IDLE: ("per connection", (MEMORY, BROKEN)),
}
"""How a load is described, and which figures it shows."""
OF_A_PROXY = (CPU, MEMORY)  # the engine alone has no processes of a proxy


class Findings:
    """Observations by load and proxy, one for each round."""

    def __init__(self) -> None:
        self._rounds: defaultdict[str, defaultdict[str, list[Observation]]] = defaultdict(lambda: defaultdict(list))
        self.most_streams: dict[str, int] = {}

    def add(self, load: Load, name: str, observation: Observation) -> None:
        """Note what one round saw of proxy `name`."""
        self._rounds[load.name][name].append(observation)

    def names(self, load: Load) -> Sequence[str]:
        """The proxies that were measured under `load`, in their order."""
        return tuple(self._rounds.get(load.name, ()))

    def rounds(self, load: Load, name: str, figure: str) -> list[float]:
        """What each round saw; empty where there was none."""
        seen = self._rounds[load.name][name] if name in self.names(load) else ()
        return [FIGURES[figure](load, each) for each in seen]

    def median(self, load: Load, name: str, figure: str) -> float:
        """The median of `figure` over the rounds; NaN where there is none."""
        return median(self.rounds(load, name, figure))

    def compare(self, load: Load, figure: str, compared: Callable[[float, float], float], other: str) -> float:
        """The median over the rounds of the gateway's figure, `compared` with that of `other` in the same round."""
        pairs = zip(self.rounds(load, GATEWAY, figure), self.rounds(load, other, figure), strict=False)
        return median([compared(ours, theirs) for ours, theirs in pairs])

    def document(self) -> Mapping[str, object]:
        """Every observation as JSON data."""
        rounds = {
            load: {name: [asdict(seen) for seen in observed] for name, observed in by_name.items()}
            for load, by_name in self._rounds.items()
        }
        return {"rounds": rounds, "most_clean_streams": self.most_streams}


# -- tables and picture


def sheets(findings: Findings) -> Iterator[Sheet]:
    """A table for each load that was measured, a row for each proxy: medians over the rounds."""
    for load in (FEW, MANY, SPREAD, WHOLE, ARRIVALS, BURST, CROWD, IDLE):
        if findings.names(load):
            description, figures = COLUMNS[load.shape]
            rows = [SheetRow((name, *_cells(findings, load, name, figures))) for name in findings.names(load)]
            yield Sheet(f"{load.name} ({description.format(load)}, medians)", ("proxy", *figures), rows)
    if findings.most_streams:
        rows = [SheetRow((name, number(count))) for name, count in findings.most_streams.items()]
        title = "most clean streams at 50 tokens/s (each token on time within 100 ms)"
        yield Sheet(title, ("proxy", "streams"), rows)


def _cells(findings: Findings, load: Load, name: str, figures: Sequence[str]) -> Iterator[str]:
    for figure in figures:
        yield "" if name == DIRECT and figure in OF_A_PROXY else number(findings.median(load, name, figure))


def picture(findings: Findings) -> Picture:
    """Processor time for each chunk and each request, a bar for each proxy; no panels where nothing was measured."""
    panels = [_panel(findings, load) for load in (FEW, MANY, SPREAD, WHOLE)]
    return Picture("Processor time of each proxy", [each for each in panels if each.bars], "Bars by proxy and load.")


def _panel(findings: Findings, load: Load) -> BarPanel:
    costs = {name: findings.median(load, name, CPU) for name in findings.names(load) if name != DIRECT}
    bars = [
        Bar(name, value, VERMILION if name == GATEWAY else GREY)
        for name, value in costs.items()
        if math.isfinite(value)
    ]
    most = MOST_TIMES_MEDIAN * median([bar.value for bar in bars])
    return BarPanel(f"{load.name}, per {'request' if load is WHOLE else 'chunk'}", "us of CPU", bars, most)


# -- verdicts


class Row(NamedTuple):
    """A target of the gateway under a load: a figure as it is, or `compared` with the same figure of `other`."""

    name: str
    load: Load
    figure: str
    comparison: Comparison
    limit: float
    unit: str = ""
    compared: Callable[[float, float], float] = truediv
    other: str = ""


_AT_MOST, _BELOW = Comparison.AT_MOST, Comparison.BELOW
_PEERS = (("nginx", _AT_MOST, 1.25), ("envoy", _BELOW, 1.0), ("vllm-router", _BELOW, 1.0), ("smg", _BELOW, 1.0))
TARGETS = (
    *(
        Row(f"CPU per chunk, {load.name}: gateway over {peer}", load, CPU, comparison, limit, " x", truediv, peer)
        for load in (FEW, MANY)
        for peer, comparison, limit in _PEERS
    ),
    Row(f"CPU per chunk, {SPREAD.name}: gateway over nginx", SPREAD, CPU, _AT_MOST, 1.5, " x", truediv, "nginx"),
    Row(
        f"CPU per chunk, {SPREAD.name}: gateway over vllm-router",
        SPREAD,
        CPU,
        _AT_MOST,
        1.0,
        " x",
        truediv,
        "vllm-router",
    ),
    Row("CPU per request, not streamed: gateway over smg", WHOLE, CPU, _AT_MOST, 1.0, " x", truediv, "smg"),
    Row("TTFT added, p50, 200 new streams/s", ARRIVALS, FIRST_P50, _AT_MOST, 1.0, " ms", sub, DIRECT),
    Row("TTFT added, p99, 200 new streams/s", ARRIVALS, FIRST_P99, _AT_MOST, 5.0, " ms", sub, DIRECT),
    Row(f"TTFT p50, {BURST.name}: gateway over smg", BURST, FIRST_P50, _AT_MOST, 1.0, " x", truediv, "smg"),
    Row("time between tokens added, p99, 600 streams", MANY, GAP_P99, _AT_MOST, 2.0, " ms", sub, DIRECT),
    Row(f"{CROWD.name}: the latest token", CROWD, LATEST, _AT_MOST, CLEAN_SECONDS * 1e3, " ms"),
    Row(f"{CROWD.name}: streams that were not complete", CROWD, BROKEN, _AT_MOST, 0),
    Row("memory for each stream", CROWD, MEMORY, _AT_MOST, 50, " kB"),
    Row("memory for each idle connection", IDLE, MEMORY, _AT_MOST, 12, " kB"),
)


def verdicts(findings: Findings) -> list[Verdict]:
    """The verdict on every target that was measured."""
    return [
        _verdict(findings, row)
        for row in TARGETS
        if findings.names(row.load) and (not row.other or row.other in findings.names(row.load))
    ]


def _verdict(findings: Findings, row: Row) -> Verdict:
    load, figure = row.load, row.figure
    if row.other:
        measured = findings.compare(load, figure, row.compared, row.other)
    else:
        measured = findings.median(load, GATEWAY, figure)
    medians = (f"{name} {number(findings.median(load, name, figure))}" for name in findings.names(load))
    return Target(row.name, row.comparison, row.limit, row.unit).judge(measured, f"{figure}: {', '.join(medians)}")
