"""Keys whose next request waits for a budget of its own: they are left out, so that their tenant's other keys go on.

A request that waits for a budget of the whole tenant holds the tenant back instead, as a limit of sequences in flight
does. A key is taken back when more may be left of the budget for which it waits.
"""

from gateway.accounts import Budget, Scope, Verdict
from gateway.fairness.key_queue import KeyQueue
from gateway.fairness.pool import PoolAccount
from gateway.fairness.queues import TenantQueue

_WAITS = (Verdict.WAIT, Verdict.UNKNOWN)


class _Place:
    """Where a key was left out, and the budget for which it waits, as it was then."""

    __slots__ = ("account", "budget", "changes", "tenant")

    def __init__(self, account: PoolAccount, tenant: TenantQueue, budget: Budget) -> None:
        self.account = account
        self.tenant = tenant
        self.budget = budget
        self.changes = budget.changes

    @property
    def has_changed(self) -> bool:
        """True if more may be left of the budget."""
        return self.budget.changes != self.changes


class LeftOut:
    """The keys that are left out, by the name of their tenant."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        """Start with none."""
        self._places: dict[str, dict[KeyQueue, _Place]] = {}

    def finds_budget(self, account: PoolAccount, tenant: TenantQueue) -> bool:
        """True if a key's next request need not wait for a budget; keys before it that must are left out."""
        while (key := tenant.group.policy.first()) is not None:
            claim = key.oldest().claim
            if claim is None or account.verdict(claim, tenant.name) not in _WAITS:
                return True
            budget = claim.limited_by
            assert budget is not None, "a request waits for a budget"
            if budget.terms.scope is Scope.TENANT:
                return False
            tenant.leave_out(key)
            self._places.setdefault(tenant.name, {})[key] = _Place(account, tenant, budget)
        return False

    def take_back(self, name: str) -> None:
        """Take back the keys of tenant `name` for whose budgets more may be left."""
        places = self._places.get(name)
        if not places:
            return
        for key in [key for key, place in places.items() if place.has_changed or not key.queued]:
            place = places.pop(key)
            place.account.queue.take_back(place.tenant, key)
        if not places:
            del self._places[name]
