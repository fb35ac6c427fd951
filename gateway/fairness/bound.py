"""The computed bound on how far the counters of waiting flows lie apart, from what was really in flight.

The level of a flow's last turn is the least waiting counter at the moment when the flow was last dispatched or lifted.
A waiting flow f is at most E_f above that level, and no waiting flow is more than R_f below it. E_f (`Flow.exposure`)
is what the flow's requests in flight at that turn could add; it includes the turn's own charge, and how far the flow
was ahead of its turn. R_f (`Flow.margin`) is the most that refunds could take back at that turn from any one flow; to
it comes what engines have since taken back of their reports. The bound is the largest E_f + R_f among the flows that
wait, so it shrinks when they have had their next turn. Every term is in counter units (divided by the weight).
docs/fairness.md has the derivation.
"""

from collections.abc import Iterable
from typing import Final

from gateway.fairness.flow import Flow

_FEWEST_TURNS: Final = 16  # least number of turns between two searches for the flow with the largest refundable amount


class SpreadBound:
    """What refunds may take back from the flows of one level, and the bound for those who wait."""

    __slots__ = ("_flying", "_turns", "_waiting", "refundable", "taken_back")

    def __init__(self, waiting: Iterable[Flow] = ()) -> None:
        """Start with nothing dispatched; `waiting` is a live view of the flows that wait."""
        self._waiting = waiting
        self._flying: dict[Flow, int] = {}
        self._turns = 0
        self.refundable = 0  # no flow has more; searched again after as many turns as there are flows in flight
        self.taken_back = 0  # what engines have taken back of their reports, in all

    @property
    def units(self) -> int:
        """The bound for those who wait now, in counter units; O(waiting flows)."""
        most = max((flow.exposure + flow.margin for flow in self._waiting), default=-self.taken_back)
        return most + self.taken_back

    @property
    def margin(self) -> int:
        """R_f of a turn at this moment, less what was taken back so far; the bound adds the latter again."""
        return self.refundable - self.taken_back

    def open(self, flow: Flow) -> None:
        """Note that a request of `flow` is about to be charged for the first time."""
        self._flying[flow] = self._flying.get(flow, 0) + 1
        self._turns += 1
        if self._turns > max(_FEWEST_TURNS, len(self._flying)):
            self._turns = 0
            self.refundable = max(other.refundable for other in self._flying)

    def close(self, flow: Flow) -> None:
        """Note that a request of `flow` was settled."""
        left = self._flying[flow] - 1
        if left:
            self._flying[flow] = left
        else:
            del self._flying[flow]

    def note(self, flow: Flow) -> None:
        """Take in the present refundable amount of `flow`."""
        if flow.refundable > self.refundable:
            self.refundable = flow.refundable

    def widen(self, units: int) -> None:
        """Widen the bound by `units` that an engine reported as used and then took back; no margin allowed for them."""
        self.taken_back += units
