"""Who would go next in a pool, and at which counters, if room came for one request after the other.

It plays the coming turns on copies of the counters: each request is charged its prompt and its reservation, as at its
dispatch. Room is not looked at, because it is to be found for these requests. Replicas that share an account compare
such lists. The list ends early where a tenant's in-flight limit holds its next request back.
"""

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from gateway.fairness.cost import to_units
from gateway.fairness.key_queue import KeyQueue
from gateway.fairness.pool import PoolAccount
from gateway.fairness.queues import TenantQueue
from gateway.fairness.ticket import Ticket


class Coming(NamedTuple):
    """A request that waits, and the counters of its tenant and key when its turn comes, in units."""

    ticket: Ticket
    counter: int
    key_counter: int


def coming_turns(account: PoolAccount, most: int) -> list[Coming]:
    """Up to `most` requests in the order in which they would go; O(most log most) besides a search of the heaps."""
    lines = [_Line(account, tenant, most) for tenant in account.queue.group.policy.waiting.least(most)]
    tenants = [(line.tenant.counter, line.arrival, line) for line in lines]
    heapify(tenants)
    turns: list[Coming] = []
    while tenants and len(turns) < most:
        counter, _, line = heappop(tenants)
        taken = line.take()
        if taken is not None:
            turn, charge = taken
            turns.append(Coming(turn.ticket, counter, turn.counter))
            if line.arrival is not None:
                heappush(tenants, (counter + to_units(charge, line.tenant.weight), line.arrival, line))
    return turns


class _KeyTurn(NamedTuple):
    """The next request of a key; its counter and the request's arrival number order it among the tenant's keys."""

    counter: int
    arrival: int
    ticket: Ticket
    later: Iterator[Ticket]
    key: KeyQueue


class _Line:
    """What a tenant's keys would send, one request after the other."""

    def __init__(self, account: PoolAccount, tenant: TenantQueue, most: int) -> None:
        self.tenant = tenant
        self._account = account
        self._in_flight = tenant.allowance.in_flight
        self._turns: list[_KeyTurn] = []
        for key in tenant.group.policy.waiting.least(most):
            self._add(key, key.counter, key.in_order())

    def _add(self, key: KeyQueue, counter: int, tickets: Iterator[Ticket]) -> None:
        ticket = next(tickets, None)
        if ticket is not None:
            heappush(self._turns, _KeyTurn(counter, ticket.order, ticket, tickets, key))

    @property
    def arrival(self) -> int | None:
        """The arrival number of the next request; None if there is none."""
        return self._turns[0].arrival if self._turns else None

    def take(self) -> tuple[_KeyTurn, float] | None:
        """The next request and what it will be charged; None if no more may go."""
        turn = heappop(self._turns)
        if not self.tenant.allowance.lets_run(self._in_flight, turn.ticket.sequences):
            return None
        self._in_flight += turn.ticket.sequences
        self._account.predict(turn.ticket, self.tenant)
        charge = self._account.dispatch_charge(turn.ticket)
        self._add(turn.key, turn.counter + to_units(charge, turn.key.weight), turn.later)
        return turn, charge
