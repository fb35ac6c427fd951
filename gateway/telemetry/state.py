"""The dump of the gateway's state for `GET /debug/state`: for when the metrics are not enough.

Built from snapshots, ready for JSON, bounded: the oldest requests and the busiest tenants first,
`truncated` where some were left out. The configuration's summary names each field it shows, so a secret
cannot slip in with a new key. Who may see the dump is the router's business.
"""

from collections.abc import Collection
from dataclasses import dataclass
from heapq import nlargest

from gateway.config import Config, Pool
from gateway.telemetry.ports import PoolView, RequestView, StateSource, TenantView, WorkerView

MAX_REQUESTS = 1000
MAX_TENANTS = 1000


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """Which gateway this is and since when; `started_at` is Unix time."""

    version: str
    started_at: float
    uptime_seconds: float
    is_draining: bool


def state_dump(
    source: StateSource, requests: Collection[RequestView], config: Config, identity: GatewayIdentity
) -> dict[str, object]:
    """The whole state at one instant, made of JSON's types only."""
    oldest = nlargest(MAX_REQUESTS, requests, key=lambda request: request.age_seconds)
    return {
        "gateway": {
            "version": identity.version,
            "started_at": identity.started_at,
            "uptime_seconds": identity.uptime_seconds,
            "is_draining": identity.is_draining,
        },
        "pools": [_pool(pool) for pool in source.pools()],
        "workers": [_worker(worker) for worker in source.workers()],
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


def _busyness(tenant: TenantView) -> tuple[int, float]:
    return (tenant.queued + tenant.in_flight, tenant.service)


def _pool(pool: PoolView) -> dict[str, object]:
    busiest = nlargest(MAX_TENANTS, pool.tenants, key=_busyness)
    return {
        "pool": pool.pool,
        "queued": pool.queued,
        "in_flight": pool.in_flight,
        "spread": pool.spread,
        "spread_bound": pool.spread_bound,
        "jain_index": pool.jain_index,
        "drain_rate_per_second": pool.drain_rate_per_second,
        "estimated_tokens": pool.estimated_tokens,
        "tenants": {
            "total": len(pool.tenants),
            "truncated": len(pool.tenants) > len(busiest),
            "busiest_first": [_tenant(tenant) for tenant in busiest],
        },
    }


def _tenant(tenant: TenantView) -> dict[str, object]:
    return {
        "tenant": tenant.tenant,
        "weight": tenant.weight,
        "counter": tenant.counter,
        "service": tenant.service,
        "queued": tenant.queued,
        "in_flight": tenant.in_flight,
        "oldest_wait_seconds": tenant.oldest_wait_seconds,
        "is_held_back": tenant.is_held_back,
    }


def _worker(worker: WorkerView) -> dict[str, object]:
    return {
        "pool": worker.pool,
        "worker": worker.worker,
        "url": worker.url,
        "state": worker.state,
        "sequences_in_flight": worker.sequences_in_flight,
        "window_sequences": worker.window_sequences,
        "prefill_tokens_in_flight": worker.prefill_tokens_in_flight,
        "window_prefill_tokens": worker.window_prefill_tokens,
        "kv_demand_tokens": worker.kv_demand_tokens,
        "kv_capacity_tokens": worker.kv_capacity_tokens,
        "limited_by": worker.limited_by.value,
        "phase": worker.phase.value,
        "degraded": worker.degraded,
        "engine_running": worker.engine_running,
        "engine_waiting": worker.engine_waiting,
        "unmetered_share": worker.unmetered_share,
        "max_model_len": worker.max_model_len,
    }


def _request(request: RequestView) -> dict[str, object]:
    return {
        "request_id": request.request_id,
        "tenant": request.tenant,
        "pool": request.pool,
        "state": request.state,
        "age_seconds": request.age_seconds,
        "worker": request.worker or None,
        "prompt_tokens": request.prompt_tokens,
        "output_tokens": request.output_tokens,
    }
