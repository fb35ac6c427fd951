"""A tenant's own limits, over all pools: requests and tokens per minute, sequences in flight, requests queued.

Rates are token buckets that hold one minute's allowance; a limit of None never refuses. The tokens of the prompt and
the expected answer are taken at submission and corrected when the request ends. Answers that are longer than expected
may overdraw the allowance, in each minute by one more allowance. What goes beyond that is owed, and new requests are
refused until it is paid off. A tenant at its in-flight limit is held back, never refused, and blocks nobody else.
Where several gateways share the limits, an allowance is what this one holds of them (`leases`).
"""

import math
from dataclasses import dataclass

_MINUTE_SECONDS = 60.0
PART = 200  # of a number of places each of several gateways has one in so many without asking


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """The bounds of one tenant; None means unlimited."""

    max_in_flight: int | None = None
    max_queued: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None

    @property
    def most_queued(self) -> int | None:
        """Requests that may wait: one request always may."""
        return None if self.max_queued is None else max(1, self.max_queued)


class Bucket:
    """An allowance per minute that refills continuously and starts full."""

    __slots__ = ("_at", "_grace", "_level", "per_minute")

    def __init__(self, per_minute: int) -> None:
        """Hold at most `per_minute`."""
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._grace = float(per_minute)
        self._at: float | None = None

    def wait_seconds(self, amount: float, now: float) -> float:
        """Seconds until `amount` is there, or a full bucket if that is less; 0.0 if it is there now."""
        self._refill(now)
        missing = min(amount, self.per_minute) - self._level
        return max(0.0, missing * _MINUTE_SECONDS / self.per_minute)

    def take(self, amount: float, now: float) -> None:
        """Take `amount` (negative: give back); the level may go below zero, never above the allowance."""
        self._refill(now)
        self._level = min(self._level - amount, float(self.per_minute))

    def correct(self, amount: float, now: float) -> None:
        """Take what nobody could foresee (negative: give back); an overdraft is forgiven as far as the grace goes."""
        self._refill(now)
        owed = min(self._level, 0.0)
        self.take(amount, now)
        overdrawn = max(0.0, owed - self._level)
        forgiven = min(overdrawn, self._grace)
        self._grace -= forgiven
        self._forgive(forgiven)

    def _forgive(self, amount: float) -> None:
        self._level += amount

    def _refill(self, now: float) -> None:
        if self._at is not None:
            gained, brim = (now - self._at) * self.per_minute / _MINUTE_SECONDS, float(self.per_minute)
            self._level = min(self._level + gained, brim)
            self._grace = min(self._grace + gained, brim)
        self._at = now


class LeasedBucket(Bucket):
    """What this gateway holds of an allowance that several share: a store refills it and hands it out.

    What is overdrawn beyond the grace is owed to the store with the next report. Each of the gateways has an equal part
    of the grace. While the store does not answer (`is_alone`), an equal part of the allowance refills here.
    """

    __slots__ = ("_reported_debt", "is_alone", "known", "left", "replicas", "spent")

    def __init__(self, per_minute: int, replicas: int) -> None:
        """Hold nothing yet of `per_minute`, which `replicas` gateways share."""
        super().__init__(per_minute)
        self.replicas = replicas
        self.is_alone = False
        self.spent = 0.0  # in all, less what was refilled here
        self.left = 0.0  # what nobody holds, as far as the store has told
        self.known: float | None = None  # what all hold and what is left, as far as the store has told
        self._level = 0.0
        self._grace = per_minute / replicas
        self._reported_debt = 0.0

    def wait_seconds(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be there, or a full bucket if that is less; 0.0 if it is here now."""
        self._refill(now)
        missing = min(amount, self.per_minute) - self._level
        if missing <= 0.0:
            return 0.0
        per_minute = self.per_minute / self.replicas if self.is_alone else float(self.per_minute)
        return max(1.0, (missing - max(0.0, self.left)) * _MINUTE_SECONDS / per_minute)

    def take(self, amount: float, now: float) -> None:
        """Take `amount` (negative: give back) of what is here; the level may go below zero."""
        self._refill(now)
        level = min(self._level - amount, float(self.per_minute))
        self.spent += self._level - level
        self._level = level

    def _forgive(self, amount: float) -> None:
        self._level += amount
        self.spent -= amount

    def _refill(self, now: float) -> None:
        if self._at is not None:
            minutes = (now - self._at) / _MINUTE_SECONDS
            part, gained = self.per_minute / self.replicas, minutes * self.per_minute
            self._grace = min(self._grace + minutes * part, part)
            if self.is_alone:
                refilled = max(0.0, min(minutes * part, part - self._level))
                self._level += refilled
                self.spent -= refilled
            else:
                self.left = min(self.left + gained, float(self.per_minute))
                self.known = None if self.known is None else min(self.known + gained, float(self.per_minute))
        self._at = now

    # -- what is reported to the store, and what it states

    def held(self, now: float) -> int:
        """What is here, as it is reported to the store; a debt is the store's once it is confirmed."""
        self._refill(now)
        self._reported_debt = max(0.0, -self._level)
        return math.floor(max(0.0, self._level))

    def confirm(self) -> None:
        """The store has taken in what was told last, with the debt."""
        self._level += self._reported_debt
        self._reported_debt = 0.0

    def grant(self, amount: float) -> None:
        """Hold `amount` more."""
        self._level += amount

    def shed(self, keep: float) -> None:
        """Give back what is here beyond `keep`."""
        self._level = min(self._level, max(keep, 0.0))

    def hear(self, left: float, known: float, replicas: int) -> None:
        """Take in what nobody holds, the level over all, and how many gateways share it."""
        self.left, self.known, self.replicas = left, known, replicas

    def stand_alone(self, now: float, *, is_alone: bool) -> None:
        """The store answers no more, or again."""
        self._refill(now)
        self.is_alone = is_alone

    @property
    def level(self) -> float:
        """What is here as of the last call; less than nothing is owed."""
        return self._level


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
        self.is_capped = limits.max_in_flight is not None  # this couples the tenant's queues in all pools
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
            self._tokens.correct(tokens, now)

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
