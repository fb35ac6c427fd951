"""How many steps a worker's engine has made: counted where it tells them, at its pace since it last told.

An engine generates at most one token of a sequence with each step, so nobody is charged for more than were made. Rules:
- time counts while something of ours is in flight at the worker: an engine without work makes no step;
- the pace is that of the last time in which we kept the worker busy throughout: what it did in between may be others';
- a moment between two counts lies rather late than early among the steps between them;
- a count that is missing, that shrinks (the engine began again) or is old says nothing: nothing is known then.
"""

from typing import Final

CURRENT_SECONDS: Final = 5.0  # for which a count tells what followed it
_LEAST_SECONDS: Final = 0.3  # busy ones between two counts that give a pace: a step more or less is little of them
_LEAST_BUSY_SHARE: Final = 0.9  # of that time


class Mark:
    """A moment at a worker, in its busy seconds, from which steps are counted; their number once that is known."""

    __slots__ = ("cadence", "seconds", "steps")

    def __init__(self, cadence: "Cadence", seconds: float) -> None:
        """A moment that no count has followed."""
        self.cadence = cadence
        self.seconds = seconds
        self.steps = -1.0  # by the engine's count; negative until one has followed

    def steps_since(self, until: float, apart_seconds: float = 0.0) -> float | None:
        """Steps from the mark to `until`, None where that is not known.

        So long as none was counted since, `apart_seconds` give none: a prompt's, which is read in one long step.
        """
        return self.cadence.steps_from(self, until, apart_seconds)


class Cadence:
    """The steps of one worker."""

    __slots__ = (
        "_busy_since",
        "_counted_at",
        "_counted_seconds",
        "_in_flight",
        "_open",
        "_pace",
        "_paced_at",
        "_paced_seconds",
        "_paced_steps",
        "_seconds",
        "_steps",
    )

    def __init__(self) -> None:
        """A worker with nothing in flight, of which nothing is known."""
        self._in_flight = 0
        self._busy_since = 0.0
        self._seconds = 0.0  # busy before that
        self._open: dict[Mark, None] = {}  # those that no count has followed, one for each request at most
        self._forget()

    def _forget(self) -> None:
        self._steps = -1.0  # by the last count; negative where there is none
        self._counted_at = self._counted_seconds = 0.0
        self._paced_steps = -1.0  # by the count from which the next pace is taken; negative where there is none
        self._paced_at = self._paced_seconds = 0.0
        self._pace = -1.0  # steps a busy second; negative where it is not known

    @property
    def is_idle(self) -> bool:
        """True where nothing is in flight."""
        return self._in_flight == 0

    @property
    def pace(self) -> float | None:
        """Steps a second while it is busy, None where that is not known."""
        return None if self._pace < 0.0 else self._pace

    def begin(self, now: float) -> None:
        """A request is sent there."""
        if self._in_flight == 0:
            self._busy_since = now
        self._in_flight += 1

    def end(self, now: float) -> None:
        """A request has ended there."""
        self._in_flight -= 1
        if self._in_flight == 0:
            self._seconds += max(0.0, now - self._busy_since)

    def mark(self, now: float) -> Mark:
        """Count from `now` on, until `drop`."""
        mark = Mark(self, self._busy_seconds(now))
        self._open[mark] = None
        return mark

    def drop(self, mark: Mark) -> None:
        """Nobody counts from `mark` any more."""
        self._open.pop(mark, None)

    def count(self, steps: float | None, now: float) -> None:
        """The engine says how many steps it has made by `now`, or not (None)."""
        if steps is None or steps < self._steps:
            self._forget()
        if steps is None:
            return
        seconds = self._busy_seconds(now)
        if self._steps >= 0.0:
            self._place_marks(steps, seconds)
        busy = seconds - self._paced_seconds
        if self._paced_steps >= 0.0 and busy >= _LEAST_SECONDS:
            if busy >= _LEAST_BUSY_SHARE * (now - self._paced_at):
                self._pace = (steps - self._paced_steps) / busy
            self._paced_steps = -1.0
        if self._paced_steps < 0.0:
            self._paced_steps, self._paced_at, self._paced_seconds = steps, now, seconds
        self._steps, self._counted_at, self._counted_seconds = steps, now, seconds

    def _place_marks(self, steps: float, seconds: float) -> None:
        """Say where between the count before and this one, of `steps`, the open marks lie: late rather than early."""
        busy = seconds - self._counted_seconds
        rate = (steps - self._steps) / busy if busy > 0.0 else 0.0
        for mark in self._open:
            since = mark.seconds - self._counted_seconds  # negative where none was counted before it
            mark.steps = min(steps, max(0.0, self._steps + since * (rate if since < 0.0 else max(rate, self._pace))))
        self._open.clear()

    def steps_from(self, mark: Mark, until: float, apart_seconds: float) -> float | None:
        """What `mark.steps_since` says."""
        if self._pace < 0.0 or until - self._counted_at > CURRENT_SECONDS:
            return None
        seconds = self._busy_seconds(until)
        if mark.steps < 0.0:
            return self._pace * max(0.0, seconds - mark.seconds - apart_seconds)
        return max(0.0, self._steps - mark.steps + self._pace * max(0.0, seconds - self._counted_seconds))

    def _busy_seconds(self, now: float) -> float:
        """Seconds in which something was in flight, up to `now`."""
        return self._seconds + (max(0.0, now - self._busy_since) if self._in_flight else 0.0)
