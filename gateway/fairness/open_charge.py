"""An open charge: what one request in flight owes one flow, and how it moves the flow's counter and the bound.

A charge is opened at dispatch, changed as the request proceeds, and settled exactly once. Every amount is in counter
units by the weight with which the charge was opened. Left to others: the cost (`pool`), the bound itself (`bound`).
"""

from typing import Any

from gateway.fairness.cost import to_units
from gateway.fairness.flow import Flow
from gateway.fairness.policies import Policy


class OpenCharge:
    """What one request in flight owes one flow.

    `units` is the charge so far, `ceiling` the most that it can become. `certain` is the part that the engine has
    confirmed: no refund takes it back. `spent` is the same charge for the flow's accounts, not divided by the weight.
    """

    __slots__ = ("ceiling", "certain", "flow", "policy", "spent", "units", "weight")

    def __init__(self, flow: Flow, policy: Policy[Any]) -> None:
        """An empty charge, by the flow's present weight; a later change of the weight concerns later requests."""
        self.flow = flow
        self.policy = policy
        self.weight = flow.weight
        self.units = 0
        self.spent = 0
        self.certain = 0
        self.ceiling = 0

    def open(self, charge: float, ceiling: float, units_ahead: int) -> None:
        """Charge the cost `charge` at dispatch, which can become `ceiling`; the flow is `units_ahead` of its turn."""
        flow, weight = self.flow, self.weight
        units = self.units = to_units(charge, weight)
        self.spent = units if weight == 1.0 else to_units(charge, 1.0)
        self.ceiling = max(units, to_units(ceiling, weight))
        flow.spent += self.spent
        bound = self.policy.bound
        bound.open(flow)
        flow.open(units, self.ceiling, units_ahead, bound.margin)
        bound.note(flow)

    def charge_to(self, cost: float, certain: float = 0.0) -> None:
        """Bring the charge to `cost` in all; `certain` of it was really used, so no refund goes below that."""
        flow, weight = self.flow, self.weight
        units = to_units(cost, weight)
        moved = units - self.units
        self.units = units
        spent = units if weight == 1.0 else to_units(cost, 1.0)
        flow.spent += spent - self.spent
        self.spent = spent
        flow.charge(moved)
        if certain > 0.0:
            confirmed = units if certain == cost else min(units, to_units(certain, weight))
            if confirmed > self.certain:
                flow.refundable -= confirmed - self.certain
                self.certain = confirmed
        if units > self.ceiling:
            self._raise_ceiling()
        self.policy.bound.note(flow)
        if moved < 0:
            self.policy.charged(flow, moved)

    def settle(self, cost: float) -> None:
        """Close the charge at exactly `cost`."""
        flow, charged = self.flow, self.units
        final = to_units(cost, self.weight)
        flow.refundable -= charged - self.certain
        flow.settle(charged, final, self.ceiling)
        flow.spent += (final if self.weight == 1.0 else to_units(cost, 1.0)) - self.spent
        if final > self.ceiling:
            flow.exposure += final - self.ceiling  # the last bytes brought more than was asked for
        if final < self.certain:
            self.policy.bound.widen(self.certain - final)
        self.policy.bound.close(flow)
        if final < charged:
            self.policy.charged(flow, final - charged)

    def _raise_ceiling(self) -> None:
        """Raise the ceiling, because the engine counted more than estimated: the last dispatch was exposed to more."""
        beyond = self.units - self.ceiling
        self.ceiling = self.units
        self.flow.ceilings += beyond
        self.flow.exposure += beyond
