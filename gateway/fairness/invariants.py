"""What must hold between any two calls of the scheduler: every total is compared with the sum of its parts.

Tests check this after each step, in O(tenants + keys + requests). A failed assertion is our own mistake, never a
client's.
"""

from collections.abc import Iterable

from gateway.fairness.admission import Admission
from gateway.fairness.flow import Flow
from gateway.fairness.open_charge import OpenCharge
from gateway.fairness.pool import PoolAccount
from gateway.fairness.queues import TenantQueue
from gateway.fairness.ticket import Ticket, TicketState


def check_invariants(admission: Admission) -> None:
    """Assert that queues, running requests, limits, counters and waiting sets of `admission` agree with one another."""
    running = list(admission.running)
    _check_running(admission, running)
    charges: dict[Flow, list[OpenCharge]] = {}
    for ticket in running:
        for charge in ticket.charges:
            charges.setdefault(charge.flow, []).append(charge)
    for account in admission.pools.values():
        _check_pool(admission, account, charges)
    queued = sum(account.queue.queued for account in admission.pools.values())
    assert admission.waiting_room.queued == queued, "requests queued in all pools"
    _check_allowances(admission, running)


def _check_running(admission: Admission, running: list[Ticket]) -> None:
    for ticket in running:
        assert ticket.state is TicketState.GRANTED, f"{ticket.request_id} is in flight as {ticket.state.value}"
        assert len(ticket.charges) == 2, f"{ticket.request_id} has a charge on each level"
    for name, account in admission.pools.items():
        assert account.in_flight == sum(ticket.pool == name for ticket in running), f"requests in flight of {name}"
    is_due = any(ticket.reports_at_end or ticket.is_watched for ticket in running)
    assert (admission.running.next_accrual is not None) == is_due, "accrual runs while someone is silent or watched"


def _check_pool(admission: Admission, account: PoolAccount, charges: dict[Flow, list[OpenCharge]]) -> None:
    queue = account.queue
    tenants = queue.tenants.values()
    assert queue.queued == sum(tenant.queued for tenant in tenants), "requests queued of a pool"
    assert account.in_flight == sum(tenant.in_flight for tenant in tenants), "requests in flight of a pool"
    for tenant in tenants:
        assert tenant.queued == sum(key.queued for key in tenant.keys), f"requests queued of {tenant.name}"
        _check_waiting(admission, account, tenant)
        for flow in (tenant, *tenant.keys):
            _check_flow(flow, charges.get(flow, ()))


def _check_waiting(admission: Admission, account: PoolAccount, tenant: TenantQueue) -> None:
    waiting = account.queue.group.policy.waiting
    assert tenant.queued or tenant not in waiting, f"{tenant.name} waits with nothing queued"
    assert tenant.is_waiting == (tenant in waiting), f"{tenant.name} knows whether it waits"
    is_express_eligible = tenant.is_waiting and not tenant.in_flight
    assert tenant.is_express_eligible == is_express_eligible == (tenant in account.queue.express_eligible), (
        f"{tenant.name} waits with nothing in flight"
    )
    if tenant.allowance.limits.has_budgets:
        return  # keys that wait for a budget are left out until the next decision
    busy = [key for key in tenant.keys if key.queued]
    assert set(tenant.group.policy.waiting) == set(busy), f"waiting keys of {tenant.name}"
    assert all(key.is_waiting == bool(key.queued) for key in tenant.keys), (
        f"keys of {tenant.name} know whether they wait"
    )
    if len(busy) == 1:  # else charges may have brought another key to the head, which the next decision corrects
        assert (tenant in waiting) == admission.waiting_room.is_eligible(account, tenant), (
            f"{tenant.name} waits while it is eligible"
        )


def _check_flow(flow: Flow, charges: Iterable[OpenCharge]) -> None:
    charges = tuple(charges)
    own = flow.lifted + flow.settled + flow.outstanding
    assert flow.counter == own + flow.elsewhere, f"counter of {flow.name}"
    assert flow.counter >= flow.floor >= 0, f"{flow.name} is below the level of its last lift"
    assert flow.outstanding == sum(charge.units for charge in charges), f"charges in flight of {flow.name}"
    assert flow.ceilings == sum(charge.ceiling for charge in charges), f"ceilings of {flow.name}"
    assert flow.refundable == sum(charge.units - charge.certain for charge in charges), (
        f"refundable charges of {flow.name}"
    )
    assert all(0 <= charge.certain <= charge.units <= charge.ceiling for charge in charges), f"charges of {flow.name}"


def _check_allowances(admission: Admission, running: list[Ticket]) -> None:
    """Also covers idleness: without a queue and with nothing in flight every sum above is zero."""
    for name, allowance in admission.tenants.allowances():
        in_flight = sum(ticket.sequences for ticket in running if ticket.tenant == name)
        assert allowance.in_flight == in_flight, f"sequences in flight of {name}"
        tenants = (account.queue.tenants.get(name) for account in admission.pools.values())
        queued = sum(tenant.queued for tenant in tenants if tenant is not None)
        assert allowance.queued == queued, f"requests queued of {name} over all pools"
