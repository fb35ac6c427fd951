"""Budgets at one moment, for metrics and the state dump."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BudgetSnapshot:
    """The fullest budget of one entry of a tenant's list, as far as any was used; figures in its unit.

    `scope` says who has one (`tenant`, `key`, `end_user`), `key` and `end_user` whose it is.
    """

    tenant: str
    scope: str
    unit: str
    period: str
    key: str
    end_user: str
    amount: float
    used: float
    reserved: float
    starts_again: str


@dataclass(frozen=True, slots=True)
class BudgetsSnapshot:
    """All budgets of a gateway; `is_read` is False while the ledger has not told what was used before.

    `excesses` counts settlements at which an engine had used more than was reserved.
    """

    fullest: tuple[BudgetSnapshot, ...]
    is_read: bool
    excesses: int
