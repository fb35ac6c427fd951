"""A rate as a bucket: an allowance per minute that refills by itself, and of which requests take.

What nobody could foresee may be taken beyond what is there. Then it is owed, and the next request waits until it is
paid off. A `LeasedBucket` is what one of several gateways holds of an allowance that they share.
"""

import math
from typing import Final, NamedTuple

_MINUTE_SECONDS: Final = 60.0


class RateLevel(NamedTuple):
    """What is left of a rate of `per_minute`, and in how many seconds all of it is there again if none is used."""

    per_minute: int
    left: int
    reset_seconds: float


class Rates(NamedTuple):
    """What is left of a tenant's rates; None of one that is not limited."""

    requests: RateLevel | None
    tokens: RateLevel | None


class Bucket:
    """An allowance per minute that refills continuously and starts full."""

    __slots__ = ("_at", "_least", "_level", "per_minute")

    def __init__(self, per_minute: int) -> None:
        """Hold at most `per_minute`."""
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._least = self._level  # what was there when something was taken last
        self._at: float | None = None

    def wait_seconds(self, amount: float, now: float) -> float:
        """Seconds until a request of `amount` may come; 0.0: now."""
        self._refill(now)
        return max(0.0, (self._needed(amount) - self._level) * _MINUTE_SECONDS / self.per_minute)

    def _needed(self, amount: float) -> float:
        """What must be there for a request of `amount`: so much, or less if a minute without use leaves less."""
        return min(amount, max(0.0, min(self._least, 0.0) + self.per_minute))

    def take(self, amount: float, now: float) -> None:
        """Take `amount` (negative: give back); the level may go below zero, never above the allowance."""
        self._refill(now)
        self._level = min(self._level - amount, float(self.per_minute))
        if amount > 0.0:
            self._least = self._level

    def state(self, now: float) -> RateLevel:
        """What is left."""
        self._refill(now)
        return self._state(self._level)

    def _state(self, level: float) -> RateLevel:
        most = self.per_minute
        return RateLevel(most, max(0, math.floor(level)), max(0.0, (most - level) * _MINUTE_SECONDS / most))

    def _refill(self, now: float) -> None:
        if self._at is not None:
            gained = (now - self._at) * self.per_minute / _MINUTE_SECONDS
            self._level = min(self._level + gained, float(self.per_minute))
        self._at = now


class LeasedBucket(Bucket):
    """What this gateway holds of an allowance that several share: a store refills it and hands it out.

    What is overdrawn is owed to the store with the next report. While the store does not answer (`is_alone`), an equal
    part of the allowance refills here.
    """

    __slots__ = ("_reported_debt", "_reported_spent", "_told_spent", "is_alone", "known", "left", "replicas", "spent")

    def __init__(self, per_minute: int, replicas: int) -> None:
        """Hold nothing yet of `per_minute`, which `replicas` gateways share."""
        super().__init__(per_minute)
        self.replicas = replicas
        self.is_alone = False
        self.spent = 0.0  # in all, less what was refilled here
        self.left = 0.0  # what nobody holds, as far as the store has told
        self.known: float | None = None  # what all hold and what is left, as far as the store has told
        self._level = 0.0
        self._reported_debt = self._reported_spent = 0.0
        self._told_spent = 0.0  # as much of `spent` as `known` takes into account

    def wait_seconds(self, amount: float, now: float) -> float:
        """Seconds until a request of `amount` may come; 0.0 if that is now.

        What others hold without using it comes here when it is asked for. Without the store this is at most a minute:
        it may answer again at any time.
        """
        self._refill(now)
        needed = self._needed(amount)
        if self._level >= needed:
            return 0.0
        seconds = (needed - self._anywhere()) * _MINUTE_SECONDS / self.per_minute
        return max(1.0, min(seconds * self.replicas, _MINUTE_SECONDS) if self.is_alone else seconds)

    def take(self, amount: float, now: float) -> None:
        """Take `amount` (negative: give back) of what is here; the level may go below zero."""
        self._refill(now)
        level = min(self._level - amount, float(self.per_minute))
        self.spent += self._level - level
        self._level = level
        if amount > 0.0:
            self._least = self._anywhere()

    def state(self, now: float) -> RateLevel:
        """What is left, here and elsewhere."""
        self._refill(now)
        return self._state(self._anywhere())

    def _anywhere(self) -> float:
        """What is left here, at the others and at the store; all of it if nobody has used any, as far as is known."""
        if self.is_alone:
            return self._level
        if self.known is not None:
            return self.known - (self.spent - self._told_spent)
        return self._level if self.spent or self._level else float(self.per_minute)

    def _refill(self, now: float) -> None:
        if self._at is not None:
            minutes = (now - self._at) / _MINUTE_SECONDS
            part, gained = self.per_minute / self.replicas, minutes * self.per_minute
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
        self._reported_debt, self._reported_spent = max(0.0, -self._level), self.spent
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
        if self.known is None or known < self.known - 1.0:  # some was taken
            self._least = known
        self.left, self.known, self.replicas = left, known, replicas
        self._told_spent = self._reported_spent

    def stand_alone(self, now: float, *, is_alone: bool) -> None:
        """The store answers no more, or again."""
        self._refill(now)
        self.is_alone = is_alone

    @property
    def level(self) -> float:
        """What is here as of the last call; less than nothing is owed."""
        return self._level
