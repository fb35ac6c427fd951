"""Pools without a worker that serves: for how long their requests may wait for one, and what `/ready` says of them.

A pool is out from the moment at which none of its workers serves: at its start, after a loss, or while its only worker
is replaced. New requests may wait during the first `timeouts.outage_seconds` of the outage, and for as long as an
ordered replacement is under way. After that, new requests are refused; those that wait already stay until their own
queue time ends. An outage ends when a worker serves; the next outage has its full time again. The fleet decides where
requests go, and the scheduler what becomes of those that wait.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum

from gateway.config import Pool
from gateway.events import Event, WorkerChanged
from gateway.workers import Fleet


class Readiness(Enum):
    """What `/ready` says of a pool; the best state comes first."""

    READY = "ready"
    WAITING = "waiting"
    NO_WORKER = "no worker"
    NO_STORE = "no store"  # new requests are refused, because the store of the fleet is silent


class _Outage:
    """When a pool went out (loop time); `is_loss` is True if it had served before."""

    __slots__ = ("began_at", "is_loss", "timer")

    def __init__(self, began_at: float, *, is_loss: bool) -> None:
        self.began_at = began_at
        self.is_loss = is_loss
        self.timer: asyncio.TimerHandle | None = None


class Outages:
    """The outage of each pool that is out; it observes the workers' changes."""

    def __init__(self, fleet: Fleet) -> None:
        """Start without pools; `fleet` hears for which pools a worker is expected."""
        self._fleet = fleet
        self._loop = asyncio.get_running_loop()
        self._waits_seconds: dict[str, float] = {}  # by pool
        self._out: dict[str, _Outage] = {}
        self._served: set[str] = set()  # pools that have had a worker
        self._renewed = ""  # the pool in which a worker is being replaced

    def configure(self, pools: Sequence[Pool]) -> None:
        """Know `pools` and no others; a changed waiting time counts from the beginning of the outage."""
        self._waits_seconds = {pool.model: pool.timeouts.outage_seconds for pool in pools}
        for gone in self._out.keys() - self._waits_seconds.keys():
            self._end(gone)
        self._served &= self._waits_seconds.keys()
        for pool in self._waits_seconds:
            self._review(pool)

    def observe(self, event: Event) -> None:
        """Review a pool whose worker changed: it may have lost its last worker, or have its first one again."""
        if isinstance(event, WorkerChanged) and event.pool in self._waits_seconds:
            self._review(event.pool)

    def renew(self, pool: str) -> None:
        """Let requests of `pool` wait while one of its workers is replaced, however long it takes; "" ends this."""
        before, self._renewed = self._renewed, pool
        for changed in {before, pool} & self._waits_seconds.keys():
            self._review(changed)

    def close(self) -> None:
        """Disarm the timers."""
        for pool in tuple(self._out):
            self._end(pool)

    # -- views

    def serves(self, pool: str) -> bool:
        """True if `pool` needs no fallback: a worker serves, or is being replaced."""
        return self._fleet.serves(pool) or pool == self._renewed

    def age_seconds(self, pool: str) -> float:
        """For how long `pool` has been out, in seconds; 0 if it is not."""
        return self._loop.time() - self._out[pool].began_at if pool in self._out else 0.0

    def readiness(self, pool: str) -> Readiness:
        """The answer for a load balancer; a pool that never served is not ready, although its requests may wait."""
        if self._fleet.serves(pool):
            return Readiness.READY
        outage = self._out.get(pool)
        is_waiting = outage is not None and outage.is_loss and self._fleet.awaits(pool)
        return Readiness.WAITING if is_waiting else Readiness.NO_WORKER

    # -- beginning and end

    def _review(self, pool: str) -> None:
        """Begin or end the outage of `pool`, and say whether its requests may wait."""
        if self._fleet.serves(pool):
            self._end(pool)
            self._served.add(pool)
            self._fleet.expect(pool, is_expected=pool == self._renewed)  # it is emptied next, and no event says so
            return
        outage = self._out.setdefault(pool, _Outage(self._loop.time(), is_loss=pool in self._served))
        left_seconds = outage.began_at + self._waits_seconds[pool] - self._loop.time()
        self._disarm(outage)
        if left_seconds > 0:
            outage.timer = self._loop.call_later(left_seconds, self._review, pool)
        self._fleet.expect(pool, is_expected=left_seconds > 0 or pool == self._renewed)

    def _end(self, pool: str) -> None:
        self._fleet.expect(pool, is_expected=False)
        outage = self._out.pop(pool, None)
        if outage is not None:
            self._disarm(outage)

    def _disarm(self, outage: _Outage) -> None:
        if outage.timer is not None:
            outage.timer.cancel()
            outage.timer = None
