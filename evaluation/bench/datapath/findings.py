"""What the rounds found: every observation by load and proxy, shown as tables and verdicts.

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

from evaluation.bench.datapath.contenders import DIRECT, GATEWAY, INTERPRETED
from evaluation.bench.datapath.loads import (
    BURST,
    CROWD,
    FEW,
    FEW_SHORT,
    IDLE,
    LOADS,
    MANY,
    MANY_SHORT,
    MANY_WORKERS,
    ONE_WORKER,
    SPREAD,
    WHOLE,
    Load,
    Observation,
    Shape,
)
from evaluation.metrics.statistics import median
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.verdicts import Comparison, Target, Verdict, number

STEADY = "nginx"
MOST_UNSTEADY = 0.1
"""A round in which the steadiest peer's cost is further off its median, as a part of that, shows a busy machine."""

CPU, SHARE, MEMORY, BROKEN = "CPU us", "CPU %", "kB each", "broken"
FIRST_P50, FIRST_P99, GAP_P50, GAP_P99, LATEST = "first p50 ms", "first p99 ms", "gap p50 ms", "gap p99 ms", "latest ms"
RATE = "per second"
FIGURES: Mapping[str, Callable[[Load, Observation], float]] = {
    CPU: lambda _, seen: seen.processor_seconds / seen.done * 1e6 if seen.done else math.nan,  # of a chunk, a request
    SHARE: lambda _, seen: seen.processor_seconds / seen.window_seconds * 100,  # of a core
    FIRST_P50: lambda _, seen: seen.first_p50 * 1e3,
    FIRST_P99: lambda _, seen: seen.first_p99 * 1e3,
    GAP_P50: lambda _, seen: seen.gap_p50 * 1e3,
    GAP_P99: lambda _, seen: seen.gap_p99 * 1e3,
    LATEST: lambda _, seen: seen.late_max * 1e3,
    RATE: lambda _, seen: seen.done / seen.window_seconds,
    MEMORY: lambda load, seen: seen.added_bytes / load.count / 1e3,  # of a connection
    BROKEN: lambda _, seen: seen.faults,
}
_STEADY_STREAMS = (CPU, GAP_P50, GAP_P99, LATEST, RATE, MEMORY, BROKEN)
_NEW_STREAMS = (CPU, FIRST_P50, FIRST_P99, BROKEN)
COLUMNS: Mapping[Shape, tuple[str, Sequence[str]]] = {
    Shape.STREAMS: ("{0.pace} tokens/s each, {0.phases} phases, per chunk", _STEADY_STREAMS),
    Shape.WHOLE: ("{0.count} connections, per request", (CPU, RATE, FIRST_P50, FIRST_P99, BROKEN)),
    Shape.BURST: ("per stream of a few tokens", _NEW_STREAMS),
    Shape.IDLE: ("per connection", (MEMORY, BROKEN)),
    Shape.REST: ("of a core", (SHARE,)),
}
"""How a load is described, and which figures it shows."""
_COMING_AND_GOING = (CPU, FIRST_P50, FIRST_P99, GAP_P99, RATE, BROKEN)  # of streams that end within the window
OF_A_PROXY = (CPU, MEMORY)  # the engine alone has no processes of a proxy


class Findings:
    """Observations by load and proxy, one for each round."""

    def __init__(self) -> None:
        self._rounds: defaultdict[str, defaultdict[str, dict[int, Observation]]] = defaultdict(
            lambda: defaultdict(dict)
        )

    def add(self, load: Load, name: str, number: int, observation: Observation) -> None:
        """Note what round `number` saw of proxy `name`; a round that is repeated has another result."""
        self._rounds[load.name][name][number] = observation

    def names(self, load: Load) -> Sequence[str]:
        """The proxies that were measured under `load`, in their order."""
        return tuple(self._rounds.get(load.name, ()))

    def rounds(self, load: Load, name: str, figure: str) -> list[float]:
        """What each round saw; empty where there was none."""
        seen = self._rounds[load.name][name].values() if name in self.names(load) else ()
        return [FIGURES[figure](load, each) for each in seen]

    def median(self, load: Load, name: str, figure: str) -> float:
        """The median of `figure` over the rounds; NaN where there is none."""
        return median(self.rounds(load, name, figure))

    def odd_round(self, load: Load) -> int | None:
        """The round in which the cost of `STEADY` was furthest off its median; None if it was off by little in all."""
        costs = self.rounds(load, STEADY, CPU)
        usual = median(costs)
        off = {abs(cost - usual): number for number, cost in enumerate(costs)}
        worst = max(off, default=math.nan)
        return off[worst] if worst > MOST_UNSTEADY * usual else None

    def document(self) -> Mapping[str, object]:
        """Every observation as JSON data."""
        rounds = {
            load: {name: [asdict(seen) for seen in observed.values()] for name, observed in by_name.items()}
            for load, by_name in self._rounds.items()
        }
        return {"rounds": rounds}


# -- tables


