"""The configuration file as an operator writes it: every key with its type, bound, unit, default and meaning.

These models are the one source for validation, for the published JSON schema and for the documentation's
tables. Rules that join several keys are in `checks`; what the rest of the gateway sees is `model.Config`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SecretStr,
    Tag,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from gateway.config.address import ListenHost, WorkerUrl, short_name
from gateway.config.choices import (
    EngineOrder,
    ExcessOutput,
    LogFormat,
    LogLevel,
    PolicyName,
    PolicySpec,
    PredictorName,
    PredictorSpec,
    Right,
    ShareBy,
)
from gateway.config.cost import CostSpec, LinearCost
from gateway.config.launch import Launch
from gateway.config.section import Count, Quantity, Section, live, refuse_truth, restart, setting

NAME_PATTERN = r"^[A-Za-z0-9.-][A-Za-z0-9_.-]{0,63}$"
MODEL_PATTERN = r"^[^\s\x00-\x1f\x7f]{1,256}$"
ORIGIN_PATTERN = r"^(\*|[a-z][a-z0-9+.-]{0,31}://[^\s/*]{1,255})$"
_MIB: Final = 2**20
DIGEST_PATTERN = r"^[0-9a-fA-F]{64}$"
VARIABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"


def _at_least_one(*required: str) -> Callable[[dict[str, Any]], None]:
    """Says in the JSON schema that these keys are required and their lists not empty.

    The models let both pass: `checks` reports them in words that hold when broken items leave a list empty.
    """

    def extend(schema: dict[str, Any]) -> None:
        schema["required"] = list(required)
        for name in required:
            if schema["properties"][name].get("type") == "array":
                schema["properties"][name]["minItems"] = 1

    return extend


# Bounds stand before the validator: behind it the JSON schema would not show them.
Cap = Annotated[int, Field(ge=1, le=100_000_000_000), BeforeValidator(refuse_truth)]


def _no_credential(name: str) -> str:
    if name.lower() in ("authorization", "x-api-key", "cookie"):
        raise PydanticCustomError(
            "refused", "{message}", {"message": "is a credential", "remedy": "name another header"}
        )
    return name


# What it names is shown in the gateway's state.
EndUserHeader = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$"), AfterValidator(_no_credential)]
Slack = Annotated[int, Field(ge=0, le=1000), BeforeValidator(refuse_truth)]
Express = Annotated[int, Field(ge=0, le=1000), BeforeValidator(refuse_truth)]
Units = Annotated[float, Field(ge=0, le=1_000_000_000), BeforeValidator(refuse_truth)]
AUTO: Final = "auto"
_Auto = Annotated[Literal["auto"], Tag("auto")]
_EITHER = Discriminator(lambda value: "auto" if value == AUTO else "number")
Sequences = Annotated[
    Annotated[int, Field(ge=1, le=100_000), BeforeValidator(refuse_truth), Tag("number")] | _Auto, _EITHER
]
PrefillTokens = Annotated[
    Annotated[int, Field(ge=1, le=100_000_000), BeforeValidator(refuse_truth), Tag("number")] | _Auto, _EITHER
]
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
    """Where and how clients are received."""

    host: ListenHost = restart("127.0.0.1", "Address to listen on; `0.0.0.0` or `::` for all interfaces.", min_length=1)
    port: Count = restart(8000, "Port to listen on; 0 takes a free one.", ge=0, le=65535)
    # 4 MiB are read in 50 ms at worst (docs/operations.md), in which no other stream moves.
    max_body_mib: Count = restart(4, "Largest request body accepted.", unit="MiB", ge=1, le=1024)
    max_bodies_mib: Count | None = restart(
        None,
        "Most request bodies in memory, over all tenants: read, waiting, or sent and not answered yet; beyond it the "
        "tenant with most of them by weight loses its newest with 429. Default 128, or four times `max_body_mib` where "
        "that is more.",
        unit="MiB",
        ge=1,
        le=1_048_576,
    )
    header_timeout_seconds: Quantity = restart(
        20, "Time a client has to send a request's headers.", unit="seconds", gt=0, le=3600
    )
    body_timeout_seconds: Quantity = restart(
        10,
        "Time a client has to send a request's body; with each 16 KiB that come it has a second more.",
        unit="seconds",
        gt=0,
        le=3600,
    )
    keepalive_timeout_seconds: Quantity = restart(
        75, "Time an idle connection stays open.", unit="seconds", gt=0, le=86400
    )
    write_stall_seconds: Quantity = restart(
        30,
        "Time a client that is behind may take no bytes of its answer before it is cut; with each 4 KiB that it takes "
        "it earns a second.",
        unit="seconds",
        gt=0,
        le=3600,
    )
    drain_seconds: Quantity = restart(
        30, "Time that running requests get to finish at shutdown.", unit="seconds", ge=0, le=86400
    )
    max_connections: Count = restart(10000, "Most client connections at once.", unit="connections", ge=1, le=1_000_000)
    allowed_origins: tuple[Annotated[str, Field(pattern=ORIGIN_PATTERN)], ...] = restart(
        (),
        "Origins whose pages in browsers may read the answers (CORS), as `https://app.example`; `*` for all.",
        max_length=1000,
    )

    @property
    def max_body_bytes(self) -> int:
        """The largest request body."""
        return self.max_body_mib * _MIB

    @property
    def max_bodies_bytes(self) -> int:
        """The most that request bodies take together."""
        return (self.max_bodies_mib or max(128, 4 * self.max_body_mib)) * _MIB


class KeySource(Section):
    """Where a client's key comes from; exactly one of its keys is given."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in ("sha256", "env", "file")]})

    sha256: str | None = live(
        None,
        "SHA-256 of the key, 64 hexadecimal digits, as `vtc-gateway keys create` prints it.",
        pattern=DIGEST_PATTERN,
    )
    env: str | None = live(None, "Name of the environment variable that holds the key.", pattern=VARIABLE_PATTERN)
    file: str | None = live(
        None,
        "File that holds the key, relative to the configuration's folder; only its owner may write it (0600, 0640; "
        "mounted: 0440).",
        min_length=1,
    )


