"""Metrics of budgets: how far they are used, and whether that is known. A gateway without budgets has none of them."""

from gateway.accounts import BudgetsSnapshot
from gateway.telemetry.catalogue import PREFIX
from gateway.telemetry.families import Counter, Family, Gauge, Labels, Together

_BUDGET: Labels = ("tenant", "per", "unit", "period")


class BudgetFamilies:
    """What is used of budgets, read from a snapshot at each scrape; a gateway without budgets shows none of it."""

    def __init__(self) -> None:
        self.used = Gauge(
            f"{PREFIX}budget_used_ratio",
            "Used part of a tenant's budget in the present period; of keys and end users that of the fullest.",
            _BUDGET,
            Together.MAX,
        )
        self.reserved = Gauge(
            f"{PREFIX}budget_reserved_ratio",
            "Part of the same budget that running requests have reserved.",
            _BUDGET,
            Together.MAX,
        )
        self.known = Gauge(
            f"{PREFIX}budgets_known",
            "1 if the ledger has told what was used of budgets before the start, else 0.",
            (),
            Together.MIN,
        )
        self.excesses = Counter(
            f"{PREFIX}budget_excesses_total", "Requests of which an engine used more than was reserved of their budget."
        )

    def all(self) -> tuple[Family, ...]:
        """The families in the order of the scrape."""
        return tuple(vars(self).values())


def show_budgets(families: BudgetFamilies, budgets: BudgetsSnapshot) -> None:
    """Show what `budgets` says in the scrape being written."""
    for budget in budgets.fullest:
        labels = (budget.tenant, budget.scope, budget.unit, budget.period)
        families.used.show(labels, budget.used / budget.amount)
        families.reserved.show(labels, budget.reserved / budget.amount)
    families.known.show((), int(budgets.is_read))
    families.excesses.series(()).value = budgets.excesses
