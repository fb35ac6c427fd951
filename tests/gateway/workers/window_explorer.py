"""Walks the whole state space of a controller for the window in sequences, before engines of every size up to a bound.

A healthy engine of N slots that holds n sequences runs min(n, N) of them in a step, and the rest waits. A reading is of
the step's end: some of those that ran, `ended` of them, run no more. So short answers, bursts, cancellations and
foreign work can make a reading show anything that is of this form. It is *telling* where the window is full, all of it
has reached the engine, work is held back by it, and the engine ran half of it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from gateway.workers import Phase
from gateway.workers.tuning_sequences import FEWEST_SEQUENCES, Sequences, SlotReading

PACES = (0, 1, 2, 4)


class Controller(Protocol):
    """What is explored."""

    def step(self, known: Sequences, observed: SlotReading, /) -> Sequences:
        """What is known after a reading."""
        ...


@dataclass(frozen=True)
class Trap:
    """A state from which telling readings do not lead to the engine's size: it comes back to itself."""

    state: Sequences


@dataclass(frozen=True)
class Loss:
    """A healthy reading that made a window smaller than the engine."""

    state: Sequences
    observed: SlotReading
    after: Sequences


@dataclass(frozen=True)
class Engine:
    """A healthy engine behind a window with a slack, and an express lane or none."""

    slots: int
    slack: int = 1
    lane: int = 0

    def window(self, known: Sequences) -> int:
        """What may be in flight: the lane and the slack stay free where the size was found."""
        kept = self.lane + self.slack if self.lane and known.phase is Phase.SETTLED else 0
        return max(FEWEST_SEQUENCES, known.limit - kept)

    def is_found(self, known: Sequences) -> bool:
        """All slots are used and a part of the slack waits; with a lane settled at slots and slack."""
        if self.lane:
            return known.limit == self.slots + self.slack and known.phase is Phase.SETTLED
        return self.slots < known.limit <= self.slots + self.slack

    def reading(self, known: Sequences, present: int, ended: int, *, is_limiting: bool, is_taken: bool) -> SlotReading:
        """A reading of a step that began with so many there and ended so many."""
        ran = min(present, self.slots)
        return SlotReading(ran - ended, present - ran, max(present, self.window(known)), is_limiting, is_taken)

    def healthy(self, known: Sequences) -> Iterator[SlotReading]:
        """Everything that it can say, wide requests that overdraw the window by as much again included."""
        for present in range(2 * known.limit + 1):
            for ended in range(min(present, self.slots) + 1):
                for is_limiting, is_taken in ((False, False), (True, False), (True, True)):
                    yield self.reading(known, present, ended, is_limiting=is_limiting, is_taken=is_taken)

    def telling(self, known: Sequences, endings: Iterable[int] | None = None) -> Iterator[SlotReading]:
        """Everything that it can say while all of a full window is there, or only with some numbers of endings."""
        window = self.window(known)
        ran = min(window, self.slots)
        for ended in range(ran + 1) if endings is None else sorted({min(ran, each) for each in endings}):
            yield self.reading(known, window, ended, is_limiting=True, is_taken=True)


@dataclass(frozen=True)
class Exploration:
    """What `controller` makes of one engine's readings."""

    controller: Controller
    engine: Engine
    endings: Sequence[int] | None = None  # numbers of endings that are tried; None: all

    def loss(self, states: Iterable[Sequences]) -> Loss | None:
        """A healthy reading after which a window is smaller than it was and than the engine."""
        full = self.engine.slots + self.engine.slack
        for state in states:
            for observed in self.engine.healthy(state):
                after = self.controller.step(state, observed)
                if after.limit < min(state.limit, full):
                    return Loss(state, observed, after)
        return None

    def most_readings(self, states: Iterable[Sequences]) -> int | Trap:
        """The most telling readings, of whatever kind, after which the size is found from each of `states`."""
        most = 0
        for state in states:
            found = self._readings(state)
            if isinstance(found, Trap):
                return found
            most = max(most, found)
        return most

    @cached_property
    def _known(self) -> dict[Sequences, int]:
        return {}

    def _readings(self, start: Sequences) -> int | Trap:
        """The longest path from `start` to a found size, depth first; a path that meets itself is a trap."""
        known, on_path = self._known, {start: self._next(start)}
        while on_path:
            state, after = next(reversed(on_path.items()))
            unknown = next((each for each in after if each not in known), None)
            if unknown is None:
                known[state] = 1 + max((known[each] for each in after), default=-1)
                del on_path[state]
            elif unknown in on_path:
                return Trap(unknown)
            else:
                on_path[unknown] = self._next(unknown)
        return known[start]

    def _next(self, state: Sequences) -> set[Sequences]:
        if self.engine.is_found(state):
            return set()
        return {self.controller.step(state, observed) for observed in self.engine.telling(state, self.endings)}


def every_state(most: int, patience: int) -> Iterator[Sequences]:
    """Every state that can be written down, reachable or not."""
    for limit in range(FEWEST_SEQUENCES, most + 1):
        for pace in PACES:
            for proof in range(limit + 1):
                for calm in range(patience):
                    yield Sequences(limit, pace, proof, calm)
