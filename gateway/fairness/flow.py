"""A flow: one tenant in a pool, or one key of a tenant; its weight, its virtual counter and its accounts.

The counter rises by charges and lifts. It falls only by refunds of the flow's own unused charges, and never below the
level of its last lift (`floor`). All amounts are integer units (`cost.UNITS_PER_COST`), already divided by the weight,
except `spent`. Always `settled + lifted + outstanding + elsewhere == counter`; `elsewhere` is what other replicas that
share the account charged and lifted, 0 without any. Some amounts feed the computed bound (`bound`):
`ceilings` is the most that the charges in flight can become. `refundable` is the part of them that may be refunded.
`exposure` is the most that the counter can rise above the level at which the flow was last dispatched or lifted.
`margin` is what the bound allowed at that turn for refunds of any flow; `floor_margin` is the same when the floor was
set.
"""

from gateway.fairness.cost import UNITS_PER_COST


class Flow:
    """One competitor for room; flows are compared by identity and ordered by a policy."""

    __slots__ = (
        "ceilings",
        "counter",
        "elsewhere",
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
        self.elsewhere = 0
        self.outstanding = 0
        self.ceilings = 0
        self.refundable = 0
        self.exposure = 0
        self.margin = 0
        self.spent = 0  # charged, not divided by the weight, so that a change of the weight changes nothing here
        self.queued = 0
        self.head_order = 0
        self.is_waiting = False  # True while its policy counts it among those who wait

    def arrival(self) -> int:
        """Arrival number of the request that goes next; it breaks ties."""
        return self.head_order

    def lift_to(self, level: int, margin: int) -> None:
        """Raise the counter to `level` if it is lower, so that credit from idle time is not spent against others.

        A later refund of an earlier charge stops at `level` too, so that it makes no difference which of the two came
        first.
        """
        if level > self.floor:
            self.floor, self.floor_margin = level, margin
            self._keep_above_floor()

    def share(self, elsewhere: int, floor: int, margin: int) -> int:
        """Take in what replicas share of the flow: `elsewhere` is all of its counter but this scheduler's own charges.

        It covers every lift so far. `floor` is the level of the flow's last lift at any replica. Returns how far the
        counter moved.
        """
        before = self.counter
        self.elsewhere, self.lifted = elsewhere, 0
        self.counter = self.settled + self.outstanding + elsewhere
        if floor > self.floor:
            self.floor, self.floor_margin = floor, margin
        self._keep_above_floor()
        return self.counter - before

    def open(self, units: int, ceiling: int, units_ahead: int, margin: int) -> None:
        """Charge a new request `units`, which can become `ceiling`; the flow is `units_ahead` of the least counter."""
        self.ceilings += ceiling
        self.exposure, self.margin = units_ahead + self.ceilings - self.outstanding, margin
        self.counter += units
        self.outstanding += units
        self.refundable += units

    def charge(self, units: int) -> None:
        """Add `units` for a request in flight (negative: a refund)."""
        self.counter += units
        self.outstanding += units
        self.refundable += units
        if units < 0:
            self._keep_above_floor()

    def settle(self, charged: int, final: int, ceiling: int) -> None:
        """Close at `final` units a request that was charged `charged`, with `ceiling` as the most."""
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
            # The counter is at the level of others again; from there it can rise by what is open.
            self.exposure, self.margin = self.ceilings - self.outstanding, self.floor_margin

    @property
    def virtual_time(self) -> float:
        """The counter in cost units, divided by the weight, for people."""
        return self.counter / UNITS_PER_COST

    @property
    def service(self) -> float:
        """Cost units charged so far, without lifts and not divided by the weight; reservations in flight count."""
        return self.spent / UNITS_PER_COST