class TenantKey(KeySource):
    """One key of a tenant."""

    id: str | None = live(
        None,
        "Name of the key in logs: 1 to 64 letters, digits, `_`, `.`, `-`, not starting with `_`; "
        "default `key1`, `key2`, ... by position.",
        pattern=NAME_PATTERN,
    )
    disabled: bool = live(False, "Refuses the key without removing it.")


class WorkerKey(Section):
    """Where the key for a worker comes from; exactly one of its keys is given."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in ("value", "env", "file")]})

    value: SecretStr | None = live(None, "The key itself, best written as `${VAR}`.")
    env: str | None = live(None, "Name of the environment variable that holds the key.", pattern=VARIABLE_PATTERN)
    file: str | None = live(
        None,
        "File that holds the key, relative to the configuration's folder; only its owner may write it (0600, 0640; "
        "mounted: 0440).",
        min_length=1,
    )


class Admin(Section):
    """Access to the gateway's inner state."""

    key: KeySource | None = setting(None, "Key for `GET /debug/state`; without it that path answers 401 to all.")


class Scheduler(Section):
    """Who goes next, and how long one may wait."""

    policy: Policy = restart(
        PolicySpec(PolicyName.VTC),
        "`vtc` (fair), or a baseline: `fcfs`, `lcf`, `rpm:N` (N requests per minute and tenant, default 20), "
        "`drr:N` (quantum of N cost units, default 512).",
    )
    predictor: Predictor = restart(
        PredictorSpec(PredictorName.QUANTILE),
        "Guess of a request's output length, reserved at dispatch and settled at its end: `none`, `moving_average`, "
        "`quantile`; for experiments `oracle` (the stated maximum) and `noisy_oracle:N%` (with an error, default 50).",
    )
    max_queued: Count = live(10000, "Most waiting requests per pool.", unit="requests", ge=1, le=1_000_000)
    queue_timeout_seconds: Quantity = live(
        60, "Longest wait for room before a request is refused with 429.", unit="seconds", gt=0, le=86400
    )


class Window(Section):
    """What may be in flight at one worker: the bound on unfairness, and what keeps the worker busy."""

    sequences: Sequences = live(
        AUTO,
        "Sequences the worker runs at once (vLLM `--max-num-seqs`); `auto`: learned from the worker and followed.",
        unit="sequences",
    )
    slack: Slack = live(1, "Sequences sent beyond `sequences`, so that the worker never idles.", unit="sequences")
    prefill_tokens: PrefillTokens = live(
        AUTO, "Prompt tokens sent and not yet prefilled; `auto`: as the worker's steps show.", unit="tokens"
    )
    express: Express = live(
        0,
        "Sequences beyond the window for tenants with nothing in flight; the worker must run so many more.",
        unit="sequences",
    )

    @property
    def fixed_sequences(self) -> int | None:
        """The configured number, None where it is learned."""
        return None if self.sequences == AUTO else self.sequences

    @property
    def fixed_prefill_tokens(self) -> int | None:
        """The configured number, None where it is learned."""
        return None if self.prefill_tokens == AUTO else self.prefill_tokens


