"""Whatever happens to a fleet, in whatever order: no engine has more than its window, books add up, the bound holds.

A state machine draws fleets of 1 to 8 gateways, requests, times, networks and faults. A fleet either has faults, or it
stays in touch with its store and is held to the bound after every event. The ordinary suite draws few fixed fleets;
`make test-replicas` draws thousands of fresh ones (REPLICA_CASES).
"""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from .fleet import POOL, SHIFT, Fleet, Flood, Network
from .judge import Judge

SHARDS = 8
CASES = int(os.environ.get("REPLICA_CASES", "0"))
FEW = settings(max_examples=8, derandomize=True)
SECONDS = (0.01, 0.06, 0.3, 1.2)
LEASE_SECONDS = 1.0
MOST_STANDSTILL_SECONDS = 30.0  # the longest freeze, a lease, a quarantine
HEALING_SECONDS = 4.0  # a lease, a quarantine, three readings
RESIDUAL_OF_A_CUT = 1
LOSSY = st.sampled_from((0.0, 0.0, 0.02, 0.2))
DELAYS = st.sampled_from(((0.0002,), (0.0002, 0.001, 0.005), (0.0002, 0.02, 0.04)))
NUMBERS = st.integers(0, 7)
TENANTS, KEYS = st.sampled_from("abc"), st.sampled_from("xy")
LENGTHS = st.sampled_from((1, 5, 20, 60))


class FleetMachine(RuleBasedStateMachine):
    """One fleet."""

    fleet: Fleet
    judge: Judge | None

    @initialize(
        gateways=st.sampled_from((1, 2, 2, 3, 3, 5, 8)),
        window=st.sampled_from((2, 8, 17)),
        workers=st.integers(1, 2),
        predictor=st.sampled_from(("none", "quantile", "oracle")),
        seed=st.integers(0, 2**16),
        is_judged=st.booleans(),
    )
    def begin(self, gateways: int, window: int, workers: int, predictor: str, seed: int, *, is_judged: bool) -> None:
        """Any fleet, in its first second."""
        self.fleet = Fleet(
            gateways, window=window, workers=workers, predictor=predictor, seed=seed, lease_seconds=LEASE_SECONDS
        )
        self.judge = Judge(self.fleet) if is_judged else None
        self.was_cut = False
        self.fleet.keep_snapshots()
        self.fleet.run(0.6)

    @property
    def has_faults(self) -> bool:
        """True if faults may happen to this fleet."""
        return self.judge is None

    def _number(self, number: int) -> int:
        return number % len(self.fleet.gateways)

    @rule(number=NUMBERS, tenant=TENANTS, key=KEYS, length=LENGTHS, count=st.sampled_from((1, 3, 20)))
    def send(self, number: int, tenant: str, key: str, length: int, count: int) -> None:
        """A burst of requests."""
        gateway = self.fleet.gateways[self._number(number)]
        if not gateway.is_dead and not gateway.is_frozen:
            for _ in range(count):
                self.fleet.submit(gateway, tenant, key, length)

    @rule(number=NUMBERS, tenant=TENANTS, key=KEYS, length=LENGTHS, seconds=st.sampled_from(SECONDS))
    def flood(self, number: int, tenant: str, key: str, length: int, seconds: float) -> None:
        """A client that keeps requests queued for a while."""
        until = self.fleet.now + seconds
        self.fleet.floods.append(Flood(self._number(number), tenant, key, lambda random: length, 5, 0.0, until))

    @rule(seconds=st.sampled_from(SECONDS))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.fleet.run(seconds)

    @rule(delays=DELAYS, loss=LOSSY, repetition=LOSSY)
    def change_network(self, delays: tuple[float, ...], loss: float, repetition: float) -> None:
        """Messages take other times, overtake each other, get lost or come twice."""
        self.fleet.network = Network(delays, loss if self.has_faults else 0.0, repetition)

    @precondition(lambda self: self.has_faults)
    @rule(number=NUMBERS)
    def crash(self, number: int) -> None:
        """A gateway dies."""
        if not self.fleet.gateways[self._number(number)].is_dead:
            self.fleet.crash(self._number(number))

    @precondition(lambda self: self.has_faults)
    @rule(number=NUMBERS, seconds=st.sampled_from((0.1, 0.6, 1.5)))
    def freeze(self, number: int, seconds: float) -> None:
        """A gateway stands still."""
        self.fleet.freeze(self._number(number), seconds)

    @precondition(lambda self: self.has_faults)
    @rule(number=NUMBERS, seconds=st.sampled_from((0.1, 0.6, 1.5)))
    def cut(self, number: int, seconds: float) -> None:
        """A gateway does not reach the store."""
        self.was_cut = True
        self.fleet.cut(self._number(number), seconds)

    @precondition(lambda self: self.has_faults)
    @rule()
    def wipe(self) -> None:
        """The store loses everything."""
        self.fleet.wipe()

    @precondition(lambda self: self.has_faults)
    @rule()
    def fail_over(self) -> None:
        """Another server takes over."""
        self.fleet.fail_over()

    @invariant()
    def no_engine_has_too_much(self) -> None:
        """At no instant so far, but for the residual of a cut."""
        assert self.fleet.books.beyond <= (RESIDUAL_OF_A_CUT if self.was_cut else 0)

    @invariant()
    def books_add_up(self) -> None:
        """Every scheduler's."""
        self.fleet.check()

    def teardown(self) -> None:
        """All of it heals: every request ends, no room is lost, and all know the same counters."""
        if not hasattr(self, "fleet"):
            return
        fleet = self.fleet
        fleet.network, fleet.floods = Network(), []
        served, served_at = fleet.books.served.total(), fleet.now
        while any(gateway.waiting or gateway.jobs for gateway in fleet.gateways):
            fleet.run(1.0)
            if fleet.books.served.total() > served:
                served, served_at = fleet.books.served.total(), fleet.now
            assert fleet.now < served_at + MOST_STANDSTILL_SECONDS, "requests wait for ever"
        fleet.run(HEALING_SECONDS)
        self.no_engine_has_too_much()
        self.books_add_up()
        self._check_room()
        self._check_counters()

    def _check_room(self) -> None:
        for worker in self.fleet.workers:
            held = sum(member.holdings[worker].sequences for member in self.fleet.store.members.values())
            own = sum(gateway.replica.rooms.rooms[worker].held for gateway in self.fleet.gateways)
            assert held == own
            assert self.fleet.store.free(worker, self.fleet.milliseconds) == self.fleet.window - own

    def _check_counters(self) -> None:
        for name, account in self.fleet.store.accounts.items():
            tenant, _, key = name.partition("\0")
            for gateway in self.fleet.gateways:
                flow: Any = gateway.admission.pools[POOL].queue.tenants.get(tenant)
                flow = flow and flow.known_key(key) if key else flow
                if flow is not None:
                    assert abs(flow.counter - (account.sum << SHIFT)) <= 2 << SHIFT, name


@pytest.mark.parametrize("shard", range(SHARDS if CASES else 1))
def test_a_fleet_keeps_its_room_its_books_and_its_bound(shard: int) -> None:
    """See above; fresh fleets come in equal parts that run side by side."""
    drawn = settings(max_examples=CASES // SHARDS, derandomize=False, print_blob=True) if CASES else settings(FEW)
    limits = settings(drawn, stateful_step_count=10, suppress_health_check=list(HealthCheck), deadline=None)
    run_state_machine_as_test(FleetMachine, settings=limits)  # type: ignore[no-untyped-call]
