"""A budget that gateways share is never passed, whatever happens to them, the network and the store."""

import os

import pytest

from gateway.replicas.budget_call import BudgetCall, BudgetReply, BudgetReport

from .any_fleet import Network
from .budget_fleet import BudgetFleet
from .budget_model import BudgetModel, Hold, Row

GATEWAYS = 3
BAD = Network(delays=(0.0002, 0.001, 0.03), loss=0.05, repetition=0.05)


class Hasty(BudgetModel):
    """A store that gives at once after a loss, and learns of others only from themselves."""

    def _is_settled(self, now: int) -> bool:
        return True

    def _learn(self, row: Row, call: BudgetCall, report: BudgetReport) -> None:
        mine = {name: total for name, total in report.totals.items() if name == call.name}
        super()._learn(row, call, report._replace(totals=mine, holds={}))


class Forgiving(BudgetModel):
    """A store that takes what a silent gateway holds for nobody's."""

    def _is_silent(self, name: str, now: int) -> float:
        return super()._is_silent(name, now) if name in self.writers else 0.0

    def _is_over(self, name: str, hold: Hold) -> bool:
        return self.writers[name].time < self.writers[self.caller].time - 500 if name in self.writers else True

    def turn(self, call: BudgetCall, now: int) -> tuple[BudgetReply, dict[str, object]]:
        self.caller = call.name
        return super().turn(call, now)


def flooded(fleet: BudgetFleet, seconds: float = 20.0, per_second: float = 10.0) -> BudgetFleet:
    """The fleet after requests at every gateway."""
    for number in range(GATEWAYS):
        fleet.flood(number, per_second, seconds)
    return fleet


@pytest.mark.parametrize("amount", [700, 5_000, 30_000])
def test_a_budget_is_used_to_its_end_and_not_passed(amount: int) -> None:
    """Without faults; few answers are cut."""
    fleet = flooded(BudgetFleet(GATEWAYS, amount))
    fleet.run(60.0)
    assert 0.97 * amount - 26 <= fleet.used <= amount
    assert fleet.cut_short <= max(1, 0.15 * fleet.served)


def test_gateways_that_held_nothing_any_more_get_some_again() -> None:
    """Requests come in bursts; between them everything is given back."""
    fleet = BudgetFleet(GATEWAYS, 5_000)
    for _ in range(12):
        for number in range(GATEWAYS):
            fleet.flood(number, 10.0, fleet.now + 0.5)
        fleet.run(15.0)
    fleet.run(60.0)
    assert 0.9 * 5_000 <= fleet.used <= 5_000


def programme(seed: int, store: type[BudgetModel] = BudgetModel) -> BudgetFleet:
    """A random programme of faults while a budget is used; the most that was used meanwhile is what was used."""
    fleet = flooded(BudgetFleet(GATEWAYS, 20_000, network=BAD, seed=seed, store=store), 60.0, 5.0)
    fleet.keep_snapshots()
    choose = fleet.random
    for _ in range(25):
        fleet.run(choose.uniform(0.2, 3.0))
        number, seconds = choose.randrange(GATEWAYS), choose.uniform(0.1, 8.0)
        fault = choose.choice(("crash", "freeze", "cut", "wipe", "fail over", "lose"))
        match fault:
            case "crash":
                fleet.crash(number)
            case "freeze":
                fleet.freeze(number, seconds)
            case "cut":
                fleet.cut(number, seconds)
            case "wipe":
                fleet.wipe()
            case "fail over":
                fleet.fail_over()
            case _:
                fleet.lose_store(seconds / 2)
    fleet.run(60.0)
    return fleet


@pytest.mark.parametrize("seed", range(int(os.environ.get("BUDGET_PROGRAMMES", "30"))))
def test_no_programme_of_faults_passes_a_budget(seed: int) -> None:
    """Loss, delay, repetition, crash, freeze, cut, wipe and failover."""
    fleet = programme(seed)
    assert fleet.used <= fleet.amount
    assert fleet.used >= 0.97 * fleet.amount


@pytest.mark.parametrize("store", [Hasty, Forgiving])
def test_a_store_that_knows_less_passes_a_budget(store: type[BudgetModel]) -> None:
    """Control: the programmes can find it."""
    assert any(fleet.used > fleet.amount for fleet in (programme(seed, store) for seed in range(10)))


def test_without_the_store_a_gateway_uses_what_it_holds() -> None:
    """And nothing beyond; with the store again it goes on."""
    fleet = flooded(BudgetFleet(GATEWAYS, 30_000), 20.0, 5.0)
    fleet.run(3.0)
    before = fleet.served
    fleet.lose_store(5.0)
    fleet.run(5.0)
    assert before < fleet.served
    alone = fleet.used
    fleet.run(60.0)
    assert alone < fleet.used <= 30_000


def test_after_a_wipe_nothing_is_given_for_a_lease() -> None:
    """What gateways hold they use; the store gives nothing before two seconds have passed."""
    fleet = flooded(BudgetFleet(GATEWAYS, 5_000), 20.0)
    fleet.run(2.0)
    fleet.wipe()
    born = fleet.now
    while fleet.now < born + 1.9:
        fleet.run(0.1)
        assert all(not hold.granted for row in fleet.store.rows.values() for hold in row.holds.values())
    fleet.run(60.0)
    assert fleet.used <= 5_000
