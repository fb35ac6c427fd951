"""Sequences at one engine that no living replica uses: streams of replicas that are cut off, or that died a moment ago.

The store counts what the living hold. What a silent replica held is a *ghost* until a reading of the engine that was
asked for later; then only the engine knows what still runs of it. A store that lost everything knows no ghosts at all.
So the tuner reports with each reading how many *strangers* it shows: what is there, less what the living used at that
moment. What they used is known from their reports before and after it: at least what the report before says, less what
had ended by the report after. So strangers may be counted too many, never too few, and a later reading makes it good:
nobody is a stranger who was none before, but for those that a replica begins while it is cut off. It takes its part of
the room that it sees free (`outage`), and that is left to it. Left to others: engines without metrics (`turn.lua`), and
the time in which replicas come back to a store one after the other (`replica`).
"""

from typing import NamedTuple

from gateway.replicas.call import Reply, WorkerState


class Count(NamedTuple):
    """How much room of a worker to leave to strangers, by a reading that was asked for at the store's time `at`."""

    worker: str
    at: int
    strangers: int


class Strangers:
    """The latest reading of one engine, until every living replica has reported after it, and what it showed."""

    __slots__ = ("_at", "_before", "_call", "_count", "_known_from", "_there")

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._before: WorkerState | None = None  # what the store had answered before the reading that waits for reports
        self._there = self._at = self._call = 0
        self._known_from: int | None = None
        self._count: Count | None = None

    def read(self, there: int, before: WorkerState, at: int, call: int) -> None:
        """Take in that `there` sequences run or wait at the engine, asked for at the store's time `at`.

        `before` is what the store answered last, and `call` the number of the last call. A reading that waits for
        reports goes first: the new one is dropped.
        """
        if not before.is_in_question:
            self._before, self._count = None, Count(before.name, at, 0)
        elif self._before is None:
            self._there, self._before, self._at, self._call, self._known_from = there, before, at, call, None

    def answered(self, call: int, reply: Reply, state: WorkerState) -> None:
        """Take in the `reply` to `call`, which says `state` of the worker."""
        if self._before is None or call <= self._call:
            return
        if self._known_from is None:
            self._known_from = reply.now
        if reply.oldest >= self._known_from:
            self._count = Count(state.name, self._at, self._shown(self._before, state, reply.living))
            self._before = None

    def take(self) -> Count | None:
        """What a reading has shown, once."""
        count, self._count = self._count, None
        return count

    def _shown(self, before: WorkerState, after: WorkerState, living: int) -> int:
        used = before.held - before.idle - (after.ended - before.ended)
        strangers = min(self._there, max(0, self._there - used))
        if not after.is_uncounted:
            strangers = min(strangers, after.ghosts + after.strangers)
        return strangers + max(0, after.sequences - self._there) // (living + 1) if strangers else 0


class StrangersBook:
    """The strangers of every worker."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._strangers: dict[str, Strangers] = {}

    def __len__(self) -> int:
        """Workers that were read."""
        return len(self._strangers)

    def read(self, there: int, before: WorkerState, at: int, call: int) -> None:
        """Take in a reading of the worker that `before` is about (`Strangers.read`)."""
        self._strangers.setdefault(before.name, Strangers()).read(there, before, at, call)

    def answered(self, call: int, reply: Reply) -> None:
        """Take in the `reply` to `call`."""
        for state in reply.workers:
            if (strangers := self._strangers.get(state.name)) is not None:
                strangers.answered(call, reply, state)

    def take(self) -> list[Count]:
        """What readings have shown since the last time."""
        counts = [strangers.take() for strangers in self._strangers.values()]
        return [count for count in counts if count is not None]

    def forget(self, worker: str) -> None:
        """Forget a worker that is gone."""
        self._strangers.pop(worker, None)

    def clear(self) -> None:
        """Forget all readings: they are about what an earlier store knew."""
        self._strangers.clear()
