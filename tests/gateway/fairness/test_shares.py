"""Each tenant gets its max-min share under VTC within 3 %, and visibly does not under FCFS.

Every scenario runs twice on the same engine: under `vtc` it must be judged fair, under the control it must not.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

import pytest

from gateway.fairness import KvTime, Linear, Profiled
from gateway.fairness.cost import CostFunction, to_cost
from gateway.fairness.snapshot import jain_index

from .bench import Bench
from .shares import is_fair, max_min_shares

STEPS = 4_000
LEAST_JAIN_INDEX = 0.99


@dataclass(frozen=True)
class Demand:
    """A tenant's load: `burst` requests every `period` steps; `outstanding` > 0 keeps so many queued instead."""

    prompt: int = 4
    length: int = 8
    weight: float = 1.0
    outstanding: int = 0
    burst: int = 1
    period: int = 0
    keys: int = 1
    sequences: int = 1
    on: Callable[[int], bool] = lambda step: True


def run(bench: Bench, demands: Mapping[str, Demand], steps: int = STEPS) -> Bench:
    """Drive `bench` with `demands`; lengths and prompts vary by +-50 %, the same in each run."""
    bench.checks = False
    lengths = Random(7)
    for name, demand in demands.items():
        bench.tenant(name, demand.weight)
    for step in range(steps):
        waiting = Counter(job.ticket.tenant for job in bench.waiting.values())
        for name, demand in demands.items():
            count = demand.outstanding - waiting[name]
            if demand.period:
                count = demand.burst if step % demand.period == 0 else 0
            for number in range(count if demand.on(step) else 0):
                scale = lengths.choice((0.5, 1.0, 1.5))
                bench.submit(
                    name,
                    key=f"k{(step + number) % demand.keys}",
                    prompt=max(1, round(demand.prompt * scale)),
                    length=max(demand.sequences, round(demand.length * lengths.choice((0.5, 1.0, 1.5)))),
                    most=max(demand.sequences, 2 * demand.length),
                    sequences=demand.sequences,
                )
        bench.step()
    bench.checks = True
    bench.check()
    return bench


FLOOD, MODEST = Demand(outstanding=64), Demand(outstanding=16)
SCENARIOS: dict[str, dict[str, Demand]] = {
    "two backlogged, one floods": {"a": FLOOD, "b": MODEST},
    "weights 1:3": {"a": FLOOD, "b": Demand(outstanding=64, weight=3.0)},
    "weights 1:2:3:4 at equal demand": {f"t{n}": Demand(outstanding=16, weight=n) for n in (1, 2, 3, 4)},
    "short against long answers": {"short": Demand(4, 2, outstanding=32), "long": Demand(4, 40, outstanding=32)},
    "long prompts against long answers": {
        "read": Demand(150, 2, outstanding=32),
        "write": Demand(2, 30, outstanding=32),
    },
    "eight, most of them small": {
        **{f"s{n}": Demand(outstanding=4) for n in range(6)},
        "flood1": FLOOD,
        "flood2": FLOOD,
    },
    "choices multiply the cost": {
        "one": Demand(length=8, outstanding=32),
        "n": Demand(length=16, outstanding=32, sequences=2),
    },
    "many keys gain nothing": {"split": Demand(outstanding=48, keys=24), "single": Demand(outstanding=16)},
}


def shares_got(bench: Bench) -> dict[str, float]:
    return dict(bench.books.service)


def due(bench: Bench, demands: Mapping[str, Demand]) -> dict[str, float]:
    """The oracle's answer for backlogged tenants: they could use everything."""
    total = sum(bench.books.service.values())
    return max_min_shares(dict.fromkeys(demands, total), {n: d.weight for n, d in demands.items()}, total)


