"""What two gateway processes on two cores carry, compared with one process that has no store.

Each of the two gets the load of the single one, so that it has as much to do in a turn of its event loop. On two cores
the load client and the engine take a part of the cores as well. So the bench does not try how many streams fit. It
measures what a chunk costs, in which client and engine have no part. The pair is full when its busiest process fills a
core, or when the processes, their parent and their store together fill two.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from operator import sub, truediv
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import aiohttp

from evaluation.bench.datapath.contenders import GATEWAY, NO_LIMIT, Contender
from evaluation.bench.datapath.field import Field, Running, field
from evaluation.bench.datapath.loads import FEW, FEW_SHORT, SHORT_TOKENS, WHOLE, Load, Observation, Shape
from evaluation.bench.probe import figures_of
from evaluation.bench.processes import processor_seconds, program_name
from evaluation.metrics.statistics import median
from evaluation.report.delivery import Delivery, Report
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Verdict, at_least, at_most, number
from gateway.compilation import IS_COMPILED

PROCESSES = 2
ONE, TWO = "one process", "two processes"
STORES = ("valkey-server", "redis-server")
ROOM = 300  # for so many streams of `TURNS`; the others wait
STREAMS = Load("400 streams", Shape.STREAMS, 400)
TURNS = Load("400 short streams, room for 300", Shape.STREAMS, 400, lengths=(SHORT_TOKENS,))
MODEST = Load("4 users", Shape.STREAMS, 4, lengths=(SHORT_TOKENS // 5,), seconds=4.0)
QUIET = Load("nobody", Shape.IDLE, 1, seconds=4.0)
WITH_ROOM = (STREAMS, FEW, FEW_SHORT, WHOLE, MODEST, QUIET)
TOGETHER = (FEW_SHORT, MODEST)  # loads that two processes share; of the others each has its own


@dataclass(frozen=True, slots=True)
class ProcessesOptions(Delivery):
    """What to run; `seconds` None is each load's own window."""

    rounds: int = 5
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One load on one contender. `busiest`, `store` and `parent` are parts of all processor time of the contender."""

    seen: Observation
    seconds: float
    busiest: float
    store: float
    parent: float
    calls: float  # to the store

    @property
    def cost(self) -> float:
        """Microseconds of processor time for a chunk or a request."""
        return self.seen.processor_seconds / self.seen.done * 1e6

    @property
    def cost_of_fullest_core(self) -> float:
        """Microseconds on the core that is full first, if the contender has as many cores as processes."""
        return self.cost * max(self.busiest, 1 / PROCESSES)


Figure = Callable[[Turn], float]


class Findings:
    """Turns by load and contender, one for each round."""

    def __init__(self) -> None:
        self._turns: defaultdict[str, defaultdict[str, list[Turn]]] = defaultdict(lambda: defaultdict(list))

    def add(self, load: Load, name: str, turn: Turn) -> None:
        """Note one round of contender `name`."""
        self._turns[load.name][name].append(turn)

    def median(self, load: Load, name: str, figure: Figure) -> float:
        """Over the rounds; NaN where there is none."""
        return median([figure(turn) for turn in self._turns[load.name][name]])

    def compare(self, load: Load, figure: Figure, compared: Callable[[float, float], float]) -> float:
        """The median over the rounds of the figure of two processes, `compared` with that of one in the same round."""
        rounds = zip(self._turns[load.name][TWO], self._turns[load.name][ONE], strict=True)
        return median([compared(figure(two), figure(one)) for two, one in rounds])

    def document(self) -> Mapping[str, object]:
        """Every turn as JSON data."""
        return {
            load: {name: [asdict(turn) for turn in turns] for name, turns in by_name.items()}
            for load, by_name in self._turns.items()
        }


# -- measuring


async def measure(options: ProcessesOptions) -> Report:
    """Measure every load and judge it."""
    findings = Findings()
    with TemporaryDirectory(prefix="vtc-bench-") as folder:
        async with field(Path(folder), Progress()) as running, aiohttp.ClientSession() as session:
            for loads, room in ((WITH_ROOM, NO_LIMIT), ((TURNS,), ROOM)):
                async with running.proxies(contenders(room)) as proxies:
                    for load in loads * options.rounds:
                        for name, proxy in proxies.items():
                            order = _order(load, name, options.seconds)
                            findings.add(load, name, await _turn(running, session, order, proxy))
    return Report(
        title="processes",
        setting={"rounds": options.rounds, "compiled": IS_COMPILED},
        verdicts=verdicts(findings),
        measurements={"rounds": findings.document()},
        sheets=[sheet(findings)],
    )


def contenders(room: int) -> Sequence[Contender]:
    """One process with `room` for so many streams, and several with room for as many each."""
    one = Contender(ONE, module=GATEWAY, window=room)
    return one, replace(one, name=TWO, processes=PROCESSES, window=PROCESSES * room)


def _order(load: Load, name: str, seconds: float | None) -> Load:
    times = 1 if name == ONE or load in TOGETHER else PROCESSES
    return replace(load, count=times * load.count, seconds=seconds or load.seconds)


async def _turn(running: Field, session: aiohttp.ClientSession, load: Load, proxy: Running) -> Turn:
    began, calls, spent = perf_counter(), await _calls(session, proxy), _spent(proxy)
    seen = await running.measure(load, proxy)
    spent = {pid: now - spent[pid] for pid, now in _spent(proxy).items()}
    calls = await _calls(session, proxy) - calls
    parent = spent.pop(proxy.pids[0]) if len(proxy.pids) > 1 else 0.0
    store = sum(spent.pop(pid) for pid in proxy.pids if program_name(pid) in STORES)
    total = parent + store + sum(spent.values())
    return Turn(seen, perf_counter() - began, max(spent.values()) / total, store / total, parent / total, calls)


def _spent(proxy: Running) -> dict[int, float]:
    return {pid: processor_seconds([pid]) for pid in proxy.pids}


async def _calls(session: aiohttp.ClientSession, proxy: Running) -> float:
    async with session.get(f"http://127.0.0.1:{proxy.port}/metrics") as page:
        return figures_of(await page.text(), ["vtc_gateway_store_calls_total"], absent=0.0)[0]


# -- findings


def _cost(turn: Turn) -> float:
    return turn.cost


def _first_p99(turn: Turn) -> float:
    return turn.seen.first_p99 * 1e3


def _busiest(turn: Turn) -> float:
    return turn.busiest


def _calls_per_second(turn: Turn) -> float:
    return turn.calls / turn.seconds


COLUMNS: Mapping[str, Figure] = {
    "CPU us": _cost,
    "busiest %": lambda turn: 100 * turn.busiest,
    "store %": lambda turn: 100 * turn.store,
    "parent %": lambda turn: 100 * turn.parent,
    "calls/s": _calls_per_second,
    "first p99 ms": _first_p99,
    "per second": lambda turn: turn.seen.done / turn.seen.window_seconds,
    "broken": lambda turn: turn.seen.faults,
}


def sheet(findings: Findings) -> Sheet:
    """A row for each load and contender, with the medians of the rounds."""
    rows = [
        SheetRow(
            (f"{load.name}, {name}", *(number(findings.median(load, name, figure)) for figure in COLUMNS.values()))
        )
        for load in (*WITH_ROOM, TURNS)
        for name in (ONE, TWO)
    ]
    return Sheet("loads (each process has its own but of new streams), medians", ("load", *COLUMNS), rows)


def calls_of_a_request(findings: Findings) -> float:
    """How many calls to the store a request of `MODEST` makes, beyond those that two processes make without any."""
    added = findings.median(MODEST, TWO, _calls_per_second) - findings.median(QUIET, TWO, _calls_per_second)
    events_per_second = findings.median(MODEST, TWO, lambda turn: turn.seen.done / turn.seconds)
    return added / events_per_second * (MODEST.lengths[0] + 2)  # events: the role and the end besides the tokens


CARRIED = at_least("streams that two processes carry, of those of one", 1.8)
CALLS = at_most("calls to the store that a request makes while there is room", 0.05)
ADDED = at_most(f"TTFT added, p99, {FEW_SHORT.name}", 1.0, " ms")
COSTS = (("chunk", STREAMS), ("chunk", TURNS), ("request", WHOLE))


def verdicts(findings: Findings) -> list[Verdict]:
    """One for each target."""
    carried = findings.compare(STREAMS, lambda turn: turn.cost_of_fullest_core, lambda two, one: one / two)
    busiest = f"the busiest takes {findings.median(STREAMS, TWO, _busiest):.2f} of the time of both"
    added = findings.compare(FEW_SHORT, _first_p99, sub)
    return [
        CARRIED.judge(carried, busiest),
        *(_cost_verdict(findings, unit, load) for unit, load in COSTS),
        CALLS.judge(calls_of_a_request(findings)),
        ADDED.judge(added, _medians(findings, FEW_SHORT, _first_p99)),
    ]


def _cost_verdict(findings: Findings, unit: str, load: Load) -> Verdict:
    target = at_most(f"CPU per {unit}, {load.name}: two processes over one", 1.1, " x")
    return target.judge(findings.compare(load, _cost, truediv), f"us: {_medians(findings, load, _cost)}")


def _medians(findings: Findings, load: Load, figure: Figure) -> str:
    return ", ".join(f"{name} {number(findings.median(load, name, figure))}" for name in (ONE, TWO))
