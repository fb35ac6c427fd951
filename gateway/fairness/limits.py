"""A tenant's own limits, over all pools: requests and tokens per minute, sequences in flight, requests queued.

Rates are token buckets that hold one minute's allowance; a limit of None never refuses. The tokens of the prompt and
the expected answer are taken at submission and corrected when the request ends. What an answer took beyond what was
expected is owed, and new requests are refused until it is paid off. A tenant at its in-flight limit is held back, never
refused, and blocks nobody else. Where several gateways share the limits, an allowance is what this one holds of them
(`leases`).
"""

from dataclasses import dataclass
from typing import Final

from gateway.fairness.buckets import Bucket, LeasedBucket, Rates

PART: Final = 200  # of a number of places each of several gateways has one in so many without asking


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """The bounds of one tenant; None means unlimited. `has_budgets` says that requests may have to wait for them."""

    max_in_flight: int | None = None
    max_queued: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    has_budgets: bool = False

    @property
    def most_queued(self) -> int | None:
        """Requests that may wait: one request always may."""
        return None if self.max_queued is None else max(1, self.max_queued)


class Allowance:
    """What one tenant has used of its limits."""

    __slots__ = (
        "_replicas",
        "_requests",
        "_tokens",
        "flight_places",
        "in_flight",
        "is_capped",
        "is_yielding",
        "limits",
        "parked_places",
        "queue_places",
        "queued",
        "runs_alone",
    )

    def __init__(self, limits: TenantLimits, replicas: int = 0) -> None:
        """Start unused; `replicas` gateways share the limits, 0: none but this one."""
        self.in_flight = 0
        self.queued = 0
        self.flight_places: int | None = None  # sequences that may be in flight here
        self.queue_places: int | None = None  # requests that may wait here
        self.runs_alone = not replicas  # True if a request larger than the limit may run here
        self.is_yielding = False  # places that become free are parked: they are for others that wait
        self.parked_places = 0
        self._replicas = replicas
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self.limits = TenantLimits()
        self.change(limits)

    def change(self, limits: TenantLimits) -> None:
        """Take over new limits; a bucket whose allowance did not change keeps its level."""
        before, self.limits = self.limits, limits
        # Either couples the tenant's queues in all pools.
        self.is_capped = limits.max_in_flight is not None or limits.has_budgets
        self.flight_places = self._places(self.flight_places, before.max_in_flight, limits.max_in_flight)
        self.queue_places = self._places(self.queue_places, before.most_queued, limits.most_queued)
        self._requests = self._bucket(self._requests, limits.requests_per_minute)
        self._tokens = self._bucket(self._tokens, limits.tokens_per_minute)

    def _places(self, here: int | None, before: int | None, limit: int | None) -> int | None:
        if limit is None or not self._replicas:
            return limit
        leased = 0 if here is None or before is None else here - before // PART
        return leased + limit // PART

    def _bucket(self, current: Bucket | None, per_minute: int | None) -> Bucket | None:
        if per_minute is None:
            return None
        if current is not None and current.per_minute == per_minute:
            return current
        return LeasedBucket(per_minute, self._replicas) if self._replicas else Bucket(per_minute)

    @property
    def is_leased(self) -> bool:
        """True if several gateways share the limits."""
        return self._replicas > 0

    @property
    def leased_requests(self) -> LeasedBucket | None:
        """What is held here of a shared rate of requests."""
        return self._requests if isinstance(self._requests, LeasedBucket) else None

    @property
    def leased_tokens(self) -> LeasedBucket | None:
        """What is held here of a shared rate of tokens."""
        return self._tokens if isinstance(self._tokens, LeasedBucket) else None

    def lacks(self, tokens: float, now: float) -> bool:
        """True if a request of `tokens` would be refused here, but gateways share the limits: others may have some."""
        if not self._replicas:
            return False
        return not self.has_queue_place() or self.refusal_seconds(tokens, now) is not None

    def refusal_seconds(self, tokens: float, now: float) -> float | None:
        """Seconds until a request of `tokens` would be within the rates; None if it is within them now."""
        wait = 0.0 if self._requests is None else self._requests.wait_seconds(1.0, now)
        if self._tokens is not None:
            wait = max(wait, self._tokens.wait_seconds(tokens, now))
        return wait if wait > 0 else None

    def take(self, tokens: float, now: float) -> None:
        """Count one request of `tokens` against the rates."""
        if self._requests is not None:
            self._requests.take(1.0, now)
        if self._tokens is not None:
            self._tokens.take(tokens, now)

    def count_request(self, now: float) -> float | None:
        """Count a request that generates nothing; if it is over the rates it is not counted: the seconds to wait."""
        wait = self.refusal_seconds(0.0, now)
        if wait is None:
            self.take(0.0, now)
        return wait

    def correct(self, tokens: float, now: float) -> None:
        """Count `tokens` more (negative: fewer) than were taken before."""
        if self._tokens is not None:
            self._tokens.take(tokens, now)

    @property
    def has_rates(self) -> bool:
        """True if requests or tokens per minute are limited."""
        return self._requests is not None or self._tokens is not None

    def rates(self, now: float) -> Rates:
        """What is left of the rates of requests and of tokens; None of one that is not limited."""
        requests, tokens = self._requests, self._tokens
        return Rates(
            None if requests is None else requests.state(now),
            None if tokens is None else tokens.state(now),
        )

    def has_queue_place(self) -> bool:
        """True if one more request may wait; one request always may."""
        places = self.queue_places
        return places is None or self.queued < places

    def has_flight_place(self, sequences: int) -> bool:
        """True if `sequences` more may be in flight; a request larger than the limit runs alone."""
        return self.lets_run(self.in_flight, sequences)

    def lets_run(self, in_flight: int, sequences: int) -> bool:
        """True if `sequences` may run beside `in_flight` of the tenant's."""
        places = self.flight_places
        return places is None or in_flight + sequences <= places or (in_flight == 0 and self.runs_alone)

    def land(self, sequences: int) -> None:
        """Note that a request of `sequences` is no more in flight."""
        self.in_flight -= sequences
        if self.is_yielding and self.flight_places is not None and self.limits.max_in_flight is not None:
            least = max(self.in_flight, self.limits.max_in_flight // PART)
            parked = min(sequences, max(0, self.flight_places - least))
            self.flight_places -= parked
            self.parked_places += parked
            self.runs_alone = False
