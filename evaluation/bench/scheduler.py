"""What a decision costs the production scheduler, by how many tenants wait, are known, and have requests queued.

The bench is pure computation without sockets. Every trial runs in a process of its own, so that its memory is its own.
The bench brings a scheduler to a size, keeps it there and times its decisions. In each measured turn one running
request ends, room appears, the scheduler dispatches the next request, and the same tenant sends another, which finds no
room. Garbage collection runs as it does in a gateway. The verdicts are on ratios between sizes, which any machine can
repeat, and on the stated numbers.
"""

import gc
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from time import perf_counter

from evaluation.bench.processes import resident_bytes
from evaluation.metrics.statistics import median
from evaluation.report.delivery import Delivery, Report
from evaluation.report.document import Sheet, SheetRow
from evaluation.report.terminal import Progress
from evaluation.report.verdicts import Verdict, at_most, number
from evaluation.simulation.simulated_gateway import PlainCapacity
from gateway.compilation import IS_COMPILED
from gateway.fairness import Admission, Decision, Grant, Linear, PoolSpec, Rules, Ticket
from gateway.fairness.policies import POLICIES
from gateway.fairness.predictor import Quantile
from gateway.usage import Usage

POOL = "bench"
WORKER = "worker"
RUNNING = 64
TURNS_IN_BLOCK = 200
BLOCKS = 15

_PROMPT_TOKENS = 256
_OUTPUT_TOKENS = 128
_MOST_OUTPUT_TOKENS = 512
_TURN_SECONDS = 0.001
_NO_LIMIT = 10_000_000
_GC_ALLOCATIONS = 20_000  # what `gateway.cli.serve` sets


@dataclass(frozen=True, slots=True)
class Size:
    """How large a scheduler is: tenants that wait, requests that each of these has queued, tenants known in all."""

    waiting: int
    queued_each: int = 2
    known: int = 0

    @property
    def requests(self) -> int:
        """How many are queued in all."""
        return self.waiting * self.queued_each


@dataclass(frozen=True, slots=True)
class Trial:
    """What was measured: seconds for each decision (the median over blocks, and the worst one), memory in bytes.

    `arrival`: a request that has to wait; `dispatch`: room is given to the next; `settlement`: a request ends.
    """

    size: Size
    arrival_seconds: float
    dispatch_seconds: float
    settlement_seconds: float
    worst_seconds: float
    resident_bytes: int


class Room(PlainCapacity):
    """The scheduler's capacity: one worker, whose room appears when the bench says so."""

    def __init__(self) -> None:
        self.free = RUNNING

    def take(self, ticket: Ticket) -> str | None:
        """Room for one more, if there is any."""
        if self.free == 0:
            return None
        self.free -= 1
        return WORKER


