"""How much a replica may have in use at a worker while the store does not answer. Pure: readings are passed in.

The store's own count of what the replica holds ends after a lease, and then the others may get that room. So:
- For one lease after the last answered call the replica refills what it frees, and takes no more.
- After that only a reading of the engine, which counts the sequences of all replicas, allows anything; the clock alone
  never does. The last reading of the lease counts too, so nobody waits for the first one after it. With `2 n` free or
  more, of `n` replicas each may grow by one n-th of what is free; with less only up to its equal part of the window. A
  replica above its equal part comes down to it in `GLIDE_READINGS` steps.
- Each call tells of what the last reading allows as if it were held. So it may be used while the call is under way, and
  it is at hand when the store answers again.
- What a reading allowed and nobody used is void with the next one.
- A reading may fall into the moment between the end of some answers and the requests that follow them. So of the other
  replicas' sequences there are as many as the larger of two readings in a row shows.
- An engine that says nothing allows the equal part of its window; if that is none, one worker allows one sequence.
"""

from typing import Final

GLIDE_READINGS: Final = 20


class Outage:
    """One time without the store, until the first answered call."""

    __slots__ = ("_excess", "_lease_ends", "_limits", "_living", "_others")

    def __init__(self, lease_ends: float, living: int) -> None:
        """The lease of the last answered call ends at `lease_ends` (seconds); `living` replicas were known then."""
        self._lease_ends = lease_ends
        self._living = living
        self._limits: dict[str, int] = {}  # sequences in use, by worker
        self._others: dict[str, int] = {}  # what the last reading showed of other replicas
        self._excess: dict[str, int] = {}  # above the equal part at the first reading

    def has_lease(self, now: float) -> bool:
        """True while the store still counts what this replica holds."""
        return now < self._lease_ends

    def limit(self, worker: str) -> int:
        """Sequences that may be in use at `worker` after the lease; none before the first reading."""
        return self._limits.get(worker, 0)

    def read(self, worker: str, window: int, there: int, used: int, *, is_leased: bool) -> None:
        """Take in that `there` sequences of all replicas are at an engine, `used` of them this replica's.

        `is_leased` says that the lease has not ended.
        """
        others = max(0, there - used)
        present = used + max(others, self._others.get(worker, window))
        self._others[worker] = others
        part, free = window // self._living, max(0, window - present)
        grown = used + free // self._living
        if free >= 2 * self._living:
            limit = grown
        elif used <= part:
            limit = min(part, grown)
        elif is_leased:
            limit = used
        else:
            excess = self._excess.setdefault(worker, used - part)
            before = self._limits.get(worker, used)
            limit = max(part, min(used, before) - -(-excess // GLIDE_READINGS))
        self._limits[worker] = limit

    def forget(self) -> None:
        """What was read is no longer so."""
        self._limits.clear()
        self._others.clear()

    def read_blind(self, worker: str, window: int) -> None:
        """Take in that the engine says nothing."""
        self._limits[worker] = window // self._living
        if not any(self._limits.values()):
            self._limits[worker] = 1
