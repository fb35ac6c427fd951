"""Pools that the configuration no longer has: their accounts are forgotten when their last request has ended."""

from collections.abc import Collection

from gateway.events import Event, RequestFinished
from gateway.fairness import Admission


class RetiredPools:
    """An observer of the requests that end; bounded by the pools of which one is still in flight."""

    def __init__(self, admission: Admission) -> None:
        """None yet."""
        self._admission = admission
        self._names: set[str] = set()

    def settle(self, present: Collection[str]) -> None:
        """The configuration has the pools `present`: forget the others, at once or with their last request."""
        self._names = set(self._admission.pools) - set(present)
        for name in tuple(self._names):
            self._forget(name)

    def observe(self, event: Event) -> None:
        """The request that ended may be a pool's last."""
        if isinstance(event, RequestFinished) and event.pool in self._names:
            self._forget(event.pool)

    def _forget(self, name: str) -> None:
        if self._admission.forget_pool(name):
            self._names.discard(name)
