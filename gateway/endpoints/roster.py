"""Decides under which name a worker with a `url` is known to every part that remembers something of workers.

A name stands for one engine at one address. So what belongs to one engine (requests in flight, faults, window, cache)
is never taken for another's. If the configuration gives a name another address, the old worker drains under the name,
and its streams keep their connections. The new worker starts afresh: under the same name if no request is left at the
old address, else under name and address.
"""

from gateway.config import Pool, Worker
from gateway.endpoints.workers import WorkerEndpoints, worker_name
from gateway.workers import Fleet


class Roster:
    """The names of workers with a `url`."""

    def __init__(self, fleet: Fleet, endpoints: WorkerEndpoints) -> None:
        """`fleet` and `endpoints` know which workers there are."""
        self._fleet = fleet
        self._endpoints = endpoints
        self._gone: set[str] = set()  # names that the last sweep found unused

    def sweep(self) -> set[str]:
        """Drop the endpoints of workers that had already left the fleet at the last sweep; returns their names."""
        gone = {name for name in self._endpoints if name not in self._fleet and not self._endpoints.visits[name]}
        forgotten, self._gone = gone & self._gone, gone - self._gone
        for name in forgotten:
            self._endpoints.forget(name)
        return forgotten

    def name(self, pool: Pool, worker: Worker, url: str) -> str:
        """The name of `worker` at `url`; a worker that has this name at another address is drained."""
        plain = worker_name(pool, worker)
        with_address = f"{plain}@{url.partition('://')[2]}"
        if with_address in self._fleet:
            return with_address
        if plain in self._fleet and self._fleet.spec(plain).url != url:
            self._fleet.drain(plain)
        is_taken = plain in self._fleet and self._fleet.spec(plain).url != url
        return with_address if is_taken or self._has_visits(plain, url) else plain

    def _has_visits(self, name: str, url: str) -> bool:
        """True if requests that take no room are still at another address under this name."""
        return self._endpoints.visits[name] > 0 and self._endpoints[name].url != url
