"""Who goes next among the waiting flows: one interface, five rules.

- `vtc`: the least counter, lifted on arrival (the paper's Algorithm 2 with both branches of the lift).
- `lcf`: the least counter, without a lift.
- `fcfs`: the order of arrival.
- `rpm`: the order of arrival; arrivals beyond n per minute are refused.
- `drr`: deficit round robin for unknown lengths.
Every order is a key in one lazy heap, so a decision costs O(log waiting). The same rule serves both levels: the tenants
of a pool, and the keys of a tenant. Left to others: queues, room and limits (`queues`, `admission`).
"""

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from gateway.fairness.bound import SpreadBound
from gateway.fairness.cost import UNITS_PER_COST
from gateway.fairness.flow import Flow
from gateway.fairness.lazy_heap import LazyHeap, first_of, ranked

_RPM_WINDOW_SECONDS = 60.0

F = TypeVar("F", bound=Flow)


class Policy(Generic[F]):
    """First come, first served; the base of every other rule. `F` is what competes: tenants, or keys of one.

    A flow is *waiting* between `arrive` and `leave`. `Flow.head_order` is the arrival number of its oldest request.
    """

    name = "fcfs"

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self.waiting: LazyHeap[F] = LazyHeap(self.key)
        self.bound = SpreadBound(self.waiting)

    def key(self, flow: F) -> int:
        """The key that orders the waiting flows; it may rise unnoticed, but a fall must be reported (`lazy_heap`)."""
        return flow.head_order

    def arrive(self, flow: F) -> None:
        """Let `flow` begin to wait: it had no eligible request and now has one."""
        flow.is_waiting = True
        self.waiting.add(flow)

    def leave(self, flow: F) -> None:
        """Let `flow` stop waiting: it has no eligible request any more."""
        flow.is_waiting = False
        self.waiting.discard(flow)

    def admit_directly(self, flow: F) -> None:
        """Do in one step what `arrive`, `first` and `leave` do for a `flow` that arrives while nobody waits."""

    def refunded(self, flow: F) -> None:
        """A request of `flow` held room and was refunded in full: give no credit for it against others that wait."""

    def first(self) -> F | None:
        """The flow whose oldest request goes next; None if nobody waits."""
        return self.waiting.first()

    def units_ahead(self, flow: F) -> int | None:
        """How far the waiting `flow` is ahead of its turn, in counter units; None for policies without counters."""
        return None

    def within(self, units: int, most: int) -> list[F]:
        """Up to `most` waiting flows that are at most `units` ahead of their turn, in the order of their turns."""
        return []

    def charged(self, flow: F, units: int) -> None:
        """Note that `flow.counter` moved by `units`. A refund (negative) must be noted, since it lowers the key."""
        if flow.is_waiting:
            self.waiting.add(flow)

    def head_changed(self, flow: F) -> None:
        """Note that the oldest request of `flow` is an older one than before."""
        self.waiting.lowered(flow)

    def forget(self, flow: F) -> None:
        """Drop what is kept of `flow`, which is idle and forgotten."""

    def refusal_seconds(self, flow: F, now: float) -> float | None:
        """Seconds until an arrival of `flow` would be accepted; None if it is accepted now."""
        return None


class LeastCounterFirst(Policy[F]):
    """The waiting flow with the smallest counter, ties by arrival; no lift, so idle credit can be spent."""

    name = "lcf"

    def key(self, flow: F) -> int:
        """Counter, then arrival."""
        return ranked(flow.counter, flow.arrival())

    def units_ahead(self, flow: F) -> int:
        """Counter of `flow` above the least one."""
        first = self.waiting.first()
        return 0 if first is None else flow.counter - first.counter

    def within(self, units: int, most: int) -> list[F]:
        """Flows whose counters are at most `units` above the least one."""
        least = self.waiting.least(most)
        return [flow for flow in least if flow.counter - least[0].counter <= units]


class VirtualTokenCounter(LeastCounterFirst[F]):
    """VTC: the least counter first; a flow that begins to wait is lifted level with those who wait or just left.

    The flow of a request that a worker sent back for lack of room is lifted as by an arrival (else: `refunded`).
    Replicas that share an account tell each other who waits: `least_elsewhere` is the least counter that waits at
    another one, None if nobody does. `level_elsewhere` is the level that all of them know: no flow is lifted to less,
    and none to more while somebody waits elsewhere. `newcomers` (if listed) have begun to wait since it was heard last.
    """

    name = "vtc"

    def __init__(self) -> None:
        """Begin with nobody waiting and nobody having left."""
        super().__init__()
        self._left_last: F | None = None
        self.least_elsewhere: int | None = None
        self.level_elsewhere = 0
        self.newcomers: dict[F, None] | None = None

    @property
    def level(self) -> int:
        """The level of a lift: that of the first who waits, else of who left last; replicas share one."""
        return self._level_of(self.waiting.first() or self._left_last)

    def _level_of(self, flow: F | None) -> int:
        """The level, if `flow` is what sets it here."""
        level = self.level_elsewhere
        if flow is None or self.least_elsewhere is not None or flow.counter < level:
            return level
        return flow.counter

    def arrive(self, flow: F) -> None:
        """Lift `flow` to the level of the others; then let it wait."""
        flow.lift_to(self.level, self.bound.margin)
        if self.newcomers is not None:
            self.newcomers[flow] = None
        super().arrive(flow)

    def leave(self, flow: F) -> None:
        """Remember who left last, granted or not: its counter is the level for the next arrival at an empty queue."""
        super().leave(flow)
        self._left_last = flow

    def refunded(self, flow: F) -> None:
        """Lift `flow` just above the least counter of the others that wait, so that one of those goes first.

        Otherwise requests at which the engine fails would go next for ever, because they hold room and cost nothing.
        """
        others = [other.counter for other in self.waiting.least(2) if other is not flow]
        if self.least_elsewhere is not None:
            others.append(self.least_elsewhere)
        if others:
            flow.lift_to(min(others) + 1, self.bound.margin + 1)

    def admit_directly(self, flow: F) -> None:
        """Lift `flow` to the level of the others; then it is itself the one that left last."""
        flow.lift_to(self._level_of(self._left_last), self.bound.margin)
        self._left_last = flow


