"""Accumulated cost over time: each span's cost is spread evenly from its start to its end.

The windows [a, b) of one curve are additive: what lies in two adjacent windows lies in their union. A span without
length counts at its moment, in the window that it opens.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Span:
    """`cost` spread evenly over the seconds from `start` to `end`."""

    start: float
    end: float
    cost: float

    def until(self, at: float) -> float:
        """The part of the cost that lies before `at`."""
        if at > self.end:
            return self.cost
        if at <= self.start:
            return 0.0
        return self.cost * (at - self.start) / (self.end - self.start)


class Curve:
    """The sum of many spans. A look-up costs a binary search and the spans that cross the moment."""

    __slots__ = ("_before", "_ends", "_longest", "_spans")

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        """Order the spans once; they do not change afterwards."""
        self._spans = sorted(spans, key=lambda span: span.end)
        self._ends = [span.end for span in self._spans]
        self._before = list(accumulate((span.cost for span in self._spans), initial=0.0))
        self._longest = max((span.end - span.start for span in self._spans), default=0.0)

    @property
    def total(self) -> float:
        """The cost of all spans."""
        return self._before[-1]

    def until(self, at: float) -> float:
        """The cost before `at`."""
        over = bisect_left(self._ends, at)
        # A span that ends later than this has not begun.
        ahead = bisect_left(self._ends, at + self._longest, lo=over)
        return self._before[over] + sum(span.until(at) for span in self._spans[over:ahead])

    def between(self, start: float, end: float) -> float:
        """The cost in the window [start, end)."""
        return self.until(end) - self.until(start)

    def rate(self, at: float, window_seconds: float) -> float:
        """Cost per second in the window of this length centred on `at`."""
        return self.between(at - window_seconds / 2, at + window_seconds / 2) / window_seconds
