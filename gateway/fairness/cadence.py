"""How many steps a worker's engine has made: by its own count, and since the last count by its pace.

In each step an engine generates at most one token of a sequence, so nobody is charged for more than that. Rules:
- Time counts only while a request of the gateway is in flight at the worker: an engine without work makes no step.
- The pace is measured over the last stretch in which the gateway kept the worker busy nearly all the time. In other
  stretches the engine may have worked for others.
- If a moment lies between two counts, it is placed late rather than early among the steps between them.
- If a count is missing or old, or smaller than the one before (the engine was restarted), nothing is known.
"""

from typing import Final

CURRENT_SECONDS: Final = 5.0  # a count older than this says nothing
_LEAST_SECONDS: Final = 0.3  # least busy time between two counts for a pace: one step more or less is little of it
_LEAST_BUSY_SHARE: Final = 0.9  # least share of the time between these counts that must be busy


class Mark:
    """A moment at a worker from which steps are counted: its busy seconds, and its count of steps once known."""

    __slots__ = ("cadence", "seconds", "steps")

    def __init__(self, cadence: "Cadence", seconds: float) -> None:
        """A moment that no count has followed."""
        self.cadence = cadence
        self.seconds = seconds
        self.steps = -1.0  # by the engine's count; negative until a count has come after the moment

    def steps_since(self, until: float, apart_seconds: float = 0.0) -> float | None:
        """Steps from the mark to `until`; None if that is not known.

        Until a count has come after the mark, `apart_seconds` are left out: a prompt is read in one long step.
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
        self._seconds = 0.0  # busy seconds before `_busy_since`
        self._open: dict[Mark, None] = {}  # marks that no count has followed yet, at most one for each request
        self._forget()

    def _forget(self) -> None:
        self._steps = -1.0  # by the last count; negative if there is none
        self._counted_at = self._counted_seconds = 0.0
        self._paced_steps = -1.0  # by the count from which the next pace is measured; negative if there is none
        self._paced_at = self._paced_seconds = 0.0
        self._pace = -1.0  # steps in a busy second; negative if not known

    @property
    def is_idle(self) -> bool:
        """True if nothing is in flight."""
        return self._in_flight == 0

    @property
    def pace(self) -> float | None:
        """Steps a second while the worker is busy; None if that is not known."""
        return None if self._pace < 0.0 else self._pace

    def begin(self, now: float) -> None:
        """Note that a request is sent to the worker."""
        if self._in_flight == 0:
            self._busy_since = now
        self._in_flight += 1

    def end(self, now: float) -> None:
        """Note that a request has ended there."""
        self._in_flight -= 1
        if self._in_flight == 0:
            self._seconds += max(0.0, now - self._busy_since)

    def mark(self, now: float) -> Mark:
        """A mark at `now`, which is kept until `drop`."""
        mark = Mark(self, self._busy_seconds(now))
        self._open[mark] = None
        return mark

    def drop(self, mark: Mark) -> None:
        """Forget `mark`, from which nobody counts any more."""
        self._open.pop(mark, None)

    def count(self, steps: float | None, now: float) -> None:
        """Take in how many steps the engine says it has made by `now`; None if it does not say."""
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
        """Place the open marks between the count before and this one, of `steps`: late rather than early."""
        busy = seconds - self._counted_seconds
        rate = (steps - self._steps) / busy if busy > 0.0 else 0.0
        for mark in self._open:
            since = mark.seconds - self._counted_seconds  # negative if the mark is older than the count before
            mark.steps = min(steps, max(0.0, self._steps + since * (rate if since < 0.0 else max(rate, self._pace))))
        self._open.clear()

    def steps_from(self, mark: Mark, until: float, apart_seconds: float) -> float | None:
        """The answer of `mark.steps_since`."""
        if self._pace < 0.0 or until - self._counted_at > CURRENT_SECONDS:
            return None
        seconds = self._busy_seconds(until)
        if mark.steps < 0.0:
            return self._pace * max(0.0, seconds - mark.seconds - apart_seconds)
        return max(0.0, self._steps - mark.steps + self._pace * max(0.0, seconds - self._counted_seconds))

    def _busy_seconds(self, now: float) -> float:
        """The seconds up to `now` in which something was in flight."""
        return self._seconds + (max(0.0, now - self._busy_since) if self._in_flight else 0.0)
