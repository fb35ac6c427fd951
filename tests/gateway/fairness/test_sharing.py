"""What a scheduler takes in from others that share its account: service elsewhere, who waits elsewhere, and levels."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uncompiled import needs_sources

from gateway.fairness.flow import Flow
from gateway.fairness.policies import VirtualTokenCounter
from gateway.fairness.pool import PoolAccount
from gateway.fairness.preview import coming_turns
from gateway.fairness.queues import TenantQueue
from gateway.fairness.ticket import Ticket
from gateway.workers import WindowSize, WorkerSpec

from .bench import Bench
from .tape import Tape, play


class SharingBench(Bench):
    """A bench to which service of others is told at random."""

    def check(self) -> None:
        """Every flow hears something; then all that must hold without a look at others holds."""
        self.is_vtc = False  # the bound over several schedulers needs all of them
        random = Random(self.books.submitted)
        for account in self.admission.pools.values():
            for tenant in account.queue.tenants.values():
                moved = tenant.share(tenant.elsewhere + random.randrange(-50, 100), random.randrange(200), 0)
                if moved < 0:
                    account.queue.group.policy.charged(tenant, moved)
        super().check()


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_service_elsewhere_keeps_the_books(data: bytes) -> None:
    """Counters that others move add up, and room, tickets and order are kept, in any workload."""
    play(data, bench_type=SharingBench)


def test_a_counter_has_a_part_for_each_side() -> None:
    """What others did replaces what was known of it; own charges stay; a refund stops at the floor of any replica."""
    flow = Flow("a", 1.0)
    flow.open(30, 50, 0, 0)
    assert flow.share(100, 0, 0) == 100
    assert flow.counter == 130
    assert flow.share(40, 60, 0) == -60
    assert (flow.counter, flow.floor) == (70, 60)
    flow.settle(30, 0, 50)
    assert flow.counter == flow.floor == 60


@pytest.mark.parametrize(
    ("waiting", "left", "elsewhere", "level_elsewhere", "level"),
    [
        ((), None, None, 0, 0),
        ((), 7, None, 0, 7),
        ((), 7, None, 9, 9),
        ((), 7, 5, 4, 4),
        ((8, 6), 7, None, 0, 6),
        ((8, 6), 7, 5, 4, 4),
        ((8, 6), 7, None, 4, 6),
        ((8, 6), 7, None, 9, 9),
    ],
)
def test_a_lift_goes_to_the_least_that_waits_anywhere(
    waiting: tuple[int, ...], left: int | None, elsewhere: int | None, level_elsewhere: int, level: int
) -> None:
    """The least counter that waits, if nobody waits that of who left last; but what all know if others wait."""
    policy: VirtualTokenCounter[Flow] = VirtualTokenCounter()
    if left is not None:
        gone = Flow("left", 1.0)
        policy.admit_directly(gone)
        gone.counter = left
    for counter in waiting:
        flow = Flow(f"at {counter}", 1.0)
        policy.waiting.add(flow)
        flow.counter = counter
    policy.least_elsewhere, policy.level_elsewhere = elsewhere, level_elsewhere
    newcomer = Flow("new", 1.0)
    assert policy.level == level
    policy.arrive(newcomer)
    assert newcomer.counter == level


@needs_sources
@settings(max_examples=300)
@given(st.binary(min_size=10, max_size=120))
def test_a_preview_is_what_comes(data: bytes) -> None:
    """If room comes for all, and nothing else happens, requests go in the order and at the counters of the preview."""
    tape = Tape(data)
    bench = Bench(predictor="oracle", window=WindowSize(1, 0, 10**9))
    for name in "abc":
        bench.tenant(name, (0.5, 1.0, 3.0)[tape.below(3)], max_in_flight=(None, None, 3)[tape.below(3)])
    while tape.left:
        who = tape.below(256)
        bench.submit("abc"[who % 3], key="xy"[who // 3 % 2], prompt=1 + who // 6, length=1 + tape.below(20))
    account = bench.admission.pools["p0"]
    expected = coming_turns(account, 16)
    seen = []
    opened = PoolAccount.open_charges

    def watched(account: PoolAccount, ticket: Ticket, tenant: TenantQueue, units_ahead: tuple[int, int]) -> None:
        seen.append((ticket, tenant.counter, tenant.key(ticket.key).counter))
        opened(account, ticket, tenant, units_ahead)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PoolAccount, "open_charges", watched)
        bench.fleet.configure(WorkerSpec("p0w0", "p0", "http://engine", WindowSize(10_000, 0, 10**9)))
        bench.carry_out(bench.admission.dispatch("p0", bench.now), "p0")
    assert [tuple(turn) for turn in expected] == seen[: len(expected)]
    assert len(expected) == min(16, len(seen))


def test_a_preview_names_whoever_goes_and_ends_at_a_limit() -> None:
    """Tenant a has twice the weight of b and goes twice as often. The list ends where c would pass its limit."""
    bench = Bench(predictor="none", window=WindowSize(1, 0, 10**9))
    bench.tenant("a", 2.0)
    bench.tenant("b", 1.0)
    bench.submit("a", prompt=10, length=1)  # takes the only place
    for tenant in "aaaabb":
        bench.submit(tenant, prompt=10, length=1)
    account = bench.admission.pools["p0"]
    assert [turn.ticket.tenant for turn in coming_turns(account, 16)] == list("abaaba")
    assert [turn.ticket.tenant for turn in coming_turns(account, 2)] == list("ab")
    bench.tenant("c", 4.0, max_in_flight=1)
    bench.submit("c", prompt=10, length=1)
    bench.submit("c", prompt=10, length=1)
    tenants = [turn.ticket.tenant for turn in coming_turns(account, 16)]
    assert tenants.count("c") == 1
