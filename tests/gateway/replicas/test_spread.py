"""One replica's part of the bound: many flows are looked at a few at a time, and a turn is seen at once."""

import pytest

from gateway.fairness import POLICIES, PREDICTORS, Admission, PoolSpec, Rules, TenantLimits, Ticket
from gateway.fairness.cost import Linear
from gateway.replicas.call import NOBODY, Figures
from gateway.replicas.shared_flows import SharedFlows
from gateway.replicas.spread import LOOK_SECONDS, MOST_AT_ONCE

from .quota_fleet import POOL, Slots

TENANTS = 2000
CALLS = -(-TENANTS // MOST_AT_ONCE)  # so many look at all of them
LARGE = 10**15  # counter units


def request(number: int, tenant: str) -> Ticket:
    """A request of some tokens."""
    ticket = Ticket(f"r{number}", tenant, "key", POOL)
    ticket.sized(sequences=1, prompt_tokens=10 + number, max_output_tokens=100, reports_at_end=False)
    return ticket


def crowd() -> SharedFlows:
    """A scheduler with one place, at which a request of each tenant waits but for the first, which runs."""
    rules = Rules(lambda: POLICIES["vtc"](None), PREDICTORS["none"](None), 1_000_000)
    admission = Admission(rules, Slots(1))
    admission.configure_pool(PoolSpec(POOL, Linear(), 1e9))
    flows = SharedFlows(admission, POOL, 0)
    tickets = [request(number, f"t{number}") for number in range(TENANTS)]
    for ticket in tickets:
        admission.configure_tenant(ticket.tenant, 1.0, TenantLimits())
        admission.submit(ticket, 0.0)
    flows.granted(tickets[0])
    return flows


def look_at_all(flows: SharedFlows, now: float) -> list[Figures]:
    """What the calls say in which a look at all flows goes on that begins at `now`."""
    return [flows.spread.figures(now, NOBODY) for _ in range(CALLS)]


def test_a_look_takes_in_all_flows_a_few_at_a_time() -> None:
    """The figures are those of all flows in the call with which the last were seen, and not before."""
    flows = crowd()
    *before, figures = look_at_all(flows, 0.0)
    assert CALLS >= 4 and [each.greatest for each in before] == [NOBODY] * len(before)
    assert figures.greatest == max(flow.counter for flow in flows.policy.waiting)
    flows.spread.look()
    assert flows.spread.figures(LOOK_SECONDS / 2, NOBODY) == figures


@pytest.mark.parametrize("place", [0, -1])
def test_a_turn_is_seen_by_the_next_call(place: int) -> None:
    """In the midst of a look, whether that has taken the flow in before or not; and the look does not undo it."""
    flows = crowd()
    look_at_all(flows, 0.0)
    flows.spread.figures(LOOK_SECONDS, NOBODY)
    flow = list(flows.policy.waiting)[place]
    flow.exposure = LARGE
    flows.spread.turned(flow)
    assert all(figures.exposure >= LARGE for figures in look_at_all(flows, LOOK_SECONDS))
    flow.exposure = 0
    assert look_at_all(flows, 2 * LOOK_SECONDS)[-1].exposure < LARGE
