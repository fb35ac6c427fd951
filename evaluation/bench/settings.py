"""The gateway's configuration for a bench: one pool, one worker, the load's tenants with keys made here.

Queue limits and time-outs are wide: a bench measures who goes next, so nobody may be refused or time out.
Keys are drawn once per bench and live only in its temporary folder and its memory.
"""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

POOL = "bench"
SLACK = 1
QUEUE_TIMEOUT_SECONDS = 600


def draw_key() -> str:
    """A key in the gateway's own format."""
    return "vtc-" + secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway to start. `engine_model` is the model's name at the engine, which runs `sequences` at once.

    `port` 0 takes a free one; `prefill_tokens` None leaves the gateway's own.
    """

    policy: str
    engine_url: str
    engine_model: str
    weights: Mapping[str, float]
    sequences: int = 16
    max_model_len: int = 2048
    port: int = 0
    prefill_tokens: int | None = None
    keys: Mapping[str, str] = field(repr=False, default_factory=dict)
    admin_key: str = field(repr=False, default_factory=draw_key)

    def write(self, path: Path) -> None:
        """Write the configuration file; it holds digests, no keys."""
        path.write_text(yaml.safe_dump(self.document(), sort_keys=False), encoding="utf-8")

    def document(self) -> dict[str, object]:
        """The configuration as plain data."""
        return {
            "listen": {"host": "127.0.0.1", "port": self.port, "drain_seconds": 0},
            "admin": {"key": {"sha256": _digest(self.admin_key)}},
            "scheduler": {"policy": self.policy, "queue_timeout_seconds": QUEUE_TIMEOUT_SECONDS},
            "pools": [
                {
                    "model": POOL,
                    "engine_model": self.engine_model,
                    "max_model_len": self.max_model_len,
                    "window": self._window(),
                    "workers": [{"url": self.engine_url, "name": "engine"}],
                }
            ],
            "tenants": [self._tenant(name) for name in self.weights],
            "logs": {"format": "json", "level": "info"},
        }

    def _window(self) -> dict[str, int]:
        window = {"sequences": self.sequences, "slack": SLACK}
        return window if self.prefill_tokens is None else {**window, "prefill_tokens": self.prefill_tokens}

    def _tenant(self, name: str) -> dict[str, object]:
        return {
            "name": name,
            "weight": self.weights[name],
            "keys": [{"id": "bench", "sha256": _digest(self.keys[name])}],
            "allow": ["ignore_eos"],
        }


def draw_keys(tenants: Sequence[str]) -> dict[str, str]:
    """One key for each tenant."""
    return {tenant: draw_key() for tenant in tenants}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
