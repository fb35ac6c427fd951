"""What the rounds found: every observation by load and proxy, shown as tables, a picture and verdicts.

A ratio or a difference is taken within each round, because a slow machine then slows both sides. The report shows the
median over the rounds. Verdicts are on ratios or differences within a run. A peer that is not installed gets no
verdict; the command names it in a warning.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from evaluation.bench.datapath.contenders import DIRECT, GATEWAY
from evaluation.bench.datapath.loads import ARRIVALS, CROWD, FEW, IDLE, MANY, WHOLE, Load, Observation, Shape
from evaluation.metrics.statistics import median
from evaluation.pictures.picture import GREY, VERMILION, Bar, BarPanel, Picture
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.verdicts import Comparison, Target, Verdict, number

Figure = Callable[[Observation], float]
Column = tuple[str, Figure]

VLLM_ROUTER, SMG = "vllm-router", "smg"
CLEAN_SECONDS = 0.1
# The most processor time of the gateway for a streamed chunk, as a part of each peer's.
CHUNK_COSTS = {
    "nginx": (Comparison.AT_MOST, 1.25),
    "envoy": (Comparison.BELOW, 1.0),
    VLLM_ROUTER: (Comparison.BELOW, 1.0),
    SMG: (Comparison.BELOW, 1.0),
}
MOST_TIMES_MEDIAN = 6.0  # in the picture
_KB = 1000.0


def cost(seen: Observation) -> float:
    """Processor time for each chunk or request, in microseconds."""
    return seen.processor_seconds / seen.done * 1e6 if seen.done else math.nan


def memory(load: Load) -> Figure:
    """Memory that each connection of `load` takes, in kilobytes."""
    return lambda seen: seen.added_bytes / load.count / _KB


def _milliseconds(name: str) -> Figure:
    return lambda seen: float(getattr(seen, name)) * 1e3


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

    def rounds(self, load: Load, name: str) -> Sequence[Observation]:
        """What each round saw."""
        return self._rounds[load.name][name] if name in self.names(load) else ()

    def median(self, load: Load, name: str, figure: Figure) -> float:
        """The median of `figure` over the rounds; NaN where there is none."""
        return median([figure(observation) for observation in self.rounds(load, name)])

    def ratio(self, load: Load, name: str, other: str, figure: Figure) -> float:
        """The median of the ratio of `name` to `other` within a round."""
        return median([figure(mine) / figure(theirs) for mine, theirs in self._pairs(load, name, other)])

    def added(self, load: Load, name: str, other: str, figure: Figure) -> float:
        """The median of what `name` has more than `other` within a round."""
        return median([figure(mine) - figure(theirs) for mine, theirs in self._pairs(load, name, other)])

    def document(self) -> Mapping[str, object]:
        """Every observation as JSON data."""
        rounds = {
            load: {name: [asdict(seen) for seen in observed] for name, observed in by_name.items()}
            for load, by_name in self._rounds.items()
        }
        return {"rounds": rounds, "most_clean_streams": self.most_streams}

    def _pairs(self, load: Load, name: str, other: str) -> list[tuple[Observation, Observation]]:
        return list(zip(self.rounds(load, name), self.rounds(load, other), strict=False))


# -- tables and picture

_COST: Column = ("CPU us", cost)
_RATE: Column = ("per second", lambda seen: seen.done / seen.window_seconds)
_FAULTS: Column = ("broken", lambda seen: seen.faults)
_FIRST: tuple[Column, ...] = (
    ("first p50 ms", _milliseconds("first_p50")),
    ("first p99 ms", _milliseconds("first_p99")),
)
_PACED: tuple[Column, ...] = (
    ("gap p50 ms", _milliseconds("gap_p50")),
    ("gap p99 ms", _milliseconds("gap_p99")),
    ("latest ms", _milliseconds("late_max")),
)


def sheets(findings: Findings) -> Iterator[Sheet]:
    """A table for each load that was measured, a row for each proxy: medians over the rounds."""
    for load in (FEW, MANY, WHOLE, ARRIVALS, CROWD, IDLE):
        if findings.names(load):
            yield _sheet(findings, load)
    if findings.most_streams:
        rows = [SheetRow((name, number(count))) for name, count in findings.most_streams.items()]
        title = "most clean streams at 50 tokens/s (each token on time within 100 ms)"
        yield Sheet(title, ("proxy", "streams"), rows)


def _sheet(findings: Findings, load: Load) -> Sheet:
    unit, columns = _unit_and_columns(load)
    rows = []
    for proxy in findings.names(load):
        without = {_COST[0], "kB each"} if proxy == DIRECT else set()
        row = ["" if name in without else number(findings.median(load, proxy, figure)) for name, figure in columns]
        rows.append(SheetRow((proxy, *row)))
    return Sheet(f"{load.name} ({unit}, medians)", ("proxy", *(name for name, _ in columns)), rows)


def _unit_and_columns(load: Load) -> tuple[str, tuple[Column, ...]]:
    kept = ("kB each", memory(load))
    match load.shape:
        case Shape.STREAMS:
            return f"{load.pace} tokens/s each, per chunk", (_COST, *_PACED, _RATE, kept, _FAULTS)
        case Shape.WHOLE:
            return f"{load.count} connections, per request", (_COST, _RATE, *_FIRST, _FAULTS)
        case Shape.ARRIVALS:
            return "per connection", (*_FIRST, _FAULTS)
        case Shape.IDLE:
            return "per connection", (kept, _FAULTS)


def picture(findings: Findings) -> Picture:
    """Processor time for each chunk and each request, a bar for each proxy; no panels where nothing was measured."""
    panels = [_panel(findings, load) for load in (FEW, MANY, WHOLE)]
    return Picture("Processor time of each proxy", [each for each in panels if each.bars], "Bars by proxy and load.")


def _panel(findings: Findings, load: Load) -> BarPanel:
    costs = {name: findings.median(load, name, cost) for name in findings.names(load) if name != DIRECT}
    bars = [
        Bar(name, value, VERMILION if name == GATEWAY else GREY)
        for name, value in costs.items()
        if math.isfinite(value)
    ]
    most = MOST_TIMES_MEDIAN * median([bar.value for bar in bars])
    return BarPanel(f"{load.name}, per {'request' if load is WHOLE else 'chunk'}", "us of CPU", bars, most)


# -- verdicts


def verdicts(findings: Findings) -> list[Verdict]:
    """The verdict on every target that was measured."""
    return [*_over_peers(findings), *_over_engine(findings), *_own(findings)]


def _over_peers(findings: Findings) -> Iterator[Verdict]:
    for load in (FEW, MANY):
        for peer, (comparison, limit) in CHUNK_COSTS.items():
            if peer in findings.names(load):
                target = Target(f"CPU per chunk, {load.name}: gateway over {peer}", comparison, limit, " x")
                yield _over_peer(findings, load, peer, target)
    if SMG in findings.names(WHOLE):
        target = Target("CPU per request, not streamed: gateway over smg", Comparison.AT_MOST, 1.0, " x")
        stretch = number(findings.ratio(WHOLE, GATEWAY, VLLM_ROUTER, cost))
        is_known = VLLM_ROUTER in findings.names(WHOLE)
        more = f"; {stretch} x {VLLM_ROUTER}, which should become 2 x" if is_known else ""
        yield _over_peer(findings, WHOLE, SMG, target, more)


def _over_peer(findings: Findings, load: Load, peer: str, target: Target, more: str = "") -> Verdict:
    mine, theirs = (number(findings.median(load, name, cost)) for name in (GATEWAY, peer))
    note = f"{mine} us against {theirs} us, {len(findings.rounds(load, GATEWAY))} rounds{more}"
    return target.judge(findings.ratio(load, GATEWAY, peer, cost), note)


def _over_engine(findings: Findings) -> Iterator[Verdict]:
    for name, load, figure, limit in (
        ("TTFT added, p50, 200 new streams/s", ARRIVALS, "first_p50", 1.0),
        ("TTFT added, p99, 200 new streams/s", ARRIVALS, "first_p99", 5.0),
        ("time between tokens added, p99, 600 streams", MANY, "gap_p99", 2.0),
    ):
        if findings.names(load):
            read = _milliseconds(figure)
            ours, direct = (number(findings.median(load, proxy, read)) for proxy in (GATEWAY, DIRECT))
            target = Target(name, Comparison.AT_MOST, limit, " ms")
            yield target.judge(findings.added(load, GATEWAY, DIRECT, read), f"{ours} ms, without a proxy {direct} ms")


def _own(findings: Findings) -> Iterator[Verdict]:
    direct = number(findings.median(CROWD, DIRECT, _milliseconds("late_max")))
    paced = f"{CROWD.pace} tokens/s each; without a proxy {direct} ms"
    for name, load, figure, limit, unit, note in (
        (f"{CROWD.name}: the latest token", CROWD, _milliseconds("late_max"), CLEAN_SECONDS * 1e3, " ms", paced),
        (f"{CROWD.name}: streams that were not complete", CROWD, _FAULTS[1], 0, "", ""),
        ("memory for each stream", CROWD, memory(CROWD), 50, " kB", f"of {CROWD.count}"),
        ("memory for each idle connection", IDLE, memory(IDLE), 12, " kB", f"of {IDLE.count}"),
    ):
        if findings.names(load):
            yield Target(name, Comparison.AT_MOST, limit, unit).judge(findings.median(load, GATEWAY, figure), note)
