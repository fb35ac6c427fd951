"""The tenants over all pools: their weights, and what they have used of their limits.

A tenant that nobody configured has weight 1 and no limits.
"""

from collections.abc import Iterator

from gateway.fairness.buckets import Rates
from gateway.fairness.census import Census
from gateway.fairness.cost import LEAST_WEIGHT
from gateway.fairness.limits import Allowance, TenantLimits


class TenantRegister:
    """Weight and allowance by tenant name."""

    __slots__ = ("_allowances", "_replicas", "_weights", "census")

    def __init__(self) -> None:
        """Start without tenants."""
        self._replicas = 0
        self._allowances: dict[str, Allowance] = {}
        self._weights: dict[str, float] = {}
        self.census = Census()

    def share(self, replicas: int) -> None:
        """Share the limits of all tenants with other gateways, `replicas` in all, before there is any tenant."""
        assert not self._allowances, "limits are shared from the start"
        self._replicas = replicas

    def change(self, name: str, weight: float, limits: TenantLimits) -> None:
        """Add a tenant or change its terms; what it has used stays."""
        assert weight >= LEAST_WEIGHT, f"{name} has the weight {weight}"
        self._weights[name] = weight
        self.allowance(name).change(limits)

    def forget(self, name: str) -> None:
        """Forget tenant `name`, which was removed and has no requests."""
        self._weights.pop(name, None)
        self._allowances.pop(name, None)

    def weight(self, name: str) -> float:
        """The weight of tenant `name`."""
        return self._weights.get(name, 1.0)

    def allowance(self, name: str) -> Allowance:
        """The allowance of tenant `name`, made on first use."""
        allowance = self._allowances.get(name)
        if allowance is None:
            allowance = self._allowances[name] = Allowance(TenantLimits(), self._replicas)
        return allowance

    def rates(self, name: str, now: float) -> Rates | None:
        """What is left of the rates of tenant `name`; None if it has none."""
        allowance = self._allowances.get(name)
        return allowance.rates(now) if allowance is not None and allowance.has_rates else None

    def __contains__(self, name: str) -> bool:
        """True if tenant `name` is known."""
        return name in self._allowances

    def allowances(self) -> Iterator[tuple[str, Allowance]]:
        """Every allowance with the name of its tenant."""
        return iter(self._allowances.items())
