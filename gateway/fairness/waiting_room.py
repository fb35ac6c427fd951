"""Who waits, over all pools: keeps the queues, the deadlines and the tenants' in-flight limits consistent.

A tenant *waits* while it has a request queued and its limits let that request run. A tenant that is held back
blocks nobody. It collects no credit either: when it waits again it is lifted like an arrival. Left to others: the
decisions (`admission`), and who goes first among those who wait (`policies`).
"""

from collections.abc import Mapping

from gateway.fairness.deadlines import Deadlines
from gateway.fairness.left_out import LeftOut
from gateway.fairness.pool import PoolAccount
from gateway.fairness.queues import TenantQueue
from gateway.fairness.tenants import TenantRegister
from gateway.fairness.ticket import Ticket, TicketState


class WaitingRoom:
    """Every queued ticket of every pool."""

    __slots__ = ("_left_out", "_orders", "_pools", "_tenants", "deadlines", "queued")

    def __init__(self, pools: Mapping[str, PoolAccount], tenants: TenantRegister) -> None:
        """Start with nobody waiting; `pools` is a live view."""
        self._pools = pools
        self._tenants = tenants
        self._orders = 0
        self.deadlines = Deadlines()
        self.queued = 0
        self._left_out = LeftOut()

    def is_empty_before(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue) -> bool:
        """True if `ticket`, a new request of `tenant`, would be the only one that waits, and no limit holds it back.

        If the tenant has an in-flight limit, it must wait in no other pool either.
        """
        if ticket.claim is not None or tenant.is_barred:
            return False
        if account.queue.queued and account.queue.group.policy.waiting:
            return False
        allowance = tenant.allowance
        return not allowance.is_capped or (not allowance.queued and allowance.has_flight_place(ticket.sequences))

    def admit_directly(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue) -> None:
        """Do in one step what `enter` and `leave` do for a new request that runs at once, while nobody waits."""
        self._orders += 1
        ticket.order = self._orders
        account.queue.admit_directly(tenant, ticket)

    def enter(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue) -> None:
        """Queue a new request behind those of its key."""
        self._orders += 1
        ticket.order = self._orders
        ticket.move(TicketState.QUEUED)
        account.queue.enqueue(tenant, ticket)
        self._entered(ticket, account, tenant)

    def enter_again(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue) -> None:
        """Queue a request again after its attempt failed, at the head."""
        ticket.move(TicketState.QUEUED)
        account.queue.put_back(tenant, ticket)
        self._entered(ticket, account, tenant)

    def leave(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue) -> None:
        """Take out a ticket, whose state already says where it went."""
        account.queue.shrank(tenant, ticket)
        tenant.allowance.queued -= 1
        self.queued -= 1
        self.review(account, tenant)

    def is_eligible(self, account: PoolAccount, tenant: TenantQueue) -> bool:
        """True if `tenant` has a request queued, is not barred, and its limits let the next request run.

        So they do if the request is to be refused because a budget is used up. A key that waits for a budget of its own
        is left out, so that the tenant's other keys go on.
        """
        if not tenant.queued or tenant.is_barred:
            return False
        allowance = tenant.allowance
        if not allowance.is_capped:
            return True
        if allowance.limits.has_budgets and not self._left_out.finds_budget(account, tenant):
            return False
        return allowance.has_flight_place(tenant.oldest().sequences)

    def set_bar(self, pool: str, name: str, *, is_barred: bool) -> None:
        """Bar tenant `name` from `pool`, or end the bar; without effect if either is gone."""
        account = self._pools.get(pool)
        tenant = None if account is None else account.queue.tenants.get(name)
        if account is not None and tenant is not None:
            tenant.is_barred = is_barred
            self.review(account, tenant)

    def review(self, account: PoolAccount, tenant: TenantQueue) -> None:
        """Correct the policy's view of whether `tenant` waits."""
        policy = account.queue.group.policy
        is_eligible = self.is_eligible(account, tenant)
        if is_eligible and not tenant.is_waiting:
            policy.arrive(tenant)
        elif tenant.is_waiting and not is_eligible:
            policy.leave(tenant)
        account.queue.review_light(tenant)

    def review_everywhere(self, name: str) -> None:
        """Correct every pool's view of whether tenant `name` waits; O(pools)."""
        self._left_out.take_back(name)
        for account in self._pools.values():
            tenant = account.queue.tenants.get(name)
            if tenant is not None:
                self.review(account, tenant)

    def couples(self, tenant: TenantQueue) -> bool:
        """True if an in-flight limit of `tenant` couples the pools: it decides in each whether the tenant waits."""
        allowance = tenant.allowance
        return allowance.is_capped and allowance.queued > 0

    def review_budgets(self) -> None:
        """Look again at all who wait for a budget: a period may have begun."""
        for name in [name for name, allowance in self._tenants.allowances() if allowance.limits.has_budgets]:
            self.review_everywhere(name)

    def review_elsewhere(self, tenant: TenantQueue) -> None:
        """Correct the view of other pools too, if `tenant` couples them."""
        if self.couples(tenant):
            self.review_everywhere(tenant.name)

    def _entered(self, ticket: Ticket, account: PoolAccount, tenant: TenantQueue) -> None:
        tenant.allowance.queued += 1
        self.queued += 1
        self.deadlines.watch(ticket, self.queued)
        self.review(account, tenant)
