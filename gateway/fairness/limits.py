"""A tenant's own limits, over all pools: requests and tokens per minute, sequences in flight, requests queued.

Rates are token buckets that hold one minute's allowance; a limit of None never refuses. The tokens of the prompt and
the expected answer are taken at submission and corrected when the request ends. Answers that are longer than expected
may overdraw the allowance, in each minute by one more allowance. What goes beyond that is owed, and new requests are
refused until it is paid off. A tenant at its in-flight limit is held back, never refused, and blocks nobody else.
"""

from dataclasses import dataclass

_MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """The bounds of one tenant; None means unlimited."""

    max_in_flight: int | None = None
    max_queued: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


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
        self._level += forgiven

    def _refill(self, now: float) -> None:
        if self._at is not None:
            gained, brim = (now - self._at) * self.per_minute / _MINUTE_SECONDS, float(self.per_minute)
            self._level = min(self._level + gained, brim)
            self._grace = min(self._grace + gained, brim)
        self._at = now


class Allowance:
    """What one tenant has used of its limits."""

    __slots__ = ("_requests", "_tokens", "in_flight", "is_capped", "limits", "queued")

    def __init__(self, limits: TenantLimits) -> None:
        """Start unused."""
        self.in_flight = 0
        self.queued = 0
        self._requests: Bucket | None = None
        self._tokens: Bucket | None = None
        self.change(limits)

    def change(self, limits: TenantLimits) -> None:
        """Take over new limits; a bucket whose allowance did not change keeps its level."""
        self.limits = limits
        self.is_capped = limits.max_in_flight is not None  # this couples the tenant's queues in all pools
        self._requests = _bucket(self._requests, limits.requests_per_minute)
        self._tokens = _bucket(self._tokens, limits.tokens_per_minute)

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
        limit = self.limits.max_queued
        return limit is None or self.queued < max(1, limit)

    def has_flight_place(self, sequences: int) -> bool:
        """True if `sequences` more may be in flight; a request larger than the limit runs alone."""
        limit = self.limits.max_in_flight
        return limit is None or self.in_flight == 0 or self.in_flight + sequences <= limit


def _bucket(current: Bucket | None, per_minute: int | None) -> Bucket | None:
    if per_minute is None:
        return None
    if current is not None and current.per_minute == per_minute:
        return current
    return Bucket(per_minute)
