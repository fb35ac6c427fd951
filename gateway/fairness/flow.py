"""A flow: one tenant in a pool, or one key of a tenant; its weight, its virtual counter and its accounts.

The counter rises by charges and lifts and falls only by refunds of the flow's own unused charges. All amounts are
integer units (`cost.UNITS_PER_COST`) already divided by the weight. `settled + lifted + outstanding == counter`, always.
`ceilings`, `refundable` and `exposure` feed the computed bound (`bound`): the most that the requests in flight can come
to, the part of their charges that may be refunded, and what the last dispatch was exposed to.
"""

from gateway.fairness.cost import UNITS_PER_COST


class Flow:
    """One competitor for room: compared by identity, ordered by a policy."""

    __slots__ = (
        "ceilings",
        "counter",
        "exposure",
        "head_order",
        "lifted",
        "name",
        "outstanding",
        "queued",
        "refundable",
        "settled",
        "weight",
    )

    def __init__(self, name: str, weight: float) -> None:
        """Start at counter zero; the lift of the first arrival brings it level with the others."""
        self.name = name
        self.weight = weight
        self.counter = 0
        self.settled = 0
        self.lifted = 0
        self.outstanding = 0
        self.ceilings = 0
        self.refundable = 0
        self.exposure = 0
        self.queued = 0
        self.head_order = 0

    def lift_to(self, counter: int) -> None:
        """Raise the counter to `counter` where it lies below: credit earned while idle is not spent against others."""
        if counter > self.counter:
            self.lifted += counter - self.counter
            self.counter = counter

    def charge(self, units: int) -> None:
        """Add `units` (negative: a refund) of a request in flight."""
        self.counter += units
        self.outstanding += units

    def settle(self, units: int) -> None:
        """Move `units` of a request that ended from outstanding to settled; the counter does not change."""
        self.outstanding -= units
        self.settled += units

    @property
    def virtual_time(self) -> float:
        """The counter in cost units per weight, for people."""
        return self.counter / UNITS_PER_COST

    @property
    def service(self) -> float:
        """Cost units charged so far, lifts excluded, weight taken out."""
        return (self.settled + self.outstanding) * self.weight / UNITS_PER_COST