def sheets(findings: Findings) -> Iterator[Sheet]:
    """A table for each load that was measured, a row for each proxy: medians over the rounds."""
    for load in LOADS.values():
        if findings.names(load):
            description, figures = COLUMNS[load.shape]
            figures = _COMING_AND_GOING if load.lengths else figures
            rows = [SheetRow((name, *_cells(findings, load, name, figures))) for name in findings.names(load)]
            yield Sheet(f"{load.name} ({description.format(load)}, medians)", ("proxy", *figures), rows)


def _cells(findings: Findings, load: Load, name: str, figures: Sequence[str]) -> Iterator[str]:
    for figure in figures:
        yield "" if name == DIRECT and figure in OF_A_PROXY else number(findings.median(load, name, figure))


# -- verdicts


class Of(NamedTuple):
    """A figure of one proxy."""

    proxy: str
    figure: str


class Row(NamedTuple):
    """A target under a load: a figure as it is, or `compared` with another of the same round."""

    name: str
    load: Load
    ours: Of
    comparison: Comparison
    limit: float
    unit: str = ""
    compared: Callable[[float, float], float] = truediv
    other: Of | None = None


_AT_MOST, _BELOW = Comparison.AT_MOST, Comparison.BELOW
_PEERS = ((STEADY, _AT_MOST, 1.25), ("vllm-router", _BELOW, 1.0), ("envoy", _BELOW, 1.0), ("smg", _BELOW, 1.0))


def _over(load: Load, peer: str, comparison: Comparison, limit: float, ours: str = GATEWAY) -> Row:
    """The target for a ratio of costs."""
    return Row(
        f"CPU, {load.name}: {ours} over {peer}", load, Of(ours, CPU), comparison, limit, " x", truediv, Of(peer, CPU)
    )


def _added(figure: str, load: Load, limit: float) -> Row:
    """The target for a time that the gateway adds to that of the engine alone."""
    return Row(
        f"{figure} added, {load.name}", load, Of(GATEWAY, figure), _AT_MOST, limit, " ms", sub, Of(DIRECT, figure)
    )


def _plain(name: str, load: Load, figure: str, limit: float, unit: str = "") -> Row:
    """The target for a figure of the gateway."""
    return Row(name, load, Of(GATEWAY, figure), _AT_MOST, limit, unit)


_FIRST_P50, _FIRST_P99 = Of(GATEWAY, FIRST_P50), Of(GATEWAY, FIRST_P99)
TARGETS = (
    *(_over(load, peer, comparison, limit) for load in (FEW, MANY) for peer, comparison, limit in _PEERS),
    _over(SPREAD, STEADY, _AT_MOST, 1.5),
    _over(SPREAD, "vllm-router", _AT_MOST, 1.0),
    *(
        _over(load, peer, comparison, 1.0)
        for load in (FEW_SHORT, MANY_SHORT)
        for peer, comparison in (("vllm-router", _AT_MOST), ("envoy", _BELOW), ("smg", _BELOW))
    ),
    _over(WHOLE, "vllm-router", _AT_MOST, 2.0),
    *(_over(load, "vllm-router", _AT_MOST, 1.5, INTERPRETED) for load in (FEW, MANY, SPREAD, FEW_SHORT, MANY_SHORT)),
    Row(f"TTFT p50, {BURST.name}: over smg", BURST, _FIRST_P50, _AT_MOST, 1.0, " x", truediv, Of("smg", FIRST_P50)),
    Row(f"TTFT p99, {BURST.name}: over its p50", BURST, _FIRST_P99, _BELOW, 1.5, " x", truediv, _FIRST_P50),
    _added(FIRST_P50, FEW_SHORT, 1.0),
    _added(FIRST_P99, FEW_SHORT, 5.0),
    _added(GAP_P99, MANY, 2.0),
    _plain(f"{CROWD.name}: the latest token", CROWD, LATEST, 100, " ms"),
    _plain(f"{CROWD.name}: streams that were not complete", CROWD, BROKEN, 0),
    _plain("memory for each stream", CROWD, MEMORY, 50, " kB"),
    _plain("memory for each idle connection", IDLE, MEMORY, 12, " kB"),
    _plain(f"CPU of a core, {ONE_WORKER.name}", ONE_WORKER, SHARE, 0.5, " %"),
    _plain(f"CPU of a core, {MANY_WORKERS.name}", MANY_WORKERS, SHARE, 3.0, " %"),
)


def verdicts(findings: Findings) -> list[Verdict]:
    """The verdict on every target that was measured."""
    return [
        _verdict(findings, row)
        for row in TARGETS
        if all(of is None or of.proxy in findings.names(row.load) for of in (row.ours, row.other))
    ]


def _verdict(findings: Findings, row: Row) -> Verdict:
    measured = findings.rounds(row.load, *row.ours)
    if row.other is not None:
        pairs = zip(measured, findings.rounds(row.load, *row.other), strict=True)
        measured = [row.compared(ours, theirs) for ours, theirs in pairs]
    shown = [name for name in findings.names(row.load) if not (name == DIRECT and row.ours.figure in OF_A_PROXY)]
    note = ", ".join(f"{name} {number(findings.median(row.load, name, row.ours.figure))}" for name in shown)
    target = Target(row.name, row.comparison, row.limit, row.unit)
    return target.judge(median(measured), f"{row.ours.figure}: {note}")
