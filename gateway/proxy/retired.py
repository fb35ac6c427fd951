"""Forgets the accounts of pools and tenants that the configuration no longer has, when their last request has ended."""

from collections.abc import Callable, Collection

from gateway.events import Event, RequestFinished
from gateway.fairness import Admission


class RetiredAccounts:
    """Observes the requests that end; it keeps the names of removed pools and tenants that still have a request."""

    def __init__(self, admission: Admission, pool_forgotten: Callable[[str], None]) -> None:
        """Start with nothing removed; `pool_forgotten` hears the name of each pool that has been forgotten."""
        self._admission = admission
        self._pool_forgotten = pool_forgotten
        self._pools: set[str] = set()
        self._tenants: set[str] = set()

    def keep_pools(self, present: Collection[str]) -> None:
        """Forget every pool that is not in `present`, at once or when its last request has ended."""
        self._pools = set(self._admission.pools) - set(present)
        for name in tuple(self._pools):
            self._forget_pool(name)

    def retire_tenants(self, removed: Collection[str], present: Collection[str]) -> None:
        """Forget the tenants in `removed`, at once or after their last request; those in `present` are back."""
        self._tenants = (self._tenants | set(removed)) - set(present)
        for name in tuple(self._tenants):
            self._forget_tenant(name)

    def observe(self, event: Event) -> None:
        """Forget a removed pool or tenant if the request that ended was its last."""
        if not isinstance(event, RequestFinished):
            return
        if event.pool in self._pools:
            self._forget_pool(event.pool)
        if event.tenant in self._tenants:
            self._forget_tenant(event.tenant)

    def _forget_pool(self, name: str) -> None:
        if self._admission.forget_pool(name):
            self._pools.discard(name)
            self._pool_forgotten(name)

    def _forget_tenant(self, name: str) -> None:
        if self._admission.forget_tenant(name):
            self._tenants.discard(name)
