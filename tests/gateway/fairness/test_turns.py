"""Which requests may go before their turn: for a cached prompt within the quantum, and in the express lane."""

import pytest

from gateway.fairness.cost import to_units
from gateway.workers import WindowSize

from .bench import Bench, Job

ONE = WindowSize(1, 0, 10_000)
COST = 9.0  # of a request: one prompt token, four generated ones


def spread(bench: Bench) -> int:
    """Largest difference between waiting tenants, in units."""
    return bench.admission.pools["p0"].queue.spread_units()


def backlog(bench: Bench, count: int = 60) -> None:
    """Tenant a's requests are cached where they would run, b's are not."""
    for _ in range(count):
        bench.submit("b", affinity=0)
        bench.submit("a", affinity=1)


def grants(bench: Bench, count: int) -> str:
    """The tenants of the next `count` grants."""
    order: list[str] = []
    seen = {job.ticket for job in bench.running.values()}
    while len(order) < count:
        bench.step()
        new = [ticket for ticket in bench.running if ticket not in seen]
        seen.update(new)
        order += [ticket.tenant for ticket in new]
    return "".join(order)


def test_the_quantum_is_what_a_cached_prefix_may_gain_and_the_bound_counts_it() -> None:
    """A tenant whose prefix is cached runs ahead by the quantum and one request, then the other has its turns."""
    bench = Bench(window=ONE, locality_quantum=10 * COST)
    backlog(bench)
    widest = 0
    for _ in range(200):
        bench.step()
        widest = max(widest, spread(bench))
    assert to_units(10 * COST, 1.0) <= widest <= to_units(12 * COST, 1.0)
    assert widest <= bench.admission.pools["p0"].queue.group.policy.bound.units <= to_units(13 * COST, 1.0)


def test_without_a_quantum_a_cached_prefix_changes_nothing() -> None:
    """Q = 0 is exactly VTC: the same grants whatever is cached."""
    orders = []
    for affinity in (0, 1):
        bench = Bench(window=ONE)
        for _ in range(20):
            bench.submit("b")
            bench.submit("a", affinity=affinity)
        orders.append(grants(bench, 30))
    assert orders[0] == orders[1]
    assert "aaa" not in orders[0]


def test_the_request_in_turn_goes_where_nothing_more_is_cached() -> None:
    """Of equals the least counter goes: a quantum alone reorders nobody."""
    bench = Bench(window=ONE, locality_quantum=10 * COST)
    for _ in range(20):
        bench.submit("b", affinity=1)
        bench.submit("a", affinity=1)
    assert "aaa" not in (order := grants(bench, 30)) and "bbb" not in order


def test_among_the_keys_of_a_tenant_the_cached_one_goes_first_within_the_quantum() -> None:
    """Keys share their tenant's part by the same rule, with the same quantum."""
    bench = Bench(window=ONE, locality_quantum=4 * COST)
    for _ in range(30):
        bench.submit("a", key="x", affinity=0)
        bench.submit("a", key="y", affinity=1)
    widest = 0
    for _ in range(100):
        bench.step()
        counters = [key.counter for key in bench.flow("a").group.policy.waiting]
        widest = max(widest, max(counters) - min(counters))
    assert to_units(4 * COST, 1.0) <= widest <= bench.flow("a").group.policy.bound.units


# -- the express lane


def flooded(express: int, *, policy: str = "vtc") -> Bench:
    """A window of two that a flood has filled, with more of it waiting."""
    bench = Bench(policy, window=WindowSize(2, 0, 10_000, express))
    for _ in range(8):
        bench.submit("flood", length=40)
    bench.step(3)
    return bench


def is_running(bench: Bench, job: Job) -> bool:
    """True where it was granted room and has not ended."""
    return job.ticket in bench.running


@pytest.mark.parametrize("express", [0, 1])
def test_a_tenant_with_nothing_in_flight_does_not_wait_for_the_flood(express: int) -> None:
    """Its request is granted at its arrival where there is a lane, and waits like everybody where there is none."""
    bench = flooded(express)
    assert is_running(bench, bench.submit("modest")) == bool(express)


def test_the_lane_takes_one_request_of_a_tenant_and_no_more_than_its_size() -> None:
    """A second request of the same tenant, another of its keys included, and a third tenant at a lane of two wait."""
    bench = flooded(2)
    assert is_running(bench, bench.submit("modest", key="x"))
    assert not is_running(bench, bench.submit("modest", key="y"))
    assert not is_running(bench, bench.submit("flood"))
    assert is_running(bench, bench.submit("second"))
    assert not is_running(bench, bench.submit("third"))


def test_the_lane_is_free_again_when_any_request_has_ended() -> None:
    """Nobody is counted in the lane: the room that the next end gives is the lane's before it is the window's."""
    bench = flooded(1)
    bench.submit("modest", length=400)
    later = bench.submit("second")
    assert not is_running(bench, later)
    flood = next(job for job in bench.running.values() if job.ticket.tenant == "flood")
    bench.release(flood, flood.usage)
    assert is_running(bench, later)
    assert len(bench.running) == 3


def test_one_that_keeps_coming_back_is_held_to_its_share() -> None:
    """A tenant of a tenth of the weight that always has one request gets a tenth, not the lane for itself."""
    bench = Bench(window=WindowSize(1, 0, 10_000, 1))
    bench.tenant("flood", 1.0)
    bench.tenant("sly", 0.1)
    for _ in range(400):
        bench.submit("flood")
    job = bench.submit("sly")
    for _ in range(1200):
        bench.step()
        if job.ticket not in bench.running and job.ticket not in bench.waiting:
            job = bench.submit("sly")
    assert bench.books.service["sly"] <= 0.1 * bench.books.service["flood"] + 4 * COST
    assert bench.books.service["sly"] >= 0.1 * bench.books.service["flood"] - 4 * COST


def test_policies_without_counters_know_no_lane() -> None:
    """Under `fcfs` nobody passes anybody, so that the control stays one."""
    bench = flooded(2, policy="fcfs")
    assert not is_running(bench, bench.submit("modest"))


def test_a_tenant_at_its_own_limit_in_another_pool_gets_no_lane() -> None:
    """The in-flight limit holds over all pools, in the lane too."""
    bench = Bench(pools=2, window=WindowSize(1, 0, 10_000, 1))
    bench.tenant("modest", max_in_flight=1)
    bench.submit("flood", pool="p0", length=50)
    bench.submit("modest", pool="p1", length=50)
    assert not is_running(bench, bench.submit("modest", pool="p0"))