class RequestsPerMinute(Policy[F]):
    """FCFS that refuses an arrival whose flow had `limit` requests accepted in the last 60 s (the paper's RPM)."""

    name = "rpm"

    def __init__(self, limit: int) -> None:
        """Accept at most `limit` requests of a flow in any 60 s."""
        super().__init__()
        self._limit = limit
        self._accepted_at: dict[F, deque[float]] = {}

    def refusal_seconds(self, flow: F, now: float) -> float | None:
        """Count the arrival if it is accepted; else the seconds until the oldest one leaves the window."""
        times = self._accepted_at.setdefault(flow, deque(maxlen=self._limit))
        while times and times[0] <= now - _RPM_WINDOW_SECONDS:
            times.popleft()
        if len(times) >= self._limit:
            return times[0] + _RPM_WINDOW_SECONDS - now
        times.append(now)
        return None

    def forget(self, flow: F) -> None:
        """Drop the times of its arrivals."""
        self._accepted_at.pop(flow, None)


class _Deficit:
    """The account of one flow under `drr`.

    `reach` is the counter up to which its refills go, as of `round`; `place` is its place in the ring.
    """

    __slots__ = ("place", "reach", "round")

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self.round = 0
        self.place = 0


class DeficitRoundRobin(Policy[F]):
    """DRR for unknown lengths: a deficit becomes negative while an answer decodes; a quantum refills it in turn.

    The ring is not walked once per refill: a flow is filed under the first round in which its deficit is positive.
    """

    name = "drr"

    def __init__(self, quantum: float) -> None:
        """Refill by `quantum` cost units per round."""
        super().__init__()
        self._quantum_units = max(1, round(quantum * UNITS_PER_COST))
        self._round = 0
        self._places = 0
        self._deficits: dict[F, _Deficit] = {}

    def key(self, flow: F) -> int:
        """The first round in which the deficit of `flow` is positive, then its place in the ring."""
        deficit = self._deficits[flow]
        units = deficit.reach - flow.counter
        refills = -units // self._quantum_units + 1 if units <= 0 else 0
        return ranked(max(self._round, deficit.round + refills), deficit.place)

    def arrive(self, flow: F) -> None:
        """Join the end of the ring; a credit from before is dropped, a debt stays."""
        self._join(flow)
        super().arrive(flow)

    def refunded(self, flow: F) -> None:
        """Go to the end of the ring, without a credit from before."""
        if flow.is_waiting:
            self._join(flow)

    def _join(self, flow: F) -> None:
        deficit = self._deficits.get(flow)
        if deficit is None:
            deficit = self._deficits[flow] = _Deficit(flow.counter)
        self._refill(deficit)
        deficit.reach = min(deficit.reach, flow.counter)
        self._places += 1
        deficit.place = self._places

    def admit_directly(self, flow: F) -> None:
        """Join the ring, let it move on to `flow`, and leave."""
        self.arrive(flow)
        self.first()
        self.leave(flow)

    def first(self) -> F | None:
        """The next flow in the ring with a positive deficit; the round moves on to it."""
        flow = super().first()
        if flow is not None:
            self._round = first_of(self.key(flow))
            self._refill(self._deficits[flow])
        return flow

    def _refill(self, deficit: _Deficit) -> None:
        """Add the refills of the rounds since the last time."""
        deficit.reach += (self._round - deficit.round) * self._quantum_units
        deficit.round = self._round

    def head_changed(self, flow: F) -> None:
        """Do nothing: the ring does not depend on the order of arrival within a flow."""

    def forget(self, flow: F) -> None:
        """Drop the deficit of `flow`; if it comes back it is a new flow."""
        self._deficits.pop(flow, None)


def _fcfs(parameter: float | None) -> Policy[Any]:
    return Policy()


def _lcf(parameter: float | None) -> Policy[Any]:
    return LeastCounterFirst()


def _vtc(parameter: float | None) -> Policy[Any]:
    return VirtualTokenCounter()


def _rpm(parameter: float | None) -> Policy[Any]:
    return RequestsPerMinute(int(parameter or 20))


def _drr(parameter: float | None) -> Policy[Any]:
    return DeficitRoundRobin(parameter or 512)


POLICIES: Mapping[str, Callable[[float | None], Policy[Any]]] = MappingProxyType(
    {"vtc": _vtc, "fcfs": _fcfs, "lcf": _lcf, "rpm": _rpm, "drr": _drr}
)
