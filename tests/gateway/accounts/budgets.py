"""Budgets for tests: a tariff in which a token costs one, and shops in which requests come, run and end."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from gateway.accounts import Accounts, Budget, BudgetTerms, Claim, Need, Owner, Period, Scope, Tariff, TokenPrices, Unit

UTC = ZoneInfo("UTC")
NOON = 1_796_040_000.0  # 2026-11-30T12:00Z
TARIFF = Tariff(
    lambda fresh, cached, output, sequences: 1.0 * fresh + 0.5 * cached + 2.0 * output, TokenPrices(1.0, 0.5, 4.0)
)


def terms(amount: float = 1000.0, **said: Any) -> BudgetTerms:
    """A tenant's tokens of a day, unless `said` otherwise."""
    usual: dict[str, Any] = {"unit": Unit.TOKENS, "scope": Scope.TENANT, "period": Period.DAY, "zone": UTC}
    return BudgetTerms(amount, **(usual | said))


def budget(amount: float = 1000.0, **said: Any) -> Budget:
    """A budget of alice, unused."""
    return Budget(Owner("alice"), terms(amount, **said), NOON)


def ignore(budget: Budget, is_at_limit: bool) -> None:
    """Hear of a budget."""


def claim(*budgets: Budget, prompt: int = 10, output: int = 100, sequences: int = 1, least: int = 16) -> Claim:
    """A claim on `budgets`."""
    return claim_of(budgets, Need(prompt, output, sequences, least))


def claim_of(budgets: Sequence[Budget], need: Need) -> Claim:
    """A claim of `need`, made at noon."""
    made = Accounts(ignore)
    made.now = NOON
    return Claim(made, budgets, need, TARIFF)


def accounts(**entries: list[BudgetTerms]) -> Accounts:
    """The accounts of tenants with these entries, of which nothing was used before."""
    made = Accounts(ignore)
    made.now = NOON
    for tenant, listed in entries.items():
        made.configure(tenant, listed)
        for each in listed:
            made.load(tenant, each, 0.0, {})
    return made
