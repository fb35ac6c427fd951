"""What one replica has reported to the store of each flow, and what the store has stated of the other replicas.

A replica reports its own charges as a total that only it moves, so a report may be lost or repeated. The store answers
with the sum over all replicas. What of that sum is not the replica's own is the flow's `elsewhere`. The store counts in
wire units, which are `2 ** shift` counter units, so that its numbers stay below 2^53. A total is rounded as a whole, so
errors do not add up. Left to others: which flows are looked at, and when (`replica`).
"""

from collections.abc import Callable, Iterable

from gateway.fairness.flow import Flow
from gateway.replicas.call import A_KEY, FlowReport, FlowState


class _Entry:
    """One flow: what was reported last, what the store has confirmed, what it has said."""

    __slots__ = (
        "acknowledged",
        "acknowledged_floor",
        "elsewhere",
        "is_known",
        "is_used",
        "sent",
        "sent_floor",
        "sent_lifted",
        "state",
    )

    def __init__(self, name: str) -> None:
        self.acknowledged = 0  # the total that the store has confirmed
        self.acknowledged_floor = 0
        self.is_used = True  # since the last look for unused ones
        self.sent: int | None = None  # the total in the call that is under way, if it is in there
        self.sent_floor = 0
        self.sent_lifted = 0  # in counter units
        self.is_known = False  # the store has confirmed it since this replica registered
        self.state = FlowState(name, 0, 0, 0)
        self.elsewhere = 0  # of it what is not this replica's own, in wire units


class FlowBook:
    """Totals and counters by the name of the flow."""

    def __init__(self, shift: int) -> None:
        """A book whose wire unit is `2 ** shift` counter units."""
        self._shift = shift
        self._entries: dict[str, _Entry] = {}
        self._under_way: list[_Entry] = []
        self._unreported = self._unheard = 0  # the largest steps of a tenant's total since `take_steps`, in wire units

    def to_wire(self, units: int) -> int:
        """Counter units in wire units, rounded down."""
        return units >> self._shift

    def to_wire_up(self, units: int) -> int:
        """Counter units in wire units, rounded up."""
        return -(-units >> self._shift)

    def to_units(self, wire: int) -> int:
        """Wire units in counter units."""
        return wire << self._shift

    def register(self) -> None:
        """Report everything once more: the store may know nothing of this replica."""
        for entry in self._entries.values():
            entry.is_known = False

    def reports(self, flows: Iterable[tuple[str, Flow, int]], most: int) -> list[FlowReport]:
        """Up to `most` of `flows` (name, flow, wire level of its keys) of which the store does not know all.

        They are under way until `acknowledge` or the next `reports`.
        """
        for entry in self._under_way:
            entry.sent = None
        self._under_way = []
        found: list[FlowReport] = []
        for name, flow, level in flows:
            if len(found) == most:
                break
            report = self._report(name, flow, level)
            if report is not None:
                found.append(report)
        return found

    def _report(self, name: str, flow: Flow, level: int) -> FlowReport | None:
        entry = self._entry(name)
        total, floor = self.to_wire(flow.settled + flow.outstanding), self.to_wire(flow.floor)
        is_reported = total == entry.acknowledged and floor <= entry.acknowledged_floor and level <= entry.state.level
        if entry.is_known and is_reported and not flow.lifted:
            return None
        if level != A_KEY:
            self._unreported = max(self._unreported, abs(total - entry.acknowledged))
        entry.sent, entry.sent_floor, entry.sent_lifted = total, floor, flow.lifted
        self._under_way.append(entry)
        has_claim = flow.lifted or not entry.is_known
        base = max(0, self.to_wire(flow.elsewhere + flow.lifted)) if has_claim else 0
        return FlowReport(name, total, entry.acknowledged, floor, base, level)

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = _Entry(name)
        entry.is_used = True
        return entry

    def acknowledge(self) -> None:
        """The store has taken in the reports that are under way."""
        for entry in self._under_way:
            if entry.sent is not None:
                entry.acknowledged, entry.acknowledged_floor, entry.is_known = entry.sent, entry.sent_floor, True

    def hear(self, state: FlowState, flow: Flow | None, margin: int) -> int:
        """Take in what the store says of a flow, after `acknowledge`; how far the counter of `flow` moved.

        Without a `flow` it is kept until `introduce`.
        """
        entry = self._entry(state.name)
        entry.state = state
        before = max(entry.elsewhere, state.floor - entry.acknowledged)  # a lift is no charge
        entry.elsewhere = state.sum - entry.acknowledged
        if flow is None:
            return 0
        if state.level != A_KEY:
            self._unheard = max(self._unheard, abs(entry.elsewhere - before))
        elsewhere = self.to_units(state.sum - entry.acknowledged)
        is_lift_reported = entry.sent is not None and flow.lifted == entry.sent_lifted
        if flow.lifted and not is_lift_reported:
            elsewhere = max(elsewhere, flow.elsewhere + flow.lifted)  # the lift came after the report
        return flow.share(elsewhere, self.to_units(state.floor), margin)

    def take_steps(self) -> tuple[int, int]:
        """The most that a tenant was charged before it was reported, and before it was heard, since the last question.

        In counter units.
        """
        steps = self.to_units(self._unreported), self.to_units(self._unheard)
        self._unreported = self._unheard = 0
        return steps

    def introduce(self, name: str, flow: Flow) -> None:
        """Give a flow that the scheduler has just made the counter that it has elsewhere.

        If the scheduler has forgotten an earlier flow of this name, what was reported of it is not the new one's own.
        """
        entry = self._entries.get(name)
        if entry is not None:
            entry.acknowledged, entry.acknowledged_floor, entry.sent, entry.is_known = 0, 0, None, False
            flow.share(self.to_units(entry.state.sum), self.to_units(entry.state.floor), 0)

    def forget_unused(self, level: int, is_here: Callable[[str], bool]) -> None:
        """Drop what was not reported or heard since the last call of this, as the store does.

        Kept is what the scheduler has a flow of (`is_here`), and a tenant above `level` (wire units): its next
        request must not begin lower.
        """
        for name, entry in list(self._entries.items()):
            is_ahead = entry.state.level != A_KEY and entry.state.sum > level
            if not (entry.is_used or is_ahead or is_here(name)):
                del self._entries[name]
            entry.is_used = False

    def level(self, name: str) -> int:
        """The level of a tenant's keys as the store has it, in counter units."""
        entry = self._entries.get(name)
        return 0 if entry is None else self.to_units(max(0, entry.state.level))
