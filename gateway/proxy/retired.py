"""Forgets the accounts of pools that the configuration no longer has, when their last request has ended."""

from collections.abc import Collection

from gateway.events import Event, RequestFinished
from gateway.fairness import Admission


class RetiredPools:
    """Observes the requests that end; it keeps the names of removed pools that still have a request."""

    def __init__(self, admission: Admission) -> None:
        """Start without removed pools."""
        self._admission = admission
        self._names: set[str] = set()

    def settle(self, present: Collection[str]) -> None:
        """Forget every pool that is not in `present`, at once or when its last request has ended."""
        self._names = set(self._admission.pools) - set(present)
        for name in tuple(self._names):
            self._forget(name)

    def observe(self, event: Event) -> None:
        """Forget a removed pool if the request that ended was its last."""
        if isinstance(event, RequestFinished) and event.pool in self._names:
            self._forget(event.pool)

    def _forget(self, name: str) -> None:
        if self._admission.forget_pool(name):
            self._names.discard(name)
