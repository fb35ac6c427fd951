"""Translates the configuration into the terms of the pure core: scheduler, window, cost functions, shared accounts."""

import hashlib
from dataclasses import astuple
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from gateway.accounts import NANO, BudgetTerms, Period, Scope, Tariff, TokenPrices, Unit
from gateway.config import (
    BudgetUnit,
    Config,
    CostSpec,
    EngineOrder,
    ExpressionCost,
    KvTimeCost,
    LinearCost,
    OnLedgerLoss,
    Pool,
    ProfiledCost,
    Replicas,
    Tenant,
    Worker,
)
from gateway.config.expression import parse
from gateway.fairness import (
    POLICIES,
    PREDICTORS,
    CostFunction,
    Expression,
    KvTime,
    Linear,
    PoolSpec,
    Profiled,
    Rules,
    TenantLimits,
)
from gateway.fairness.cost import spread_cost, to_units
from gateway.workers import WindowSize, open_window

_LARGEST: Final = 2**17  # prompt tokens, and output tokens, of the request by which the store's unit is chosen
_LARGEST_BITS: Final = 20  # that request costs at least 2 ** 20 units of the store


def rules(config: Config) -> Rules:
    """The scheduler's rules: the policy, the predictor, and the bound of the queue."""
    policy, predictor = config.scheduler.policy, config.scheduler.predictor
    make = POLICIES[policy.name.value]
    return Rules(
        make_policy=lambda: make(policy.parameter),
        make_predictor=PREDICTORS[predictor.name.value](predictor.error_percent),
        max_queued=config.scheduler.max_queued,
    )


def pool_spec(pool: Pool, config: Config) -> PoolSpec:
    """The terms of one pool's account."""
    timeout_seconds = config.scheduler.queue_timeout_seconds
    return PoolSpec(pool.model, cost_function(pool.cost), timeout_seconds, pool.locality_quantum)


def cost_function(spec: CostSpec) -> CostFunction:
    """The function that `spec` describes."""
    match spec:
        case LinearCost():
            return Linear(spec.input_weight, spec.output_weight, spec.cached_input_weight)
        case ProfiledCost():
            return Profiled(spec.a, spec.b, spec.c, spec.d, spec.e)
        case KvTimeCost():
            return KvTime()
        case ExpressionCost():
            return Expression(spec.expression, parse(spec.expression))


def window_size(worker: Worker) -> WindowSize:
    """What may be in flight at a worker; a worker whose engine keeps the fair order itself gets an open window."""
    window = worker.window
    sequences, prefill_tokens = window.fixed_sequences, window.fixed_prefill_tokens
    if worker.engine_order is EngineOrder.VTC:
        return open_window(sequences, window.slack, prefill_tokens)
    return WindowSize(sequences, window.slack, prefill_tokens, window.express)


def tenant_limits(tenant: Tenant) -> TenantLimits:
    """The scheduler's limits for a tenant."""
    limits = tenant.limits
    return TenantLimits(
        limits.max_in_flight,
        limits.max_queued,
        limits.requests_per_minute,
        limits.tokens_per_minute,
        has_budgets=bool(tenant.budgets),
    )


def budget_terms(tenant: Tenant) -> tuple[BudgetTerms, ...]:
    """The budgets of a tenant."""
    return tuple(
        BudgetTerms(
            amount=each.amount * (NANO if each.unit is BudgetUnit.MONEY else 1.0),
            unit=Unit(each.unit.value),
            scope=Scope(each.per.value),
            period=Period(each.period.value),
            zone=ZoneInfo(each.zone),
            refuses_unknown=each.on_ledger_loss is OnLedgerLoss.REFUSE,
        )
        for each in tenant.budgets
    )


def tariff(pool: Pool) -> Tariff:
    """What the tokens of a pool come to."""
    cost, prices = cost_function(pool.cost), pool.prices
    rates = TokenPrices() if prices is None else TokenPrices(prices.prompt, prices.cached_or_prompt, prices.output)
    return Tariff(partial(spread_cost, cost), rates)


def wire_shift(cost: CostFunction) -> int:
    """The `shift` for the counters of a pool with this `cost`: the store's unit is `2 ** shift` counter units.

    The store's numbers are doubles, exact up to 2^53. A request of 2^17 prompt tokens and 2^17 output tokens costs a
    tenant of weight 1 less than 2^21 of the store's units, whatever the function. So a counter passes 2^53 after more
    than 2^32 such requests, which are 2^50 tokens: 590 years for one gateway process that streams 60,000 tokens a
    second all the time, 5.9 years for a hundred. A weight of 0.001 makes it a thousand times faster: seven months for
    one such process that serves this one tenant only. Beyond 2^53 the store rounds to even numbers of its units. The
    unit is at most 2^-20 of that request's cost. Totals are rounded, not charges, so roundings do not add up.
    """
    largest = max(cost(_LARGEST, 0, _LARGEST), cost(0, _LARGEST, _LARGEST))
    return max(0, (to_units(largest, 1.0) >> _LARGEST_BITS).bit_length() - 1)


def salt_secret(replicas: Replicas | None) -> bytes | None:
    """The key of the tenants' cache salts: the same at all gateways of a fleet. None: each process draws its own.

    So a tenant has one name at the engines and finds its prompts cached, whichever gateway sent them.
    """
    if replicas is None:
        return None
    return hashlib.sha256(f"{replicas.fleet}\0{replicas.password or ''}".encode()).digest()


def settings_digest(config: Config) -> str:
    """A digest of what all gateways of a fleet must agree on, 32 hexadecimal digits.

    It is made of the policy, the lease, the tenants' weights and limits, and the pools with their cost, windows and
    worker names. Their order does not matter, nor do keys, addresses, `listen` and what each gateway decides alone.
    """
    agreed = (
        str(config.scheduler.policy),
        None if config.replicas is None else config.replicas.lease_seconds,
        sorted((each.name, each.weight, each.share_by, astuple(tenant_limits(each))) for each in config.tenants),
        sorted((_agreed_pool(pool) for pool in config.pools), key=lambda pool: pool[0]),
    )
    return hashlib.sha256(orjson.dumps(agreed)).hexdigest()[:32]


def _agreed_pool(pool: Pool) -> tuple[str, ...]:
    workers = sorted((worker.name, astuple(window_size(worker))) for worker in pool.workers)
    return pool.model, pool.cost.model_dump_json(), str(pool.locality_quantum), repr(workers)
