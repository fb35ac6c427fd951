"""Sequences at one engine that no living replica uses: streams of replicas that are cut off, or that died a moment ago.

The store counts what the living hold. What a silent replica held is a *ghost* until a reading of the engine that was
asked for later; then only the engine knows what still runs of it. A store that lost everything knows no ghosts at all.
So the tuner reports with each reading how many *strangers* it shows: what is there, less what the living use. Their
counts are some milliseconds old, so in normal life the difference means nothing. It is looked at from the first ghost
on, or from the first answer of a generation, until three readings in a row show none. Left to others: engines without
metrics (`turn.lua`), and the time in which replicas come back to a store one after the other (`replica`).
"""

from collections import deque
from typing import Final

from gateway.replicas.call import WorkerState

READINGS: Final = 3  # the most that so many readings show is what counts
LAG_SEQUENCES: Final = 2  # so many may just be replaced at the moment of a reading


class Strangers:
    """What the latest readings of one engine show."""

    __slots__ = ("_is_watching", "_seen")

    def __init__(self) -> None:
        """Watch from now on: the store has just answered for the first time in this generation."""
        self._is_watching = True
        self._seen: deque[int] = deque(maxlen=READINGS)

    def read(self, there: int, worker: WorkerState, living: int) -> int:
        """Take in that `there` sequences run or wait at the engine; how much room to leave to strangers.

        `worker` is what the store answered last, to `living` replicas. A reading ends ghosts, and may miss sequences
        that are just being replaced. So while there are ghosts it counts a few more than it shows, but not more than
        those. A replica that is cut off takes its part of what it sees free (`outage`), and that is left to it.
        """
        if not self._is_watching and (worker.ghosts or worker.strangers):
            self._is_watching = True
            self._seen.append(worker.strangers)
        if not self._is_watching:
            return 0
        unused = max(0, there - (worker.held - worker.idle))
        self._seen.append(max(unused, min(unused + LAG_SEQUENCES, worker.ghosts)))
        most = max(self._seen)
        self._is_watching = most > 0 or len(self._seen) < READINGS
        return most + max(0, worker.sequences - there) // (living + 1) if most else 0
