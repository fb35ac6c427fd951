"""A flow: one tenant in a pool, or one key of a tenant; its weight, its virtual counter and its accounts.

The counter rises by charges and lifts and falls only by refunds of the flow's own unused charges, never below the level
of its last lift. All amounts are integer units (`cost.UNITS_PER_COST`) already divided by the weight, and always
`settled + lifted + outstanding == counter`. `ceilings`, `refundable` and `exposure` feed the computed bound (`bound`):
the most that the requests in flight can come to, the part of their charges that may be refunded, and the most that the
counter could still rise above the level at which the flow was last dispatched or lifted; `margin` is what the bound
allowed for refunds of any flow at that turn, `floor_margin` when the floor was set.
"""

from gateway.fairness.cost import UNITS_PER_COST


class Flow:
    """One competitor for room: compared by identity, ordered by a policy."""

    __slots__ = (
        "ceilings",
        "counter",
        "exposure",
        "floor",
        "floor_margin",
        "head_order",
        "is_waiting",
        "lifted",
        "margin",
        "name",
        "outstanding",
        "queued",
        "refundable",
        "settled",
        "spent",
        "weight",
    )

    def __init__(self, name: str, weight: float) -> None:
        """Start at counter zero; the lift of the first arrival brings it level with the others."""
        self.name = name
        self.weight = weight
        self.counter = 0
        self.floor = 0
        self.floor_margin = 0
        self.settled = 0
        self.lifted = 0
        self.outstanding = 0
        self.ceilings = 0
        self.refundable = 0
        self.exposure = 0
        self.margin = 0
        self.spent = 0  # charged, never divided by a weight: a change of weight restates nothing
        self.queued = 0
        self.head_order = 0
        self.is_waiting = False  # in the eyes of its policy

    def arrival(self) -> int:
        """Arrival number of the request that goes next: what breaks ties."""
        return self.head_order

    def lift_to(self, level: int, margin: int) -> None:
        """Raise the counter to `level` where it lies below: credit earned while idle is not spent against others.

        A refund of what was charged before the lift then stops at `level` too, so that it makes no difference
        which of the two came first.
        """
        if level > self.floor:
            self.floor, self.floor_margin = level, margin
            self._keep_above_floor()

    def open(self, units: int, ceiling: int, units_ahead: int, margin: int) -> None:
        """Charge a new request `units` of at most `ceiling`; the flow is `units_ahead` of the least waiting one."""
        self.ceilings += ceiling
        self.exposure, self.margin = units_ahead + self.ceilings - self.outstanding, margin
        self.counter += units
        self.outstanding += units
        self.refundable += units

    def charge(self, units: int) -> None:
        """Add `units` (negative: a refund) of a request in flight."""
        self.counter += units
        self.outstanding += units
        self.refundable += units
        if units < 0:
            self._keep_above_floor()

    def settle(self, charged: int, final: int, ceiling: int) -> None:
        """Close a request that was charged `charged` of at most `ceiling` at `final` units."""
        self.outstanding -= charged
        self.ceilings -= ceiling
        self.settled += final
        self.counter += final - charged
        if final < charged:
            self._keep_above_floor()

    def _keep_above_floor(self) -> None:
        if self.counter < self.floor:
            self.lifted += self.floor - self.counter
            self.counter = self.floor
            # At a level of others: it can rise by what is open.
            self.exposure, self.margin = self.ceilings - self.outstanding, self.floor_margin

    @property
    def virtual_time(self) -> float:
        """The counter in cost units per weight, for people."""
        return self.counter / UNITS_PER_COST

    @property
    def service(self) -> float:
        """Cost units charged so far, lifts excluded, weight taken out; reservations in flight count as charged."""
        return self.spent / UNITS_PER_COST
