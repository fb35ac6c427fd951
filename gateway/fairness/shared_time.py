"""How the time of one worker is divided among the requests that are there: the longer and the more of it, the more.

Each worker has a virtual clock. While sequences are in flight, it advances by the time that passes divided by their
number. A request of n sequences gets n times the advance between its grant and its end. Time without a sequence is
idle. So what all requests get and what is idle add up to the time that has passed, without a model of the engine.
"""


class SharedTime:
    """The time of one worker; all times are in seconds."""

    __slots__ = ("_at", "_clock", "_sequences", "busy_seconds", "idle_seconds")

    def __init__(self, now: float) -> None:
        """Count from `now` on; nothing is in flight."""
        self._at = now
        self._clock = 0.0
        self._sequences = 0
        self.busy_seconds = 0.0
        self.idle_seconds = 0.0

    @property
    def is_unused(self) -> bool:
        """True if nothing is in flight."""
        return not self._sequences

    def enter(self, sequences: int, now: float) -> float:
        """Let a request of so many sequences share the time from `now` on; returns the reading to `leave` with."""
        self.advance(now)
        self._sequences += sequences
        return self._clock

    def share(self, sequences: int, entered: float, now: float) -> float:
        """The seconds that a request, which has `entered` at this reading, has got by `now`."""
        self.advance(now)
        return sequences * (self._clock - entered)

    def leave(self, sequences: int, entered: float, now: float) -> float:
        """End the share of a request that has `entered` at this reading; returns the seconds that it got."""
        share = self.share(sequences, entered, now)
        self._sequences -= sequences
        if not self._sequences:
            self._clock = 0.0  # a small number is an exact one
        return share

    def advance(self, now: float) -> None:
        """Count the time up to `now`."""
        passed = now - self._at
        self._at = now
        if self._sequences:
            self._clock += passed / self._sequences
            self.busy_seconds += passed
        else:
            self.idle_seconds += passed
