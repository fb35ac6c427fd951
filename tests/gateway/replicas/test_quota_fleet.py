"""Limits hold over all gateways of a fleet, whatever breaks, and nothing of them is lost.

Random programmes of floods and faults in virtual time, on production schedulers. The ordinary suite runs few;
`make test-replicas` runs more (REPLICA_PROGRAMMES). Controls leave out one rule each.
"""

import os
from collections.abc import Callable
from functools import cache
from random import Random

import pytest

from gateway.fairness import TenantLimits
from gateway.replicas.quota_call import LimitReport, QuotaCall
from gateway.replicas.shared_limits import SharedLimits

from .quota_fleet import Gateway, Network, QuotaFleet
from .quota_model import LEASE, Lease, Limit, QuotaModel

PROGRAMMES = int(os.environ.get("REPLICA_PROGRAMMES", "12"))
MOST = 1.02
HEALING_SECONDS = 3.0
GHOST_SECONDS = 31.0
FAULTS: dict[str, Callable[[QuotaFleet, int, float], None]] = {
    "crash": lambda fleet, number, seconds: fleet.crash(number),
    "freeze": lambda fleet, number, seconds: fleet.freeze(number, seconds),
    "cut": lambda fleet, number, seconds: fleet.cut(number, seconds),
    "gone": lambda fleet, number, seconds: fleet.lose_store(seconds),
    "wipe": lambda fleet, number, seconds: fleet.wipe(),
    "failover": lambda fleet, number, seconds: fleet.fail_over(),
}
LIMITS = {
    "flight": TenantLimits(max_in_flight=10),
    "queue": TenantLimits(max_queued=12),
    "requests": TenantLimits(requests_per_minute=120),
    "tokens": TenantLimits(tokens_per_minute=1_200),
}


def flooded(fleet: QuotaFleet, *gateways: int, until: float = 1e9) -> QuotaFleet:
    """The fleet with more requests of every tenant at `gateways` than its limit allows."""
    for gateway in gateways:
        fleet.flood(gateway, "flight", 15, 1.0, 0.1, until)
        fleet.flood(gateway, "queue", 20, 1.0, 0.1, until)
        fleet.flood(gateway, "requests", 6, 0.1, 0.1, until)
        fleet.flood(gateway, "tokens", 6, 0.1, 0.1, until)
    return fleet


def random_limits(random: Random) -> dict[str, TenantLimits]:
    """One tenant of each kind."""
    return {
        "flight": TenantLimits(max_in_flight=random.choice((1, 4, 10, 400))),
        "queue": TenantLimits(max_queued=random.choice((1, 12, 1_000))),
        "requests": TenantLimits(requests_per_minute=random.choice((6, 120, 600))),
        "tokens": TenantLimits(tokens_per_minute=random.choice((60, 6_000))),
    }


def programme(seed: int, faults: tuple[str, ...], sizes: tuple[int, ...] = (1, 2, 3, 5, 8)) -> QuotaFleet:
    """A fleet of one of these sizes after 25 s of random floods and faults."""
    random = Random(seed)
    gateways = random.choice(sizes)
    network = Network((0.0002, 0.001, 0.005), random.choice((0.0, 0.02)), random.choice((0.0, 0.02)))
    slots = random.choice((10, 10**6))
    fleet = QuotaFleet(gateways, random_limits(random), network=network, seed=seed, slots=slots)
    fleet.keep_snapshots()
    for _ in range(random.randrange(2, 9)):
        tenant, per_second, gateway = random.choice([*LIMITS]), random.choice((1, 5, 20)), random.randrange(gateways)
        since, until = random.uniform(0, 8), random.uniform(10, 40)
        fleet.flood(gateway, tenant, per_second, random.choice((0.1, 1.0, 5.0)), since, until)
    for _ in range(random.randrange(1, 5)):
        fault, number, seconds = random.choice(faults), random.randrange(gateways), random.choice((0.1, 0.6, 1.5, 3, 8))
        fleet.at(random.uniform(3, 14), lambda f=fault, n=number, s=seconds: FAULTS[f](fleet, n, s))
    fleet.run(25.0)
    fleet.check()
    return fleet


@pytest.mark.parametrize("seed", range(PROGRAMMES))
def test_no_limit_is_passed_when_the_store_breaks(seed: int) -> None:
    """Delay, loss, repetition, wipe, failover, and a store that is gone: never more than 1.02 times."""
    assert programme(seed, ("gone", "wipe", "failover")).most <= MOST


@pytest.mark.parametrize("seed", range(PROGRAMMES))
def test_no_limit_is_passed_when_gateways_break(seed: int) -> None:
    """The same with gateways that die and come back, while the store remembers what they used.

    A gateway that is cut off takes its equal part of a limit that it has not heard of, whatever the others have.
    """
    fleet = programme(seed, ("crash", "freeze", "cut"))
    assert fleet.most_of(fleet.tenants.keys() - fleet.unheard) <= MOST
    assert fleet.most <= MOST + 1 / len(fleet.gateways)


