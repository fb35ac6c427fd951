"""Whose turn it is in a pool: that of the least counter, with two accounted exceptions.

- Locality (DLPM, Cao et al., arXiv 2501.14312). The flows at most the pool's quantum Q above the least counter are
  candidates. The request goes whose prompt is cached most at the worker that would run it. With Q = 0 this is the least
  counter.
- Express lane. If the window is full, a tenant with nothing in flight may take the room that is kept beyond it, if the
  tenant is ahead of the least counter by no more than what its request is charged at dispatch. So a tenant that keeps
  coming back is held to its share like all others. Splitting requests gains nothing either: a tenant with one request
  in flight waits for its turn.
Nothing else goes before its turn. How far a flow was ahead is added to its exposure, so that the computed bound holds.
Policies without counters (`fcfs`, `rpm`, `drr`) have neither exception. Left to others: room (`Capacity`) and charges
(`pool`).
"""

from gateway.accounts import Verdict
from gateway.fairness.capacity import Capacity
from gateway.fairness.cost import to_units
from gateway.fairness.pool import PoolAccount
from gateway.fairness.queues import TenantQueue
from gateway.fairness.ticket import Ticket
from gateway.fairness.waiting_room import WaitingRoom

_REFUSED = ""  # no worker
MAX_CANDIDATES = 32  # flows of each level that are compared for locality: this bounds the cost of a decision


class Turn:
    """The request that goes next at `worker`, and how far its tenant and its key are ahead of their turn, in units."""

    __slots__ = ("tenant", "ticket", "units_ahead", "worker")

    def __init__(self, ticket: Ticket, tenant: TenantQueue, worker: str, units_ahead: tuple[int, int] = (0, 0)) -> None:
        """The turn of `ticket`, which is of `tenant`."""
        self.ticket = ticket
        self.tenant = tenant
        self.worker = worker
        self.units_ahead = units_ahead

    @property
    def is_at_limit(self) -> bool:
        """True if the request is not to run but to be refused: one of its budgets is used up."""
        return not self.worker


class Turns:
    """Chooses the next request, and takes the room for it."""

    __slots__ = ("_capacity", "_waiting_room")

    def __init__(self, capacity: Capacity, waiting_room: WaitingRoom) -> None:
        """Choose among those who wait in `waiting_room`."""
        self._capacity = capacity
        self._waiting_room = waiting_room

    def take(self, account: PoolAccount, *, is_full: bool = False) -> Turn | None:
        """The next request that may run now, with its room taken; None if none may.

        `is_full` says that the only request that waits has just been refused room in the window.
        """
        tenant = self._first(account)
        if tenant is None:
            return None
        turn = None if is_full else self._take_first(account, tenant)
        if turn is None and self._capacity.has_express(account.spec.name):
            return self._take_express(account)
        return turn

    def _first(self, account: PoolAccount) -> TenantQueue | None:
        """The tenant with the least counter among those whose in-flight limit lets their next request run."""
        while (tenant := account.queue.next_tenant()) is not None:
            if not tenant.allowance.is_capped or self._waiting_room.is_eligible(account, tenant):
                return tenant
            self._waiting_room.review(account, tenant)  # charges have brought another of its keys to the head
        return None

    def _take_first(self, account: PoolAccount, tenant: TenantQueue) -> Turn | None:
        ticket = tenant.oldest()
        if account.spec.locality_quantum and self._may_draw(ticket, account):
            return self._take_nearest(account, tenant)
        return self.take_for(ticket, account, tenant)

    def take_for(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue) -> Turn | None:
        """The turn of `ticket`, which is first, with its room in the window taken; None if there is no room."""
        if not self._may_draw(ticket, account):
            return Turn(ticket, tenant, _REFUSED)
        account.predict(ticket, tenant)
        worker = self._capacity.take(ticket)
        return None if worker is None else Turn(ticket, tenant, worker)

    def _may_draw(self, ticket: Ticket, account: PoolAccount) -> bool:
        """True if the budgets of `ticket` have enough for it; its output is then limited to that."""
        claim = ticket.claim
        if claim is None:
            return True
        may_run = account.verdict(claim, ticket.tenant) is Verdict.RUN
        if may_run:
            ticket.limit_output(claim)
        return may_run

    # -- locality

    def _take_nearest(self, account: PoolAccount, first: TenantQueue) -> Turn | None:
        ticket, tenant = self._nearest(account, first)
        account.predict(ticket, tenant)
        worker = self._capacity.take(ticket)
        return None if worker is None else Turn(ticket, tenant, worker, _leads(account, tenant, ticket))

    def _nearest(self, account: PoolAccount, first: TenantQueue) -> tuple[Ticket, TenantQueue]:
        """The request within the quantum with the most tokens cached where it would run; of equals, the one in turn."""
        nearest, tenant = first.oldest(), first
        most = self._capacity.affinity(nearest)
        for candidate, flow in self._candidates(account):
            cached = self._capacity.affinity(candidate)
            if cached > most:
                nearest, tenant, most = candidate, flow, cached
        return nearest, tenant

    def _candidates(self, account: PoolAccount) -> list[tuple[Ticket, TenantQueue]]:
        units = account.locality_units
        found: list[tuple[Ticket, TenantQueue]] = []
        for tenant in account.queue.group.policy.within(units, MAX_CANDIDATES):
            for key in tenant.group.policy.within(units, MAX_CANDIDATES):
                ticket = key.oldest()
                if tenant.allowance.has_flight_place(ticket.sequences) and self._may_draw(ticket, account):
                    found.append((ticket, tenant))
        return found

    # -- express lane

    def _take_express(self, account: PoolAccount) -> Turn | None:
        tenant = account.queue.express_eligible.first()
        if tenant is None or not self._waiting_room.is_eligible(account, tenant):
            return None
        units_ahead = account.queue.group.policy.units_ahead(tenant)
        ticket = tenant.oldest()
        if not self._may_draw(ticket, account):
            return Turn(ticket, tenant, _REFUSED)
        account.predict(ticket, tenant)
        if units_ahead is None or units_ahead > to_units(account.dispatch_charge(ticket), tenant.weight):
            return None
        worker = self._capacity.take_express(ticket)
        return None if worker is None else Turn(ticket, tenant, worker, (units_ahead, 0))


def _leads(account: PoolAccount, tenant: TenantQueue, ticket: Ticket) -> tuple[int, int]:
    tenants, keys = account.queue.group.policy, tenant.group.policy
    return (tenants.units_ahead(tenant) or 0, keys.units_ahead(tenant.key(ticket.key)) or 0)
