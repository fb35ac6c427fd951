"""Estimates how many sequences at an engine no gateway has sent."""

_READINGS = 3  # the estimate is the least that so many readings show


class Foreign:
    """The sequences that recent readings showed beyond those of all replicas."""

    __slots__ = ("readings",)

    def __init__(self, readings: tuple[int, ...] = ()) -> None:
        """Start with what the last `readings` showed, the latest at the end."""
        self.readings = readings[-_READINGS:]

    def read(self, sequences: int) -> None:
        """Take in that a reading showed `sequences` more than the replicas have; fewer if negative."""
        self.readings = (*self.readings, sequences)[-_READINGS:]

    def sequences(self, limit: int) -> int:
        """How many there are, if they are more than the lag of a reading explains in a window of `limit`."""
        if len(self.readings) < _READINGS:
            return 0
        least = min(self.readings)
        return least if least > max(2, limit // 16) else 0
