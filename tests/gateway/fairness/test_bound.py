"""Exposure, refundable amounts and the bound they add up to, open_charge by open_charge."""

from collections.abc import Callable

import pytest
from uncompiled import needs_sources

from gateway.fairness.bound import SpreadBound
from gateway.fairness.cost import UNITS_PER_COST
from gateway.fairness.flow import Flow
from gateway.fairness.open_charge import OpenCharge
from gateway.fairness.policies import VirtualTokenCounter
from gateway.usage import Usage

from .bench import Bench, Job


class Forgetful(Flow):
    """Control: a flow that does not remember its lifts, so that a later refund goes below them."""

    __slots__ = ()

    def lift_to(self, level: int, margin: int) -> None:
        """Lift, and forget."""
        super().lift_to(level, margin)
        self.floor = 0


def spread_of_a_chain_of_refunds(make_flow: type[Flow], links: int) -> tuple[int, int]:
    """Spread and bound after `links` tenants were each lifted to the one before, then refunded, beside one that waits.

    Each had a reservation of 10 in flight from the time when all counters were 0.
    """
    policy = VirtualTokenCounter()
    chain = [make_flow(f"c{number}", 1.0) for number in range(links)]
    leader, high = make_flow("leader", 1.0), make_flow("high", 1.0)
    flows = [*chain, leader, high]
    for order, flow in enumerate(flows):
        flow.head_order = order
        policy.arrive(flow)
    charges = []
    for flow in chain:
        charges.append(OpenCharge(flow, policy))
        charges[-1].open(10.0, 10.0, 0)
        policy.leave(flow)
    for _ in range(20):
        for flow in (leader, high):
            open_charge = OpenCharge(flow, policy)
            open_charge.open(5.0, 5.0, 0)
            open_charge.charge_to(5.0, certain=5.0)
            open_charge.settle(5.0)
    before = leader
    for flow, open_charge in zip(chain, charges, strict=True):
        policy.arrive(flow)
        policy.leave(before)
        open_charge.settle(0.0)
        before = flow
    counters = [flow.counter for flow in policy.waiting]
    return max(counters) - min(counters), policy.bound.units


def test_refunds_of_many_tenants_do_not_add_up() -> None:
    """However many lifts and refunds follow one another, the spread stays within one E plus one R."""
    spread, bound = spread_of_a_chain_of_refunds(Flow, 8)
    assert spread <= bound


@needs_sources
def test_refunds_would_add_up_if_lifts_were_forgotten() -> None:
    """Control: without the floor the chain passes the bound, the further the longer it is."""
    spread, bound = spread_of_a_chain_of_refunds(Forgetful, 8)
    assert spread == 8 * 10 * UNITS_PER_COST > bound


def make_tab(weight: float = 1.0) -> OpenCharge:
    return OpenCharge(Flow("f", weight), VirtualTokenCounter())


def test_a_tab_is_exposed_to_its_ceiling_and_refundable_in_its_charge() -> None:
    """At dispatch E is the most that the request can come to, R what was charged for it."""
    open_charge = make_tab()
    open_charge.open(30.0, 100.0, 0)
    assert open_charge.flow.exposure == 100 * UNITS_PER_COST
    assert open_charge.policy.bound.refundable == open_charge.flow.counter == 30 * UNITS_PER_COST


def test_what_was_confirmed_is_not_refundable() -> None:
    """Usage that the engine has reported leaves R."""
    open_charge = make_tab()
    open_charge.open(30.0, 100.0, 0)
    open_charge.charge_to(30.0, certain=20.0)
    assert open_charge.flow.refundable == 10 * UNITS_PER_COST
    open_charge.settle(20.0)
    assert open_charge.flow.refundable == open_charge.flow.outstanding == open_charge.flow.ceilings == 0
    assert open_charge.flow.settled == open_charge.flow.counter == 20 * UNITS_PER_COST


def test_a_longer_prompt_than_estimated_raises_the_exposure() -> None:
    """A charge beyond the ceiling is exposure that the last dispatch did not know of."""
    open_charge = make_tab()
    open_charge.open(30.0, 40.0, 0)
    open_charge.charge_to(70.0)
    assert open_charge.flow.exposure == 70 * UNITS_PER_COST
    open_charge.settle(90.0)
    assert open_charge.flow.exposure == 90 * UNITS_PER_COST


def test_tokens_taken_back_by_the_engine_widen_the_bound() -> None:
    """A settlement below what was confirmed is exact, and R grows by the difference."""
    open_charge = make_tab()
    open_charge.open(30.0, 30.0, 0)
    open_charge.charge_to(30.0, certain=30.0)
    open_charge.settle(10.0)
    assert open_charge.flow.settled == 10 * UNITS_PER_COST
    assert open_charge.policy.bound.taken_back == 20 * UNITS_PER_COST