class WindowOverride(Section):
    """The keys of the pool's window that differ at this worker."""

    sequences: Sequences | None = live(None, "As in the pool's `window`.", unit="sequences")
    slack: Slack | None = live(None, "As in the pool's `window`.", unit="sequences")
    prefill_tokens: PrefillTokens | None = live(None, "As in the pool's `window`.", unit="tokens")
    express: Express | None = live(None, "As in the pool's `window`.", unit="sequences")


class Timeouts(Section):
    """How long a worker may be silent, and a pool without one that serves."""

    connect_seconds: Quantity = live(2, "Time to connect to a worker.", unit="seconds", gt=0, le=600)
    first_byte_seconds: Quantity = live(
        120, "Time from the request to the first output of a streamed answer.", unit="seconds", gt=0, le=86400
    )
    stall_seconds: Quantity = live(
        30,
        "Longest silence of a streamed answer with output while its worker makes no step either.",
        unit="seconds",
        gt=0,
        le=86400,
    )
    outage_seconds: Quantity = live(
        30,
        "For how long after a pool's last worker was lost, or after its start, requests may wait for one.",
        unit="seconds",
        ge=0,
        le=86400,
    )


class WorkerEntry(Section):
    """One engine endpoint by URL, or some that the gateway starts."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["url"]}, {"required": ["launch"]}]})

    url: WorkerUrl | None = live(None, "Address of the worker: `http://host:port` or `unix:///path.sock`.")
    launch: Launch | None = setting(None, "Instead of `url`: workers that the gateway starts itself.")
    name: str | None = live(
        None,
        "Name in logs and metrics: 1 to 128 letters, digits and `_ . : -`; default `host:port`, or `w0`, "
        "`w1`, ... for launched ones and sockets.",
        pattern=r"^[A-Za-z0-9_.:\[\]-]{1,128}$",
    )
    api_key: WorkerKey | None = setting(None, "Key that the worker asks for (vLLM `--api-key`).")
    window: WindowOverride | None = setting(None, "Overrides keys of the pool's `window`.")


class Adapter(Section):
    """One LoRA adapter of a pool's model: a model of its own for clients."""

    name: str = live(..., "Name of the adapter for clients and at the workers.", pattern=MODEL_PATTERN)
    path: str | None = live(
        None,
        "Folder of the adapter, or its name on a hub, for launched vLLM workers; workers with a `url` know theirs.",
        min_length=1,
    )


class PoolEntry(Section):
    """The workers that serve one model."""

    model_config = ConfigDict(json_schema_extra=_at_least_one("model", "workers"))

    model: str = live(..., "Name of the model for clients; another name is another pool.", pattern=MODEL_PATTERN)
    engine_model: str | None = live(
        None, "Name of the model at the workers, where it differs from `model`.", pattern=MODEL_PATTERN
    )
    aliases: tuple[Annotated[str, Field(pattern=MODEL_PATTERN)], ...] = live(
        (), "Further names for clients.", max_length=64
    )
    adapters: tuple[Adapter, ...] = setting((), "LoRA adapters of the model that the workers have.", max_length=256)
    fallback: str | None = live(
        None,
        "Model of another pool that gets the requests while no worker of this one serves or is expected.",
        pattern=MODEL_PATTERN,
    )
    max_model_len: Count | None = live(
        None,
        "Context length of the engine (vLLM `--max-model-len`), until a worker's `/v1/models` tells it; "
        "launched engines get it, or 2048.",
        unit="tokens",
        ge=1,
        le=100_000_000,
    )
    locality_quantum: Units = live(
        0,
        "How far a tenant may be ahead of the least served one and still go first because a worker has its prompt "
        "cached; 0 is exact VTC.",
        unit="cost units",
    )
    engine_order: EngineOrder = live(
        EngineOrder.FCFS,
        "Order of the workers' own queues: `vtc` sends them each request's tenant and weight, and makes launched ones "
        "order by it; those with a `url` must have been started so.",
    )
    cost: CostSpec = setting(LinearCost(), "What a request costs its tenant; all of it waits for the next start.")
    window: Window = setting(Window(), "What may be in flight at each worker.")
    timeouts: Timeouts = setting(Timeouts(), "How long a worker may be silent.")
    workers: tuple[WorkerEntry, ...] = setting((), "The workers, at least one.", max_length=1000)

    @property
    def worker_names(self) -> tuple[tuple[str, ...], ...]:
        """For each entry of `workers` the names of the workers that it stands for."""
        names: list[tuple[str, ...]] = []
        for entry in self.workers:
            first = sum(map(len, names))
            count = entry.launch.count if entry.launch else 1
            if entry.name is not None:
                names.append((entry.name,) * count)
            elif entry.url is not None and (short := short_name(entry.url)):
                names.append((short,))
            else:
                names.append(tuple(f"w{first + offset}" for offset in range(count)))
        return tuple(names)


