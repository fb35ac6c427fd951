"""What one replica holds of one limit of a tenant, what it lacks, and what follows from what the store says.

Four kinds: places in flight and in the queue, rates of requests and of tokens. The allowance of the scheduler has the
numbers that a request asks for (`fairness.limits`); a lease moves them and reports them to the store. What was granted
is a total that only the store moves, so a message may be lost, repeated or come late. Left to others: when the store is
asked, and which limits a call names (`quota_book`).
"""

import math
from abc import ABC, abstractmethod
from typing import Final

from gateway.fairness.buckets import LeasedBucket
from gateway.fairness.limits import PART, Allowance
from gateway.replicas.quota_call import NEVER_TOLD, LimitReport, LimitState
from gateway.replicas.snapshot import SharedLimitSnapshot

YIELD: Final = 2  # others wait for places
SCARCE: Final = 1  # somebody has lacked some lately
REFUSING_SECONDS: Final = 60.0  # for so long a refusal is shown: longer than the pause between two scrapes


class Demand:
    """What the requests of a tenant need that wait for an answer of the store, or for their own limit in flight."""

    __slots__ = ("head_sequences", "requests", "tokens", "waiting_sequences")

    def __init__(self) -> None:
        """Nothing."""
        self.requests = 0
        self.tokens = 0.0
        self.head_sequences = 0  # of the next request that the limit in flight holds back; 0: none
        self.waiting_sequences = 0


class Lease(ABC):
    """One limit of one tenant."""

    is_rate = False
    limit = ""  # its key in the configuration

    def __init__(self, name: str, most: int, allowance: Allowance, replicas: int) -> None:
        """Hold nothing of the limit `name`, which is `most`; `replicas` share it."""
        self.name = name
        self.most = most
        self.replicas = replicas
        self.granted = 0  # in all, as far as was heard; it counts once the store has confirmed the limit
        self.wanted = 0
        self.left = most
        self.refused_at = -math.inf  # when a request was refused here last because too little was held
        self.is_confirmed = False  # the store has confirmed it since this replica registered
        self.is_known = False  # the store has stated it, or it is an equal part that was taken without the store
        self._allowance = allowance
        self._reported_spent = self._confirmed = 0

    def report(self, demand: Demand, now: float, *, must_keep: bool) -> LimitReport:
        """What to say of it now; `must_keep`: all that is held, because the store may not hear of it."""
        if not must_keep:
            self._shed(demand)
        held, used, spent, known, left = self._state(now)
        need, want = self._shortage(demand)
        self._reported_spent = spent
        return LimitReport(
            self.name,
            self.most,
            self.is_rate,
            self.granted if self.is_confirmed else NEVER_TOLD,
            held,
            used,
            spent,
            self._confirmed,
            known,
            left,
            need,
            want,
        )

    def hear(self, state: LimitState, replicas: int) -> bool:
        """Take in the answer to a call that reported it; True if more is held now than before."""
        if not self.is_confirmed:
            self.granted = state.granted - state.given
        self.replicas, self.wanted, self.left, self.is_confirmed = replicas, state.wanted, state.left, not state.is_gone
        self.is_known = self.is_confirmed
        self._confirmed = self._reported_spent
        self._confirm(state)
        return self.grant(state.granted)

    def grant(self, total: int) -> bool:
        """Take in that `total` was granted so far; True if some of it is new."""
        new = max(0, total - self.granted)
        self.granted += new
        if new:
            self._add(new)
        return new > 0

    def snapshot(self, tenant: str, now: float) -> SharedLimitSnapshot:
        """The limit of `tenant` at this moment."""
        held, left = self._shown()
        is_refusing = now - self.refused_at < REFUSING_SECONDS
        return SharedLimitSnapshot(tenant, self.limit, self.most, held, max(0, self.most - left), is_refusing)

    def lacks(self, tokens: float, now: float) -> bool:
        """True if a request of `tokens` is refused here for this limit."""
        return False

    @abstractmethod
    def _shown(self) -> tuple[int, int]:
        """What is held here, and what was left for anybody when the store said it last."""

    def register(self) -> None:
        """The store may know nothing of it."""
        self.is_confirmed = False

    def recall(self) -> None:
        """Others lack some: keep only what is used."""
        self.wanted = max(self.wanted, SCARCE)

    def go_on(self) -> None:  # noqa: B027 - a lease that keeps nothing back does nothing
        """The store does not answer: nobody else can get what is given back."""

    def claim_part(self) -> None:
        """Without the store, hold an equal part of a limit of which the store has not stated that others use it."""
        self.is_known = True

    def drop_idle(self) -> None:
        """Give back all that is not in use."""
        wanted, self.wanted = self.wanted, YIELD
        self._shed(Demand())
        self.wanted = wanted

    @abstractmethod
    def keep(self, most: int) -> None:
        """Use `most` at most from now on; what is in use already stays, and is told."""

    @abstractmethod
    def _state(self, now: float) -> tuple[int, int, int, int, int]:
        """Held, used, spent, known and left, as a report has them."""

    @abstractmethod
    def _shortage(self, demand: Demand) -> tuple[int, int]:
        """The least that is of use to who waits, and all that could be used, beyond what is held."""

    @abstractmethod
    def _shed(self, demand: Demand) -> None:
        """Give back what is not used and not to be kept."""

    def _confirm(self, state: LimitState) -> None:  # noqa: B027 - of places nothing is left to be confirmed
        """The store has taken in the last report."""

    @abstractmethod
    def _add(self, amount: int) -> None:
        """Hold `amount` more."""

    def _spare(self, idle: int) -> int:
        """What to keep beyond what is used, where `idle` is not used now."""
        return 0 if self.wanted else (self.left + idle) // (2 * self.replicas)


