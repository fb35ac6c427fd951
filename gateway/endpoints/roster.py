"""Under which name a worker with a `url` is known to all that keep something of workers.

A name stands for one engine at one address, so that nothing of one is taken for the other's: requests in flight,
faults, window, cache. Where the configuration gives a name another address, the worker of before drains under the name,
with its streams on their connections, and the new one joins afresh: under the name if nothing was left at the old one,
else under name and address.
"""

from gateway.config import Pool, Worker
from gateway.endpoints.workers import WorkerEndpoints, worker_name
from gateway.workers import Fleet


class Roster:
    """The names of workers with a `url`."""

    def __init__(self, fleet: Fleet, endpoints: WorkerEndpoints) -> None:
        """`fleet` and `workers` know who is there."""
        self._fleet = fleet
        self._endpoints = endpoints
        self._gone: set[str] = set()  # by the last sweep

    def sweep(self) -> set[str]:
        """Drop the endpoints of workers that had left the fleet by the last sweep already; their names."""
        gone = {name for name in self._endpoints if name not in self._fleet and not self._endpoints.visits[name]}
        forgotten, self._gone = gone & self._gone, gone - self._gone
        for name in forgotten:
            self._endpoints.forget(name)
        return forgotten

    def name(self, pool: Pool, worker: Worker, url: str) -> str:
        """The name of `worker` at `url`; one that has it at another address is drained."""
        plain = worker_name(pool, worker)
        with_address = f"{plain}@{url.partition('://')[2]}"
        if with_address in self._fleet:
            return with_address
        if plain in self._fleet and self._fleet.spec(plain).url != url:
            self._fleet.drain(plain)
        is_taken = plain in self._fleet and self._fleet.spec(plain).url != url
        return with_address if is_taken or self._has_visits(plain, url) else plain

    def _has_visits(self, name: str, url: str) -> bool:
        """Whether requests that take no room are still at another address under this name."""
        return self._endpoints.visits[name] > 0 and self._endpoints[name].url != url
