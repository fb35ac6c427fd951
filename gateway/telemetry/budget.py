"""Bounds the log lines that strangers can trigger, by a token bucket; time is an argument.

A line that is refused is counted, and the next line that passes gets the count, so the log says how much it left out.
At 10 lines per second and 500 bytes per line, a flood writes at most 430 MB a day.
"""


class LineBudget:
    """At most `burst` lines at once and `lines_per_second` in the long run."""

    def __init__(self, lines_per_second: float, burst: int) -> None:
        self._lines_per_second = lines_per_second
        self._burst = burst
        self._left = float(burst)
        self._refilled_at: float | None = None
        self._suppressed = 0

    def take(self, now: float) -> int | None:
        """How many lines were left out since the last one; None if this line must be left out too."""
        if self._refilled_at is not None:
            # A clock that steps back refills nothing.
            elapsed = max(0.0, now - self._refilled_at)
            self._left = min(float(self._burst), self._left + elapsed * self._lines_per_second)
        self._refilled_at = now
        if self._left < 1:
            self._suppressed += 1
            return None
        self._left -= 1
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
