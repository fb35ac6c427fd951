"""Holds a fleet to the bound of docs/fairness.md, section 8, with what only somebody outside can know.

All amounts are counter units. The true counter of a tenant is the store's sum, what the replicas have charged since
they told it, and lifts that are not told yet.
"""

import copy

from gateway.fairness.queues import TenantQueue
from gateway.replicas.call import NOBODY, Figures, Reply

from .fleet import POOL, SHIFT, Fleet, Gateway


class Judge:
    """Watches one fleet, in which every gateway stays in touch with the store."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._exposure: dict[str, int] = {}  # E_f of each tenant's last turn
        self._known: dict[Gateway, dict[str, int]] = {}  # what each gateway knows that the others charged
        self._at_store: dict[tuple[Gateway, int], dict[str, int]] = {}
        self._floors: dict[tuple[Gateway, str], int] = {}
        self.refundable = 0  # R: the most that refunds could take back from one tenant so far
        self.unseen = 0  # S: the most that the others had charged to one tenant unknown to one gateway so far
        self.worst = 0.0  # the largest spread as a part of the bound
        self.worst_computed = 0.0  # the same of the bound that the replicas compute
        self.checks = self.answers = 0
        fleet.observer = self

    def _flows(self, tenant: str) -> list[tuple[Gateway, TenantQueue]]:
        return [
            (gateway, queue.tenants[tenant])
            for gateway in self._fleet.gateways
            if tenant in (queue := gateway.admission.pools[POOL].queue).tenants
        ]

    def counter(self, tenant: str) -> int:
        """The true counter."""
        account = self._fleet.store.accounts.get(tenant)
        counter, floor = 0 if account is None else account.sum << SHIFT, 0
        for gateway, flow in self._flows(tenant):
            told = 0 if account is None else account.totals.get(gateway.replica.identity.boot, 0) << SHIFT
            counter += flow.settled + flow.outstanding - told
            floor = max(floor, flow.floor)
        return max(counter, floor)

    # -- what the fleet reports

    def executed(self, gateway: Gateway, number: int) -> None:
        """The store has carried out a call: this is what its answer will tell."""
        boot = gateway.replica.identity.boot
        self._at_store[gateway, number] = {
            name: sum(total << SHIFT for other, total in account.totals.items() if other != boot)
            for name, account in self._fleet.store.accounts.items()
        }

    def answered(self, gateway: Gateway, number: int, reply: Reply) -> None:
        """The answer has come."""
        self._known[gateway] = self._at_store.pop((gateway, number))
        spread, bound = gateway.replica.spread_units, gateway.replica.spread_bound_units
        assert spread <= bound, f"observed {spread} > {bound} at {self._fleet.now}: {reply.figures}"
        self.answers += spread > 0

    def turned(self, gateway: Gateway, tenant: str) -> None:
        """A tenant was dispatched, or perhaps lifted, at `gateway`."""
        flows = self._flows(tenant)
        (flow,) = [flow for where, flow in flows if where is gateway]
        lead = max(0, flow.counter - (self._fleet.store.vt << SHIFT))
        self._exposure[tenant] = lead + sum(each.ceilings - each.outstanding for _, each in flows)

    def arrived(self, gateway: Gateway, tenant: str) -> None:
        """A request came: a turn, if its tenant was lifted."""
        (flow,) = [flow for where, flow in self._flows(tenant) if where is gateway]
        if flow.floor != self._floors.get((gateway, tenant)):
            self._floors[gateway, tenant] = flow.floor
            self.turned(gateway, tenant)

    # -- the judgement

    def check(self) -> None:
        """Measure R and S, and hold the spread of those who wait to E + R + 2 S."""
        names = {name for gateway in self._fleet.gateways for name in gateway.admission.pools[POOL].queue.tenants}
        for name in names:
            flows = self._flows(name)
            self.refundable = max(self.refundable, sum(flow.refundable for _, flow in flows))
            charged = {gateway: flow.settled + flow.outstanding for gateway, flow in flows}
            for gateway in self._fleet.gateways:
                others = sum(charged.values()) - charged.get(gateway, 0)
                self.unseen = max(self.unseen, abs(others - self._known.get(gateway, {}).get(name, 0)))
        counters = {name: self.counter(name) for name in names if self._waits(name)}
        if len(counters) < 2:
            return
        spread = max(counters.values()) - min(counters.values())
        bound = max(self._exposure.get(name, 0) for name in counters) + self.refundable + 2 * self.unseen
        assert spread <= bound, f"{spread} > {bound} at {self._fleet.now}: {counters}"
        computed = self.computed_bound() if spread else 0
        assert spread <= computed, f"{spread} > {computed}, computed, at {self._fleet.now}: {counters}"
        self.worst, self.checks = max(self.worst, spread / max(1, bound)), self.checks + 1
        self.worst_computed = max(self.worst_computed, spread / max(1, computed))

    def computed_bound(self) -> int:
        """The bound that the replicas would compute if all of them called now."""
        said = [self._figures(gateway) for gateway in self._fleet.gateways]
        open_now = sum(each.exposure + each.refundable for each in said)
        unknown = sum(each.unreported for each in said) + max(each.unheard for each in said)
        return (open_now + 2 * unknown) << SHIFT

    def _figures(self, gateway: Gateway) -> Figures:
        spread = copy.copy(gateway.replica.flows.spread)
        spread.look()
        return spread.figures(self._fleet.now, NOBODY)

    def _waits(self, tenant: str) -> bool:
        """True if it waits somewhere and is no newcomer there."""
        return any(
            flow.is_waiting and flow not in gateway.replica.flows.newcomers for gateway, flow in self._flows(tenant)
        )