@pytest.mark.parametrize("seed", range(PROGRAMMES))
def test_no_limit_is_passed_when_gateways_die_and_the_store_is_emptied(seed: int) -> None:
    """What a dead one held counts as spent, although the store does not remember it: one that is left does."""
    assert programme(seed, ("crash", "wipe"), (2, 3, 5, 8)).most <= MOST


# -- nothing is lost


def begun_at_one(fleet: QuotaFleet) -> dict[str, int]:
    """How many requests of each tenant begin within half a minute, if all come to the last gateway."""
    flooded(fleet, len(fleet.gateways) - 1)
    fleet.restart_books()
    fleet.run(30.0)
    fleet.check()
    return dict(fleet.books.begun)


@cache
def begun_alone() -> dict[str, int]:
    """The same at a gateway that shares nothing."""
    return begun_at_one(QuotaFleet(1, LIMITS, slots=40, share=None))


def test_one_gateway_gets_the_whole_of_each_limit() -> None:
    """Three gateways let through at one what a lone gateway does: nobody is refused while others use nothing."""
    alone = begun_alone()
    fleet = QuotaFleet(3, LIMITS, slots=40)
    assert begun_at_one(fleet) == pytest.approx(alone, rel=0.02, abs=2)
    assert fleet.most <= MOST


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_of_a_limit_is_lost_after_a_fault(fault: str) -> None:
    """When it has healed, one gateway gets the whole of each limit again, with the rates full."""
    alone = begun_alone()
    fleet = flooded(QuotaFleet(3, LIMITS, slots=40), 0, 1, until=10.0)
    fleet.keep_snapshots()
    fleet.at(5.0, lambda: FAULTS[fault](fleet, 1, 3.0))
    fleet.run(10.0 + 70.0)
    assert begun_at_one(fleet) == pytest.approx(alone, rel=0.03, abs=3)


def test_what_a_gateway_held_that_never_comes_back_is_free_after_a_while() -> None:
    """Its places stay its own for thirty seconds, for it may only be cut off; then the others have them."""
    fleet = QuotaFleet(3, {"flight": LIMITS["flight"]})
    for number in (0, 1):
        fleet.flood(number, "flight", 15, 1.0, 0.1, 1e9)
    fleet.run(5.0)
    fleet.gateways[0].is_dead = True
    fleet.run(GHOST_SECONDS + HEALING_SECONDS)
    fleet.restart_books()
    fleet.run(10.0)
    assert fleet.books.begun["flight"] == pytest.approx(100, rel=0.03)


def test_requests_go_on_without_the_store() -> None:
    """Even ingress: with the store gone the rates let through what they do with it, and no limit is passed."""
    fleet = flooded(QuotaFleet(3, LIMITS, slots=40), 0, 1, 2)
    fleet.run(15.0)
    fleet.lose_store(1e9)
    fleet.run(10.0)
    fleet.restart_books()
    fleet.run(30.0)
    assert fleet.books.begun["requests"] == pytest.approx(60, rel=0.1)
    assert fleet.books.begun["tokens"] == pytest.approx(60, rel=0.1)
    assert fleet.books.begun["flight"] >= 0.9 * 300
    assert fleet.most <= MOST


def test_a_tenant_that_comes_while_the_store_is_gone_gets_an_equal_part() -> None:
    """Nobody was known to use its limits: three gateways let a third of each through."""
    fleet = QuotaFleet(3, LIMITS)
    fleet.run(5.0)
    fleet.lose_store(1e9)
    fleet.run(1.0)
    flooded(fleet, 0)
    fleet.run(30.0)
    allowance = fleet.gateways[0].admission.tenants.allowance("flight")
    assert allowance.in_flight == allowance.flight_places == 3
    assert fleet.books.begun["requests"] == pytest.approx(40 + 18, abs=3)
    assert fleet.most <= MOST


class Strict(SharedLimits):
    """`without_store: refuse`."""

    def __init__(self, *said: object) -> None:
        super().__init__(*said, continues=False)  # type: ignore[arg-type]


def test_a_strict_fleet_uses_only_what_it_holds() -> None:
    """With `without_store: refuse` a gateway that held nothing lets nothing through."""
    fleet = QuotaFleet(3, LIMITS, share=Strict)
    fleet.run(5.0)
    fleet.lose_store(1e9)
    fleet.run(1.0)
    flooded(fleet, 0)
    fleet.run(10.0)
    assert fleet.books.begun == {}
    assert fleet.books.refused["requests", "rate_limited"] > 10


