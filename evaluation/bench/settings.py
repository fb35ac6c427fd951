"""What a bench starts, and with which settings: engines of either kind, and a gateway with one pool before them.

Real vLLM runs a random model of the dimensions given here; the embedded engine runs a profile. The gateway's queue
limits and time-outs are wide: a bench measures who goes next, so the gateway must refuse nobody and time nobody out. A
bench draws its keys once and keeps them only in its temporary folder and its memory.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import orjson

# With the smallest model, moving tokens costs vLLM more than computing them: on two cores the load client, the
# gateway and vLLM's own API server would then be measured competing for a processor, which no engine with an
# accelerator shows. This one (16 M parameters) makes a step take ten milliseconds and more, as on an accelerator: the
# way from an answer's end to the next request's place in the batch is then about a step, which one slack sequence
# covers.
VLLM_MODEL: Mapping[str, int] = {
    "hidden_size": 512,
    "num_hidden_layers": 5,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 1408,
}
POOL = "bench"
SLACK = 1
QUEUE_TIMEOUT_SECONDS = 600


class EngineKind(Enum):
    """Which engine a bench runs."""

    VLLM = "vllm"
    EMBEDDED = "embedded"
    LONG_ANSWERS = "long answers"


class KvCache(NamedTuple):
    """A KV cache of `blocks` blocks of `block_tokens` tokens."""

    blocks: int
    block_tokens: int


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine to start: `profile` is the embedded engine's speed, `model` vLLM's dimensions.

    `sequences` is what it runs at once; `more` are further options, of the embedded engine alone.
    """

    kind: EngineKind
    profile: str = "cpu-tiny"
    sequences: int = 16
    model: Mapping[str, int] = field(default_factory=lambda: VLLM_MODEL)
    kv: KvCache | None = None
    more: Sequence[str] = ()

    @property
    def arguments(self) -> list[str]:
        """The command line after the interpreter."""
        if self.kind is EngineKind.LONG_ANSWERS:
            return ["-m", "evaluation.bench.long_answers"]
        start, sizes = ["-m", "backend", self.kind.value], ["--max-num-seqs", str(self.sequences)]
        is_vllm = self.kind is EngineKind.VLLM
        if self.kv is not None:
            blocks = "--num-gpu-blocks-override" if is_vllm else "--kv-blocks"
            sizes += [blocks, str(self.kv.blocks), "--block-size", str(self.kv.block_tokens)]
        if is_vllm:
            model = ["--hf-overrides", orjson.dumps(dict(self.model)).decode()]
            return [*start, "--model", "byte-llama", "--port", "0", "--end-with-parent", "--", *sizes, *model]
        serve = ["--profile", self.profile, "--model", "tiny", "--port", "0", "--end-with-parent"]
        return [*start, *serve, *sizes, *self.more]


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """What may be in flight at one engine. If `sequences` or `prefill_tokens` is None, the gateway finds it out."""

    sequences: int | None = 16
    slack: int = SLACK
    prefill_tokens: int | None = None
    express: int = 0

    def document(self) -> dict[str, int | str]:
        """The section `window` of a pool."""
        return {
            "sequences": "auto" if self.sequences is None else self.sequences,
            "slack": self.slack,
            **({} if self.prefill_tokens is None else {"prefill_tokens": self.prefill_tokens}),
            **({"express": self.express} if self.express else {}),
        }


def draw_key() -> str:
    """A key in the gateway's own format."""
    return "vtc-" + secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway to start. `engine_model` is the model's name at each of the engines.

    `locality_quantum` is the cost by which a request may go before another for the sake of a cached prefix. `replicas`
    and `ledger` are the sections of these names; `limits` are those of every tenant.
    """

    policy: str
    engine_urls: Sequence[str]
    engine_model: str
    weights: Mapping[str, float]
    window: WindowSettings = WindowSettings()
    locality_quantum: int = 0
    max_model_len: int = 2048
    listen: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, int] = field(default_factory=dict)
    replicas: Mapping[str, object] = field(default_factory=dict)
    ledger: Mapping[str, object] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    keys: Mapping[str, str] = field(repr=False, default_factory=dict)
    admin_key: str = field(repr=False, default_factory=draw_key)

    def write(self, path: Path) -> Path:
        """Write the configuration file, in JSON, which is YAML too; it holds digests, no keys."""
        path.write_bytes(orjson.dumps(self.document()))
        return path

    def document(self) -> dict[str, object]:
        """The configuration as plain data."""
        workers = [{"url": url, "name": f"engine-{number}"} for number, url in enumerate(self.engine_urls, 1)]
        return {
            "listen": {"host": "127.0.0.1", "port": 0, "drain_seconds": 0, **self.listen},
            "admin": {"key": {"sha256": _digest(self.admin_key)}},
            "scheduler": {"policy": self.policy, "queue_timeout_seconds": QUEUE_TIMEOUT_SECONDS},
            "pools": [
                {
                    "model": POOL,
                    "engine_model": self.engine_model,
                    "max_model_len": self.max_model_len,
                    "window": self.window.document(),
                    "workers": workers,
                    **({"locality_quantum": self.locality_quantum} if self.locality_quantum else {}),
                }
            ],
            "tenants": [self._tenant(name) for name in self.weights],
            "logs": {"format": "json", "level": "info"},
            **({"metrics": self.metrics} if self.metrics else {}),
            **({"replicas": self.replicas} if self.replicas else {}),
            **({"ledger": self.ledger} if self.ledger else {}),
            **({"tenant_defaults": {"limits": self.limits}} if self.limits else {}),
        }

    def _tenant(self, name: str) -> dict[str, object]:
        keys = [{"id": "bench", "sha256": _digest(self.keys[name])}]
        return {"name": name, "weight": self.weights[name], "keys": keys, "allow": ["ignore_eos"]}


def draw_keys(tenants: Sequence[str]) -> dict[str, str]:
    """One key for each tenant."""
    return {tenant: draw_key() for tenant in tenants}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
