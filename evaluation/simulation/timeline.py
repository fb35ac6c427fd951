"""Service over time, exactly: a prompt's cost at its first token, each output token's when it was generated.

What a tenant got is held per interval of a grid, so that a run of any length leaves a few numbers; the cost function is
the run's own.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from gateway.fairness import CostFunction

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
