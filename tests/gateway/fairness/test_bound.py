"""Exposure, refundable amounts and the bound they add up to, tab by tab."""

import pytest
from uncompiled import needs_sources

from gateway.fairness.bound import SpreadBound, Tab
from gateway.fairness.cost import UNITS_PER_COST
from gateway.fairness.flow import Flow
from gateway.fairness.policies import VirtualTokenCounter


class Forgetful(Flow):
    """Control: a flow that does not remember its lifts, so that a later refund goes below them."""

    __slots__ = ()

    def lift_to(self, level: int) -> None:
        """Lift, and forget."""
        super().lift_to(level)
        self.floor = 0


def spread_of_a_chain_of_refunds(make_flow: type[Flow], links: int) -> tuple[int, int]:
    """Spread and bound after `links` tenants were each lifted to the one before, then refunded, beside one that waits.

    Each had a reservation of 10 in flight from the time when all counters were 0.
    """
    policy, bound = VirtualTokenCounter(), SpreadBound()
    chain = [make_flow(f"c{number}", 1.0) for number in range(links)]
    leader, high = make_flow("leader", 1.0), make_flow("high", 1.0)
    flows = [*chain, leader, high]
    for order, flow in enumerate(flows):
        flow.head_order = order
        policy.arrive(flow)
    tabs = []
    for flow in chain:
        tabs.append(Tab(flow, policy, bound))
        tabs[-1].open(10.0, 10.0, 0)
        policy.leave(flow)
    for _ in range(20):
        for flow in (leader, high):
            tab = Tab(flow, policy, bound)
            tab.open(5.0, 5.0, 0)
            tab.charge_to(5.0, certain=5.0)
            tab.settle(5.0)
    before = leader
    for flow, tab in zip(chain, tabs, strict=True):
        policy.arrive(flow)
        policy.leave(before)
        tab.settle(0.0)
        before = flow
    counters = [flow.counter for flow in policy.waiting]
    return max(counters) - min(counters), bound.units


def test_refunds_of_many_tenants_do_not_add_up() -> None:
    """However many lifts and refunds follow one another, the spread stays within one E plus one R."""
    spread, bound = spread_of_a_chain_of_refunds(Flow, 8)
    assert spread <= bound


@needs_sources
def test_refunds_would_add_up_if_lifts_were_forgotten() -> None:
    """Control: without the floor the chain passes the bound, the further the longer it is."""
    spread, bound = spread_of_a_chain_of_refunds(Forgetful, 8)
    assert spread == 8 * 10 * UNITS_PER_COST > bound


def make_tab(weight: float = 1.0) -> Tab:
    return Tab(Flow("f", weight), VirtualTokenCounter(), SpreadBound())


def test_a_tab_is_exposed_to_its_ceiling_and_refundable_in_its_charge() -> None:
    """At dispatch E is the most that the request can come to, R what was charged for it."""
    tab = make_tab()
    tab.open(30.0, 100.0, 0)
    assert tab.bound.exposure == 100 * UNITS_PER_COST
    assert tab.bound.refundable == tab.flow.counter == 30 * UNITS_PER_COST


def test_what_was_confirmed_is_not_refundable() -> None:
    """Usage that the engine has reported leaves R."""
    tab = make_tab()
    tab.open(30.0, 100.0, 0)
    tab.charge_to(30.0, certain=20.0)
    assert tab.flow.refundable == 10 * UNITS_PER_COST
    tab.settle(20.0)
    assert tab.flow.refundable == tab.flow.outstanding == tab.flow.ceilings == 0
    assert tab.flow.settled == tab.flow.counter == 20 * UNITS_PER_COST


def test_a_longer_prompt_than_estimated_raises_the_exposure() -> None:
    """A charge beyond the ceiling is exposure that the last dispatch did not know of."""
    tab = make_tab()
    tab.open(30.0, 40.0, 0)
    tab.charge_to(70.0)
    assert tab.bound.exposure == 70 * UNITS_PER_COST
    tab.settle(90.0)
    assert tab.bound.exposure == 90 * UNITS_PER_COST


def test_tokens_taken_back_by_the_engine_widen_the_bound() -> None:
    """A settlement below what was confirmed is exact, and R grows by the difference."""
    tab = make_tab()
    tab.open(30.0, 30.0, 0)
    tab.charge_to(30.0, certain=30.0)
    tab.settle(10.0)
    assert tab.flow.settled == 10 * UNITS_PER_COST
    assert tab.bound.refundable == (30 + 20) * UNITS_PER_COST


def test_a_tab_keeps_the_weight_it_was_opened_with() -> None:
    """A change of weight concerns later requests: nothing is charged again."""
    tab = make_tab(weight=2.0)
    tab.open(30.0, 30.0, 0)
    tab.flow.weight = 1.0
    assert tab.flow.service == 30.0
    tab.charge_to(36.0)
    assert tab.flow.counter == 18 * UNITS_PER_COST
    assert tab.flow.service == 36.0
    tab.settle(30.0)
    assert tab.flow.settled == 15 * UNITS_PER_COST
    assert tab.flow.service == 30.0


def test_a_million_charges_leave_no_drift() -> None:
    """Charged token by token a request comes to exactly what it comes to at once, whatever the weight."""
    policy, bound, flow = VirtualTokenCounter(), SpreadBound(), Flow("f", 3.0)
    for _ in range(100):
        tab = Tab(flow, policy, bound)
        tab.open(0.1, 2_000.0, 0)
        for tokens in range(1, 10_001):
            tab.charge_to(0.1 + 0.1 * tokens)
        tab.settle(1_000.1)
    assert flow.counter == flow.settled == 100 * round(1_000.1 * UNITS_PER_COST / 3.0)
    assert flow.outstanding == flow.refundable == flow.ceilings == 0


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0, 1_000_000.0])
def test_charges_of_any_weight_sum_to_the_settlement(weight: float) -> None:
    """The rounding is of the cumulative cost, once: no weight is too large or too small for it."""
    tab = make_tab(weight)
    tab.open(1.0, 1_000.0, 0)
    for tokens in range(1, 500):
        tab.charge_to(1.0 + tokens * 0.37)
    tab.settle(777.7)
    assert tab.flow.counter == round(777.7 * UNITS_PER_COST / weight)