# -- places in flight


def test_places_go_round() -> None:
    """Two gateways whose requests wait for one tenant's places both get some, whoever was first."""
    fleet = QuotaFleet(2, {"flight": LIMITS["flight"]})
    fleet.flood(0, "flight", 30, 1.0, 0.1, 1e9)
    fleet.flood(1, "flight", 30, 1.0, 5.0, 1e9)
    fleet.run(10.0)
    fleet.restart_books()
    in_flight = [0, 0]
    for _ in range(100):
        fleet.run(0.3)
        for number, gateway in enumerate(fleet.gateways):
            in_flight[number] += gateway.admission.tenants.allowance("flight").in_flight
    assert sum(in_flight) >= 0.97 * 100 * 10
    assert in_flight[0] == pytest.approx(in_flight[1], rel=0.3)


def test_a_request_larger_than_the_limit_runs_alone_in_the_fleet() -> None:
    """It waits until nothing else of its tenant runs anywhere, and it does get its turn."""
    fleet = QuotaFleet(3, {"flight": TenantLimits(max_in_flight=4)})
    for number in (0, 1):
        fleet.flood(number, "flight", 5, 0.5, 0.1, 1e9)
    fleet.run(5.0)
    fleet.submit(fleet.gateways[2], "flight", 0.5, sequences=9)
    wide = fleet.gateways[2].admission.tenants.allowance("flight")
    seen = 0
    for _ in range(1_000):
        fleet.run(0.01)
        if wide.in_flight:
            assert wide.in_flight == 9
            assert sum(each.admission.tenants.allowance("flight").in_flight for each in fleet.gateways) == 9
            seen += 1
    assert seen > 40


# -- what it costs


def test_only_what_lacks_something_is_in_a_call() -> None:
    """A thousand tenants whose queues stay short name nothing in any call."""
    tenants = {f"t{number}": TenantLimits(max_queued=1_000) for number in range(1_000)}
    fleet = QuotaFleet(2, tenants)
    for number in range(1_000):
        fleet.submit(fleet.gateways[number % 2], f"t{number}", 0.1)
    fleet.run(5.0)
    assert fleet.books.begun.total() == 1_000
    assert fleet.books.rows == 0
    assert max(gateway.calls for gateway in fleet.gateways) <= 12


def test_many_active_tenants_come_page_by_page() -> None:
    """Three hundred tenants that use a limit each at two gateways: no call names more than a page, and none lacks."""
    tenants = {f"t{number}": TenantLimits(requests_per_minute=60) for number in range(300)}
    fleet = QuotaFleet(2, tenants)
    for number in range(300):
        fleet.flood(number % 2, f"t{number}", 0.5, 0.1, 0.1, 1e9)
    fleet.run(20.0)
    assert not fleet.books.refused
    assert fleet.books.rows / sum(gateway.calls for gateway in fleet.gateways) < 64


# -- controls


class Published(QuotaModel):
    """Nothing is reserved: each is told what nobody uses now, and may use it."""

    def free(self, limit: Limit) -> int:
        """As far as the last reports say."""
        return self._level(limit) if limit.is_rate else limit.most - sum(each.used for each in limit.leases.values())


class NoGhosts(QuotaModel):
    """What a silent replica holds is free when it is silent."""

    def _bury(self, call: QuotaCall, now: int) -> None:
        super()._bury(call, now)
        self.members = {
            name: member for name, member in self.members.items() if name == call.name or now - member.time <= LEASE
        }


class WholeRefill(QuotaModel):
    """The rates refill for all, those included that refill theirs themselves."""

    def _refill(self, now: int) -> None:
        self.filled += max(0, now - self.at) * 1_000
        self.at = max(self.at, now)


class NoQuarantine(QuotaModel):
    """A store that was emptied gives out what it believes to be free."""

    def _is_settled(self, now: int) -> bool:
        return True


class GrantsAsState(QuotaModel):
    """What a replica holds is what it says that it holds: a grant that is on its way does not count."""

    def _note(self, call: QuotaCall, report: LimitReport, limit: Limit, now: int) -> tuple[Lease, int]:
        lease, heard = super()._note(call, report, limit, now)
        lease.held = report.held
        return lease, heard


def burst(store: type[QuotaModel]) -> QuotaFleet:
    """Forty requests of each tenant at each of three gateways, all at once."""
    fleet = QuotaFleet(3, LIMITS, slots=5, store=store)
    fleet.run(5.0)
    for gateway in fleet.gateways:
        for tenant in LIMITS:
            for _ in range(60):
                fleet.submit(gateway, tenant, 1.0)
    fleet.run(2.0)
    return fleet


