"""One replica's part of the bound on the spread over the fleet (docs/fairness.md, section 8), measured as it works.

The bound is the exposures and the refundable amounts of all replicas, and twice what one may not know of the others'
charges. Each replica reports the largest of its flows. Their sum over the replicas is at least what section 8 needs of
any one flow, and up to as many times that as there are replicas. Amounts are counter units, and wire units once they
are reported. Flows are looked at a few at a time, because ten thousand may wait. Left to others: the sums (`turn.lua`).
"""

from typing import Final

from gateway.fairness.policies import VirtualTokenCounter
from gateway.fairness.queues import TenantQueue
from gateway.replicas.call import NOBODY, Figures
from gateway.replicas.flow_book import FlowBook

LOOK_SECONDS: Final = 0.5  # at least, between the beginnings of two looks at all flows that wait or may be exposed
MOST_AT_ONCE: Final = 512  # flows, of all that a look takes in; they hold the event loop up for less than a millisecond
RECENT_SECONDS: Final = 60.0  # what was unknown counts for one to two of these


class Spread:
    """What the flows of one replica add to the bound."""

    def __init__(self, book: FlowBook, policy: VirtualTokenCounter[TenantQueue]) -> None:
        """No flow had a turn."""
        self._book = book
        self._policy = policy
        self._leads: dict[TenantQueue, int] = {}  # how far each was ahead of the level at its last dispatch here
        self._looked_at = self._recent_since = float("-inf")
        self._exposure, self._greatest = 0, NOBODY
        self._unseen: list[TenantQueue] = []  # of the look that has begun
        self._seen_exposure, self._seen_greatest = 0, NOBODY  # of the flows that it has taken in
        self._turned: dict[TenantQueue, None] = {}  # since the last figures
        self._level = 0
        self._margin = 0  # the largest margin since the last answer
        self._margin_before = 0  # between the two answers before
        self._margin_kept = 0  # since the call before the one at which the level got its present value
        self._unreported, self._unheard = [0, 0], [0, 0]  # in the present and in the last minute

    def turned(self, flow: TenantQueue) -> None:
        """A request of `flow` is about to be charged."""
        self._leads[flow] = max(0, flow.counter - self._level)
        self._turned[flow] = None
        self._note_margin()

    def _note_margin(self) -> None:
        self._margin = max(self._margin, self._policy.bound.margin)

    def heard(self, level: int) -> None:
        """A call was answered, and this is the level that all know.

        Flows may be below it by what could be refunded when their replica made its last call before it rose.
        """
        recent = max(self._margin_before, self._margin)
        self._margin_kept = recent if level > self._level else max(self._margin_kept, recent)
        self._level = max(self._level, level)
        self._margin_before, self._margin = self._margin, self._policy.bound.margin

    def figures(self, now: float, least: int) -> Figures:
        """What to report in the call that is made now, after the flows; `least` waits here, in wire units."""
        self._note_margin()
        self._note_unknown(now)
        self._look_at_turned()
        is_due = not self._unseen and now >= self._looked_at + LOOK_SECONDS
        if is_due:
            self._looked_at = now
            self._begin_look()
        if is_due or self._unseen:
            self._look_on(MOST_AT_ONCE)
        refundable = max(self._margin_kept, self._margin_before, self._margin) + self._policy.bound.taken_back
        wire = self._book.to_wire_up
        return Figures(
            wire(self._exposure),
            wire(refundable),
            wire(max(self._unreported)),
            wire(max(self._unheard)),
            self._greatest,
            least,
        )

    def _note_unknown(self, now: float) -> None:
        if now >= self._recent_since + RECENT_SECONDS:
            self._recent_since = now
            for recent in (self._unreported, self._unheard):
                recent[:] = 0, recent[0]
        unreported, unheard = self._book.take_steps()
        self._unreported[0], self._unheard[0] = max(self._unreported[0], unreported), max(self._unheard[0], unheard)

    def look(self) -> None:
        """Find the largest exposure and the greatest counter that waits, at all flows at once."""
        self._begin_look()
        self._look_on(len(self._unseen))

    def _look_at_turned(self) -> None:
        """Take in at once what can have risen since the last figures; a look finds what has fallen."""
        turned, self._turned = self._turned, {}
        exposure = max(map(self._exposed, turned), default=0)
        self._exposure = max(self._exposure, exposure)
        self._seen_exposure = max(self._seen_exposure, exposure)

    def _begin_look(self) -> None:
        self._unseen = list(self._policy.waiting)
        self._unseen += [flow for flow in self._leads if not flow.is_waiting]
        self._seen_exposure, self._seen_greatest = 0, NOBODY

    def _look_on(self, most: int) -> None:
        """Take in up to `most` more flows; the figures are those of all flows, once the last was taken in."""
        seen = self._unseen[-most:] if most else []
        del self._unseen[len(self._unseen) - len(seen) :]
        for flow in seen:
            self._seen_exposure = max(self._seen_exposure, self._exposed(flow))
            if flow.is_waiting:
                self._seen_greatest = max(self._seen_greatest, self._book.to_wire(flow.counter))
        if not self._unseen:
            self._exposure, self._greatest = self._seen_exposure, self._seen_greatest

    def _exposed(self, flow: TenantQueue) -> int:
        """How far `flow` can be above the level for what it was given here."""
        level = self._level
        exposed = max(0, flow.exposure) + max(self._leads.get(flow, 0), flow.floor - level, 0)
        if flow.is_waiting or flow.in_flight:
            return exposed
        exposed = min(exposed, max(0, flow.counter - level))  # nothing is open here, so this is all that is left
        if not exposed:
            self._leads.pop(flow, None)
        return exposed
