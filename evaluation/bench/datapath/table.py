"""The measured figures as a table: one for each load, one row for each proxy, medians over the rounds."""

from collections.abc import Callable, Iterator

from evaluation.bench.datapath.contenders import DIRECT
from evaluation.bench.datapath.findings import Findings
from evaluation.bench.datapath.load import Observation, Shape
from evaluation.bench.datapath.loads import ARRIVALS, CROWD, FEW, IDLE, MANY, WHOLE, Load
from evaluation.bench.datapath.targets import cost, memory
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.verdicts import number

Column = tuple[str, Callable[[Observation], float]]

_MS = 1000.0
_TIMES: tuple[Column, ...] = (
    ("gap p50 ms", lambda seen: seen.gap_p50 * _MS),
    ("gap p99 ms", lambda seen: seen.gap_p99 * _MS),
    ("latest ms", lambda seen: seen.late_max * _MS),
)
_FIRST: tuple[Column, ...] = (
    ("first p50 ms", lambda seen: seen.first_p50 * _MS),
    ("first p99 ms", lambda seen: seen.first_p99 * _MS),
)
_RATE: Column = ("per second", lambda seen: seen.per_second)
_FAULTS: Column = ("broken", lambda seen: seen.faults)
_COST: Column = ("CPU us", cost)


def sheets(findings: Findings) -> Iterator[Sheet]:
    """A table for each load that was measured."""
    for load in (FEW, MANY, WHOLE, ARRIVALS, CROWD, IDLE):
        if findings.names(load):
            yield _sheet(findings, load)
    if findings.most_streams:
        yield _capacity(findings)


def _columns(load: Load) -> tuple[Column, ...]:
    match load.shape:
        case Shape.STREAMS:
            return (_COST, *_TIMES, _RATE, ("kB each", memory(load)), _FAULTS)
        case Shape.WHOLE:
            return (_COST, _RATE, *_FIRST, _FAULTS)
        case Shape.ARRIVALS:
            return (*_FIRST, _FAULTS)
        case Shape.IDLE:
            return (("kB each", memory(load)), _FAULTS)


def _sheet(findings: Findings, load: Load) -> Sheet:
    columns = _columns(load)
    rows = []
    for proxy in findings.names(load):
        without = {_COST[0], "kB each"} if proxy == DIRECT else set()
        row = ["" if name in without else number(findings.median(load, proxy, figure)) for name, figure in columns]
        rows.append(SheetRow((proxy, *row)))
    return Sheet(f"{load.name} ({_unit(load)}, medians)", ("proxy", *(name for name, _ in columns)), rows)


def _unit(load: Load) -> str:
    match load.shape:
        case Shape.STREAMS:
            return f"{load.pace} tokens/s each, per chunk"
        case Shape.WHOLE:
            return f"{load.count} connections, per request"
        case Shape.ARRIVALS | Shape.IDLE:
            return "per connection"


def _capacity(findings: Findings) -> Sheet:
    rows = [SheetRow((name, number(count))) for name, count in findings.most_streams.items()]
    return Sheet("most clean streams at 50 tokens/s (each token on time within 100 ms)", ("proxy", "streams"), rows)
