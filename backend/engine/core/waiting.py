"""The engine's waiting queue under the two policies that vLLM has.

FCFS: arrival order, a preempted sequence goes to the front. Priority: the least (priority, arrival) first, a
preempted sequence keeps its key. Fairness between tenants is not known here: it is the gateway's work.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum
from typing import Protocol

from backend.engine.core.sequence import Sequence


class Policy(Enum):
    """`--scheduling-policy`."""

    FCFS = "fcfs"
    PRIORITY = "priority"

    def rank(self, sequence: Sequence) -> tuple[float, ...]:
        """What a preemption compares: the running sequence of the highest rank is the victim."""
        match self:
            case Policy.FCFS:
                return ()
            case Policy.PRIORITY:
                return (sequence.priority, sequence.arrived_at)


class WaitingQueue(Protocol):
    """Sequences without a slot, in the policy's order."""

    def push(self, sequence: Sequence) -> None:
        """Add a new arrival."""

    def push_back(self, sequence: Sequence) -> None:
        """Return a preempted sequence."""

    def head(self) -> Sequence | None:
        """The next to be admitted, if any."""

    def remove(self, sequence: Sequence) -> None:
        """Take out a sequence, wherever it stands."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sequence]: ...


class FcfsQueue:
    """First come, first served."""

    def __init__(self) -> None:
        self._line: OrderedDict[Sequence, None] = OrderedDict()

    def push(self, sequence: Sequence) -> None:
        """Join at the end."""
        self._line[sequence] = None

    def push_back(self, sequence: Sequence) -> None:
        """Return to the front."""
        self._line[sequence] = None
        self._line.move_to_end(sequence, last=False)

    def head(self) -> Sequence | None:
        """The longest waiting."""
        return next(iter(self._line), None)

    def remove(self, sequence: Sequence) -> None:
        """Leave the line."""
        del self._line[sequence]

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._line)


class PriorityQueue:
    """Least (priority, arrival) first; a removed sequence leaves its heap entry behind until it comes up."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, Sequence]] = []
        self._entries: dict[Sequence, int] = {}
        self._pushes = 0

    def push(self, sequence: Sequence) -> None:
        """Join by priority, then arrival, then order of joining."""
        self._pushes += 1
        self._entries[sequence] = self._pushes
        heapq.heappush(self._heap, (sequence.priority, sequence.arrived_at, self._pushes, sequence))

    push_back = push

    def head(self) -> Sequence | None:
        """The least key among those still waiting."""
        while self._heap and self._entries.get(self._heap[0][3]) != self._heap[0][2]:
            heapq.heappop(self._heap)
        return self._heap[0][3] if self._heap else None

    def remove(self, sequence: Sequence) -> None:
        """Leave the queue."""
        del self._entries[sequence]

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._entries)


def waiting_queue(policy: Policy) -> WaitingQueue:
    """An empty queue for `policy`."""
    return FcfsQueue() if policy is Policy.FCFS else PriorityQueue()
