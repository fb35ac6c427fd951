"""What gateways that share an account must agree on, and the unit in which their store counts."""

import pytest
from pydantic import SecretStr

from gateway.config import (
    Config,
    CostSpec,
    ExpressionCost,
    KvTimeCost,
    Limits,
    LinearCost,
    Listen,
    PolicyName,
    PolicySpec,
    Pool,
    ProfiledCost,
    Replicas,
    ResolvedKey,
    Scheduler,
    ShareBy,
    Tenant,
    Window,
    Worker,
)
from gateway.config.choices import EngineOrder
from gateway.fairness.cost import LEAST_WEIGHT, to_units
from gateway.terms import cost_function, salt_secret, settings_digest, wire_shift

COSTS: list[CostSpec] = [
    LinearCost(),
    LinearCost(input_weight=0, output_weight=0.001),
    LinearCost(input_weight=1e-6, output_weight=1e-6),
    LinearCost(input_weight=1e6, output_weight=1e6),
    LinearCost(input_weight=0.1, cached_input_weight=50),
    ProfiledCost(function="profiled"),
    KvTimeCost(function="kv_time"),
    ExpressionCost(function="expression", expression="input + output"),
    ExpressionCost(function="expression", expression="output ** 3 + cached_input"),
    ExpressionCost(function="expression", expression="output ** 4 * output ** 4"),
]


@pytest.mark.parametrize("spec", COSTS, ids=str)
def test_counters_of_the_store_stay_exact_for_years(spec: CostSpec) -> None:
    """The largest request costs at most 2^21 of the store's units: 2^32 of them pass before 2^53 is reached."""
    cost = cost_function(spec)
    most = max(cost(2**17, 0, 2**17), cost(0, 2**17, 2**17))
    shift = wire_shift(cost)
    assert to_units(most, 1.0) >> shift < 2**21
    assert (2**22 * to_units(most, LEAST_WEIGHT)) >> shift < 2**53
    # The unit is no coarser than that: the largest request is at least 2^20 of them, or it is the counters' own.
    assert shift == 0 or to_units(most, 1.0) >> shift >= 2**20


def test_the_units_of_the_usual_costs() -> None:
    """With the default cost a unit of the store is a quarter of a token or so."""
    assert wire_shift(cost_function(LinearCost())) == 18
    assert wire_shift(cost_function(ProfiledCost(function="profiled"))) == 26
    assert wire_shift(cost_function(KvTimeCost(function="kv_time"))) == 34
    assert wire_shift(cost_function(LinearCost(input_weight=1e-6, output_weight=1e-6))) == 0


def test_gateways_of_a_fleet_salt_alike() -> None:
    """A fleet has one secret, however its gateways reach the store; another fleet or password has another."""
    fleet = Replicas(store="redis://s:6379", password="x")
    secret = salt_secret(fleet)
    assert secret == salt_secret(Replicas(store="unix:///run/s.sock", name="b", username="u", password="x"))
    others = [salt_secret(fleet.model_copy(update=change)) for change in ({"fleet": "b"}, {"password": None})]
    assert len({secret, *others}) == 3
    assert salt_secret(None) is None


WORKER = Worker(name="gpu1:8000", url="http://gpu1:8000")
OTHER = Worker(name="gpu2:8000", url="http://gpu2:8000")
POOL = Pool(model="tiny", engine_model="tiny", workers=(WORKER, OTHER))
ALICE, BOB = Tenant(name="alice"), Tenant(name="bob")
CONFIG = Config(pools=(POOL, Pool(model="m", engine_model="m")), tenants=(ALICE, BOB))


def _with(**changes: object) -> Config:
    return CONFIG.model_copy(update=changes)


def _pool(**changes: object) -> Config:
    return _with(pools=(POOL.model_copy(update=changes), *CONFIG.pools[1:]))


def _worker(**changes: object) -> Config:
    return _pool(workers=(WORKER.model_copy(update=changes), OTHER))


def _alice(**changes: object) -> Config:
    return _with(tenants=(ALICE.model_copy(update=changes), BOB))


@pytest.mark.parametrize(
    "other",
    [
        _with(tenants=(ALICE,)),
        _alice(weight=2.0),
        _alice(share_by=ShareBy.END_USER),
        _alice(limits=Limits(max_in_flight=4)),
        _alice(limits=Limits(tokens_per_minute=4)),
        _with(pools=(POOL,)),
        _pool(cost=LinearCost(output_weight=3)),
        _pool(cost=KvTimeCost(function="kv_time")),
        _pool(locality_quantum=5.0),
        _pool(workers=(WORKER,)),
        _worker(name="gpu1"),
        _worker(window=Window(slack=2)),
        _worker(engine_order=EngineOrder.VTC),
        _with(scheduler=Scheduler(policy=PolicySpec(PolicyName.FCFS))),
        _with(replicas=Replicas(store="redis://s:6379", lease_seconds=3.0)),
    ],
)
def test_what_replicas_must_agree_on(other: Config) -> None:
    """Another policy, weight, limit, cost, window, worker or lease is another digest."""
    fleet = CONFIG if other.replicas is None else _with(replicas=Replicas(store="redis://s:6379"))
    assert settings_digest(other) != settings_digest(fleet)


@pytest.mark.parametrize(
    "same",
    [
        CONFIG.model_copy(deep=True),
        _with(tenants=(BOB, ALICE), pools=CONFIG.pools[::-1]),
        _pool(workers=(OTHER, WORKER)),
        _with(listen=Listen(port=9000)),
        _alice(keys=(ResolvedKey(id="key1", digest=b"1" * 32),)),
        _worker(url="http://127.0.0.1:8000"),
        _worker(api_key=SecretStr("x")),
        _with(processes=4),
    ],
)
def test_what_each_replica_decides_alone(same: Config) -> None:
    """The order of lists, addresses, keys and the listener may differ."""
    assert settings_digest(same) == settings_digest(CONFIG)


def test_a_digest_is_short_and_does_not_depend_on_the_store() -> None:
    """32 digits; the way to the store is each replica's own."""
    first = _with(replicas=Replicas(store="redis://s:6379", name="a"))
    second = _with(replicas=Replicas(store="unix:///run/s.sock", name="b", password="x"))
    assert settings_digest(first) == settings_digest(second)
    assert len(settings_digest(first)) == 32
