"""Several gateways share like one, in virtual time on the production scheduler; each control shares worse."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from gateway.fairness.ticket import Ticket
from gateway.replicas.call import Call, Reply
from gateway.replicas.replica import BUSY_SECONDS, SPACING_SECONDS, Replica
from gateway.replicas.room_book import Permit

from .fleet import Fleet, Flood, Network

WARMING_SECONDS = 5.0
SLOW_AND_LOSSY = Network((0.0002, 0.001, 0.005, 0.02), loss=0.02, repetition=0.02)


def heavy_tailed(random: Random) -> int:
    """Lengths of which few make most of the tokens."""
    return random.choice((5, 10, 40, 200))


def equal(random: Random) -> int:
    """Answers that all end in one step."""
    return 20


def skewed(replica: type[Replica] = Replica, seconds: float = 40.0, **settings: Any) -> float:
    """The share of tenant `a`, of weight 4 at one gateway, beside `b`, of weight 1 at another: 0.8 is due."""
    length = settings.pop("length", equal)
    fleet = Fleet(settings.pop("gateways", 2), replica_type=replica, weights={"a": 4.0, "b": 1.0}, **settings)
    fleet.floods = [Flood(0, "a", length=length), Flood(1, "b", length=length)]
    fleet.run(WARMING_SECONDS)
    fleet.restart_books()
    fleet.run(seconds)
    fleet.check()
    assert fleet.books.beyond <= 0
    return fleet.share("a", "b")[0]


def test_equal_answers_that_end_in_one_step_are_shared_by_weight() -> None:
    """64 answers end in one step, and the next 64 are shared 80:20 within 1 %."""
    assert skewed(window=64) == pytest.approx(0.8, abs=0.008)


@pytest.mark.parametrize("network", [Network(), SLOW_AND_LOSSY, Network((0.0002, 0.001), loss=0.2)])
def test_weights_hold_under_skew_delay_and_loss(network: Network) -> None:
    """Heavy-tailed answers are shared 80:20 within 2 %."""
    assert skewed(length=heavy_tailed, network=network, seconds=100.0) == pytest.approx(0.8, abs=0.016)


def test_eight_gateways_lose_no_room() -> None:
    """Two of eight gateways have requests, and no slot stays idle for the other six."""
    fleet = Fleet(8, workers=2)
    fleet.floods = [Flood(2, "a", length=heavy_tailed), Flood(5, "b", length=heavy_tailed)]
    fleet.run(WARMING_SECONDS)
    fleet.restart_books()
    fleet.run(20.0)
    assert fleet.books.idle <= 0.01 * fleet.books.steps * fleet.window * 2
    assert fleet.share("a", "b")[0] == pytest.approx(0.5, abs=0.02)


def idle_places(monkeypatch: pytest.MonkeyPatch, spacing_seconds: float) -> float:
    """The part of the places that were free while somebody waited: engines step in 10 ms, answers take 0.2 to 1 s."""
    monkeypatch.setattr("gateway.replicas.replica.SPACING_SECONDS", spacing_seconds)
    monkeypatch.setattr("replicas.fleet.STEP_SECONDS", 0.01)
    fleet = Fleet(2, weights={"a": 4.0, "b": 1.0})
    fleet.floods = [
        Flood(number, name, length=lambda random: random.randint(20, 100)) for number, name in enumerate("ab")
    ]
    fleet.run(3.0)
    fleet.restart_books()
    fleet.run(5.0)
    assert max(gateway.calls for gateway in fleet.gateways) <= fleet.now / min(spacing_seconds, BUSY_SECONDS) + 1
    return fleet.books.idle / (fleet.books.steps * fleet.window)


def test_few_places_wait_for_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that spaces its calls hands over what it frees in time; control: not with a tenth of a second."""
    assert idle_places(monkeypatch, SPACING_SECONDS) < 0.01
    assert idle_places(monkeypatch, 0.1) > 0.01


