"""Real vLLM, the embedded engine and the gateway, each started once as a user starts it.

At most two vLLM servers are alive at a time: the one of `vllm_url` for the whole session, and the one that a test
module starts for itself.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract_cases import MODEL
from vllm_exchange import Answer, exchange
from vllm_servers import python, running

# Half a minute by itself; longer where other work has the cores.
VLLM_SECONDS = 600
OUR_SERVER_SECONDS = 60

# As small as it may be for two tenants to wait for each other.
SEQUENCES = 4
SLACK = 1

# Random weights like blanks: where a schema allows them between the parts of JSON, the answer never ends.
TERSE_JSON = ("--structured-outputs-config", '{"backend": "xgrammar", "disable_any_whitespace": true}')

ADMIN_KEY = "vtc-" + "d" * 43
RIGHTS = ["ignore_eos", "echo", "prompt_logprobs"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the real vLLM."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("vllm")


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the servers' logs go."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def vllm_url(logs: Path) -> Iterator[str]:
    """Real vLLM with the byte-llama model and few slots."""
    arguments = ("--max-num-seqs", str(SEQUENCES), "--enable-auto-tool-choice", "--tool-call-parser", "hermes")
    command = python("backend", "vllm", "--model", MODEL, "--", *arguments, *TERSE_JSON)
    with running(command, logs / "vllm.log", VLLM_SECONDS) as url:
        yield url


@pytest.fixture(scope="session")
def embedded_url(logs: Path) -> Iterator[str]:
    """The embedded engine under the same name and sizes."""
    sizes = ("--max-num-seqs", str(SEQUENCES), "--max-model-len", "2048", "--block-size", "128")
    command = python("backend", "embedded", "--profile", "instant", "--model", MODEL, *sizes)
    with running(command, logs / "embedded.log", OUR_SERVER_SECONDS) as url:
        yield url


@dataclass(frozen=True, slots=True)
class Tenant:
    """A client of the gateway."""

    name: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        """Its credential."""
        return {"Authorization": f"Bearer {self.key}"}


ALICE = Tenant("alice", "vtc-" + "a" * 43)
BOB = Tenant("bob", "vtc-" + "b" * 43)
CAROL = Tenant("carol", "vtc-" + "c" * 43)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway in front of one vLLM."""

    url: str

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """One request of Alice."""
        return exchange(self.url, method, path, body, ALICE.headers)

    def state(self) -> Any:
        """The state dump."""
        answer = exchange(self.url, "GET", "/debug/state", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
        assert answer.status == 200, answer
        return answer.document


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def write_gateway_config(
    path: Path, engine_url: str, policy: str = "vtc", pool_keys: Mapping[str, object] | None = None
) -> None:
    """A gateway's configuration: one pool, the engine behind `engine_url`, three tenants; `pool_keys` come last."""
    tenants = [
        {"name": tenant.name, "keys": [{"id": "main", "sha256": _digest(tenant.key)}], "allow": RIGHTS}
        for tenant in (ALICE, BOB, CAROL)
    ]
    pool = {
        "model": MODEL,
        "max_model_len": 2048,
        "window": {"sequences": SEQUENCES, "slack": SLACK},
        "workers": [{"url": engine_url, "name": "engine"}],
        **(pool_keys or {}),
    }
    document = {
        "listen": {"host": "127.0.0.1", "port": 0},
        "admin": {"key": {"sha256": _digest(ADMIN_KEY)}},
        "scheduler": {"policy": policy},
        "pools": [pool],
        "tenants": tenants,
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.fixture(scope="session")
def gateway(vllm_url: str, logs: Path) -> Iterator[Gateway]:
    """The gateway in front of `vllm_url`."""
    config = logs / "gateway.yaml"
    write_gateway_config(config, vllm_url)
    with running(
        python("gateway", "serve", str(config), "--announce"), logs / "gateway.log", OUR_SERVER_SECONDS
    ) as url:
        yield Gateway(url)
