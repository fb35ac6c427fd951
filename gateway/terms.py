"""Translates the configuration into the terms of the pure core: scheduler, window and cost functions."""

from gateway.config import (
    Config,
    CostSpec,
    EngineOrder,
    ExpressionCost,
    KvTimeCost,
    LinearCost,
    Pool,
    ProfiledCost,
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
from gateway.workers import WindowSize, open_window


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
    return TenantLimits(limits.max_in_flight, limits.max_queued, limits.requests_per_minute, limits.tokens_per_minute)
