"""The port through which the scheduler asks for room; `gateway.workers.Fleet` and the simulator's engines implement it.

Every call gets the ticket. The implementation decides what room means: sequences, prompt tokens, KV cache. It only
reads the ticket, and what it reads does not change between `take` and `give`.
"""

from typing import Protocol

from gateway.fairness.ticket import Ticket


class Capacity(Protocol):
    """Room at the workers of each pool."""

    def take(self, ticket: Ticket, /) -> str | None:
        """Reserve room for one request and name the worker; None if no worker has room now.

        `ticket.avoid` names a worker that failed the request: it is used only if the pool has no other that serves.
        """
        ...

    def take_express(self, ticket: Ticket, /) -> str | None:
        """As `take`, but in the room beyond the window that is kept for tenants with nothing in flight."""
        ...

    def has_express(self, pool: str) -> bool:
        """True if some worker of the pool keeps such room, taken or not."""
        ...

    def affinity(self, ticket: Ticket, /) -> int:
        """How many of the prompt's tokens the worker that `take` would choose now has cached; 0 if none has room."""
        ...

    def prefilled(self, ticket: Ticket, /) -> None:
        """Give back the room of the prompt at `ticket.worker`, because the prompt was read."""
        ...

    def give(self, ticket: Ticket, /) -> None:
        """Give back the rest of the request's room at `ticket.worker`, because the request ended."""
        ...

    def serves(self, pool: str) -> bool:
        """True if at least one worker of the pool serves."""
        ...

    def awaits(self, pool: str) -> bool:
        """True if requests of the pool may wait although no worker serves, because one is expected to."""
        ...
