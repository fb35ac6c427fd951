"""What a run leaves behind: what became of each request, and the scheduler's own figures over time.

Spread: how far the counters of waiting tenants lay apart at each dispatch, next to the bound computed at that time.
Service over time is exact: a prompt's cost at its first token, each output token's when it was generated. What a tenant
got is held per interval of a grid, so that a run of any length leaves a few numbers; the cost function is the run's
own.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.requests import Served
from evaluation.simulation.gauges import GaugeReading
from gateway.fairness import CostFunction


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One moment at which requests were granted room; amounts in cost units."""

    at: float
    spread: float
    bound: float


@dataclass(frozen=True, slots=True)
class Spread:
    """Every dispatch of a run."""

    dispatches: list[Dispatch] = field(default_factory=list)

    @property
    def largest(self) -> float:
        """The largest spread seen."""
        return max((dispatch.spread for dispatch in self.dispatches), default=0.0)

    @property
    def bound(self) -> float:
        """The largest bound at any dispatch."""
        return max((dispatch.bound for dispatch in self.dispatches), default=0.0)

    @property
    def violations(self) -> int:
        """Dispatches at which the spread was over its bound: none under `vtc`."""
        return sum(dispatch.spread > dispatch.bound for dispatch in self.dispatches)


GRID_SECONDS = 1.0


class Timeline:
    """Cost received by tenant and interval; interval i is from i to i + 1 times `GRID_SECONDS`, its end excluded."""

    __slots__ = ("_cost", "_received")

    def __init__(self, cost: CostFunction) -> None:
        """Nobody has received anything."""
        self._cost = cost
        self._received: dict[str, list[float]] = {}

    def record(self, tenant: str, prompt_tokens: int, token_times: Sequence[float]) -> None:
        """A request's tokens came at `token_times`, in order."""
        if not token_times:
            return
        received = self._received.setdefault(tenant, [])
        first, last = int(token_times[0] / GRID_SECONDS), int(token_times[-1] / GRID_SECONDS)
        received.extend([0.0] * (last + 1 - len(received)))
        before = 0.0
        for interval in range(first, last + 1):
            tokens = bisect_left(token_times, (interval + 1) * GRID_SECONDS)
            cost = self._cost(prompt_tokens, 0, tokens) if tokens else 0.0
            received[interval] += cost - before
            before = cost

    def cumulative(self) -> Mapping[str, list[float]]:
        """By tenant, what it got until the end of each interval; all rows are of the same length."""
        length = max(map(len, self._received.values()), default=0)
        return {tenant: _summed(received, length) for tenant, received in sorted(self._received.items())}


def _summed(amounts: Sequence[float], length: int) -> list[float]:
    total, sums = 0.0, []
    for amount in amounts:
        total += amount
        sums.append(total)
    return sums + [total] * (length - len(sums))


@dataclass(slots=True)
class EngineTally:
    """What one engine has done: `steps` in which a sequence decoded, and `sequence_steps`, the sum of those batches."""

    steps: int = 0
    sequence_steps: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0
    preemptions: int = 0
    busy_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """One run: `served` in the order of the requests given, `ended_at` the virtual second of the last event."""

    served: Sequence[Served]
    ended_at: float
    spread: Spread
    engines: Sequence[EngineTally]
    timeline: Timeline
    charged: dict[str, float]
    """Cost units that the scheduler charged each of its tenants, all settled."""
    readings: Sequence[GaugeReading] = ()
