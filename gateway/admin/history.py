"""The last hour: what each tenant has received in each minute, and what fairness owed it.

The gateway is looked at every few seconds; nothing is added to the way of a request. A look keeps the service of each
tenant that got something or waited. `LOOKS` of them make a minute. A minute keeps the tenants of each pool with the
most service or the most owed, `MOST_TENANTS` of them; the rest are one sum. So an hour takes a few megabytes at most.
"""

from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from heapq import nlargest
from typing import Final, NamedTuple

from gateway.admin.shares import Got, owed
from gateway.fairness import PoolSnapshot, TenantSnapshot

LOOK_SECONDS: Final = 5.0
LOOKS: Final = 12  # in a minute
MINUTES: Final = 60
MOST_TENANTS: Final = 200  # of one pool in one minute
OTHERS: Final = ""  # the name of the rest: no tenant has it
_TENANTS_AT_ONCE: Final = 500

Place = tuple[str, str]  # pool, tenant


class Share(NamedTuple):
    """What a tenant has received in a span of time and what it was owed, in cost units."""

    received: float
    owed: float


NOTHING: Final = Share(0.0, 0.0)


class History:
    """What was seen in the last hour; `now` covers the last minute, `hour` the minutes before this one."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._services: dict[Place, float] = {}
        self._looks: deque[dict[Place, Got]] = deque(maxlen=LOOKS)
        self._looks_in_minute = 0
        self._minutes: deque[dict[Place, Share]] = deque(maxlen=MINUTES)
        self.now: Mapping[Place, Share] = {}
        self.hour: Mapping[Place, Share] = {}

    @property
    def minutes(self) -> int:
        """How many whole minutes it knows."""
        return len(self._minutes)

    def look(self, pools: Iterable[PoolSnapshot]) -> Generator[None, None, None]:
        """Take in how much service everybody has now, in steps of a few milliseconds; `pools` show every tenant."""
        services: dict[Place, float] = {}
        seen: dict[Place, Got] = {}
        for pool in pools:
            for number, tenant in enumerate(pool.tenants, 1):
                place = (pool.pool, tenant.tenant)
                services[place] = tenant.service
                received = self._received(place, tenant)
                has_waited = tenant.queued > 0 and not tenant.is_held_back
                if received or has_waited:
                    seen[place] = Got(tenant.weight, received, has_waited)
                if number % _TENANTS_AT_ONCE == 0:
                    yield
        self._services = services
        self._looks.append(seen)
        yield
        self.now = _shares(self._looks)
        self._looks_in_minute += 1
        if self._looks_in_minute == LOOKS:
            self._looks_in_minute = 0
            yield
            self._minutes.append(_largest(self.now))
            yield
            self.hour = _summed(self._minutes)

    def _received(self, place: Place, tenant: TenantSnapshot) -> float:
        """What it was charged since the last look, less refunds; what was before the first look nobody has seen."""
        return tenant.service - self._services.get(place, 0.0) if self._looks else 0.0

    def series(self, pool: str, tenant: str) -> Sequence[Share]:
        """Its minutes, the oldest first."""
        return [minute.get((pool, tenant), NOTHING) for minute in self._minutes]


def _shares(looks: Sequence[Mapping[Place, Got]]) -> dict[Place, Share]:
    """What `looks` together say; who waited at each of them has waited all the time."""
    received: dict[Place, float] = {}
    waits: dict[Place, int] = {}
    weights: dict[Place, float] = {}
    for look in looks:
        for place, got in look.items():
            received[place] = received.get(place, 0.0) + got.received
            waits[place] = waits.get(place, 0) + got.has_waited
            weights[place] = got.weight
    pools: dict[str, dict[str, Got]] = {}
    for place, amount in received.items():
        pools.setdefault(place[0], {})[place[1]] = Got(weights[place], max(0.0, amount), waits[place] == len(looks))
    return {
        (pool, tenant): Share(got[tenant].received, share)
        for pool, got in pools.items()
        for tenant, share in owed(got).items()
    }


def _largest(shares: Mapping[Place, Share]) -> dict[Place, Share]:
    """The largest of each pool, and the sum of its others."""
    pools: dict[str, list[tuple[Place, Share]]] = {}
    for place, share in shares.items():
        pools.setdefault(place[0], []).append((place, share))
    kept: dict[Place, Share] = {}
    for pool, entries in pools.items():
        largest = nlargest(MOST_TENANTS, entries, key=lambda entry: max(entry[1]))
        kept.update(largest)
        if len(entries) > len(largest):
            received = sum(share.received for _, share in entries) - sum(share.received for _, share in largest)
            due = sum(share.owed for _, share in entries) - sum(share.owed for _, share in largest)
            kept[pool, OTHERS] = Share(max(0.0, received), max(0.0, due))
    return kept


def _summed(minutes: Iterable[Mapping[Place, Share]]) -> dict[Place, Share]:
    sums: dict[Place, Share] = {}
    for minute in minutes:
        for place, share in minute.items():
            before = sums.get(place, NOTHING)
            sums[place] = Share(before.received + share.received, before.owed + share.owed)
    return sums
