"""Checks what budgets need of the rest of the file: a ledger that keeps what they count, and prices."""

from collections.abc import Iterator
from typing import Final

from gateway.config.budgets import BudgetEntry
from gateway.config.choices import BudgetOwner, BudgetPeriod, BudgetUnit, EndUsers, ShareBy
from gateway.config.draft import Draft
from gateway.config.faults import Path
from gateway.config.ledger import LedgerEntry
from gateway.config.schema import ConfigFile
from gateway.config.tenants import TenantDefaults

Finding = tuple[Path, str, str]
_DAYS: Final = {BudgetPeriod.HOUR: 1, BudgetPeriod.DAY: 2, BudgetPeriod.WEEK: 8, BudgetPeriod.MONTH: 32}


def budget_findings(draft: Draft) -> Iterator[Finding]:
    """The broken rules of every budget; a rule that concerns all of them is told once, at the first."""
    file = draft.file
    places: list[tuple[Path, TenantDefaults]] = [(("tenant_defaults",), file.tenant_defaults)]
    places += [(("tenants", index), tenant) for index, tenant in enumerate(file.tenants)]
    budgets = [
        ((*path, "budgets", index), budget) for path, owner in places for index, budget in enumerate(owner.budgets)
    ]
    if budgets:
        yield from _of_all(budgets[0][0], file)
    for path, budget in budgets:
        yield from _of_one(path, budget, file)
    for tenant_path, owner in places:
        yield from _of_end_users(tenant_path, owner, file.tenant_defaults)
        yield from _repeated(tenant_path, owner)


def _of_all(path: Path, file: ConfigFile) -> Iterator[Finding]:
    if file.ledger is None:
        yield path, "needs a ledger, which keeps what was used", "add `ledger: {}`"


def _of_one(path: Path, budget: BudgetEntry, file: ConfigFile) -> Iterator[Finding]:
    if file.ledger is not None:
        yield from _of_keeping(path, budget, file.ledger)
    if budget.unit is not BudgetUnit.MONEY:
        return
    prices = [pool.prices for pool in file.pools if pool.prices is not None]
    if not prices:
        yield (*path, "unit"), "is `money`, and no pool has `prices`", "add `prices` to the pools"
    if any(each.worker_hour for each in prices):
        reason = "is `money`, and nobody knows before an answer how much of a `worker_hour` it takes"
        yield (*path, "unit"), reason, "use prices of tokens only, or another unit"


def _of_keeping(path: Path, budget: BudgetEntry, ledger: LedgerEntry) -> Iterator[Finding]:
    by_rows = budget.per is BudgetOwner.END_USER
    days = ledger.rows_days if by_rows else ledger.quarters_days
    if days < _DAYS[budget.period]:
        name = "rows_days" if by_rows else "quarters_days"
        reason = f"is `{budget.period.value}`, and the ledger forgets after {days} days"
        yield (*path, "period"), reason, f"use `ledger.{name}: {_DAYS[budget.period]}` or more"
    if by_rows and ledger.end_users is EndUsers.OFF:
        yield (*path, "per"), "is `end_user`, and the ledger keeps no end users", "use `ledger.end_users: hashed`"


def _repeated(path: Path, owner: TenantDefaults) -> Iterator[Finding]:
    """A budget that counts what an earlier one counts: of the two only the smaller could ever decide."""
    seen: set[tuple[str, str, str]] = set()
    for index, budget in enumerate(owner.budgets):
        counted = (budget.per.value, budget.unit.value, budget.period.value)
        if counted in seen:
            reason = f"is given twice: {counted[1]} of each {counted[0]} in each {counted[2]}"
            yield (*path, "budgets", index), reason, "keep one of the two"
        seen.add(counted)


def _of_end_users(path: Path, owner: TenantDefaults, defaults: TenantDefaults) -> Iterator[Finding]:
    share_by = owner.share_by if "share_by" in owner.model_fields_set else defaults.share_by
    for index, budget in enumerate(owner.budgets):
        if budget.per is BudgetOwner.END_USER and share_by is not ShareBy.END_USER:
            reason = "is `end_user`, and the tenant's share is divided among its keys"
            yield (*path, "budgets", index, "per"), reason, "use `share_by: end_user`"
