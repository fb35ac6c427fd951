"""The computed bound on how far the counters of waiting flows lie apart, from what was really in flight.

A waiting flow f is at most E_f above the level of its last turn, the least waiting counter when it was last dispatched
or lifted, and no waiting flow is more than R_f below that level. E_f is what its requests in flight at that turn could
add, the turn's own charge and lead included (`Flow.exposure`); R_f (`Flow.margin`) the most that refunds could take
back then from what any flow had in flight, and since then what an engine took back of its report. The bound is the
largest E_f + R_f of those who wait: it shrinks when they have had their next turn. Every term is held in counter units
(divided by the weight). The derivation stands in docs/fairness.md.
"""

from collections.abc import Iterable

from gateway.fairness.flow import Flow

_FEWEST_TURNS = 16  # between two searches for the flow with the most to be refunded


class SpreadBound:
    """What refunds may take back from the flows of one level, and the bound that follows for those who wait."""

    __slots__ = ("_flying", "_turns", "_waiting", "refundable", "taken_back")

    def __init__(self, waiting: Iterable[Flow] = ()) -> None:
        """Nothing was dispatched; `waiting` is a live view of the flows that wait."""
        self._waiting = waiting
        self._flying: dict[Flow, int] = {}
        self._turns = 0
        self.refundable = 0  # no flow has more; found anew after as many turns as there are flows in flight
        self.taken_back = 0  # in all

    @property
    def units(self) -> int:
        """The bound for those who wait now, in counter units; O(waiting flows)."""
        most = max((flow.exposure + flow.margin for flow in self._waiting), default=-self.taken_back)
        return most + self.taken_back

    @property
    def margin(self) -> int:
        """What a turn at this moment has for R_f, less what was taken back so far: the bound adds all of that again."""
        return self.refundable - self.taken_back

    def open(self, flow: Flow) -> None:
        """A request of `flow` is about to be charged for the first time."""
        self._flying[flow] = self._flying.get(flow, 0) + 1
        self._turns += 1
        if self._turns > max(_FEWEST_TURNS, len(self._flying)):
            self._turns = 0
            self.refundable = max(other.refundable for other in self._flying)

    def close(self, flow: Flow) -> None:
        """A request of `flow` was settled."""
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
        """An engine took back `units` that it had reported as used: no figure before had allowed for that."""
        self.taken_back += units
