"""The proxies that are compared: how each is found, configured and started for a bench.

Each runs as one process on one core, keeps connections to the engine, passes pieces on as they come and limits nothing.
The gateway has everything on; nginx, HAProxy, Envoy and the plain proxy neither authenticate nor meter nor log, the
floor does not even read; the routers for engines do what they do by default. Where they come from:
`scripts/install-bench`.
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import yaml

from evaluation.bench.settings import POOL, GatewaySettings, WindowSettings

DIRECT = "direct"
GATEWAY = "gateway"
FLOOR = "floor"

_PEERS = Path(__file__).resolve().parents[3] / ".venv-peers"
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
_MANY = 20_000
_SEQUENCES = 100_000
_PREFILL_TOKENS = 100_000_000


@dataclass(frozen=True, slots=True)
class Site:
    """Where a proxy is to run: its folder, its port, another free one, the engine behind it, the clients' keys."""

    folder: Path
    port: int
    other_port: int
    engine: str
    keys: Mapping[str, str]

    @property
    def engine_authority(self) -> str:
        """Host and port of the engine."""
        return self.engine.removeprefix("http://")

    def write(self, name: str, text: str) -> str:
        """Write a configuration file; its path."""
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)


@dataclass(frozen=True, slots=True)
class Launch:
    """A command, and what its environment has besides ours."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Contender:
    """One proxy: its program (a name on the path, or below `.venv-peers`), and how it is started.

    `most_streams`: beyond these it cannot keep the pace on any machine that runs this bench.
    """

    name: str
    program: str
    launch: Callable[[str, Site], Launch]
    most_streams: int = _MANY

    @property
    def path(self) -> str | None:
        """Where its program is, None where it is not installed."""
        if "/" in self.program:
            path = _PEERS / self.program
            return str(path) if path.exists() else None
        return shutil.which(self.program) or shutil.which(self.program, path=_SYSTEM_PATH)


def _gateway(program: str, site: Site) -> Launch:
    settings = GatewaySettings(
        policy="vtc",
        engine_urls=[site.engine],
        engine_model=POOL,
        weights=dict.fromkeys(site.keys, 1.0),
        window=WindowSettings(_SEQUENCES, prefill_tokens=_PREFILL_TOKENS),
        max_model_len=32_768,
        keys=site.keys,
        port=site.port,
    )
    path = site.folder / "gateway.yaml"
    settings.write(path)
    return Launch([program, "-m", "gateway", "serve", str(path), "--announce"])


def _nginx(program: str, site: Site) -> Launch:
    temporary = "\n".join(
        f"  {kind}_temp_path {site.folder}/nginx-{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = f"""daemon off; worker_processes 1; pid {site.folder}/nginx.pid; error_log stderr warn;
worker_rlimit_nofile {_MANY};
events {{ worker_connections {_MANY}; }}
http {{
  access_log off; tcp_nodelay on; keepalive_requests 1000000000;
{temporary}
  upstream engine {{ server {site.engine_authority}; keepalive 1024; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{site.port} backlog=4096;
    location / {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
"""
    # The error log of the time before the configuration is read would be a system file.
    return Launch([program, "-c", site.write("nginx.conf", config), "-e", "stderr"])


def _haproxy(program: str, site: Site) -> Launch:
    config = f"""global
  nbthread 1
  maxconn {_MANY // 2 - 100}
defaults
  mode http
  option http-keep-alive
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
frontend clients
  bind 127.0.0.1:{site.port} backlog 4096
  default_backend engines
backend engines
  server engine {site.engine_authority}
"""
    return Launch([program, "-db", "-f", site.write("haproxy.cfg", config)])


_ENVOY = """static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/{manager}.v3.HttpConnectionManager
          stat_prefix: clients
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: engine, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: engine
    type: STATIC
    circuit_breakers: {{thresholds: [{{max_connections: {many}, max_pending_requests: {many}, max_requests: {many}}}]}}
    load_assignment:
      cluster_name: engine
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {engine_port}}}}}}}
"""


def _envoy(program: str, site: Site) -> Launch:
    host, _, engine_port = site.engine_authority.partition(":")
    manager = "envoy.extensions.filters.network.http_connection_manager"
    config = _ENVOY.format(port=site.port, manager=manager, many=_MANY, host=host, engine_port=engine_port)
    flags = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    return Launch([program, "-c", site.write("envoy.yaml", config), *flags])


def _router_flags(site: Site) -> list[str]:
    return [
        *("--host", "127.0.0.1", "--port", str(site.port), "--prometheus-port", str(site.other_port)),
        *("--worker-urls", site.engine, "--policy", "round_robin", "--max-concurrent-requests", str(_MANY)),
    ]


def _vllm_router(program: str, site: Site) -> Launch:
    return Launch([program, *_router_flags(site), "--log-level", "warning"])


def _smg(program: str, site: Site) -> Launch:
    keys = [part for name, key in site.keys.items() for part in ("--tenant-api-key", f"{name}:{key}")]
    flags = ["--log-level", "warn", "--disable-tokenizer-autoload", *keys]
    return Launch([program, "launch", *_router_flags(site), *flags])


def _litellm(program: str, site: Site) -> Launch:
    parameters = {"model": f"openai/{POOL}", "api_base": f"{site.engine}/v1", "api_key": "none"}
    models = {
        "model_list": [{"model_name": POOL, "litellm_params": parameters}],
        "litellm_settings": {"num_retries": 0},
    }
    path = site.write("litellm.yaml", yaml.safe_dump(models))
    address = ["--host", "127.0.0.1", "--port", str(site.port)]
    quiet = {"NO_DOCS": "True", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    # It listens on loopback and authenticates nobody, like the other yardsticks, and wants to be told that it may.
    quiet["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    return Launch([program, "--config", path, *address, "--telemetry", "False"], quiet)


def _plain(program: str, site: Site) -> Launch:
    return Launch([program, "-m", "evaluation.bench.datapath.plain_proxy", str(site.port), site.engine])


def _floor(program: str, site: Site) -> Launch:
    return Launch([program, "-m", "evaluation.bench.datapath.floor", str(site.port), site.engine])


CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        contender.name: contender
        for contender in (
            Contender(GATEWAY, sys.executable, _gateway),
            Contender(FLOOR, sys.executable, _floor),
            Contender("nginx", "nginx", _nginx),
            Contender("haproxy", "haproxy", _haproxy),
            Contender("envoy", "envoy/bin/envoy", _envoy),
            Contender("vllm-router", "vllm-router/bin/vllm-router", _vllm_router),
            Contender("smg", "smg/bin/smg", _smg),
            Contender("aiohttp", sys.executable, _plain),
            Contender("litellm", "litellm/bin/litellm", _litellm, most_streams=64),
        )
    }
)


def installed(names: Sequence[str]) -> tuple[list[Contender], list[str]]:
    """The contenders called `names` (all where empty) that are on this machine, and the names of those that are not."""
    wanted = [CONTENDERS[name] for name in names or CONTENDERS]
    present = [contender for contender in wanted if contender.path is not None]
    return present, [contender.name for contender in wanted if contender.path is None]
