"""The part of the file that describes a pool: its model, its workers, their windows and the cost of a request."""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, Tag

from gateway.config.address import WorkerUrl, short_name
from gateway.config.choices import EngineOrder
from gateway.config.cost import CostSpec, LinearCost
from gateway.config.credentials import WorkerKey
from gateway.config.launch import Launch
from gateway.config.section import (
    AUTO,
    NUMBER_OR_AUTO,
    Auto,
    Count,
    Quantity,
    Section,
    at_least_one,
    live,
    refuse_truth,
    setting,
)

MODEL_PATTERN = r"^[^\s\x00-\x1f\x7f]{1,256}$"
# The bounds stand before the validator, because after it the JSON schema would not show them.
Slack = Annotated[int, Field(ge=0, le=1000), BeforeValidator(refuse_truth)]
Express = Annotated[int, Field(ge=0, le=1000), BeforeValidator(refuse_truth)]
Units = Annotated[float, Field(ge=0, le=1_000_000_000), BeforeValidator(refuse_truth)]
Sequences = Annotated[
    Annotated[int, Field(ge=1, le=100_000), BeforeValidator(refuse_truth), Tag("number")] | Auto, NUMBER_OR_AUTO
]
PrefillTokens = Annotated[
    Annotated[int, Field(ge=1, le=100_000_000), BeforeValidator(refuse_truth), Tag("number")] | Auto, NUMBER_OR_AUTO
]


class Window(Section):
    """What may be in flight at one worker; it bounds the unfairness and keeps the worker busy."""

    sequences: Sequences = live(
        AUTO,
        "Sequences that the worker runs at once (vLLM `--max-num-seqs`); `auto`: the gateway finds the number out.",
        unit="sequences",
    )
    slack: Slack = live(1, "Sequences sent beyond `sequences`, so that the worker never idles.", unit="sequences")
    prefill_tokens: PrefillTokens = live(
        AUTO, "Prompt tokens sent and not yet prefilled; `auto`: the gateway finds the number out.", unit="tokens"
    )
    express: Express = live(
        0,
        "Sequences beyond the window for tenants with nothing in flight. The worker must run that many more.",
        unit="sequences",
    )

    @property
    def fixed_sequences(self) -> int | None:
        """The configured number; None if the gateway finds it out."""
        return None if self.sequences == AUTO else self.sequences

    @property
    def fixed_prefill_tokens(self) -> int | None:
        """The configured number; None if the gateway finds it out."""
        return None if self.prefill_tokens == AUTO else self.prefill_tokens


class WindowOverride(Section):
    """The keys of the pool's window that differ at this worker."""

    sequences: Sequences | None = live(None, "As in the pool's `window`.", unit="sequences")
    slack: Slack | None = live(None, "As in the pool's `window`.", unit="sequences")
    prefill_tokens: PrefillTokens | None = live(None, "As in the pool's `window`.", unit="tokens")
    express: Express | None = live(None, "As in the pool's `window`.", unit="sequences")


class Timeouts(Section):
    """How long a worker may be silent, and how long requests wait in a pool without a worker that serves."""

    connect_seconds: Quantity = live(2, "Time to connect to a worker.", unit="seconds", gt=0, le=600)
    first_byte_seconds: Quantity = live(
        120, "Time from the request to the first output of a streamed answer.", unit="seconds", gt=0, le=86400
    )
    stall_seconds: Quantity = live(
        30,
        "Longest silence of a streamed answer that has output, while its worker makes no step either.",
        unit="seconds",
        gt=0,
        le=86400,
    )
    outage_seconds: Quantity = live(
        30,
        "Time in which new requests may wait for a worker after the pool lost its last one, or after the gateway's "
        "start. After that they get 503; those that wait already keep their queue time.",
        unit="seconds",
        ge=0,
        le=86400,
    )


class Prices(Section):
    """What the use of a pool costs in money, for the ledger's reports; a request has the prices of its grant."""

    prompt: Units = live(0, "Of a million tokens of prompts.", unit="currency")
    cached: Units | None = live(None, "Of a million of these that were cached; default: as `prompt`.", unit="currency")
    output: Units = live(0, "Of a million tokens of answers.", unit="currency")
    worker_hour: Units = live(0, "Of an hour of a worker, shared among the requests there.", unit="currency")

    @property
    def cached_or_prompt(self) -> float:
        """The price of a million cached tokens."""
        return self.prompt if self.cached is None else self.cached


class WorkerEntry(Section):
    """One engine endpoint with a URL, or one or more that the gateway starts."""

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
    """One LoRA adapter of a pool's model; for clients it is a model of its own."""

    name: str = live(..., "Name of the adapter for clients and at the workers.", pattern=MODEL_PATTERN)
    path: str | None = live(
        None,
        "Folder of the adapter, or its name on a hub, for launched vLLM workers; workers with a `url` know theirs.",
        min_length=1,
    )


class PoolEntry(Section):
    """The workers that serve one model."""

    model_config = ConfigDict(json_schema_extra=at_least_one("model", "workers"))

    model: str = live(..., "Name of the model for clients; another name is another pool.", pattern=MODEL_PATTERN)
    engine_model: str | None = live(
        None, "Name of the model at the workers, if it differs from `model`.", pattern=MODEL_PATTERN
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
        "Context length of the engine (vLLM `--max-model-len`), until a worker's `/v1/models` says it. Launched "
        "engines get this value, or 2048.",
        unit="tokens",
        ge=1,
        le=100_000_000,
    )
    locality_quantum: Units = live(
        0,
        "How far a tenant may be ahead of the least served one and still go first, if a worker has its prompt cached; "
        "0 is exact VTC.",
        unit="cost units",
    )
    engine_order: EngineOrder = live(
        EngineOrder.FCFS,
        "Order of the workers' own queues. `vtc` sends them each request's tenant and weight. Launched workers then "
        "order by it; start workers with a `url` accordingly.",
    )
    cost: CostSpec = setting(LinearCost(), "What a request costs its tenant; changes wait for the next start.")
    prices: Prices | None = setting(None, "What its use costs in money; without it, reports show none.")
    window: Window = setting(Window(), "What may be in flight at each worker.")
    timeouts: Timeouts = setting(Timeouts(), "How long a worker may be silent.")
    workers: tuple[WorkerEntry, ...] = setting((), "The workers, at least one.", max_length=1000)

    @property
    def worker_names(self) -> tuple[tuple[str, ...], ...]:
        """For each entry of `workers`, the names of the workers that it describes."""
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
