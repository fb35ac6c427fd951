"""The dump of the gateway's state for `GET /debug/state`, for when the metrics are not enough.

The dump shows every field of the snapshots, in JSON's types. It is bounded: it lists the oldest requests, the busiest
tenants and the fullest of the limits that gateways share, and `truncated` is true if others were left out. The summary
of the configuration names each field that it shows, so a new setting cannot bring a secret into it. The router decides
who may see the dump.
"""

from collections.abc import Collection, Generator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import Enum
from heapq import nlargest
from typing import Final

from gateway.accounts import BudgetsSnapshot
from gateway.config import Config, Pool, Replicas
from gateway.fairness import PoolSnapshot, TenantSnapshot, TicketSnapshot
from gateway.replicas.snapshot import ReplicasSnapshot
from gateway.telemetry.source import StateSource
from gateway.workers import WorkerSnapshot

MAX_REQUESTS = 1000
MAX_TENANTS = 1000
MAX_LIMITS = 1000
_TENANTS_AT_ONCE: Final = 1000  # whose accounts one step takes


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """Which gateway this is and since when; `started_at` is Unix time."""

    version: str
    started_at: float
    uptime_seconds: float
    is_draining: bool


def state_dump(
    source: StateSource, requests: Collection[TicketSnapshot], config: Config, identity: GatewayIdentity
) -> Generator[None, None, dict[str, object]]:
    """The whole state, made of JSON's types only, in steps; with thousands of tenants it is not of one instant.

    A tenant that is not in the configuration any more is known only while it has requests.
    """
    names = {tenant.name for tenant in config.tenants} | {request.tenant for request in requests}
    shown = []
    for pool in source.pools(names):
        tenants = []
        for number, tenant in enumerate(pool.tenants, 1):
            tenants.append(tenant)
            if number % _TENANTS_AT_ONCE == 0:
                yield
        shown.append(_pool(pool, tenants))
        yield
    oldest = nlargest(MAX_REQUESTS, requests, key=lambda request: request.age_seconds)
    return {
        "gateway": {
            "version": identity.version,
            "started_at": identity.started_at,
            "uptime_seconds": identity.uptime_seconds,
            "is_draining": identity.is_draining,
        },
        "pools": shown,
        "workers": [_shown(worker) for worker in source.workers()],
        "replicas": None if (replicas := source.replicas()) is None else _replicas(replicas),
        "ledger": None if (ledger := source.ledger()) is None else asdict(ledger),
        "budgets": None if (budgets := source.budgets()) is None else _budgets(budgets),
        "webhook": None if (webhook := source.webhook()) is None else asdict(webhook),
        "requests": {
            "total": len(requests),
            "truncated": len(requests) > len(oldest),
            "oldest_first": [_request(request) for request in oldest],
        },
        "configuration": configuration_summary(config),
    }


def configuration_summary(config: Config) -> dict[str, object]:
    """The configuration in force, without keys, digests or the places where keys are kept."""
    scheduler = config.scheduler
    return {
        "listen": f"{config.listen.host}:{config.listen.port}",
        "scheduler": {
            "policy": str(scheduler.policy),
            "predictor": str(scheduler.predictor),
            "max_queued": scheduler.max_queued,
            "queue_timeout_seconds": scheduler.queue_timeout_seconds,
        },
        "pools": [_pool_summary(pool) for pool in config.pools],
        "tenants": len(config.tenants),
        "anonymous_tenant": config.anonymous.tenant,
        "processes": config.processes,
        "replicas": None if config.replicas is None else _replicas_summary(config.replicas),
        "tenant_labels": config.metrics.tenant_labels,
    }


def _pool_summary(pool: Pool) -> dict[str, object]:
    return {
        "model": pool.model,
        "engine_model": pool.engine_model,
        "aliases": list(pool.aliases),
        "adapters": list(pool.adapter_names),
        "fallback": pool.fallback,
        "locality_quantum": pool.locality_quantum,
        "max_model_len": pool.max_model_len,
        "cost": pool.cost.model_dump(mode="json"),
        "window": pool.window.model_dump(mode="json"),
        "timeouts": pool.timeouts.model_dump(mode="json"),
        "workers": [worker.name for worker in pool.workers],
    }


def _replicas_summary(replicas: Replicas) -> dict[str, object]:
    return {
        "store": replicas.store,
        "fleet": replicas.fleet,
        "expected": replicas.expected,
        "lease_seconds": replicas.lease_seconds,
        "without_store": replicas.without_store.value,
    }


def _busyness(tenant: TenantSnapshot) -> tuple[int, float]:
    return (tenant.queued + tenant.in_flight, tenant.service)


def _pool(pool: PoolSnapshot, tenants: Sequence[TenantSnapshot]) -> dict[str, object]:
    busiest = nlargest(MAX_TENANTS, tenants, key=_busyness)
    return _shown(pool) | {
        "tenants": {
            "total": len(tenants),
            "truncated": len(tenants) > len(busiest),
            "busiest_first": [tenant._asdict() for tenant in busiest],
        },
    }


def _replicas(replicas: ReplicasSnapshot) -> dict[str, object]:
    fullest = nlargest(MAX_LIMITS, replicas.limits, key=lambda limit: limit.taken / limit.most)
    return asdict(replace(replicas, limits=())) | {
        "limits": {
            "total": len(replicas.limits),
            "truncated": len(replicas.limits) > len(fullest),
            "fullest_first": [asdict(limit) for limit in fullest],
        },
    }


def _budgets(budgets: BudgetsSnapshot) -> dict[str, object]:
    fullest = nlargest(MAX_LIMITS, budgets.fullest, key=lambda budget: budget.used / budget.amount)
    return asdict(replace(budgets, fullest=())) | {
        "fullest": {
            "total": len(budgets.fullest),
            "truncated": len(budgets.fullest) > len(fullest),
            "fullest_first": [asdict(budget) for budget in fullest],
        },
    }


def _request(request: TicketSnapshot) -> dict[str, object]:
    return _shown(request) | {"worker": request.worker or None}


def _shown(view: PoolSnapshot | TicketSnapshot | WorkerSnapshot) -> dict[str, object]:
    """Every field of a snapshot by its name."""
    values = ((field.name, getattr(view, field.name)) for field in fields(view))
    return {name: value.value if isinstance(value, Enum) else value for name, value in values}
