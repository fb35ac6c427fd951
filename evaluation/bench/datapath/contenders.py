"""The proxies that are compared: how each is found, configured and started for a bench.

Each runs as one process on one core, keeps connections to the engine and passes pieces on as they come. All features
of the gateway are on, the ledger too, with limits that nobody reaches. `interpreted` is the same gateway, not compiled,
where the one that is measured is compiled. nginx, HAProxy, Envoy and the yardsticks do not authenticate, meter or log.
The routers for engines do what they do by default. A short script in `peers` holds a peer's configuration and command
line. `scripts/install-bench` installs its program.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gateway
from evaluation.bench.datapath.engine import ADDRESSES
from evaluation.bench.settings import POOL, GatewaySettings, WindowSettings
from gateway.compilation import IS_COMPILED

DIRECT = "direct"
GATEWAY = "gateway"
INTERPRETED = "interpreted"
OURS = (GATEWAY, INTERPRETED)

_PEERS = Path(__file__).resolve().parents[3] / ".venv-peers"
_SCRIPTS = Path(__file__).parent / "peers"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_MANY = 20_000
NO_LIMIT = 50_000  # sequences in flight; the configuration allows twice as many
_LIMITS = {
    "max_in_flight": 1_000_000,
    "max_queued": 1_000_000,
    "requests_per_minute": 1_000_000_000,
    "tokens_per_minute": 10_000_000_000,
}


@dataclass(frozen=True, slots=True)
class ProxySetup:
    """Where a proxy is to run: its folder, its port, another free one, the engine behind it, the clients' keys.

    `workers`: as how many workers the engine appears to the gateway.
    """

    folder: Path
    port: int
    other_port: int
    engine: str
    keys: Mapping[str, str]
    workers: int = 1

    def environment(self, program: str) -> dict[str, str]:
        """The environment of a peer's script."""
        return {
            "PROGRAM": program,
            "FOLDER": str(self.folder),
            "PORT": str(self.port),
            "OTHER_PORT": str(self.other_port),
            "ENGINE": self.engine,
            "ENGINE_AUTHORITY": self.engine.removeprefix("http://"),
            "MODEL": POOL,
            "MANY": str(_MANY),
            "TENANT_KEYS": " ".join(f"{name}:{key}" for name, key in self.keys.items()),
        }

    def configured(self, sequences: int) -> Path:
        """The configuration file of a gateway that has at most `sequences` in flight."""
        return GatewaySettings(
            policy="vtc",
            engine_urls=[self.engine.replace(ADDRESSES[0], address) for address in ADDRESSES[: self.workers]],
            engine_model=POOL,
            weights=dict.fromkeys(self.keys, 1.0),
            window=WindowSettings(sequences, prefill_tokens=100_000_000),
            max_model_len=32_768,
            listen={"port": self.port},
            limits=_LIMITS,
            ledger={"folder": str(self.folder / "ledger")},
            keys=self.keys,
        ).write(self.folder / "gateway.yaml")

    def without_extensions(self) -> Path:
        """A folder with the gateway's package as it is before it is compiled."""
        sources, ignored = self.folder / "sources", shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(Path(gateway.__file__).parent, sources / "gateway", ignore=ignored)
        return sources


@dataclass(frozen=True, slots=True)
class Contender:
    """One proxy: a program (a name on the path, or below `.venv-peers`) with a script, or a `module` of ours.

    `most_streams`: beyond these it cannot keep the pace on any machine that runs this bench. A gateway has at most
    `window` sequences in flight. One of several `processes` may use every core.
    """

    name: str
    program: str = ""
    module: str = ""
    most_streams: int = _MANY
    processes: int = 1
    window: int = NO_LIMIT

    @property
    def path(self) -> str | None:
        """Where its program is, None where it is not installed."""
        if self.module:
            return sys.executable
        if "/" in self.program:
            path = _PEERS / self.program
            return str(path) if path.exists() else None
        return shutil.which(self.program) or shutil.which(self.program, path=_SYSTEM_PATH)

    @property
    def version(self) -> str:
        """The version of its program; raises OSError if that does not start."""
        assert self.path is not None
        if self.module:
            return ""
        if "/" in self.program:
            return (_PEERS / self.name / ".stamp").read_text().strip().rpartition("==")[2]
        printed = subprocess.run([self.path, "-v"], capture_output=True, text=True, check=False)  # noqa: S603 - a peer's
        found = re.search(r"\d+(\.\d+)+", printed.stdout + printed.stderr)
        return found[0] if found else ""

    def command(self, setup: ProxySetup) -> Sequence[str]:
        """The command that starts it on `setup`."""
        if self.module == GATEWAY:
            serve = ["-m", self.module, "serve", str(setup.configured(self.window)), "--announce"]
            if self.processes > 1:
                serve += ["--processes", str(self.processes)]
            if self.name != INTERPRETED:
                return [sys.executable, *serve]
            return ["env", f"PYTHONPATH={setup.without_extensions()}", sys.executable, "-P", *serve]
        if self.module:
            return [sys.executable, "-m", self.module, self.name, str(setup.port), setup.engine]
        return ["bash", str(_SCRIPTS / f"{self.name}.sh")]


_YARDSTICKS = "evaluation.bench.datapath.yardsticks"
_ALL = (
    Contender(GATEWAY, module=GATEWAY),
    *([Contender(INTERPRETED, module=GATEWAY)] if IS_COMPILED else []),
    Contender("floor", module=_YARDSTICKS),
    Contender("nginx", "nginx"),
    Contender("haproxy", "haproxy"),
    Contender("envoy", "envoy/bin/envoy"),
    Contender("vllm-router", "vllm-router/bin/vllm-router"),
    Contender("smg", "smg/bin/smg"),
    Contender("aiohttp", module=_YARDSTICKS),
    Contender("litellm", "litellm/bin/litellm", most_streams=64),
)
CONTENDERS: Mapping[str, Contender] = {contender.name: contender for contender in _ALL}


def installed(names: Sequence[str]) -> tuple[list[Contender], list[str]]:
    """The contenders called `names` (all where empty) that are on this machine, and the names of those that are not."""
    wanted = [CONTENDERS[name] for name in names or CONTENDERS]
    present = [contender for contender in wanted if contender.path is not None]
    return present, [contender.name for contender in wanted if contender.path is None]
