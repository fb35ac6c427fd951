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

    def take_express(self, ticket: Ticket, /) -> str | None:
        """As `take`, in the room that is kept beyond the window for tenants with nothing in flight."""
        ...

    def has_express(self, pool: str) -> bool:
        """True where some worker of the pool keeps such room, taken or not."""
        ...

    def affinity(self, ticket: Ticket, /) -> int:
        """Prompt tokens that the worker which `take` would choose now has cached; 0 where the request fits none."""
        ...

    def prefilled(self, ticket: Ticket, /) -> None:
        """The prompt was read: give its tokens back at `ticket.worker`."""
        ...

    def give(self, ticket: Ticket, /) -> None:
        """The request ended: give back the rest of its room at `ticket.worker`."""
        ...

    def serves(self, pool: str) -> bool:
        """True where at least one worker of the pool serves."""
        ...

    def awaits(self, pool: str) -> bool:
        """True where requests of the pool may wait although none serves: one is expected to."""
        ...