class Limits(Section):
    """Caps of one tenant; null is no cap."""

    max_in_flight: Cap | None = live(None, "Most sequences at the workers.", unit="sequences")
    max_queued: Cap | None = live(1000, "Most waiting requests.", unit="requests")
    requests_per_minute: Cap | None = live(None, "Most requests per minute.", unit="requests")
    tokens_per_minute: Cap | None = live(
        None, "Most input and output tokens per minute; the expected output is taken at arrival.", unit="tokens"
    )
    max_output_tokens: Cap | None = live(
        None,
        "Most output tokens per sequence, also of a request that states none; `excess_output` says what becomes of one "
        "that states more.",
        unit="tokens",
    )
    excess_output: ExcessOutput = live(
        ExcessOutput.CUT,
        "What becomes of a request for more than `max_output_tokens`: `cut` answers it with at most so many, `refuse` "
        "with 400.",
    )
    max_choices: Count = live(4, "Most answers per request (`n`).", unit="sequences", ge=1, le=1024)
    max_logprobs: Count = live(20, "Most `logprobs` per token.", unit="entries", ge=0, le=1_000_000)
    max_logit_bias: Count = live(300, "Most `logit_bias` entries.", unit="entries", ge=0, le=1_000_000)


class TenantDefaults(Section):
    """What holds for each tenant that does not say otherwise."""

    weight: Quantity = live(1, "Share relative to the other tenants.", ge=0.001, le=1_000_000)
    models: tuple[str, ...] = live(("*",), "Models or aliases the tenant may use; `*` for all.", max_length=10_000)
    share_by: ShareBy = live(
        ShareBy.KEY,
        "What the share is divided among: the tenant's keys, or its end users (`user`, `metadata.user_id`).",
    )
    end_user_header: EndUserHeader | None = live(
        None,
        "Header that names the end user, before the body's fields; for clients, or a proxy, that you trust with it.",
    )
    limits: Limits = setting(Limits(), "Caps; merged key by key with `tenant_defaults.limits`.")
    allow: frozenset[Right] = live(frozenset(), "Request fields that only some may use.")
    strict: bool = live(False, "Refuses request fields that the gateway does not know.")


class TenantEntry(TenantDefaults):
    """Who shares the workers, and by which keys it is known."""

    name: str = live(
        ...,
        "Name in logs and metrics: 1 to 64 letters, digits, `_`, `.`, `-`, not starting with `_`.",
        pattern=NAME_PATTERN,
    )
    keys: tuple[TenantKey, ...] = setting((), "Keys of the tenant.", max_length=10_000)


class Anonymous(Section):
    """Requests without a credential."""

    enabled: bool = live(False, "Accepts requests without a credential.")
    tenant: str | None = live(None, "Name of the configured tenant that they run as.")


class Metrics(Section):
    """Prometheus metrics at `GET /metrics`."""

    enabled: bool = restart(True, "Serves `/metrics`.")
    tenant_labels: Count = restart(
        200,
        "So many tenants get a label of their own, the first that send a request; the rest is `_other`.",
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

    model_config = ConfigDict(json_schema_extra=_at_least_one("pools", "tenants"))

    listen: Listen = setting(Listen(), "Where and how clients are received.")
    admin: Admin = setting(Admin(), "Access to the gateway's inner state.")
    scheduler: Scheduler = setting(Scheduler(), "Who goes next, and how long one may wait.")
    pools: tuple[PoolEntry, ...] = setting((), "One entry per model.", max_length=1000)
    tenant_defaults: TenantDefaults = setting(TenantDefaults(), "What holds for each tenant unless it says otherwise.")
    tenants: tuple[TenantEntry, ...] = setting((), "Who shares the workers.", max_length=100_000)
    anonymous: Anonymous = setting(Anonymous(), "Requests without a credential.")
    metrics: Metrics = setting(Metrics(), "Prometheus metrics.")
    logs: Logs = setting(Logs(), "Log lines.")
