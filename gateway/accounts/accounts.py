"""Every budget, by its owner: made on first use, forgotten when nobody needs it.

The budgets of end users have a bound. Beyond it further end users of a tenant share one budget, so that no number of
made-up names gives anybody more.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from gateway.accounts.budget import Budget, BudgetTerms, Heard, Owner, Scope

MAX_END_USERS: Final = 100_000  # budgets of end users, of one entry of a tenant's list
OTHER_END_USERS: Final = "_other"  # the name under which the end users beyond the bound share a budget


Make = Callable[[Owner, BudgetTerms, float], Budget]  # a budget at a moment


class _Entry:
    """One entry of a tenant's list, with the budgets of the owners that it has had so far."""

    __slots__ = ("budgets", "is_known", "terms")

    def __init__(self, terms: BudgetTerms) -> None:
        self.terms = terms
        self.is_known = False  # True once somebody has said what was used before
        self.budgets: dict[Owner, Budget] = {}


class Accounts:
    """The budgets of all tenants; `now` is the wall clock (seconds since 1970), which the caller sets."""

    def __init__(self, hear: Heard, make: Make | None = None) -> None:
        """No tenant has a budget; `hear` is told of each budget that changes, or that a request finds at its limit.

        `make` makes a budget that gateways share; without it none is shared.
        """
        self.hear: Final = hear
        self._make = make
        self.now = 0.0
        self.excesses = 0  # settlements at which an engine had used more than was reserved
        self._entries: dict[str, list[_Entry]] = {}

    def configure(self, tenant: str, terms: Sequence[BudgetTerms]) -> None:
        """Take over the budgets of `tenant`; what counts alike stays counted, the past of the others is `unknown`."""
        before = self._entries.pop(tenant, [])
        if terms:
            self._entries[tenant] = [_renewed(each, before) for each in terms]
        for entry in before:
            for budget in entry.budgets.values():
                budget.lift()

    def forget(self, tenant: str) -> None:
        """Forget the budgets of `tenant`, which was removed."""
        self.configure(tenant, ())

    @property
    def has_any(self) -> bool:
        """True if some tenant has a budget."""
        return bool(self._entries)

    @property
    def tenants(self) -> set[str]:
        """Who has budgets."""
        return set(self._entries)

    def __contains__(self, tenant: str) -> bool:
        """True if `tenant` has budgets."""
        return tenant in self._entries

    def of(self, tenant: str, key: str, end_user: str) -> tuple[Budget, ...]:
        """The budgets on which a request of this tenant, key and end user draws; none if it names no end user."""
        found = []
        for entry in self._entries.get(tenant, ()):
            owner = _owner(entry.terms.scope, tenant, key, end_user)
            if owner is not None:
                found.append(self._budget(entry, owner))
        return tuple(found)

    def _budget(self, entry: _Entry, owner: Owner) -> Budget:
        budget = entry.budgets.get(owner)
        if budget is None:
            if owner.end_user and len(entry.budgets) >= MAX_END_USERS:
                self._sweep(entry)
                if len(entry.budgets) >= MAX_END_USERS:
                    owner = owner._replace(end_user=OTHER_END_USERS)
            budget = entry.budgets.get(owner)
        if budget is None:
            budget = entry.budgets[owner] = self._made(owner, entry.terms)
            budget.is_known = entry.is_known
        return budget

    def _made(self, owner: Owner, terms: BudgetTerms) -> Budget:
        return Budget(owner, terms, self.now) if self._make is None else self._make(owner, terms, self.now)

    def _sweep(self, entry: _Entry) -> None:
        """Forget the budgets whose period is over and on which nothing is open."""
        entry.budgets = {
            owner: budget
            for owner, budget in entry.budgets.items()
            if budget.tally.span.end > self.now or budget.tally.reservations
        }

    def all(self) -> Iterator[Budget]:
        """Every budget that was used so far."""
        for entries in self._entries.values():
            for entry in entries:
                yield from entry.budgets.values()

    def terms(self) -> Iterator[tuple[str, BudgetTerms]]:
        """Every entry with the name of its tenant."""
        for tenant, entries in self._entries.items():
            for entry in entries:
                yield tenant, entry.terms

    def unknown(self) -> Iterator[tuple[str, BudgetTerms]]:
        """The entries of which nobody has said yet what was used before, with the names of their tenants."""
        for tenant, entries in self._entries.items():
            for entry in entries:
                if not entry.is_known:
                    yield tenant, entry.terms

    def load(self, tenant: str, terms: BudgetTerms, start: float, used: Mapping[Owner, Mapping[str, float]]) -> None:
        """Count what each owner has `used` in the period that began at `start`, if it is not over; once.

        Each writer of a ledger says it for itself.
        """
        for entry in self._entries.get(tenant, ()):
            if entry.terms == terms and not entry.is_known:
                for owner, amount in used.items():
                    self._budget(entry, owner).load(start, amount)
                for budget in entry.budgets.values():
                    budget.is_known = True
                    budget.changes += 1
                    self.hear(budget, False)
                entry.is_known = True


def _renewed(terms: BudgetTerms, before: list[_Entry]) -> _Entry:
    """The entry for `terms`: the one of `before` that counts alike, which leaves the list, or a new one."""
    for entry in before:
        if terms.counts_like(entry.terms):
            before.remove(entry)
            entry.terms = terms
            for budget in entry.budgets.values():
                budget.terms = terms
                budget.changes += 1
            return entry
    return _Entry(terms)


def _owner(scope: Scope, tenant: str, key: str, end_user: str) -> Owner | None:
    if scope is Scope.TENANT:
        return Owner(tenant)
    if scope is Scope.KEY:
        return Owner(tenant, key)
    return Owner(tenant, "", end_user) if end_user else None
