"""No engine has more than its window, whatever breaks, and no room is lost for longer than a lease.

The one exception has a bound of its own: while a gateway is cut off from the store, it and the others may both see the
same free room in one reading of the engine.

Random programmes of floods and faults in virtual time, on the production scheduler. The ordinary suite runs few;
`make test-replicas` runs more (REPLICA_PROGRAMMES). Controls leave out one rule each.
"""

import os
from collections.abc import Callable
from random import Random

import pytest

from gateway.replicas.call import WorkerReport
from gateway.replicas.outage import Outage
from gateway.replicas.replica import Replica

from .fleet import Fleet, Flood, Network
from .store_model import Member, StoreModel

PROGRAMMES = int(os.environ.get("REPLICA_PROGRAMMES", "12"))
RESIDUAL_OF_A_CUT = 1
WAY_SECONDS = 0.005  # from a gateway to the store, and back
HEALING_SECONDS = 6.0  # a lease, a quarantine, two readings
FAULTS: dict[str, Callable[[Fleet, int, float], None]] = {
    "crash": lambda fleet, number, seconds: fleet.crash(number),
    "freeze": lambda fleet, number, seconds: fleet.freeze(number, seconds),
    "cut": lambda fleet, number, seconds: fleet.cut(number, seconds),
    "wipe": lambda fleet, number, seconds: fleet.wipe(),
    "failover": lambda fleet, number, seconds: fleet.fail_over(),
}


def length_of(name: str) -> Callable[[Random], int]:
    """Answers of equal length, or of very different ones."""
    return {"equal": lambda random: 20, "heavy": lambda random: random.choice((5, 10, 40, 200))}[name]


def programme(
    seed: int,
    faults: tuple[str, ...] = tuple(FAULTS),
    replica: type[Replica] = Replica,
    store: type[StoreModel] = StoreModel,
) -> Fleet:
    """A fleet after 25 s of random floods and faults, and the time that it needs to heal."""
    random = Random(seed)
    gateways = random.choice((1, 2, 3, 5, 8))
    network = Network((0.0002, 0.001, 0.005), random.choice((0.0, 0.02)), random.choice((0.0, 0.02)))
    fleet = Fleet(
        gateways,
        window=random.choice((8, 33)),
        workers=random.choice((1, 2)),
        network=network,
        seed=seed,
        replica_type=replica,
        store_type=store,
    )
    fleet.keep_snapshots()
    for _ in range(random.randrange(1, 8)):
        length = length_of(random.choice(("equal", "heavy")))
        since, until = random.uniform(0, 8), random.uniform(10, 40)
        where = random.randrange(gateways), random.choice("abc"), random.choice("xy")
        fleet.floods.append(Flood(*where, length, random.choice((1, 5, 30)), since, until))
    for _ in range(random.randrange(1, 5)):
        fault, number, seconds = random.choice(faults), random.randrange(gateways), random.choice((0.1, 0.6, 1.5, 3, 8))
        fleet.at(random.uniform(3, 14), lambda f=fault, n=number, s=seconds: FAULTS[f](fleet, n, s))
    fleet.run(22.0)
    fleet.check()
    return fleet


@pytest.mark.parametrize("seed", range(PROGRAMMES))
def test_no_engine_has_more_than_its_window(seed: int) -> None:
    """Delay, loss, repetition, crash, freeze, wipe and failover: never one sequence beyond the window."""
    assert programme(seed, ("crash", "freeze", "wipe", "failover")).books.beyond <= 0


@pytest.mark.parametrize("seed", range(PROGRAMMES))
def test_a_cut_costs_one_sequence_at_most(seed: int) -> None:
    """With gateways cut off from the store: one sequence beyond the window at most."""
    assert programme(seed).books.beyond <= RESIDUAL_OF_A_CUT


@pytest.mark.parametrize("gateways", [2, 3])
def test_bursts_at_an_idle_engine_beside_a_cut_cost_an_equal_part_at_most(gateways: int) -> None:
    """Whoever is cut off sees an idle engine, as the others do, and all fill it in the same half second."""
    for wait_seconds in (0.2, 1.0, 2.2, 2.6, 3.0):
        fleet = Fleet(gateways, window=8)
        fleet.run(1.6)
        fleet.cut(0, 6.0)
        fleet.run(wait_seconds)
        for number in (0, 1):
            for _ in range(20):
                fleet.submit(fleet.gateways[number], "a")
        fleet.run(6.0)
        assert fleet.books.beyond <= fleet.window // gateways


@pytest.mark.parametrize("fault", FAULTS)
def test_no_room_is_lost_after_a_fault(fault: str) -> None:
    """When it has healed, every slot is used again, and the sums of the store are the sums of the charges."""
    fleet = Fleet(3, window=33)
    fleet.keep_snapshots()
    fleet.floods = [Flood(0, "a", length=length_of("heavy")), Flood(1, "b", length=length_of("heavy"))]
    fleet.at(5.0, lambda: FAULTS[fault](fleet, 1, 3.0))
    fleet.run(5.0 + 3.0 + HEALING_SECONDS)
    fleet.restart_books()
    fleet.run(10.0)
    assert fleet.books.beyond <= 0
    assert fleet.books.idle <= 0.005 * fleet.books.steps * fleet.window


