"""What the calls to the store took: counts by outcome and a histogram of their time."""

from bisect import bisect_left
from typing import Final

from gateway.replicas.snapshot import CallsSnapshot

BOUNDS_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


class CallFigures:
    """Cumulative figures of one owner."""

    def __init__(self) -> None:
        """No call yet."""
        self.answered = 0
        self.failed = 0
        self.seconds = 0.0
        self.counts = [0] * (len(BOUNDS_SECONDS) + 1)

    def note(self, seconds: float, *, is_answered: bool) -> None:
        """Count one round trip."""
        if is_answered:
            self.answered += 1
        else:
            self.failed += 1
        self.seconds += seconds
        self.counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1

    def snapshot(self) -> CallsSnapshot:
        """The figures at this moment."""
        return CallsSnapshot(self.answered, self.failed, self.seconds, BOUNDS_SECONDS, tuple(self.counts))
