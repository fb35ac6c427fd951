"""The proxies that are compared: how each is found, configured and started for a bench.

Each runs as one process on one core, keeps connections to the engine, passes pieces on as they come and limits nothing.
All features of the gateway are on. nginx, HAProxy, Envoy and the yardsticks do not authenticate, meter or log. The
routers for engines do what they do by default. A short script in `peers` holds a peer's configuration and command line.
`scripts/install-bench` installs its program.
"""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.bench.settings import POOL, GatewaySettings, WindowSettings

DIRECT = "direct"
GATEWAY = "gateway"

_PEERS = Path(__file__).resolve().parents[3] / ".venv-peers"
_SCRIPTS = Path(__file__).parent / "peers"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_MANY = 20_000
_WINDOW = WindowSettings(100_000, prefill_tokens=100_000_000)


@dataclass(frozen=True, slots=True)
class ProxySetup:
    """Where a proxy is to run: its folder, its port, another free one, the engine behind it, the clients' keys."""

    folder: Path
    port: int
    other_port: int
    engine: str
    keys: Mapping[str, str]

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

    def configured(self) -> Path:
        """The gateway's configuration file."""
        return GatewaySettings(
            policy="vtc",
            engine_urls=[self.engine],
            engine_model=POOL,
            weights=dict.fromkeys(self.keys, 1.0),
            window=_WINDOW,
            max_model_len=32_768,
            listen={"port": self.port},
            keys=self.keys,
        ).write(self.folder / "gateway.yaml")


@dataclass(frozen=True, slots=True)
class Contender:
    """One proxy: a program (a name on the path, or below `.venv-peers`) with a script, or a `module` of ours.

    `most_streams`: beyond these it cannot keep the pace on any machine that runs this bench.
    """

    name: str
    program: str = ""
    module: str = ""
    most_streams: int = _MANY

    @property
    def path(self) -> str | None:
        """Where its program is, None where it is not installed."""
        if self.module:
            return sys.executable
        if "/" in self.program:
            path = _PEERS / self.program
            return str(path) if path.exists() else None
        return shutil.which(self.program) or shutil.which(self.program, path=_SYSTEM_PATH)

    def command(self, setup: ProxySetup) -> Sequence[str]:
        """The command that starts it on `setup`."""
        if self.name == GATEWAY:
            return [sys.executable, "-m", self.module, "serve", str(setup.configured()), "--announce"]
        if self.module:
            return [sys.executable, "-m", self.module, self.name, str(setup.port), setup.engine]
        return ["bash", str(_SCRIPTS / f"{self.name}.sh")]


_YARDSTICKS = "evaluation.bench.datapath.yardsticks"
_ALL = (
    Contender(GATEWAY, module="gateway"),
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
