"""Who goes next among the waiting flows: one interface, five rules.

`vtc` least counter, lifted on arrival (the paper's Algorithm 2 with both branches of the lift); `lcf` the same without
a lift; `fcfs` arrival order; `rpm` arrival order, with arrivals over n per minute refused for good; `drr` deficit round
robin for unknown lengths. All orders are a key in one lazy heap, so a decision costs O(log waiting).
The same rule serves both levels: tenants of a pool, and keys of a tenant.
Left to others: queues, room and limits (`queues`, `admission`).
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from gateway.fairness.bound import SpreadBound
from gateway.fairness.cost import UNITS_PER_COST
from gateway.fairness.flow import Flow
from gateway.fairness.lazy_heap import Key, LazyHeap

_RPM_WINDOW_SECONDS = 60.0


class Policy:
    """First come, first served; the base of every other rule.

    A flow is *waiting* between `arrive` and `leave`. `Flow.head_order` is the arrival number of its oldest request.
    """

    name = "fcfs"

    def __init__(self) -> None:
        """Begin with nobody waiting."""
        self.waiting: LazyHeap[Flow] = LazyHeap(self.key)
        self.bound = SpreadBound(self.waiting)

    def key(self, flow: Flow) -> Key:
        """What the waiting flows are ordered by; rises silently, falls with `refunded` or `head_changed`."""
        return (flow.head_order, 0)

    def arrive(self, flow: Flow) -> None:
        """`flow` begins to wait: it had no eligible request and now has one."""
        flow.is_waiting = True
        self.waiting.add(flow)

    def leave(self, flow: Flow) -> None:
        """`flow` has no eligible request any more."""
        flow.is_waiting = False
        self.waiting.discard(flow)

    def admit_directly(self, flow: Flow) -> None:
        """`flow` arrives where nobody waits, is first and leaves, in one step: the same as these three."""

    def refunded(self, flow: Flow) -> None:
        """A request of `flow` held room and was refunded whole: that is no credit against the others that wait."""

    def first(self) -> Flow | None:
        """The flow whose oldest request goes next, None where nobody waits."""
        return self.waiting.first()

    def units_ahead(self, flow: Flow) -> int | None:
        """Units by which the waiting `flow` is ahead of the one in turn; None where counters do not rule."""
        return None

    def within(self, units: int, most: int) -> list[Flow]:
        """Up to `most` waiting flows that are at most `units` ahead of the one in turn, in the order of their turns."""
        return []

    def charged(self, flow: Flow, units: int) -> None:
        """`flow.counter` moved by `units`: a refund (negative) lowers its key, a charge need not be told."""
        if flow.is_waiting:
            self.waiting.add(flow)

    def head_changed(self, flow: Flow) -> None:
        """An older request than before is the oldest of `flow`."""
        self.waiting.lowered(flow)

    def forget(self, flow: Flow) -> None:
        """`flow` is idle and will not come back: drop what is kept of it."""

    def refusal_seconds(self, flow: Flow, now: float) -> float | None:
        """Seconds until an arrival of `flow` would be accepted where it must be refused now, else None."""
        return None


class LeastCounterFirst(Policy):
    """The waiting flow with the smallest counter, ties by arrival; no lift, so idle credit can be spent."""

    name = "lcf"

    def key(self, flow: Flow) -> Key:
        """Counter, then arrival."""
        return (flow.counter, flow.arrival())

    def units_ahead(self, flow: Flow) -> int:
        """Counter of `flow` above the least one."""
        first = self.waiting.first()
        return 0 if first is None else flow.counter - first.counter

    def within(self, units: int, most: int) -> list[Flow]:
        """Flows whose counters are at most `units` above the least one."""
        least = self.waiting.least(most)
        return [flow for flow in least if flow.counter - least[0].counter <= units]


class VirtualTokenCounter(LeastCounterFirst):
    """VTC: least counter first, and a flow that begins to wait is lifted level with those who wait or just left.

    A request that the engine sent back is lifted like an arrival: its age makes it the first among equals, so it goes
    next all the same, and no time away from the queue turns into credit.
    """

    name = "vtc"

    def __init__(self) -> None:
        """Begin with nobody waiting and nobody having left."""
        super().__init__()
        self._left_last: Flow | None = None

    def arrive(self, flow: Flow) -> None:
        """Lift `flow` to the least waiting counter, or to that of the flow that left the queue last; let it wait."""
        least = self.waiting.first() or self._left_last
        if least is not None:
            flow.lift_to(least.counter, self.bound.margin)
        super().arrive(flow)

    def leave(self, flow: Flow) -> None:
        """Remember who left last, granted or not: its counter is the level for the next arrival at an empty queue."""
        super().leave(flow)
        self._left_last = flow

    def refunded(self, flow: Flow) -> None:
        """Lift `flow` just above the least counter of the others that wait, which are then first at any age.

        Otherwise requests at which the engine fails would go next for ever: they hold room and cost nothing.
        """
        others = [other for other in self.waiting.least(2) if other is not flow]
        if others:
            flow.lift_to(others[0].counter + 1, self.bound.margin + 1)

    def admit_directly(self, flow: Flow) -> None:
        """Lift `flow` to the counter of the flow that left the queue last, which it then is itself."""
        if self._left_last is not None:
            flow.lift_to(self._left_last.counter, self.bound.margin)
        self._left_last = flow


class RequestsPerMinute(Policy):
    """FCFS that refuses an arrival whose flow had `limit` requests accepted in the last 60 s (the paper's RPM)."""

    name = "rpm"

    def __init__(self, limit: int) -> None:
        """Accept at most `limit` requests of a flow in any 60 s."""
        super().__init__()
        self._limit = limit
        self._accepted_at: dict[Flow, deque[float]] = {}

    def refusal_seconds(self, flow: Flow, now: float) -> float | None:
        """Count the arrival where it is accepted; otherwise the seconds until the oldest one leaves the window."""
        times = self._accepted_at.setdefault(flow, deque(maxlen=self._limit))
        while times and times[0] <= now - _RPM_WINDOW_SECONDS:
            times.popleft()
        if len(times) >= self._limit:
            return times[0] + _RPM_WINDOW_SECONDS - now
        times.append(now)
        return None

    def forget(self, flow: Flow) -> None:
        """Drop the times of its arrivals."""
        self._accepted_at.pop(flow, None)


class _Deficit:
    """Account of one flow under `drr`: the counter that its refills reach to as of `round`, place in the ring."""

    __slots__ = ("place", "reach", "round")

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self.round = 0
        self.place = 0


class DeficitRoundRobin(Policy):
    """DRR adapted to unknown lengths: deficits go negative while decoding and are refilled in turn by a quantum.

    Instead of walking the ring once per refill a flow is filed under the first round in which its deficit is positive.
    """

    name = "drr"

    def __init__(self, quantum: float) -> None:
        """Refill by `quantum` cost units per round."""
        super().__init__()
        self._quantum_units = max(1, round(quantum * UNITS_PER_COST))
        self._round = 0
        self._places = 0
        self._deficits: dict[Flow, _Deficit] = {}

    def key(self, flow: Flow) -> Key:
        """First round in which the deficit of `flow` is positive, then its place in the ring."""
        deficit = self._deficits[flow]
        units = deficit.reach - flow.counter
        refills = -units // self._quantum_units + 1 if units <= 0 else 0
        return (max(self._round, deficit.round + refills), deficit.place)

    def arrive(self, flow: Flow) -> None:
        """Join the end of the ring; what was left from before is dropped, a debt is not."""
        self._join(flow)
        super().arrive(flow)

    def refunded(self, flow: Flow) -> None:
        """Go to the end of the ring, without what was left."""
        if flow.is_waiting:
            self._join(flow)

    def _join(self, flow: Flow) -> None:
        deficit = self._deficits.get(flow)
        if deficit is None:
            deficit = self._deficits[flow] = _Deficit(flow.counter)
        self._refill(deficit)
        deficit.reach = min(deficit.reach, flow.counter)
        self._places += 1
        deficit.place = self._places

    def admit_directly(self, flow: Flow) -> None:
        """Join the ring, let it move on to `flow`, leave."""
        self.arrive(flow)
        self.first()
        self.leave(flow)

    def first(self) -> Flow | None:
        """The next flow in the ring with a positive deficit; the round moves on to it."""
        flow = super().first()
        if flow is not None:
            self._round = int(self.key(flow)[0])
            self._refill(self._deficits[flow])
        return flow

    def _refill(self, deficit: _Deficit) -> None:
        """Add what the rounds since the last time have brought."""
        deficit.reach += (self._round - deficit.round) * self._quantum_units
        deficit.round = self._round

    def head_changed(self, flow: Flow) -> None:
        """The ring does not know of arrival order within a flow."""

    def forget(self, flow: Flow) -> None:
        """Drop its deficit: one that comes back is a new flow."""
        self._deficits.pop(flow, None)


def _fcfs(parameter: float | None) -> Policy:
    return Policy()


def _lcf(parameter: float | None) -> Policy:
    return LeastCounterFirst()


def _vtc(parameter: float | None) -> Policy:
    return VirtualTokenCounter()


def _rpm(parameter: float | None) -> Policy:
    return RequestsPerMinute(int(parameter or 20))


def _drr(parameter: float | None) -> Policy:
    return DeficitRoundRobin(parameter or 512)


POLICIES: Mapping[str, Callable[[float | None], Policy]] = MappingProxyType(
    {"vtc": _vtc, "fcfs": _fcfs, "lcf": _lcf, "rpm": _rpm, "drr": _drr}
)


def policy_names() -> Iterator[str]:
    """The names of the registry, for messages and documentation."""
    return iter(POLICIES)