class QueueLease(Lease):
    """Places in the queue."""

    limit = "max_queued"

    @property
    def part(self) -> int:
        """Places that need no lease."""
        return self.most // PART

    @property
    def places(self) -> int:
        """Places that may be used here."""
        return self._allowance.queue_places or 0

    @places.setter
    def places(self, places: int) -> None:
        self._allowance.queue_places = places

    @property
    def used(self) -> int:
        """Places that are used here."""
        return self._allowance.queued

    def lacks(self, tokens: float, now: float) -> bool:
        """As the base class says."""
        return not self._allowance.has_queue_place()

    def _shown(self) -> tuple[int, int]:
        return self.places, self.left

    def claim_part(self) -> None:
        """As the base class says."""
        super().claim_part()
        self.places = max(self.places, self.most // self.replicas)

    def keep(self, most: int) -> None:
        """As the base class says."""
        self.places = min(self.places, max(self.part, most))

    def _state(self, now: float) -> tuple[int, int, int, int, int]:
        held = max(self.places, self.used) - self.part
        return held, min(max(0, self.used - self.part), held), 0, NEVER_TOLD, NEVER_TOLD

    def _shortage(self, demand: Demand) -> tuple[int, int]:
        return 0, max(0, min(self.used + demand.requests, self.most) - self.places)

    def _shed(self, demand: Demand) -> None:
        busy = max(self.part, self.used + demand.requests)
        idle = self.places - busy
        if idle > 0:
            self.places = busy + min(idle, self._spare(idle))

    def _add(self, amount: int) -> None:
        self.places += amount


class FlightLease(QueueLease):
    """Places in flight. While others wait for some, those that become free are parked until the next call.

    They go back to the store then. If the store does not answer they are used again.
    """

    limit = "max_in_flight"

    @property
    def places(self) -> int:
        """Places that may be used here."""
        return self._allowance.flight_places or 0

    @places.setter
    def places(self, places: int) -> None:
        self._allowance.flight_places = places
        self._allowance.runs_alone = places >= self._all

    @property
    def used(self) -> int:
        """Places that are used here."""
        return self._allowance.in_flight

    def lacks(self, tokens: float, now: float) -> bool:
        """Never: a request without a place in flight waits."""
        return False

    @property
    def _all(self) -> int:
        """As many places as one replica can hold."""
        return self.most - (self.replicas - 1) * self.part

    def hear(self, state: LimitState, replicas: int) -> bool:
        """As the base class says."""
        has_more = super().hear(state, replicas)
        self._yield(is_yielding=state.wanted == YIELD)
        self.places = self.places  # whether it is all may have changed
        return has_more

    def recall(self) -> None:
        """Others wait for places: those that become free are theirs."""
        super().recall()
        self._yield(is_yielding=True)

    def go_on(self) -> None:
        """As the base class says."""
        self._yield(is_yielding=False)
        self.places += self._allowance.parked_places
        self._allowance.parked_places = 0

    def _yield(self, *, is_yielding: bool) -> None:
        self._allowance.is_yielding = is_yielding

    def _shortage(self, demand: Demand) -> tuple[int, int]:
        want = max(0, min(self.used + demand.waiting_sequences, self._all) - self.places)
        if not demand.head_sequences:
            return 0, want
        target = self.used + demand.head_sequences
        if target > self._all:
            if self.used:
                return 0, want  # it runs alone, once nothing else does
            target = self._all
        need = target - self.places
        return need, max(need, want)

    def _shed(self, demand: Demand) -> None:
        self._allowance.parked_places = 0
        if demand.head_sequences and not self.wanted:
            return
        busy = max(self.part, self.used if self.wanted == YIELD else self.used + demand.waiting_sequences)
        idle = self.places - busy
        if idle > 0:
            self.places = busy + min(idle, self._spare(idle))


class RateLease(Lease, ABC):
    """A rate of requests or of tokens."""

    is_rate = True

    def __init__(self, name: str, bucket: LeasedBucket, allowance: Allowance, replicas: int) -> None:
        """Hold nothing of the limit `name`."""
        super().__init__(name, bucket.per_minute, allowance, replicas)
        self._bucket = bucket

    def _state(self, now: float) -> tuple[int, int, int, int, int]:
        held, spent = self._bucket.held(now), math.ceil(self._bucket.spent)
        if self._bucket.known is None:
            return held, 0, spent, NEVER_TOLD, NEVER_TOLD
        return held, 0, spent, max(math.floor(self._bucket.known), NEVER_TOLD), math.floor(self._bucket.left)

    def _shown(self) -> tuple[int, int]:
        left = self.left if self._bucket.known is None else math.floor(self._bucket.left)
        return math.floor(max(0.0, self._bucket.level)), left

    def claim_part(self) -> None:
        """As the base class says."""
        super().claim_part()
        self._bucket.grant(float(self.most // self.replicas))

    def keep(self, most: int) -> None:
        """As the base class says."""
        self._bucket.shed(float(most))

    def stand_alone(self, now: float, *, is_alone: bool) -> None:
        """An equal part of the rate refills here, or no more."""
        self._bucket.stand_alone(now, is_alone=is_alone)

    @abstractmethod
    def _lack(self, demand: Demand) -> float:
        """What a `demand` may use of the rate."""

    def _shortage(self, demand: Demand) -> tuple[int, int]:
        return 0, max(0, math.ceil(self._lack(demand) - max(0.0, self._bucket.level)))

    def _shed(self, demand: Demand) -> None:
        level = math.floor(self._bucket.level)
        needed = math.ceil(self._lack(demand))
        if level > needed:
            idle = level - needed
            self._bucket.shed(self._bucket.level - (idle - min(idle, self._spare(idle))))

    def _confirm(self, state: LimitState) -> None:
        self._bucket.confirm()
        self._bucket.hear(float(state.left), float(state.level), self.replicas)

    def _add(self, amount: int) -> None:
        self._bucket.grant(float(amount))


class RequestLease(RateLease):
    """A rate of requests."""

    limit = "requests_per_minute"

    def lacks(self, tokens: float, now: float) -> bool:
        """As the base class says."""
        return self._bucket.wait_seconds(1.0, now) > 0

    def _lack(self, demand: Demand) -> float:
        return float(demand.requests)


class TokenLease(RateLease):
    """A rate of tokens."""

    limit = "tokens_per_minute"

    def lacks(self, tokens: float, now: float) -> bool:
        """As the base class says."""
        return self._bucket.wait_seconds(tokens, now) > 0

    def _lack(self, demand: Demand) -> float:
        return demand.tokens


def leases_of(tenant: str, allowance: Allowance, replicas: int) -> list[Lease]:
    """A lease for each limit that the tenant has."""
    found: list[Lease] = []
    limits = allowance.limits
    if limits.max_in_flight is not None:
        found.append(FlightLease(f"f:{tenant}", limits.max_in_flight, allowance, replicas))
    if limits.most_queued is not None:
        found.append(QueueLease(f"q:{tenant}", limits.most_queued, allowance, replicas))
    if (requests := allowance.leased_requests) is not None:
        found.append(RequestLease(f"r:{tenant}", requests, allowance, replicas))
    if (tokens := allowance.leased_tokens) is not None:
        found.append(TokenLease(f"t:{tenant}", tokens, allowance, replicas))
    return found
