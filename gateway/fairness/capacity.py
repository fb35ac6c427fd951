"""The port through which the scheduler asks for room; `gateway.workers.Fleet` and the simulator's engines answer it.

It is handed the ticket: what room means (sequences, prompt tokens, KV cache) is the answerer's business. The answerer
only reads the ticket; what it reads there does not change between `take` and `give`.
"""

from typing import Protocol

from gateway.fairness.ticket import Ticket


class Capacity(Protocol):
    """Room at the workers of each pool."""

    def take(self, ticket: Ticket, /) -> str | None:
        """Reserve room for one request and name the worker, None where it fits none now.

        `ticket.avoid` names a worker that failed it: used only where the pool has no other that serves.
        """
        ...

    def prefilled(self, ticket: Ticket, /) -> None:
        """The prompt was read: give its tokens back at `ticket.worker`."""
        ...

    def give(self, ticket: Ticket, /) -> None:
        """The request ended: give back the rest of its room at `ticket.worker`."""
        ...

    def serves(self, pool: str) -> bool:
        """True where at least one worker of the pool can be expected to answer."""
        ...