# -- controls


class NoGhosts(StoreModel):
    """What a silent replica held is free at once."""

    def _bury(self, name: str, now: int) -> None:
        super()._bury(name, now)
        self.ghosts = []


class NoQuarantine(StoreModel):
    """A store that was emptied gives out what it believes to be free."""

    def free(self, worker: str, now: int) -> int:
        """As at any other time."""
        born, self.born = self.born, 0
        try:
            return super().free(worker, now)
        finally:
            self.born = born


class Overwritten(StoreModel):
    """What a replica holds is what it says that it holds."""

    def _note_worker(self, caller: Member, report: WorkerReport, *, is_first: bool) -> None:
        super()._note_worker(caller, report, is_first=is_first)
        caller.holdings[report.name].granted = report.granted


class ByTheClock(Outage):
    """Without the store each goes to its equal part by and by, whatever runs at the engine."""

    def read(self, worker: str, window: int, there: int, used: int, *, is_leased: bool) -> None:
        """A step of a tenth of a second's glide."""
        part = window // self._living
        before = self._limits.get(worker, used)
        self._limits[worker] = before + (1 if part > before else -1 if part < before else 0)


CONTROLLED = {
    "cut": (NoGhosts, Network(), (40, 400)),
    "wipe of a store that one does not reach": (NoQuarantine, Network(), (40, 400)),
    "loss": (Overwritten, Network((0.0002, 0.03, 0.07), loss=0.2), (5, 40)),
}


def _break(fleet: Fleet, fault: str) -> None:
    if fault == "cut":
        fleet.cut(1, 8.0)
    elif fault != "loss":
        fleet.cut(1, 1.5)
        fleet.wipe()


def beyond(fault: str, store: type[StoreModel], *, knows_strangers: bool = True) -> int:
    """The most that the engine had beyond its window, in a fleet under full load with one fault."""
    _, network, lengths = CONTROLLED[fault]
    fleet = Fleet(3, network=network, store_type=store, knows_strangers=knows_strangers)
    fleet.floods = [Flood(number, "abc"[number], length=lambda random: random.choice(lengths)) for number in range(3)]
    fleet.at(8.0, lambda: _break(fleet, fault))
    fleet.run(30.0)
    return fleet.books.beyond


@pytest.mark.parametrize("fault", CONTROLLED)
def test_a_store_without_the_rule_gives_too_much(fault: str) -> None:
    """Controls: no ghosts at a cut, no quarantine after a wipe, room as a state at 20 % loss."""
    assert beyond(fault, StoreModel) <= 0
    assert beyond(fault, CONTROLLED[fault][0]) > 0


def test_a_tuner_that_leaves_out_no_strangers_gives_too_much() -> None:
    """Control: the streams of a gateway that is cut off run on, and after a reading nobody counts them."""
    assert beyond("cut", StoreModel, knows_strangers=False) > 0


def test_a_glide_by_the_clock_takes_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: all three are cut off, and those with little go up while long answers of the others still run."""

    def cut_all() -> int:
        fleet = Fleet(3, window=33)
        fleet.floods = [
            Flood(0, "a", length=lambda random: 600, until=4.0),
            *(Flood(number, "bc"[number - 1], since=5.5) for number in (1, 2)),
        ]
        fleet.at(5.0, lambda: [fleet.cut(number, 20.0) for number in range(3)])
        fleet.run(25.0)
        return fleet.books.beyond

    assert cut_all() <= 0
    monkeypatch.setattr("gateway.replicas.replica.Outage", ByTheClock)
    assert cut_all() > 0


# -- spare room


class FixedSpare(Replica):
    """Control: each keeps four sequences at hand, however little is free."""

    spare_target = 4


class GivesFixedSpare(StoreModel):
    """The store's side of it."""

    def _spare_target(self, free: int) -> int:
        return 4


def slowest_start(replica: type[Replica], store: type[StoreModel]) -> float:
    """Eight idle gateways before 33 slots: seconds until 17 requests that come to one of them have all begun."""
    fleet = Fleet(8, window=33, network=Network((WAY_SECONDS,)), replica_type=replica, store_type=store)
    fleet.run(10.0)
    while any(gateway.under_way for gateway in fleet.gateways):
        fleet.run(0.001)
    for _ in range(17):
        fleet.submit(fleet.gateways[3], "a")
    seconds = 0.0
    while fleet.gateways[3].waiting:
        fleet.run(0.001)
        seconds += 0.001
    return seconds


def test_spare_room_follows_what_is_free() -> None:
    """With room free elsewhere a burst waits for one exchange with the store; with fixed spare it waits for recalls."""
    assert slowest_start(Replica, StoreModel) <= 2.5 * WAY_SECONDS
    assert slowest_start(FixedSpare, GivesFixedSpare) >= 4 * WAY_SECONDS
