"""Budgets: how much a tenant, a key or an end user may use in a period. Pure: the caller passes the time.

A budget never gives more than it has. Each request reserves the most that it can use before it runs, and its engine is
told to end there. When it has ended, it is settled at what it has used, and the rest comes back. `rule` decides,
`claim` reserves and settles, `period` knows the time zones. Left to others: who goes next (`gateway.fairness`), what a
request has used (`gateway.proxy`), and where that is kept (`gateway.ledger`).
"""

from gateway.accounts.accounts import Accounts
from gateway.accounts.budget import Budget, BudgetTerms, Owner, Scope
from gateway.accounts.claim import Claim
from gateway.accounts.leased import LeasedBudget
from gateway.accounts.period import Period, Span, span_of
from gateway.accounts.rule import LEAST_OUTPUT_TOKENS, Need, Ruling, Verdict, decide
from gateway.accounts.snapshot import BudgetSnapshot, BudgetsSnapshot
from gateway.accounts.tariff import NANO, Tariff, TokenPrices, Unit

__all__ = [
    "LEAST_OUTPUT_TOKENS",
    "NANO",
    "Accounts",
    "Budget",
    "BudgetSnapshot",
    "BudgetTerms",
    "BudgetsSnapshot",
    "Claim",
    "LeasedBudget",
    "Need",
    "Owner",
    "Period",
    "Ruling",
    "Scope",
    "Span",
    "Tariff",
    "TokenPrices",
    "Unit",
    "Verdict",
    "decide",
    "span_of",
]
