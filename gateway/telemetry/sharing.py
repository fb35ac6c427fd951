"""Metrics of what a gateway shares with others by a store. A gateway that counts for itself alone has none of them."""

from gateway.replicas.snapshot import CallsSnapshot, ReplicasSnapshot, SharedLimitSnapshot, SharedPoolSnapshot
from gateway.telemetry.catalogue import ReplicaFamilies


def show_replicas(families: ReplicaFamilies, replicas: ReplicasSnapshot) -> None:
    """Show what `replicas` says in the scrape being written."""
    families.store_reachable.show((), int(not replicas.failure))
    families.store_age.show((), replicas.age_seconds)
    families.expected.show((), replicas.expected)
    _show_calls(families, replicas.calls)
    for pool in replicas.pools:
        _show_pool(families, pool)
    for limit in replicas.limits:
        _show_limit(families, limit)


def _show_calls(families: ReplicaFamilies, calls: CallsSnapshot) -> None:
    families.store_calls.series(("answered",)).value = calls.answered
    families.store_calls.series(("failed",)).value = calls.failed
    families.store_call_seconds.series(()).take_over(calls.counts, calls.seconds)


def _show_pool(families: ReplicaFamilies, pool: SharedPoolSnapshot) -> None:
    labels = (pool.pool,)
    families.living.show(labels, pool.living)
    families.other_settings.show(labels, pool.with_other_settings)
    families.rank.show(labels, pool.rank)
    families.shared_spread.show(labels, pool.spread)
    families.shared_spread_bound.show(labels, pool.spread_bound)
    for worker in pool.workers:
        families.room_held.show((pool.pool, worker.worker), worker.held)
        families.room_idle.show((pool.pool, worker.worker), worker.idle)


def _show_limit(families: ReplicaFamilies, limit: SharedLimitSnapshot) -> None:
    labels = (limit.tenant, limit.limit)
    families.limit.show(labels, limit.most)
    families.limit_held.show(labels, limit.held)
    families.limit_taken.show(labels, limit.taken)
    families.limit_refusing.show(labels, int(limit.is_refusing))
