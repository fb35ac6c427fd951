"""The requests that a replica names in a call: who would go next here, and the room that each needs.

Left to others: the order of turns (`fairness.preview`), and what room is (`Workers`).
"""

from typing import Protocol

from gateway.fairness.pool import PoolAccount
from gateway.fairness.preview import coming_turns
from gateway.fairness.ticket import Ticket
from gateway.replicas.call import Candidate
from gateway.replicas.flow_book import FlowBook


class Workers(Protocol):
    """What this gateway knows of the workers besides sequences."""

    def needs(self, ticket: Ticket, /) -> tuple[int, int, str]:
        """The prompt tokens and the KV cache (tokens) that a request needs, and the worker preferred for it, or ""."""
        ...

    def held(self, worker: str, /) -> tuple[int, int, int, bool]:
        """Of this gateway's requests at `worker`: unread prompt tokens, KV cache (tokens), output tokens ever metered.

        And whether this gateway can send requests there.
        """
        ...


def candidates(account: PoolAccount, book: FlowBook, workers: Workers, most: int) -> list[Candidate]:
    """Up to `most` requests in the order in which they would go, with counters in wire units."""
    wire = book.to_wire
    return [
        Candidate(
            wire(turn.counter),
            turn.ticket.tenant,
            wire(turn.key_counter),
            turn.ticket.sequences,
            *workers.needs(turn.ticket),
        )
        for turn in coming_turns(account, most)
    ]
