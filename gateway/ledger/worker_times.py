"""Turns what workers have been busy, idle and generating in all into what falls into each quarter hour (UTC).

Totals are rounded to microseconds before they are compared, so that the parts add up to the total.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from gateway.ledger.rows import QUARTER_US

_US = 1e6


class WorkerTime(NamedTuple):
    """Of the time of a worker in one quarter hour, how much was busy and how much idle, in microseconds.

    `generated_tokens` and `read_tokens` (of prompts) are those that its engine counted itself.
    """

    quarter: int
    worker: str
    busy_us: int
    idle_us: int
    generated_tokens: int
    read_tokens: int


class Reading(NamedTuple):
    """For how long a worker has been busy and idle since it joined, and what its engine counted since then."""

    worker: str
    busy_seconds: float
    idle_seconds: float
    generated_tokens: int = 0
    read_tokens: int = 0


class WorkerTimes:
    """Compares each reading of a worker with the one before. Idle time comes before busy time between two readings."""

    def __init__(self) -> None:
        """Start without a reading."""
        self._before: dict[str, tuple[int, int, int]] = {}  # busy, idle, the moment
        self._counted: dict[str, tuple[int, int]] = {}  # generated, read

    def parts(self, readings: Iterable[Reading], at: float) -> list[WorkerTime]:
        """What has passed since the readings before these, which are of `at` (seconds since 1970)."""
        at_us = int(at * _US)
        return [part for reading in readings for part in self._parts(reading, at_us)]

    def forget(self, worker: str) -> None:
        """Forget the readings of a worker that left. If it comes back, its figures begin at 0."""
        self._before.pop(worker, None)
        self._counted.pop(worker, None)

    def _parts(self, reading: Reading, at_us: int) -> Iterator[WorkerTime]:
        worker = reading.worker
        busy_us, idle_us = round(reading.busy_seconds * _US), round(reading.idle_seconds * _US)
        busy_before, idle_before, since_us = self._before.get(worker, (0, 0, at_us - busy_us - idle_us))
        self._before[worker] = (busy_us, idle_us, at_us)
        generated_before, read_before = self._counted.get(worker, (0, 0))
        self._counted[worker] = (reading.generated_tokens, reading.read_tokens)
        generated, read = reading.generated_tokens - generated_before, reading.read_tokens - read_before
        busy_us, idle_us = busy_us - busy_before, idle_us - idle_before
        last = at_us // QUARTER_US
        for quarter in range(since_us // QUARTER_US, last):
            part_us = min(idle_us, (quarter + 1) * QUARTER_US - since_us)
            idle_us, since_us = idle_us - part_us, (quarter + 1) * QUARTER_US
            if part_us:
                yield WorkerTime(quarter, worker, 0, part_us, 0, 0)
        if busy_us or idle_us or generated or read:
            yield WorkerTime(last, worker, busy_us, idle_us, generated, read)
