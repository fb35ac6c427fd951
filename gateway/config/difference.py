"""Says in words what a new configuration changes, and which part of it the running gateway can take over.

Pools and tenants are matched by name, workers and keys within them by name and id. The declaration of each key says
whether a change takes effect at once (`x-reload` in the schema). Other changes wait for the next start. No change that
takes effect at once depends on one that waits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from pydantic import BaseModel, SecretStr

from gateway.config.choices import PolicySpec, PredictorSpec
from gateway.config.model import Config, Pool, Tenant
from gateway.config.pools import PoolEntry, WorkerEntry
from gateway.config.section import Section
from gateway.config.tenants import TenantEntry

_SECTIONS = ("listen", "scheduler", "metrics", "logs")
_RESTART_ONLY = ("listen", "metrics", "logs", "ledger", "webhook", "processes", "replicas")
_SECRET = frozenset(
    {"password", "postgres", "secret", "url"}
)  # of these sections; the path of a webhook may be a secret too
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Difference:
    """`changes` take effect at once; `needs_restart` wait for the next start."""

    changes: tuple[str, ...]
    needs_restart: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """True if nothing differs."""
        return not self.changes and not self.needs_restart


def difference(old: Config, new: Config) -> Difference:
    """Every change from `old` to `new`, each as one line of words; secrets are never shown."""
    changes = list(_changes(old, new))
    return Difference(
        tuple(change.words for change in changes if change.is_live),
        tuple(change.words for change in changes if not change.is_live),
    )


def takes_away(old: Config, new: Config) -> bool:
    """True if `new` lacks a tenant, a key, a pool or a worker of `old`."""
    return not _names(old) <= _names(new)


def _names(config: Config) -> set[tuple[str, ...]]:
    keys = {("tenants", tenant.name, key.id) for tenant in config.tenants for key in tenant.keys}
    workers = {("pools", pool.model, worker.name) for pool in config.pools for worker in pool.workers}
    return keys | workers | {("tenants", tenant.name) for tenant in config.tenants}


def in_force(old: Config, new: Config) -> Config:
    """`new` as far as a gateway that runs with `old` can take it over; everything else stays as in `old`."""
    scheduler = _live_part(old.scheduler, new.scheduler)
    before = {pool.model: pool for pool in old.pools}
    pools = tuple(_renewed(before.get(pool.model), pool) for pool in new.pools)
    kept = {name: getattr(old, name) for name in _RESTART_ONLY}
    tenants = new.tenants if _counts_budgets(old) else _without_budgets(new.tenants)
    return new.model_copy(update={**kept, "scheduler": scheduler, "pools": pools, "tenants": tenants})


def _counts_budgets(config: Config) -> bool:
    """True if a gateway that runs with `config` can count budgets: it keeps a ledger, and it is alone."""
    return config.ledger is not None and config.replicas is None and config.processes == 1


def _without_budgets(tenants: tuple[Tenant, ...]) -> tuple[Tenant, ...]:
    """`tenants` while no ledger is kept, or while gateways share an account: a budget waits for the next start."""
    return tuple(each.model_copy(update={"budgets": ()}) if each.budgets else each for each in tenants)


def _renewed(old: Pool | None, new: Pool) -> Pool:
    """A pool that existed before keeps its cost, because counters and charges must have the same unit."""
    return new if old is None else new.model_copy(update={"cost": old.cost})


def _live_part(old: _Model, new: _Model) -> _Model:
    return new.model_copy(
        update={name: getattr(old, name) for name in type(old).model_fields if not _is_live(type(old), name)}
    )


@dataclass(frozen=True, slots=True)
class _Change:
    words: str
    is_live: bool = True


def _changes(old: Config, new: Config) -> Iterator[_Change]:
    for name in _SECTIONS:
        yield from _fields(name, getattr(old, name), getattr(new, name))
    if old.admin.digest != new.admin.digest:
        yield _Change("admin.key changed")
    if old.admin.listen != new.admin.listen:
        yield _Change(f"admin.listen: {_shown(old.admin.listen)} -> {_shown(new.admin.listen)}", is_live=False)
    if old.anonymous != new.anonymous:
        yield _Change(f"anonymous.tenant: {_shown(old.anonymous.tenant)} -> {_shown(new.anonymous.tenant)}")
    if old.processes != new.processes:
        yield _Change(f"processes: {_shown(old.processes)} -> {_shown(new.processes)}", is_live=False)
    yield from _restart_only("ledger", old.ledger, new.ledger)
    yield from _restart_only("webhook", old.webhook, new.webhook)
    yield from _restart_only("replicas", old.replicas, new.replicas)
    yield from _pools(old, new)
    yield from _tenants(old, new)


def _restart_only(section: str, old: BaseModel | None, new: BaseModel | None) -> Iterator[_Change]:
    """The changes of a section that may be missing and waits for the next start as a whole."""
    if old is None or new is None:
        if old is not new:
            yield _Change(f"{section} {'added' if old is None else 'removed'}", is_live=False)
        return
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            shown = "changed" if name in _SECRET else f"{_shown(before)} -> {_shown(after)}"
            yield _Change(f"{section}.{name}: {shown}", is_live=False)


def _pools(old: Config, new: Config) -> Iterator[_Change]:
    before, after = {pool.model: pool for pool in old.pools}, {pool.model: pool for pool in new.pools}
    yield from _came_and_went("pool", before, after)
    for name in before.keys() & after.keys():
        yield from _pool(before[name], after[name])


def _pool(old: Pool, new: Pool) -> Iterator[_Change]:
    owner = f"pool {old.model}"
    yield from _fields(owner, old, new, PoolEntry, leave_out=("workers",))
    before, after = {worker.name: worker for worker in old.workers}, {worker.name: worker for worker in new.workers}
    yield from _came_and_went(f"{owner}: worker", before, after)
    for name in before:
        if name in after:
            yield from _fields(f"{owner}: worker {name}", before[name], after[name], WorkerEntry)


def _tenants(old: Config, new: Config) -> Iterator[_Change]:
    before, after = {each.name: each for each in old.tenants}, {each.name: each for each in new.tenants}
    yield from _came_and_went("tenant", before, after)
    for name in before:
        if name in after:
            yield from _tenant(before[name], after[name], counts_budgets=_counts_budgets(old))


def _tenant(old: Tenant, new: Tenant, *, counts_budgets: bool) -> Iterator[_Change]:
    owner = f"tenant {old.name}"
    yield from _fields(owner, old, new, TenantEntry, leave_out=("keys", "budgets"))
    if old.budgets != new.budgets:
        yield _Change(f"{owner}: budgets: {_shown(old.budgets)} -> {_shown(new.budgets)}", counts_budgets)
    before, after = {key.id: key for key in old.keys}, {key.id: key for key in new.keys}
    yield from _came_and_went(f"{owner}: key", before, after)
    for name, key in before.items():
        if name in after and after[name].digest != key.digest:
            yield _Change(f"{owner}: key {name} replaced")
        if name in after and after[name].disabled is not key.disabled:
            yield _Change(f"{owner}: key {name} {'disabled' if after[name].disabled else 'enabled'}")


def _came_and_went(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[_Change]:
    for name in after:
        if name not in before:
            yield _Change(f"{what} {name} added")
    for name in before:
        if name not in after:
            yield _Change(f"{what} {name} removed")


def _fields(
    owner: str,
    old: BaseModel,
    new: BaseModel,
    schema: type[Section] | None = None,
    leave_out: tuple[str, ...] = (),
) -> Iterator[_Change]:
    """The fields that differ; `schema` is the section of the file that declares them, by default their own class."""
    declared: type[BaseModel] = schema or type(old)
    for name in type(old).model_fields:
        before, after = getattr(old, name), getattr(new, name)
        if before == after or name in leave_out:
            continue
        is_live = _is_live(declared, name)
        if isinstance(before, BaseModel) and type(before) is type(after):
            separator = "." if schema is None else ": "
            yield from _fields(f"{owner}{separator}{name}", before, after)
        else:
            separator = "." if schema is None else ": "
            yield _Change(f"{owner}{separator}{name}: {_shown(before)} -> {_shown(after)}", is_live)


def _is_live(declared: type[BaseModel], name: str) -> bool:
    extra = declared.model_fields[name].json_schema_extra
    return not isinstance(extra, dict) or extra.get("x-reload") != "restart"


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case SecretStr():
            return "(secret)"
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case float():
            return f"{value:g}"
        case PolicySpec() | PredictorSpec() | str() | int():
            return str(value)
        case tuple() | frozenset():
            return f"[{', '.join(sorted(map(_shown, value)))}]"
        case BaseModel():
            fields = ", ".join(f"{name} {_shown(getattr(value, name))}" for name in type(value).model_fields)
            return f"({fields})"
    return str(value)
