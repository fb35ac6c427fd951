"""Pools without a worker that serves: for how long their requests wait for one, and what is said of them.

A pool is out from the moment at which none of its workers serves: at its start, after a loss, while its only worker is
replaced. Its requests may wait for the first `timeouts.outage_seconds` of that, and as long as a replacement that was
asked for is under way; after that new ones are refused. What waits by then stays, within its own queue time. An outage
ends when a worker serves; the next one has a whole time of its own. Where requests go is the fleet's, what becomes of
one that waits is the scheduler's.
"""

import asyncio
from collections.abc import Sequence
from enum import Enum

from gateway.config import Pool
from gateway.events import Event, WorkerChanged
from gateway.workers import Fleet


class Readiness(Enum):
    """What `/ready` says of a pool, the best first."""

    READY = "ready"
    WAITING = "waiting"
    NO_WORKER = "no worker"


class _Outage:
    """Since when a pool is out; `is_loss` says that it served before."""

    __slots__ = ("began_at", "is_loss", "timer")

    def __init__(self, began_at: float, *, is_loss: bool) -> None:
        self.began_at = began_at
        self.is_loss = is_loss
        self.timer: asyncio.TimerHandle | None = None


class Outages:
    """The outage of each pool that is out; an observer of the workers' changes."""

    def __init__(self, fleet: Fleet) -> None:
        """No pools yet; `fleet` is told for which pools a worker is expected."""
        self._fleet = fleet
        self._loop = asyncio.get_running_loop()
        self._waits_seconds: dict[str, float] = {}  # by pool
        self._out: dict[str, _Outage] = {}
        self._served: set[str] = set()  # pools that have had a worker
        self._renewed = ""  # the pool in which a worker is being replaced

    def configure(self, pools: Sequence[Pool]) -> None:
        """Know `pools` and no others; what one's requests may wait counts from the beginning of its outage."""
        self._waits_seconds = {pool.model: pool.timeouts.outage_seconds for pool in pools}
        for gone in self._out.keys() - self._waits_seconds.keys():
            self._end(gone)
        self._served &= self._waits_seconds.keys()
        for pool in self._waits_seconds:
            self._review(pool)

    def observe(self, event: Event) -> None:
        """A worker that changed may have been a pool's last, or is its first again."""
        if isinstance(event, WorkerChanged) and event.pool in self._waits_seconds:
            self._review(event.pool)

    def renew(self, pool: str) -> None:
        """A worker of `pool` is being replaced, which is waited for as long as it takes; "" ends that."""
        before, self._renewed = self._renewed, pool
        for changed in {before, pool} & self._waits_seconds.keys():
            self._review(changed)

    def close(self) -> None:
        """Disarm the timers."""
        for pool in tuple(self._out):
            self._end(pool)

    # -- views

    def serves(self, pool: str) -> bool:
        """True where no other pool should stand in for `pool`: a worker serves, or is being replaced."""
        return self._fleet.serves(pool) or pool == self._renewed

    def age_seconds(self, pool: str) -> float:
        """For how long `pool` has been out; 0 where it is not."""
        return self._loop.time() - self._out[pool].began_at if pool in self._out else 0.0

    def readiness(self, pool: str) -> Readiness:
        """What to tell a load balancer: a pool that has not served yet is not ready, although its requests may wait."""
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
            self._fleet.expect(pool, is_expected=pool == self._renewed)  # it is emptied next, and nobody tells of that
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
