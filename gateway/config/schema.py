"""The configuration file as an operator writes it: every key with its type, bound, unit, default and meaning.

These models, with those of `pools`, `tenants`, `replicas` and `credentials`, are the one source for validation, for the
published JSON schema and for the documentation's tables. Rules that join several keys are in `checks`; what the rest of
the gateway sees is `model.Config`.
"""

from typing import Annotated, Final

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from gateway.config.address import ListenHost
from gateway.config.choices import LogFormat, LogLevel, PolicyName, PolicySpec, PredictorName, PredictorSpec
from gateway.config.credentials import KeySource
from gateway.config.ledger import LedgerEntry
from gateway.config.pools import PoolEntry
from gateway.config.replicas import Processes, ReplicasEntry
from gateway.config.section import Count, Quantity, Section, at_least_one, live, restart, setting
from gateway.config.tenants import Anonymous, TenantDefaults, TenantEntry
from gateway.config.webhook import WebhookEntry

LOOPBACK_PATTERN = r"^(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}$"
ORIGIN_PATTERN = r"^(\*|[a-z][a-z0-9+.-]{0,31}://[^\s/*]{1,255})$"
_MIB: Final = 2**20
Policy = Annotated[
    PolicySpec,
    BeforeValidator(PolicySpec.parse),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(PolicyName)})$|^(rpm|drr):[0-9]+$"}, mode="validation"),
]
Predictor = Annotated[
    PredictorSpec,
    BeforeValidator(PredictorSpec.parse),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": f"^({'|'.join(PredictorName)})$|^noisy_oracle:[0-9]+%?$"}, mode="validation"
    ),
]


class Listen(Section):
    """Where and how the gateway receives clients."""

    host: ListenHost = restart("127.0.0.1", "Address to listen on; `0.0.0.0` or `::` for all interfaces.", min_length=1)
    port: Count = restart(8000, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    # Reading 4 MiB takes 50 ms at worst (docs/operations.md), and no other stream moves meanwhile.
    max_body_mib: Count = restart(4, "Largest request body accepted.", unit="MiB", ge=1, le=1024)
    max_bodies_mib: Count | None = restart(
        None,
        "Most memory for the bodies of all tenants' requests; a body counts until the first byte of its answer. Beyond "
        "it the tenant that has most, divided by its weight, loses its newest request with 429. Default: 128, or four "
        "times `max_body_mib` if that is more.",
        unit="MiB",
        ge=1,
        le=1_048_576,
    )
    header_timeout_seconds: Quantity = restart(
        20, "Time a client has to send a request's headers.", unit="seconds", gt=0, le=3600
    )
    body_timeout_seconds: Quantity = restart(
        10,
        "Time a client has to send a request's body. Each 16 KiB that arrive add a second.",
        unit="seconds",
        gt=0,
        le=3600,
    )
    keepalive_timeout_seconds: Quantity = restart(
        75, "Time an idle connection stays open.", unit="seconds", gt=0, le=86400
    )
    write_stall_seconds: Quantity = restart(
        30,
        "Time a slow client may take no bytes of its answer before it is cut. Each 4 KiB that it takes add a second.",
        unit="seconds",
        gt=0,
        le=3600,
    )
    drain_seconds: Quantity = restart(
        30, "Time that running and waiting requests get to finish at shutdown.", unit="seconds", ge=0, le=86400
    )
    max_connections: Count = restart(10000, "Most client connections at once.", unit="connections", ge=1, le=1_000_000)
    allowed_origins: tuple[Annotated[str, Field(pattern=ORIGIN_PATTERN)], ...] = restart(
        (),
        "Origins whose pages may read the answers in browsers (CORS), like `https://app.example`; `*` for all.",
        max_length=1000,
    )

    @property
    def max_body_bytes(self) -> int:
        """The largest request body."""
        return self.max_body_mib * _MIB

    @property
    def max_bodies_bytes(self) -> int:
        """The most bytes that all request bodies may take together."""
        return (self.max_bodies_mib or max(128, 4 * self.max_body_mib)) * _MIB


class Admin(Section):
    """Access to the gateway's inner state."""

    key: KeySource | None = setting(None, "Key for `GET /debug/state`; without it that path answers 401 to all.")
    listen: Annotated[str, Field(pattern=LOOPBACK_PATTERN)] | None = restart(
        None,
        "Loopback address and port of the operator's page, like `127.0.0.1:8001`; null: no page. It needs `admin.key`.",
    )


class Scheduler(Section):
    """Who goes next, and how long a request may wait."""

    policy: Policy = restart(
        PolicySpec(PolicyName.VTC),
        "`vtc` (fair), or a baseline: `fcfs`, `lcf`, `rpm:N` (N requests per minute and tenant, default 20), "
        "`drr:N` (quantum of N cost units, default 512).",
    )
    predictor: Predictor = restart(
        PredictorSpec(PredictorName.QUANTILE),
        "Predicts a request's output length, which is reserved at dispatch and settled at the end: `none`, "
        "`moving_average`, `quantile`; for experiments `oracle` (the stated maximum) and `noisy_oracle:N%` (with an "
        "error, default 50).",
    )
    max_queued: Count = live(10000, "Most waiting requests per pool.", unit="requests", ge=1, le=1_000_000)
    queue_timeout_seconds: Quantity = live(
        60, "Longest wait for room before a request is refused with 429.", unit="seconds", gt=0, le=86400
    )


class Metrics(Section):
    """Prometheus metrics at `GET /metrics`."""

    enabled: bool = restart(True, "Serves `/metrics`.")
    tenant_labels: Count = restart(
        200,
        "Number of tenants with a label of their own: the first that send a request. The others are `_other`.",
        unit="tenants",
        ge=0,
        le=100_000,
    )


class Logs(Section):
    """One line per finished request and per event, on standard error."""

    format: LogFormat = restart(LogFormat.JSON, "How a line is written.")
    level: LogLevel = restart(LogLevel.INFO, "The least severe line that is written.")


class ConfigFile(Section):
    """Configuration of vtc-gateway."""

    model_config = ConfigDict(json_schema_extra=at_least_one("pools", "tenants"))

    listen: Listen = setting(Listen(), "Where and how the gateway receives clients.")
    admin: Admin = setting(Admin(), "Access to the gateway's inner state.")
    scheduler: Scheduler = setting(Scheduler(), "Who goes next, and how long a request may wait.")
    pools: tuple[PoolEntry, ...] = setting((), "One entry per model.", max_length=1000)
    tenant_defaults: TenantDefaults = setting(TenantDefaults(), "Settings of each tenant that has none of its own.")
    tenants: tuple[TenantEntry, ...] = setting((), "Who shares the workers.", max_length=100_000)
    anonymous: Anonymous = setting(Anonymous(), "Requests without a credential.")
    metrics: Metrics = setting(Metrics(), "Prometheus metrics.")
    logs: Logs = setting(Logs(), "Log lines.")
    ledger: LedgerEntry | None = setting(None, "What every request has used; without it, nothing is kept.")
    webhook: WebhookEntry | None = setting(None, "Who is told of used-up budgets; without it, nobody.")
    processes: Processes = restart(
        1,
        "Gateway processes on this machine, behind one port; `auto`: one for each core.",
        unit="processes",
    )
    replicas: ReplicasEntry | None = setting(None, "Several gateways that share one account; without it, one gateway.")
