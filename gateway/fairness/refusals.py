"""Which requests are refused, and after how long another attempt of each makes sense.

A request is refused when it arrives, when the queue of its pool is full, or when it has waited too long. The first rule
that it breaks says why. Left to others: taking a refused request out of its queue (`admission`).
"""

from typing import Final

from gateway.accounts import Verdict
from gateway.fairness.capacity import Capacity
from gateway.fairness.decisions import Refuse
from gateway.fairness.pool import PoolAccount
from gateway.fairness.queues import TenantQueue
from gateway.fairness.ticket import Ticket
from gateway.outcomes import Outcome

_NO_WORKER_RETRY_SECONDS: Final = 2.0


def at_arrival(
    ticket: Ticket, account: PoolAccount, tenant: TenantQueue, capacity: Capacity, now: float
) -> Refuse | None:
    """The refusal of a new request; None if it may wait, with its expected tokens noted for the tenant's rates."""
    if not (capacity.serves(ticket.pool) or capacity.awaits(ticket.pool)):
        return Refuse(ticket, Outcome.NO_WORKER, _NO_WORKER_RETRY_SECONDS)
    if not account.is_countable(ticket):
        return Refuse(ticket, Outcome.BAD_REQUEST, 0.0)
    if ticket.claim is not None and account.verdict(ticket.claim, ticket.tenant) is Verdict.AT_LIMIT:
        return Refuse(ticket, Outcome.BUDGET_USED_UP, 0.0)
    ticket.taken_tokens = account.expected_tokens(ticket)
    wait = tenant.allowance.refusal_seconds(ticket.taken_tokens, now)
    if wait is None:
        if not tenant.allowance.has_queue_place():
            return Refuse(ticket, Outcome.TENANT_QUEUE_FULL, account.retry_after_seconds(tenant, now))
        wait = account.queue.group.policy.refusal_seconds(tenant, now)
    return None if wait is None else Refuse(ticket, Outcome.RATE_LIMITED, wait)


def of_a_full_queue(account: PoolAccount, now: float) -> Refuse:
    """The newest request of the tenant with the pool's longest weighted queue: often not the newcomer."""
    tenant = account.queue.longest_tenant()
    return Refuse(tenant.newest(), Outcome.PUSHED_OUT, account.retry_after_seconds(tenant, now))


def of_a_used_up_budget(ticket: Ticket, tenant: TenantQueue, now: float) -> Refuse:
    """The refusal of a request that waited for its budget, of which too little can come back; it leaves its queue."""
    ticket.leave(now)
    tenant.allowance.correct(-ticket.taken_tokens, now)
    return Refuse(ticket, Outcome.BUDGET_USED_UP, 0.0)


def of_a_late_request(ticket: Ticket, account: PoolAccount, capacity: Capacity, now: float) -> Refuse:
    """The refusal of a request whose queue time is over, with the pool's workers at fault if none of them serves."""
    if not capacity.serves(ticket.pool):
        return Refuse(ticket, Outcome.NO_WORKER, _NO_WORKER_RETRY_SECONDS)
    retry_after = account.retry_after_seconds(account.queue.tenants[ticket.tenant], now)
    return Refuse(ticket, Outcome.QUEUE_TIMEOUT, retry_after)