@pytest.mark.parametrize("predictor", ["none", "quantile"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_backlogged_tenants_share_by_weight(name: str, predictor: str) -> None:
    """Service follows the weights within 3 % whatever the number of requests, their shape, choices or keys."""
    demands = SCENARIOS[name]
    bench = run(Bench("vtc", predictor), demands)
    assert is_fair(shares_got(bench), due(bench, demands), 0.03), (shares_got(bench), due(bench, demands))


@pytest.mark.parametrize("tenants", [2, 8, 64])
def test_any_number_of_backlogged_tenants_share_alike(tenants: int) -> None:
    """Jain's index of the services is 0.99 or more however many they are, though half of them queue four times more."""
    demands = {f"t{n}": Demand(outstanding=4 if n % 2 else 16) for n in range(tenants)}
    assert jain_index(list(shares_got(run(Bench(), demands)).values())) >= LEAST_JAIN_INDEX
    assert jain_index(list(shares_got(run(Bench("fcfs"), demands)).values())) < LEAST_JAIN_INDEX


@pytest.mark.parametrize("name", SCENARIOS)
def test_fcfs_is_judged_unfair(name: str) -> None:
    """Control: the same scenarios fail by far without the counters."""
    demands = SCENARIOS[name]
    bench = run(Bench("fcfs"), demands)
    assert not is_fair(shares_got(bench), due(bench, demands), 0.10)


@pytest.mark.parametrize("cost", [Linear(1, 1), Profiled(), KvTime()], ids=lambda cost: type(cost).__name__)
def test_every_cost_function_is_shared_fairly(cost: CostFunction) -> None:
    """What is shared is the configured cost, linear or not."""
    demands = SCENARIOS["short against long answers"]
    bench = run(Bench(cost=cost), demands)
    assert is_fair(shares_got(bench), due(bench, demands), 0.03)


MIXED = {
    "light": Demand(4, 8, period=40),
    "middle": Demand(4, 8, burst=2, period=40),
    "flood1": FLOOD,
    "flood2": FLOOD,
    "flood3": Demand(outstanding=32, weight=2.0),
}


@pytest.mark.parametrize(("policy", "fair"), [("vtc", True), ("fcfs", False)])
def test_modest_tenants_get_all_they_ask_for(policy: str, fair: bool) -> None:
    """Max-min: tenants below their share are served in full, the rest is divided among the floods by weight."""
    bench = run(Bench(policy, "quantile"), MIXED)
    got = shares_got(bench)
    shares = max_min_shares(bench.books.offered, {n: d.weight for n, d in MIXED.items()}, sum(got.values()))
    assert is_fair(got, shares, 0.03) == fair, (got, shares)


@pytest.mark.parametrize(("policy", "fair"), [("vtc", True), ("lcf", False), ("fcfs", False)])
def test_idle_credit_is_not_spent_against_others(policy: str, fair: bool) -> None:
    """A tenant that was idle for half of the run gets its share of the second half, not a makeup for the first."""
    demands = {"late": Demand(outstanding=32, on=lambda step: step >= STEPS // 2), "steady": FLOOD}
    bench = run(Bench(policy), demands, STEPS // 2)
    before = shares_got(bench)
    run(bench, {name: Demand(outstanding=demand.outstanding) for name, demand in demands.items()}, STEPS // 4)
    gained = {name: shares_got(bench)[name] - before.get(name, 0.0) for name in demands}
    half = sum(gained.values()) / 2
    assert is_fair(gained, {"late": half, "steady": half}, 0.03) == fair, gained


@pytest.mark.parametrize("predictor", ["none", "quantile", "oracle"])
def test_two_backlogged_tenants_stay_within_twice_the_bound(predictor: str) -> None:
    """|W_f - W_g| over any part of a backlogged interval is at most 2 (E + R), however long it lasts."""
    bench = Bench("vtc", predictor)
    demands = {"f": Demand(20, 4, outstanding=40), "g": Demand(2, 30, outstanding=12)}
    run(bench, demands, 100)
    flows = [bench.flow(name) for name in demands]
    gaps = []
    for _ in range(200):
        run(bench, demands, 10)
        f, g = (flow.settled + flow.outstanding for flow in flows)
        gaps.append(f - g)
    assert max(gaps) - min(gaps) <= 2 * bench.admission.pools["p0"].queue.group.policy.bound.units


def test_the_gap_does_not_grow_with_time_but_does_under_fcfs() -> None:
    """Control for the bound: under FCFS the same gap passes it and keeps growing."""
    demands = {"f": FLOOD, "g": MODEST}

    def gap(policy: str, steps: int) -> float:
        got = shares_got(run(Bench(policy), demands, steps))
        return abs(got["f"] - got["g"])

    bound = to_cost(run(Bench(), demands, 200).admission.pools["p0"].queue.group.policy.bound.units)
    assert gap("vtc", 500) <= 2 * bound
    assert gap("vtc", 4_000) <= 2 * bound
    assert gap("fcfs", 500) > 2 * bound
    assert gap("fcfs", 4_000) > 4 * gap("fcfs", 500)


def test_keys_of_a_tenant_share_what_it_gets() -> None:
    """One key of a tenant cannot starve another: the rule of tenants holds one level down."""
    bench = run(Bench(), {"t": Demand(outstanding=8), "other": FLOOD}, 1)
    for _ in range(2_000):
        waiting = [job.ticket.key for job in bench.waiting.values() if job.ticket.tenant == "t"]
        for key, outstanding in (("greedy", 40), ("modest", 4)):
            for _ in range(outstanding - waiting.count(key)):
                bench.checks = False
                bench.submit("t", key=key, length=8)
        bench.step()
    tenant = bench.flow("t")
    greedy, modest = tenant.key("greedy"), tenant.key("modest")
    assert abs(greedy.settled - modest.settled) <= 2 * tenant.group.policy.bound.units


@pytest.mark.parametrize("quantum", [8, 64])
def test_deficit_round_robin_is_fair_among_backlogged_tenants(quantum: int) -> None:
    """DRR gives backlogged tenants equal service within the quantum and what is in flight."""
    demands = {"short": Demand(4, 2, outstanding=32), "long": Demand(4, 40, outstanding=32)}
    bench = run(Bench("drr", parameter=quantum), demands)
    assert is_fair(shares_got(bench), due(bench, demands), 0.03)


def test_throughput_does_not_depend_on_the_policy() -> None:
    """Fairness costs no work: every policy generates the same number of tokens of one and the same load, within 1 %."""
    demands = {"a": Demand(1, 8, outstanding=32), "b": Demand(1, 8, outstanding=8)}
    totals = [sum(shares_got(run(Bench(policy), demands)).values()) for policy in ("vtc", "fcfs", "lcf", "drr")]
    assert max(totals) <= 1.01 * min(totals)


@pytest.mark.parametrize(
    ("demand", "weight", "capacity", "expected"),
    [
        ({"a": 9, "b": 9}, {"a": 1, "b": 1}, 10, {"a": 5, "b": 5}),
        ({"a": 2, "b": 9}, {"a": 1, "b": 1}, 10, {"a": 2, "b": 8}),
        ({"a": 9, "b": 9, "c": 1}, {"a": 1, "b": 3, "c": 1}, 9, {"a": 2, "b": 6, "c": 1}),
        ({"a": 1, "b": 1}, {"a": 1, "b": 1}, 10, {"a": 1, "b": 1}),
    ],
)
def test_the_oracle_fills_by_weight(
    demand: dict[str, float], weight: dict[str, float], capacity: float, expected: dict[str, float]
) -> None:
    """The oracle itself, by hand."""
    assert max_min_shares(demand, weight, capacity) == pytest.approx(expected)