class SplitReplica(Replica):
    """Control: each of two gateways has half of the window for itself; counters are shared."""

    def permit(self, ticket: Ticket) -> Permit:
        """Room of its own half."""
        (room,) = self.rooms.rooms.values()
        return Permit.ALLOWED if room.used < 16 else Permit.NOTHING

    def has_room(self, worker: str, permit: Permit) -> bool:
        """No store is asked."""
        return permit is Permit.ALLOWED

    def use(self, worker: str, ticket: Ticket, permit: Permit) -> None:
        """It counts for itself."""
        self.rooms.overdraw(worker, 1)
        self.flows.granted(ticket)


class GivesAllBack(Replica):
    """What it frees goes back to the store, whoever is first."""

    def _is_entitled(self, ticket: Ticket) -> bool:
        return self.least_elsewhere is None


class HidesTheRest(GivesAllBack):
    """Control: it does not say that more requests wait than its candidates, so the others go on without it."""

    def call(self, now: float, new_generation: str) -> Call:
        """As the replica's, with that silence."""
        return replace(super().call(now, new_generation), has_more=False)


def test_shares_hold_if_all_room_goes_through_the_store() -> None:
    """It costs calls, and nothing else: the list says what is to be compared."""
    assert skewed(GivesAllBack, window=64) == pytest.approx(0.8, abs=0.008)


@pytest.mark.parametrize(("control", "window"), [(SplitReplica, 33), (HidesTheRest, 64)])
def test_shares_are_wrong_without_the_broker_or_the_list(control: type[Replica], window: int) -> None:
    """Controls: a split window, and lists of candidates whose end is not known."""
    assert skewed(control, window=window) < 0.6


# -- keys


def key_shares(replica: type[Replica] = Replica) -> dict[str, float]:
    """One tenant: key `x` at one gateway, three others at another one."""
    fleet = Fleet(2, replica_type=replica, network=SLOW_AND_LOSSY)
    fleet.floods = [Flood(0, "t", "x"), *(Flood(1, "t", key) for key in "pqr")]
    fleet.run(WARMING_SECONDS)
    fleet.restart_books()
    fleet.run(40.0)
    total = sum(fleet.books.served.values())
    return {key: cost / total for (_, key), cost in fleet.books.served.items()}


class BlindToKeys(Replica):
    """Control: candidates do not tell the counters of keys."""

    def call(self, now: float, new_generation: str) -> Call:
        """As the replica's, without them."""
        call = super().call(now, new_generation)
        return replace(call, candidates=[each._replace(key_counter=0) for each in call.candidates])

    def answered(self, reply: Reply) -> None:
        """As the replica's, without whose counter it is."""
        super().answered(reply)
        self._tenant_elsewhere = ""


def test_keys_of_one_tenant_share_over_gateways() -> None:
    """Three keys at one gateway and one at another: 3:1 within 3 %."""
    assert 1 / key_shares()["x"] - 1 == pytest.approx(3.0, rel=0.03)


def test_keys_share_wrongly_without_their_counters() -> None:
    """Control: by the tenant's counter alone each gateway gets about half."""
    assert key_shares(BlindToKeys)["x"] > 0.35


# -- a newcomer while nobody waits


def newcomer_share(replica: type[Replica] = Replica) -> float:
    """`a` was served alone, without waiting; then both flood: what `b` gets of the next 20 s."""
    fleet = Fleet(2, window=32, replica_type=replica)
    fleet.floods = [
        Flood(0, "a", depth=1, until=20.0),
        Flood(0, "a", length=heavy_tailed, since=20.1),
        Flood(1, "b", length=heavy_tailed, since=20.1),
    ]
    fleet.run(20.1)
    fleet.restart_books()
    fleet.run(20.0)
    return fleet.share("a", "b")[1]


class OwnLevels(Replica):
    """Control: lifts look at this gateway alone."""

    def answered(self, reply: Reply) -> None:
        """As the replica's, without levels."""
        super().answered(replace(reply, vt=0))
        self.flows.policy.least_elsewhere = None

    def _own_vt(self) -> int:
        return 0


def test_a_newcomer_gets_its_share_and_no_more() -> None:
    """50:50 within 2 %, although nobody waited when the newcomer came."""
    assert newcomer_share() == pytest.approx(0.5, abs=0.02)


def test_a_newcomer_takes_all_if_levels_are_not_shared() -> None:
    """Control: it starts at zero and goes first for a long time."""
    assert newcomer_share(OwnLevels) > 0.7
