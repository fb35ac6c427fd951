"""The gateway at one moment, as the views read it: taken in steps, so that no stream waits for a page."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from gateway.accounts import BudgetSnapshot
from gateway.admin.ended import Recent
from gateway.admin.history import History
from gateway.admin.waits import Wait, Waits, least_counter
from gateway.config import Config, PolicyName, Tenant
from gateway.fairness import PoolSnapshot, TenantSnapshot, TicketSnapshot
from gateway.ledger.snapshot import LedgerSnapshot
from gateway.replicas.snapshot import ReplicasSnapshot
from gateway.telemetry.source import StateSource
from gateway.telemetry.state import GatewayIdentity
from gateway.workers import WorkerSnapshot

_TENANTS_AT_ONCE: Final = 250


class ViewSource(StateSource, Protocol):
    """The running gateway as the views see it."""

    @property
    def config(self) -> Config:
        """The configuration in force."""
        ...

    def identity(self) -> GatewayIdentity:
        """Which gateway this is, and for how long it has run."""
        ...

    def requests(self) -> Iterable[TicketSnapshot]:
        """Every live request: those that wait in the order of their arrival, then those at workers."""
        ...


class Account(NamedTuple):
    """One tenant in one pool, and why its next request waits."""

    pool: str
    tenant: TenantSnapshot
    wait: Wait


class Spread(NamedTuple):
    """How far the counters of those who wait lie apart, and the most that is promised; None: nothing is."""

    now: float
    most: float | None


@dataclass(frozen=True, slots=True)
class Moment:
    """All that the views show, besides the requests; `accounts` are of the tenants that a pool knows."""

    identity: GatewayIdentity
    pools: Sequence[PoolSnapshot]
    accounts: Sequence[Account]
    workers: Sequence[WorkerSnapshot]
    budgets: Sequence[BudgetSnapshot]
    replicas: ReplicasSnapshot | None
    ledger: LedgerSnapshot | None
    terms: Mapping[str, Tenant]
    is_vtc: bool
    history: History
    recent: Recent

    def spread(self, pool: PoolSnapshot) -> Spread:
        """That of all gateways that share the account of `pool`; only the policy `vtc` promises something."""
        if self.replicas is None:
            return Spread(pool.spread, pool.spread_bound if self.is_vtc else None)
        shared = next((each for each in self.replicas.pools if each.pool == pool.pool), None)
        return Spread(pool.spread, None) if shared is None else Spread(shared.spread, shared.spread_bound)


def take(source: ViewSource, history: History, recent: Recent) -> Generator[None, None, Moment]:
    """Take the moment in steps of a few milliseconds; with thousands of tenants it is not of one instant."""
    config = source.config
    terms = {tenant.name: tenant for tenant in config.tenants}
    found = source.budgets()
    budgets = () if found is None else found.fullest
    workers = source.workers()
    waits = Waits(workers, budgets)
    names = terms if config.anonymous.tenant is None else {*terms, config.anonymous.tenant}
    yield
    pools, accounts = [], []
    for pool in source.pools(names):
        pools.append(pool)
        tenants: list[TenantSnapshot] = []
        for tenant in pool.tenants:
            tenants.append(tenant)
            if len(tenants) % _TENANTS_AT_ONCE == 0:
                yield
        least = least_counter(tenants)
        for number, tenant in enumerate(tenants, 1):
            accounts.append(Account(pool.pool, tenant, waits.of(pool.pool, tenant, least, terms.get(tenant.tenant))))
            if number % _TENANTS_AT_ONCE == 0:
                yield
    return Moment(
        identity=source.identity(),
        pools=pools,
        accounts=accounts,
        workers=workers,
        budgets=budgets,
        replicas=source.replicas(()),
        ledger=source.ledger(),
        terms=terms,
        is_vtc=config.scheduler.policy.name is PolicyName.VTC,
        history=history,
        recent=recent,
    )
