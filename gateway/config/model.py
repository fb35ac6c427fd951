"""The configuration as the rest of the gateway sees it: defaults are merged, each worker is listed, keys are digests.

`resolve` builds it from a valid file. Every value is final, so nobody else needs to know where it came from.
"""

from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateway.config.budgets import BudgetEntry
from gateway.config.choices import EndUsers, EngineOrder, Right, ShareBy, WithoutStore
from gateway.config.cost import CostSpec, LinearCost
from gateway.config.launch import Launch
from gateway.config.pools import Adapter, Prices, Timeouts, Window
from gateway.config.replicas import Processes
from gateway.config.schema import Listen, Logs, Metrics, Scheduler
from gateway.config.tenants import Limits

ANY_MODEL = "*"

DEFAULT_MODEL_LEN = 2048


class Resolved(BaseModel):
    """An immutable part of the configuration in force."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ResolvedKey(Resolved):
    """A client's key as the SHA-256 of its UTF-8; the gateway never keeps the key itself."""

    id: str
    digest: bytes
    disabled: bool = False


class Worker(Resolved):
    """One engine endpoint: at `url`, or (if that is None) started by the gateway as `launch` says, without `count`."""

    name: str
    url: str | None = None
    launch: Launch | None = None
    api_key: SecretStr | None = None
    window: Window = Window()
    engine_order: EngineOrder = EngineOrder.FCFS

    @property
    def is_launched(self) -> bool:
        """True if the gateway starts this worker itself."""
        return self.launch is not None


class Pool(Resolved):
    """The workers that serve one model; `engine_model` is its name at the workers.

    `fallback` is the `model` of the pool that gets the requests while this one has no worker.
    """

    model: str
    engine_model: str
    aliases: tuple[str, ...] = ()
    adapters: tuple[Adapter, ...] = ()
    fallback: str | None = None
    max_model_len: int | None = None
    locality_quantum: float = 0.0
    cost: CostSpec = LinearCost()
    prices: Prices | None = None
    window: Window = Window()
    timeouts: Timeouts = Timeouts()
    workers: tuple[Worker, ...] = ()

    @property
    def assumed_model_len(self) -> int:
        """The context length that launched engines get, and that is assumed until a worker states its own."""
        return DEFAULT_MODEL_LEN if self.max_model_len is None else self.max_model_len

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that a client may use."""
        return (self.model, *self.aliases, *self.adapter_names)

    @property
    def adapter_names(self) -> tuple[str, ...]:
        """The names of the adapters."""
        return tuple(adapter.name for adapter in self.adapters)

    def model_at_workers(self, name: str) -> str:
        """The workers' name of the model that a client calls `name`; an adapter keeps its own name."""
        return name if name in self.adapter_names else self.engine_model

    @cached_property
    def knows_prefixes(self) -> bool:
        """True if it matters which worker has a prompt cached, because workers or tenants can be chosen by it."""
        return len(self.workers) > 1 or self.locality_quantum > 0


class Tenant(Resolved):
    """A tenant, with `tenant_defaults` merged in."""

    name: str
    weight: float = 1.0
    keys: tuple[ResolvedKey, ...] = ()
    models: tuple[str, ...] = (ANY_MODEL,)
    share_by: ShareBy = ShareBy.KEY
    end_user_header: str | None = None
    budgets: tuple[BudgetEntry, ...] = ()
    limits: Limits = Limits()
    allow: frozenset[Right] = frozenset()
    strict: bool = False

    def may_use(self, pool: Pool, name: str = "") -> bool:
        """True if `models` lists `*` or the model that clients call `name` (by default the pool's own).

        A pool's model and its aliases are one model; each adapter is a model of its own.
        """
        wanted = (name,) if name in pool.adapter_names else (pool.model, *pool.aliases)
        return ANY_MODEL in self.models or not set(self.models).isdisjoint(wanted)


class Anonymous(Resolved):
    """The tenant that pays for requests without a credential; None refuses them."""

    tenant: str | None = None


class Admin(Resolved):
    """The digest of the admin key, and where the operator's page is served; None if there is none."""

    digest: bytes | None = None
    listen: str | None = None


class Replicas(Resolved):
    """How this gateway shares an account with others: by which store, and under which name (None: host and port).

    `expected` gateways there are, until the store tells how many live. An empty `username` is the store's default user.
    With `is_beside` the file names no store: it is the one that the parent of several processes runs.
    """

    store: str
    username: str = ""
    password: str | None = Field(default=None, repr=False)
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    fleet: str = "vtc-gateway"
    name: str | None = None
    expected: int = 2
    lease_seconds: float = 2.0
    without_store: WithoutStore = WithoutStore.CONTINUE
    is_beside: bool = False


class Postgres(Resolved):
    """The database that gets the ledger's rows; its `url` holds a password, and is empty only if it is not known."""

    url: str = Field(default="", repr=False)
    ca_file: Path | None = None
    rows_days: int = 760


class Ledger(Resolved):
    """Where the ledger lies, how long it keeps what, and which database gets it too."""

    folder: Path
    rows_days: int = 90
    quarters_days: int = 760
    end_users: EndUsers = EndUsers.HASHED
    currency: str | None = None
    postgres: Postgres | None = None


class Webhook(Resolved):
    """Who is told of used-up budgets; `secret` is the key of the signatures."""

    url: str = Field(repr=False)
    secret: bytes = Field(repr=False)


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
    ledger: Ledger | None = None
    webhook: Webhook | None = None
    processes: Processes = 1
    replicas: Replicas | None = None

    def tenant(self, name: str) -> Tenant | None:
        """The tenant called `name`; None if there is none."""
        return next((tenant for tenant in self.tenants if tenant.name == name), None)
