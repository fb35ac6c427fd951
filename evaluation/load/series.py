"""Service over time: what one tenant has received at each moment, as the client saw it arrive.

Times ascend. A window counts what arrived within it, so a request that straddles an edge counts in part.
Bound: two floats per received buffer, for runs of minutes.
"""

from array import array
from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time on one clock."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


class ServiceSeries:
    """A growing step function of time: cumulative service."""

    __slots__ = ("_times", "_totals")

    def __init__(self) -> None:
        self._times = array("d")
        self._totals = array("d")

    @property
    def total(self) -> float:
        """Everything received until now."""
        return self._totals[-1] if self._totals else 0.0

    def add(self, at: float, service: float) -> None:
        """Note that `service` arrived at time `at`, which must not lie before the last one."""
        assert not self._times or at >= self._times[-1], "time runs forward"
        self._times.append(at)
        self._totals.append(self.total + service)

    def until(self, at: float) -> float:
        """Everything received up to and including `at`."""
        count = bisect_right(self._times, at)
        return self._totals[count - 1] if count else 0.0

    def between(self, start: float, end: float) -> float:
        """What arrived after `start` and not after `end`."""
        return self.until(end) - self.until(start)

    def within(self, window: Span) -> float:
        """What arrived in `window`."""
        return self.between(window.start, window.end)