class Bench:
    """A scheduler of one size, and the requests that run."""

    def __init__(self) -> None:
        self._room = Room()
        self._admission = Admission(Rules(lambda: POLICIES["vtc"](None), Quantile, _NO_LIMIT), self._room)
        self._admission.configure_pool(PoolSpec(POOL, Linear(), queue_timeout_seconds=_NO_LIMIT))
        self._running: deque[Ticket] = deque()
        self._serial = 0
        self._now = 0.0

    def fill(self, size: Size) -> None:
        """Make the known tenants known, then let the waiting ones wait."""
        for place in range(size.waiting, size.known):
            self._arrive(f"tenant-{place}")
            self._end()
            self._room.free += 1
        for _ in range(size.queued_each):
            for place in range(size.waiting):
                self._arrive(f"tenant-{place}")

    def turn(self) -> tuple[float, float, float]:
        """One request ends, another starts, its tenant sends one more: what arrival, dispatch and settlement took."""
        self._now += _TURN_SECONDS
        began = perf_counter()
        self._end()
        settled = perf_counter()
        self._room.free += 1
        self._note(self._admission.dispatch(POOL, self._now))
        dispatched = perf_counter()
        self._arrive(self._running[-1].tenant)
        return perf_counter() - dispatched, dispatched - settled, settled - began

    def _end(self) -> None:
        usage = Usage(_PROMPT_TOKENS, 0, _OUTPUT_TOKENS)
        self._admission.release(self._running.popleft(), usage, self._now, completed=True)

    def _arrive(self, tenant: str) -> None:
        self._serial += 1
        ticket = Ticket(f"request-{self._serial}", tenant, "key", POOL).sized(
            sequences=1, prompt_tokens=_PROMPT_TOKENS, max_output_tokens=_MOST_OUTPUT_TOKENS, reports_at_end=False
        )
        self._note(self._admission.submit(ticket, self._now))

    def _note(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            assert isinstance(decision, Grant)
            self._running.append(decision.ticket)


def run_trial(size: Size, blocks: int = BLOCKS) -> Trial:
    """Bring a scheduler to `size` and time its decisions."""
    gc.set_threshold(_GC_ALLOCATIONS)
    before = resident_bytes([os.getpid()])
    bench = Bench()
    bench.fill(size)
    taken = resident_bytes([os.getpid()]) - before
    turns = [[bench.turn() for _ in range(TURNS_IN_BLOCK)] for _ in range(blocks)]
    arrival, dispatch, settlement = (_typical([[turn[step] for turn in block] for block in turns]) for step in range(3))
    worst = max(max(turn) for block in turns for turn in block)
    return Trial(size, arrival, dispatch, settlement, worst, taken)


def _typical(blocks: Sequence[Sequence[float]]) -> float:
    """The median of the blocks' means, so that a block in which the machine did something else does not count."""
    return median([sum(block) / len(block) for block in blocks])


SIZES: Mapping[str, Sequence[Size]] = {
    "waiting": tuple(Size(waiting) for waiting in (100, 1_000, 10_000, 100_000)),
    "known": tuple(Size(100, known=known) for known in (1_000, 10_000, 100_000, 1_000_000)),
    "queued": tuple(Size(1_000, queued_each=each) for each in (10, 100, 1_000)),
}
FLAT = 2.0  # a heap's logarithm, and a cache that no longer holds everything
ARRIVAL, DISPATCH, MEMORY = "arrival us", "dispatch us", "MB"
FIGURES: Mapping[str, Callable[[Trial], float]] = {
    "waiting": lambda trial: trial.size.waiting,
    "known": lambda trial: max(trial.size.known, trial.size.waiting),
    "queued": lambda trial: trial.size.requests,
    ARRIVAL: lambda trial: trial.arrival_seconds * 1e6,
    DISPATCH: lambda trial: trial.dispatch_seconds * 1e6,
    "end us": lambda trial: trial.settlement_seconds * 1e6,
    "worst ms": lambda trial: trial.worst_seconds * 1e3,
    "requests/s": lambda trial: 1 / (trial.arrival_seconds + trial.dispatch_seconds + trial.settlement_seconds),
    MEMORY: lambda trial: trial.resident_bytes / 1e6,
}


@dataclass(frozen=True, slots=True)
class SchedulerOptions(Delivery):
    """What to run; `most` leaves out the sizes with more tenants or requests than that."""

    most: int = 1_000_000
    rounds: int = 3


async def measure(options: SchedulerOptions) -> Report:
    """Run every trial in a process of its own. Of several rounds the fastest counts: the machine disturbed it least."""
    progress = Progress()
    trials: dict[str, list[Trial]] = {}
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        for title, sizes in SIZES.items():
            for size in (size for size in sizes if max(size.known, size.requests) <= options.most):
                progress.step(f"{title}: {size}")
                rounds = [pool.submit(run_trial, size).result() for _ in range(options.rounds)]
                trials.setdefault(title, []).append(min(rounds, key=lambda trial: trial.dispatch_seconds))
    progress.clear()
    usual = {"policy": "vtc", "predictor": "quantile", "running": RUNNING}
    return Report(
        title="scheduler",
        setting={**usual, "rounds": options.rounds, "compiled": IS_COMPILED},
        verdicts=verdicts(trials),
        measurements={title: [asdict(trial) for trial in series] for title, series in trials.items()},
        sheets=[_sheet(title, series) for title, series in trials.items()],
    )


def verdicts(trials: Mapping[str, Sequence[Trial]]) -> list[Verdict]:
    """The verdict on every target. For a series that was cut short its largest size counts."""
    waiting, queued = trials["waiting"][-1], trials["queued"][-1]
    most = queued.size.requests
    slowest = at_most(f"dispatch with {waiting.size.waiting:,} waiting tenants", 20.0, " us")
    held = at_most(f"memory of {most:,} queued requests", 1000.0, " MB")
    return [
        slowest.judge(FIGURES[DISPATCH](waiting)),
        _flat("dispatch, by waiting tenants", trials["waiting"], DISPATCH),
        _flat("arrival, by waiting tenants", trials["waiting"], ARRIVAL),
        _flat("dispatch, by known tenants", trials["known"], DISPATCH),
        _flat("arrival, by queued requests", trials["queued"], ARRIVAL),
        held.judge(FIGURES[MEMORY](queued), f"{queued.resident_bytes / most:,.0f} bytes each"),
    ]


def _flat(name: str, series: Sequence[Trial], figure: str) -> Verdict:
    least, most = FIGURES[figure](series[0]), FIGURES[figure](series[-1])
    note = f"{number(most)} us against {number(least)} us at the smallest size"
    return at_most(f"{name}: largest over smallest", FLAT, " x").judge(most / least, note)


def _sheet(title: str, series: Sequence[Trial]) -> Sheet:
    rows = [SheetRow([number(figure(trial)) for figure in FIGURES.values()]) for trial in series]
    return Sheet(f"by {title}", tuple(FIGURES), rows)
