"""The measured figures as a table: one for each load, one row for each proxy, medians over the rounds."""

from collections.abc import Callable, Iterator

from rich.table import Table

from evaluation.bench.datapath.contenders import DIRECT
from evaluation.bench.datapath.findings import Findings
from evaluation.bench.datapath.load import Observation, Shape
from evaluation.bench.datapath.loads import ARRIVALS, CROWD, FEW, IDLE, MANY, WHOLE, Load
from evaluation.bench.datapath.targets import cost, memory
from evaluation.console.verdicts import number

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


def tables(findings: Findings) -> Iterator[Table]:
    """A table for each load that was measured."""
    for load in (FEW, MANY, WHOLE, ARRIVALS, CROWD, IDLE):
        if findings.names(load):
            yield _table(findings, load)
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


def _table(findings: Findings, load: Load) -> Table:
    table = Table(title=f"{load.name} ({_unit(load)}, medians)", title_justify="left")
    table.add_column("proxy", no_wrap=True)
    columns = _columns(load)
    for name, _ in columns:
        table.add_column(name, justify="right")
    for proxy in findings.names(load):
        without = {_COST[0], "kB each"} if proxy == DIRECT else set()
        row = ["" if name in without else number(findings.median(load, proxy, figure)) for name, figure in columns]
        table.add_row(proxy, *row)
    return table


def _unit(load: Load) -> str:
    match load.shape:
        case Shape.STREAMS:
            return f"{load.pace} tokens/s each, per chunk"
        case Shape.WHOLE:
            return f"{load.count} connections, per request"
        case Shape.ARRIVALS | Shape.IDLE:
            return "per connection"


def _capacity(findings: Findings) -> Table:
    table = Table(title="most clean streams at 50 tokens/s (each token on time within 100 ms)", title_justify="left")
    table.add_column("proxy", no_wrap=True)
    table.add_column("streams", justify="right")
    for name, count in findings.most_streams.items():
        table.add_row(name, number(count))
    return table