def cut_off(store: type[QuotaModel]) -> QuotaFleet:
    """One gateway that is flooded is cut off for 25 s, with answers that last."""
    fleet = flooded(QuotaFleet(3, LIMITS, store=store), 0, 1)
    for number in (0, 1):
        fleet.flood(number, "flight", 3, 20.0, 0.1, 1e9)
    fleet.at(8.0, lambda: fleet.cut(1, 25.0))
    fleet.run(40.0)
    return fleet


def wiped(store: type[QuotaModel]) -> QuotaFleet:
    """The store is emptied while three gateways are flooded."""
    fleet = flooded(QuotaFleet(3, LIMITS, store=store), 0, 1, 2)
    fleet.at(8.0, fleet.wipe)
    fleet.run(15.0)
    return fleet


def delayed(store: type[QuotaModel]) -> QuotaFleet:
    """Messages that take long, between gateways that all wait for places."""
    network = Network(message_delays=(0.0002, 0.03, 0.2))
    fleet = flooded(QuotaFleet(3, LIMITS, network=network, store=store), 0, 1, 2)
    fleet.run(15.0)
    return fleet


class TrustsTheDead(QuotaModel):
    """After a wipe what nobody says that it holds is there for all."""

    def _is_whole(self) -> bool:
        return True


def died_and_wiped(store: type[QuotaModel]) -> QuotaFleet:
    """One gateway spends what it holds of the rates, and dies before it can say so, as the store is emptied."""
    fleet = QuotaFleet(3, LIMITS, store=store)
    for gateway in fleet.gateways[:2]:
        for tenant in ("requests", "tokens"):
            fleet.submit(gateway, tenant, 0.1)
    fleet.run(10.0)
    for tenant in ("requests", "tokens"):
        for _ in range(200):
            fleet.submit(fleet.gateways[0], tenant, 0.1)
    fleet.wipe()
    fleet.crash(0)
    for tenant in ("requests", "tokens"):
        fleet.flood(1, tenant, 30, 0.1, 0.1, 1e9)
    fleet.run(15.0)
    return fleet


def cut_off_for_long(limits: type[SharedLimits]) -> QuotaFleet:
    """One gateway has all of each limit, is cut off, and goes on after the store has forgotten it."""
    fleet = flooded(QuotaFleet(3, LIMITS, share=limits), 0)
    fleet.run(8.0)
    fleet.cut(0, 60.0)
    flooded(fleet, 1)
    fleet.run(35.0)
    fleet.restart_books()
    fleet.run(15.0)
    return fleet


class KeepsAll(SharedLimits):
    """Without the store it uses what it held, however long."""

    def __init__(self, *said: object) -> None:
        super().__init__(*said)  # type: ignore[arg-type]
        self.book.keep_parts = lambda are_equal: None  # type: ignore[method-assign]


def test_a_gateway_that_is_cut_off_for_long_keeps_an_equal_part_of_the_places() -> None:
    """The others have all by then, so more than the limit is in use; the control has twice as much."""
    assert 1.0 < cut_off_for_long(SharedLimits).books.beyond["flight in flight"] <= 1.3
    assert cut_off_for_long(KeepsAll).books.beyond["flight in flight"] > 1.5


CONTROLLED: dict[str, tuple[Callable[[type[QuotaModel]], QuotaFleet], type[QuotaModel]]] = {
    "published state in a burst": (burst, Published),
    "no ghosts in a cut": (cut_off, NoGhosts),
    "the whole refill in a cut": (cut_off, WholeRefill),
    "no quarantine after a wipe": (wiped, NoQuarantine),
    "grants as a state under delay": (delayed, GrantsAsState),
    "what the dead held after a wipe": (died_and_wiped, TrustsTheDead),
}


@pytest.mark.parametrize("control", CONTROLLED)
def test_a_store_without_the_rule_gives_too_much(control: str) -> None:
    """Each rule is needed: with it no limit is passed, without it one is."""
    play, without = CONTROLLED[control]
    assert play(QuotaModel).most <= MOST
    assert play(without).most > MOST


def test_a_tenant_that_is_replaced_while_a_request_waits_begins_anew() -> None:
    """What the request has asked for is not taken off what the new tenant's requests ask for, and nobody waits on."""
    gateway = Gateway("a", "boot", 2, 4, SharedLimits)
    limits, admission = gateway.limits, gateway.admission
    assert limits is not None
    terms = TenantLimits(requests_per_minute=60)
    admission.configure_tenant("alice", 1.0, terms)
    old = limits.expect("alice", 10.0)
    assert admission.forget_tenant("alice")
    admission.configure_tenant("alice", 1.0, terms)
    new = limits.expect("alice", 10.0)
    limits.forget(old)
    (report,) = limits.call(0.0, "generation").limits
    assert report.want == 1
    limits.forget(new)
    assert not limits.book.waiting()
