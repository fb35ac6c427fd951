"""When queued tickets give up waiting: one heap, no polling.

An entry is live while its ticket is queued and was not watched again since. Other entries are dropped when they come to
the top, and swept when they outnumber the live ones.
"""

from heapq import heapify, heappop, heappush
from typing import Final

from gateway.fairness.ticket import Ticket, TicketState

_SLACK_ENTRIES: Final = 64  # below this size sweeping is not worth its cost

_Entry = tuple[float, int, Ticket]


class Deadlines:
    """Queued tickets by the time at which they expire."""

    __slots__ = ("_entries", "_serial")

    def __init__(self) -> None:
        """Start with no ticket."""
        self._entries: list[_Entry] = []
        self._serial = 0

    def watch(self, ticket: Ticket, queued: int) -> None:
        """Watch the deadline of `ticket`, one of `queued` tickets that wait in all."""
        self._serial += 1
        ticket.watch = self._serial
        heappush(self._entries, (ticket.deadline, self._serial, ticket))
        if len(self._entries) > 2 * queued + _SLACK_ENTRIES:
            self._entries = [entry for entry in self._entries if _is_live(entry)]
            heapify(self._entries)

    def next(self) -> float | None:
        """The earliest deadline (loop time); None if no ticket waits."""
        while self._entries and not _is_live(self._entries[0]):
            heappop(self._entries)
        return self._entries[0][0] if self._entries else None

    def pop_due(self, now: float) -> Ticket | None:
        """One ticket whose deadline has come; None if there is none."""
        deadline = self.next()
        if deadline is None or deadline > now:
            return None
        return heappop(self._entries)[2]


def _is_live(entry: _Entry) -> bool:
    _, serial, ticket = entry
    return ticket.state is TicketState.QUEUED and ticket.watch == serial
