"""One trial: a scheduler brought to a size and held there, while its decisions are timed.

A steady state: every measured turn one running request ends, room appears and the next is dispatched, and the tenant
that was given it sends another request, which finds none. So the numbers that wait, run and are known stay what they
are. Garbage collection runs as it does in a gateway.
"""

import gc
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from evaluation.bench.processes import resident_bytes
from evaluation.metrics import median
from gateway.fairness import Admission, Decision, Grant, Linear, PoolSpec, Rules, Ticket, Usage
from gateway.fairness.policies import POLICIES
from gateway.fairness.predictor import Quantile

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
_GC_ALLOCATIONS = 20_000  # what `gateway.serve` sets


@dataclass(frozen=True, slots=True)
class Size:
    """How large a scheduler is: tenants that wait, requests that each of these has queued, tenants known in all."""

    waiting: int
    queued_each: int = 2
    known: int = 0


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

    @property
    def requests_per_second(self) -> float:
        """How many requests could come, run and end in a second of decisions."""
        return 1 / (self.arrival_seconds + self.dispatch_seconds + self.settlement_seconds)


class Room:
    """The scheduler's capacity: one worker, whose room appears when the bench says so."""

    def __init__(self) -> None:
        self.free = RUNNING

    def take(self, ticket: Ticket) -> str | None:
        """Room for one more, if there is any."""
        if self.free == 0:
            return None
        self.free -= 1
        return WORKER

    def has_express(self, pool: str) -> bool:
        """There is no room beyond the window."""
        return False

    def take_express(self, ticket: Ticket) -> None:
        """There is none."""

    def affinity(self, ticket: Ticket) -> int:
        """Nothing is cached."""
        return 0

    def prefilled(self, ticket: Ticket) -> None:
        """Prompts take no room."""

    def give(self, ticket: Ticket) -> None:
        """One request ended; its room appears in a step of its own."""

    def serves(self, pool: str) -> bool:
        """The worker is well."""
        return True

    def awaits(self, pool: str) -> bool:
        """There is nothing to wait for."""
        return False


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
        for number in range(size.waiting, size.known):
            self._arrive(f"tenant-{number}")
            self._end()
            self._room.free += 1
        for _ in range(size.queued_each):
            for number in range(size.waiting):
                self._arrive(f"tenant-{number}")

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
            sequences=1, prompt_tokens=_PROMPT_TOKENS, max_output_tokens=_MOST_OUTPUT_TOKENS, is_silent=False
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
    """The median of the blocks' means: a block in which the machine did something else does not count."""
    return median([sum(block) / len(block) for block in blocks])
