"""Why a tenant's next request waits: one word of a closed list, and a sentence for people."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from gateway.accounts import BudgetSnapshot
from gateway.config import Tenant
from gateway.fairness import TenantSnapshot
from gateway.workers import WorkerSnapshot


class Cause(Enum):
    """What a tenant's next request waits for."""

    NOTHING = "nothing"
    SHARE = "share"
    ROOM = "room"
    LIMIT = "limit"
    BUDGET = "budget"
    NO_WORKER = "no worker"


class Wait(NamedTuple):
    """A cause and its sentence, "" if nothing waits."""

    cause: Cause
    text: str


NO_WAIT = Wait(Cause.NOTHING, "")
_NEARLY = 0.9  # of a budget: used and reserved, beyond which a request that is held back waits for it


class Waits:
    """Answers for every tenant at one moment."""

    def __init__(self, workers: Sequence[WorkerSnapshot], budgets: Sequence[BudgetSnapshot]) -> None:
        """Of these workers, and of the fullest budgets."""
        self._workers: dict[str, list[WorkerSnapshot]] = {}
        for worker in workers:
            self._workers.setdefault(worker.pool, []).append(worker)
        self._full: dict[str, BudgetSnapshot] = {
            budget.tenant: budget for budget in budgets if budget.used + budget.reserved >= _NEARLY * budget.amount
        }

    def of(self, pool: str, tenant: TenantSnapshot, least: float, terms: Tenant | None) -> Wait:
        """Why `tenant` waits; `least` is the least counter of those who wait, `terms` what the configuration says."""
        if not tenant.queued:
            return NO_WAIT
        workers = self._workers.get(pool, [])
        if not any(worker.is_up for worker in workers):
            return Wait(Cause.NO_WORKER, "no worker of the pool serves")
        if tenant.is_held_back:
            return self._held_back(tenant, terms)
        if tenant.counter > least:
            ahead = tenant.counter - least
            return Wait(Cause.SHARE, f"others are before it: it has had {ahead:,.0f} cost units more for its weight")
        limits = sorted({worker.limited_by.value for worker in workers if worker.is_up} - {"nothing"})
        return Wait(Cause.ROOM, f"it is next; the workers are full ({', '.join(limits) or 'sequences'})")

    def _held_back(self, tenant: TenantSnapshot, terms: Tenant | None) -> Wait:
        most = None if terms is None else terms.limits.max_in_flight
        full = self._full.get(tenant.tenant)
        if full is not None and (most is None or tenant.in_flight < most):
            return Wait(
                Cause.BUDGET, f"its budget of a {full.period} is used or reserved; it starts again {full.starts_again}"
            )
        if most is not None:
            return Wait(Cause.LIMIT, f"its own limit: max_in_flight {most}")
        return Wait(Cause.ROOM, "no worker has room for a request of this size")


def least_counter(tenants: Sequence[TenantSnapshot]) -> float:
    """The least counter of those who wait and are not held back; 0 if none does."""
    return min((each.counter for each in tenants if each.queued and not each.is_held_back), default=0.0)


def counted(waits: Sequence[tuple[int, Wait]]) -> Mapping[str, int]:
    """How many requests wait for what, by the name of the cause."""
    sums: dict[str, int] = {}
    for queued, wait in waits:
        if queued:
            sums[wait.cause.value] = sums.get(wait.cause.value, 0) + queued
    return sums
