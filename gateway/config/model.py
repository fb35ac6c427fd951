"""The configuration as the rest of the gateway sees it: defaults merged, workers spelt out, keys as digests.

Built by `resolve` from a valid file; every value here is final, so nobody else asks where it came from.
"""

from pydantic import BaseModel, ConfigDict, SecretStr

from gateway.config.choices import Right, ShareBy
from gateway.config.cost import CostSpec, LinearCost
from gateway.config.launch import Launch
from gateway.config.schema import (
    Limits,
    Listen,
    Logs,
    Metrics,
    Scheduler,
    Timeouts,
    Window,
)

ANY_MODEL = "*"


class Resolved(BaseModel):
    """An immutable part of the configuration in force."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ResolvedKey(Resolved):
    """A client's key as the SHA-256 of its UTF-8; the key itself is never kept."""

    id: str
    digest: bytes
    disabled: bool = False


class Worker(Resolved):
    """One engine endpoint: by `url`, or (then `url` is None) started by the gateway as `launch` says, `count` aside."""

    name: str
    url: str | None = None
    launch: Launch | None = None
    api_key: SecretStr | None = None
    window: Window = Window()

    @property
    def is_launched(self) -> bool:
        """True where the gateway starts this worker itself."""
        return self.launch is not None


class Pool(Resolved):
    """The workers that serve one model; `engine_model` is its name at the workers."""

    model: str
    engine_model: str
    aliases: tuple[str, ...] = ()
    max_model_len: int = 2048
    cost: CostSpec = LinearCost()
    window: Window = Window()
    timeouts: Timeouts = Timeouts()
    workers: tuple[Worker, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a client may use."""
        return (self.model, *self.aliases)


class Tenant(Resolved):
    """Who shares the workers, with `tenant_defaults` merged in."""

    name: str
    weight: float = 1.0
    keys: tuple[ResolvedKey, ...] = ()
    models: tuple[str, ...] = (ANY_MODEL,)
    share_by: ShareBy = ShareBy.KEY
    limits: Limits = Limits()
    allow: frozenset[Right] = frozenset()
    strict: bool = False

    def may_use(self, pool: Pool) -> bool:
        """True where `models` lists the pool by its name or an alias, or lists `*`."""
        return ANY_MODEL in self.models or not set(self.models).isdisjoint(pool.names)


class Anonymous(Resolved):
    """The tenant that requests without a credential run as; None refuses them."""

    tenant: str | None = None


class Admin(Resolved):
    """Digest of the admin key; None where there is no admin access."""

    digest: bytes | None = None


class Config(Resolved):
    """The whole configuration in force."""

    listen: Listen = Listen()
    admin: Admin = Admin()
    scheduler: Scheduler = Scheduler()
    pools: tuple[Pool, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    anonymous: Anonymous = Anonymous()
    metrics: Metrics = Metrics()
    logs: Logs = Logs()

    def pool_for(self, model: str) -> Pool | None:
        """The pool that serves `model` (its name or an alias)."""
        return next((pool for pool in self.pools if model in pool.names), None)

    def tenant(self, name: str) -> Tenant | None:
        """The tenant called `name`."""
        return next((tenant for tenant in self.tenants if tenant.name == name), None)
