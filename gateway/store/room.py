"""The scheduler's port to room that several gateways share: the replica says how much, the fleet says where.

Every request that is sent takes room twice: at the fleet, which knows what this gateway has at each worker, and in the
replica's book, which knows what the store gave. Both are given back together. An express request takes no room of the
store: each replica has its own part of every express lane. Left to others: when the store is asked (`owner`).
"""

from collections.abc import Mapping

from gateway.fairness import Ticket
from gateway.replicas.replica import Replica
from gateway.replicas.room_book import Permit
from gateway.store.owner import Owner
from gateway.workers import SharedFleet


class SharedRoom:
    """The workers of a fleet, whose room a store hands out; it implements `fairness.Capacity`."""

    def __init__(self, fleet: SharedFleet, replicas: Mapping[str, Replica], owner: Owner) -> None:
        """`replicas` by pool is a live view; `owner` asks the store."""
        self._fleet = fleet
        self._replicas = replicas
        self._owner = owner
        self._express: set[Ticket] = set()

    # -- what the scheduler asks

    def take(self, ticket: Ticket, /) -> str | None:
        """Use room at hand; the worker, or None, and then the store is asked for room."""
        self._owner.check()
        replica = self._replicas[ticket.pool]
        permit = replica.permit(ticket)
        worker = None
        if permit is not Permit.NOTHING:
            worker = self._fleet.take_where(ticket, lambda name: replica.has_room(name, permit))
        if worker is None:
            self._owner.wake(ticket.pool)
            return None
        replica.use(worker, ticket, permit)
        if replica.is_low:
            self._owner.wake(ticket.pool)
        return worker

    def take_express(self, ticket: Ticket, /) -> str | None:
        """Use this replica's part of an express lane."""
        worker = self._fleet.take_express(ticket)
        if worker is not None:
            self._express.add(ticket)
            self._replicas[ticket.pool].flows.granted(ticket)
        return worker

    def has_express(self, pool: str) -> bool:
        """True if this replica has a part of some express lane."""
        return self._fleet.has_express(pool)

    def affinity(self, ticket: Ticket, /) -> int:
        """How many prompt tokens are cached where the request would run now."""
        replica = self._replicas[ticket.pool]
        permit = replica.permit(ticket)
        return self._fleet.affinity_where(ticket, lambda name: replica.has_room(name, permit))

    def prefilled(self, ticket: Ticket, /) -> None:
        """Give back the room of the prompt; the next call reports it to the store."""
        self._fleet.prefilled(ticket)

    def give(self, ticket: Ticket, /) -> None:
        """Give back the rest: here it is the replica's own, until the store gives it to somebody else."""
        replica = self._replicas[ticket.pool]
        self._fleet.give(ticket)
        if ticket in self._express:
            self._express.discard(ticket)
            replica.flows.ended(ticket, replica.number)
            return
        replica.give(ticket)
        if replica.is_busy:
            self._owner.wake(ticket.pool)

    def serves(self, pool: str) -> bool:
        """True if at least one worker of the pool serves."""
        return self._fleet.serves(pool)

    def awaits(self, pool: str) -> bool:
        """True if requests of the pool may wait although no worker serves."""
        return self._fleet.awaits(pool)
