"""How long to wait before something that has ended is started again: pauses that double, and are short again later."""

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
LASTING_SECONDS = 60.0


class Pauses:
    """The pauses of one thing that is started again and again."""

    def __init__(self) -> None:
        self._next_seconds = FIRST_SECONDS

    def after(self, lived_seconds: float) -> float:
        """The pause, in seconds, after a life of `lived_seconds`; a life of a minute makes pauses short again."""
        if lived_seconds >= LASTING_SECONDS:
            self._next_seconds = FIRST_SECONDS
        pause, self._next_seconds = self._next_seconds, min(2 * self._next_seconds, LONGEST_SECONDS)
        return pause
