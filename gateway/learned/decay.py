"""A sum that forgets with time."""

import math


class DecayingSum:
    """A sum that forgets exponentially: of arrivals it gives a rate, of service what was received lately."""

    __slots__ = ("_at", "_sum", "horizon_seconds")

    def __init__(self, horizon_seconds: float) -> None:
        """Forget with time constant `horizon_seconds`."""
        self.horizon_seconds = horizon_seconds
        self._sum = 0.0
        self._at = 0.0

    def add(self, amount: float, now: float) -> None:
        """Add `amount` at `now`."""
        self._sum = self.value(now) + amount
        self._at = now

    def value(self, now: float) -> float:
        """What is left of the sum as of `now`."""
        if self._sum == 0.0:
            return 0.0
        return self._sum * math.exp((self._at - now) / self.horizon_seconds)

    def per_second(self, now: float) -> float:
        """The rate of additions as of `now`."""
        return self.value(now) / self.horizon_seconds
