"""The gateway's configuration for a bench: one pool, its workers, the load's tenants with keys made here.

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
class WindowSettings:
    """What may be in flight at one engine; `sequences` and `prefill_tokens` None: the gateway finds out by itself."""

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


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway to start. `engine_model` is the model's name at each of the engines; `port` 0 takes a free one.

    `locality_quantum` is the cost by which a request may go before another for the sake of a cached prefix.
    """

    policy: str
    engine_urls: Sequence[str]
    engine_model: str
    weights: Mapping[str, float]
    window: WindowSettings = WindowSettings()
    locality_quantum: int = 0
    max_model_len: int = 2048
    port: int = 0
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
                    "window": self.window.document(),
                    "workers": [
                        {"url": url, "name": f"engine-{number}"} for number, url in enumerate(self.engine_urls, 1)
                    ],
                    **({"locality_quantum": self.locality_quantum} if self.locality_quantum else {}),
                }
            ],
            "tenants": [self._tenant(name) for name in self.weights],
            "logs": {"format": "json", "level": "info"},
        }

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
