"""How often a worker has died of late, and what follows: how long it waits, whether it is in a crash loop.

A life that served for a minute wipes the slate clean, so lives are counted that came after the last such one. The wait
doubles with each, from half a second to thirty seconds, spread by a tenth either way so that workers that died together
do not load together for ever. Five in a row are a crash loop: so are any five within a minute, and five models that
fail after loading for an hour.
"""

from random import Random

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
SPREAD = 0.1
STABLE_SECONDS = 60.0
LOOP_CRASHES = 5


class Crashes:
    """The deaths of one worker; `random` draws the spread."""

    def __init__(self, random: Random) -> None:
        """A worker that never died."""
        self._random = random
        self._ready_since: float | None = None
        self.in_a_row = 0
        self.failed_starts_in_a_row = 0
        self.total = 0

    def served(self, now: float) -> None:
        """A life has begun to serve."""
        self._ready_since = now
        self.failed_starts_in_a_row = 0

    def died(self, now: float) -> None:
        """A life has ended by itself."""
        if self._is_stable(now):
            self.in_a_row = 0
        if self._ready_since is None:
            self.failed_starts_in_a_row += 1
        self._ready_since = None
        self.in_a_row += 1
        self.total += 1

    def forget(self) -> None:
        """A new plan deserves a new count."""
        self.in_a_row = self.failed_starts_in_a_row = 0
        self._ready_since = None

    def delay_seconds(self) -> float:
        """How long to wait before the next life."""
        doublings = min(max(self.in_a_row - 1, 0), 16)
        wait = min(FIRST_SECONDS * 2.0**doublings, LONGEST_SECONDS)
        return wait * self._random.uniform(1 - SPREAD, 1 + SPREAD)

    def is_loop(self, now: float) -> bool:
        """True if the worker dies again and again."""
        return self.in_a_row >= LOOP_CRASHES and not self._is_stable(now)

    def _is_stable(self, now: float) -> bool:
        return self._ready_since is not None and now - self._ready_since >= STABLE_SECONDS