def test_a_tab_keeps_the_weight_it_was_opened_with() -> None:
    """A change of weight concerns later requests: nothing is charged again."""
    open_charge = make_tab(weight=2.0)
    open_charge.open(30.0, 30.0, 0)
    open_charge.flow.weight = 1.0
    assert open_charge.flow.service == 30.0
    open_charge.charge_to(36.0)
    assert open_charge.flow.counter == 18 * UNITS_PER_COST
    assert open_charge.flow.service == 36.0
    open_charge.settle(30.0)
    assert open_charge.flow.settled == 15 * UNITS_PER_COST
    assert open_charge.flow.service == 30.0


def test_a_million_charges_leave_no_drift() -> None:
    """Charged token by token a request comes to exactly what it comes to at once, whatever the weight."""
    policy, flow = VirtualTokenCounter(), Flow("f", 3.0)
    for _ in range(100):
        open_charge = OpenCharge(flow, policy)
        open_charge.open(0.1, 2_000.0, 0)
        for tokens in range(1, 10_001):
            open_charge.charge_to(0.1 + 0.1 * tokens)
        open_charge.settle(1_000.1)
    assert flow.counter == flow.settled == 100 * round(1_000.1 * UNITS_PER_COST / 3.0)
    assert flow.outstanding == flow.refundable == flow.ceilings == 0


@pytest.mark.parametrize("weight", [0.5, 1.0, 3.0, 1_000_000.0])
def test_charges_of_any_weight_sum_to_the_settlement(weight: float) -> None:
    """The rounding is of the cumulative cost, once: no weight is too large or too small for it."""
    open_charge = make_tab(weight)
    open_charge.open(1.0, 1_000.0, 0)
    for tokens in range(1, 500):
        open_charge.charge_to(1.0 + tokens * 0.37)
    open_charge.settle(777.7)
    assert open_charge.flow.counter == round(777.7 * UNITS_PER_COST / weight)


class Marginless(SpreadBound):
    """Control: a bound that allows for no refunds."""

    __slots__ = ()

    @property
    def margin(self) -> int:
        """None."""
        return 0


def spread_of_one_refund(make_bound: type[SpreadBound]) -> tuple[int, int]:
    """Spread and bound after one of two was refunded a reservation of 10 while the other caught up with it."""
    policy = VirtualTokenCounter()
    policy.bound = make_bound(policy.waiting)
    refunded, other = Flow("refunded", 1.0), Flow("other", 1.0)
    for flow in (refunded, other):
        policy.arrive(flow)
    reserved = OpenCharge(refunded, policy)
    reserved.open(10.0, 10.0, 0)
    for _ in range(3):
        open_charge = OpenCharge(other, policy)
        open_charge.open(5.0, 5.0, 0)
        open_charge.charge_to(5.0, certain=5.0)
        open_charge.settle(5.0)
    reserved.settle(0.0)
    return other.counter - refunded.counter, policy.bound.units


def test_a_refund_stays_within_the_bound() -> None:
    """Its amount is the margin of the turn that the other one had while it was outstanding."""
    spread, bound = spread_of_one_refund(SpreadBound)
    assert 0 < spread <= bound


@needs_sources
def test_a_bound_without_its_margin_is_broken() -> None:
    """Control: a refund takes two that wait further apart than what is open explains."""
    spread, bound = spread_of_one_refund(Marginless)
    assert spread > bound


def huge_reservation(bench: Bench) -> Job:
    """A request that may run for a million tokens, all of them reserved."""
    return bench.submit("a", length=10**6, most=10**6)


def understated_prompt(bench: Bench) -> Job:
    """A prompt of a million tokens, estimated at one."""
    return bench.submit("a", prompt=10**6, estimate=1, length=20)


@pytest.mark.parametrize(
    ("accident", "takes_back"), [(huge_reservation, False), (huge_reservation, True), (understated_prompt, True)]
)
def test_the_bound_returns_after_an_accident(accident: Callable[[Bench], Job], takes_back: bool) -> None:
    """The bound is wide while the accident may move a counter, and returns when those who wait had their turns."""
    bench = Bench("vtc", "oracle")
    bound = bench.admission.pools["p0"].queue.group.policy.bound

    def most_in(steps: int) -> int:
        most = 0
        for _ in range(steps):
            for name in "abc":
                if sum(job.ticket.tenant == name for job in bench.waiting.values()) < 6:
                    bench.submit(name, prompt=4, length=6)
            bench.step()
            most = max(most, bound.units)
        return most

    usual = most_in(80)
    job = accident(bench)
    while job.ticket not in bench.running:
        most_in(1)
    bench.step(3)
    bench.submit("a", prompt=4, length=6)
    assert most_in(1) > 100 * usual
    bench.release(job, Usage(1, 0, 1) if takes_back else job.usage)
    most_in(200)
    assert bound.units <= usual
