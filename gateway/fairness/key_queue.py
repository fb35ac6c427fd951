"""The requests of one key that wait, oldest first."""

from collections import deque
from collections.abc import Iterator
from typing import Final

from gateway.fairness.flow import Flow
from gateway.fairness.ticket import Ticket, TicketState

_DEAD_SLACK: Final = 16  # withdrawn tickets that a FIFO may keep before it is swept


class KeyQueue(Flow):
    """Requests of one key, oldest first; withdrawn ones stay until they reach an end of the queue or are swept."""

    __slots__ = ("_fifo", "is_used")

    def __init__(self, name: str, weight: float = 1.0) -> None:
        """An empty FIFO."""
        super().__init__(name, weight)
        self.is_used = True  # since the last look for unused keys
        self._fifo: deque[Ticket] = deque()

    def append(self, ticket: Ticket) -> None:
        """Put a new request at the end."""
        self._fifo.append(ticket)
        self._grew()

    def put_back(self, ticket: Ticket) -> None:
        """Put a request whose attempt failed back at the head, behind older ones that came back before it."""
        older: list[Ticket] = []
        while self._fifo and self._fifo[0].order < ticket.order:
            older.append(self._fifo.popleft())
        self._fifo.appendleft(ticket)
        self._fifo.extendleft(reversed(older))
        self._grew()

    def oldest(self) -> Ticket:
        """The oldest request; the queue must not be empty."""
        while self._fifo[0].state is not TicketState.QUEUED:
            self._fifo.popleft()
        return self._fifo[0]

    def in_order(self) -> Iterator[Ticket]:
        """Its requests, oldest first."""
        return (ticket for ticket in self._fifo if ticket.state is TicketState.QUEUED)

    def newest(self) -> Ticket:
        """The newest request; the queue must not be empty."""
        while self._fifo[-1].state is not TicketState.QUEUED:
            self._fifo.pop()
        return self._fifo[-1]

    def shrank(self) -> None:
        """Note that one request left; its state says so already."""
        self.queued -= 1
        if self.queued == 0:
            self._fifo.clear()
            return
        if len(self._fifo) > 2 * self.queued + _DEAD_SLACK:
            self._fifo = deque(ticket for ticket in self._fifo if ticket.state is TicketState.QUEUED)
        self.head_order = self.oldest().order

    def _grew(self) -> None:
        self.queued += 1
        self.head_order = self.oldest().order
