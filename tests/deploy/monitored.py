"""A real Prometheus that scrapes a real gateway with two engines under traffic, as deploy/prometheus says.

Beside its own targets Prometheus scrapes a page of this test, which counts the scrapes: a test waits for the next
scrape and never for a time. The gateway is given more tenants than labels, a worker that fails once, a client with a
wrong key and a store, so that every family of metrics has something to say.
"""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import yaml
from real_stores import a_store

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
STUCK_SECONDS = 60.0  # then whatever is waited for will not come on any machine
MOST_SCRAPES = 60
TENANTS = ("alice", "bob", "carol")
FAULTS = '{"faults": [{"kind": "refuse", "status": 500, "nth": 3}]}'


class Scrapes:
    """The page that counts how often it was scraped."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        scrapes = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(b"scraped 1\n")
                scrapes.note()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Page)

    @property
    def target(self) -> str:
        """Where Prometheus finds the page."""
        return f"127.0.0.1:{self.server.server_port}"

    def note(self) -> None:
        """Another scrape."""
        with self._changed:
            self._count += 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Return at the next scrape."""
        with self._changed:
            before = self._count
            assert self._changed.wait_for(lambda: self._count > before, STUCK_SECONDS), "Prometheus does not scrape"


def fetch(url: str, key: str = "", body: object = None) -> tuple[int, bytes]:
    """Status and body of an answer."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(url, data, headers), timeout=STUCK_SECONDS) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


class Monitored:
    """The running site: what Prometheus knows, and what its targets say themselves."""

    def __init__(self, prometheus: str, gateway: str, engines: list[str], scrapes: Scrapes) -> None:
        self.gateway, self.engines, self._prometheus, self._scrapes = gateway, engines, prometheus, scrapes

    def api(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus; an error is the test's failure."""
        status, body = fetch(f"{self._prometheus}/api/v1/{path}?{urlencode(parameters)}")
        answer = json.loads(body)
        assert (status, answer["status"]) == (200, "success"), f"{parameters}: {answer.get('error')}"
        return answer["data"]

    def query(self, expression: str) -> list[Any]:
        """The series of an instant query."""
        series = self.api("query", query=expression)["result"]
        assert isinstance(series, list)
        return series

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Return when `holds`, asked again after each scrape."""
        for _ in range(MOST_SCRAPES):
            if holds():
                return
            self._scrapes.wait()
        raise AssertionError(f"never: {what}")

    def metric_names(self) -> set[str]:
        """Every metric that the gateway and the engines export now, histograms by their parts."""
        names: set[str] = set()
        for url in (self.gateway, *self.engines):
            for line in fetch(f"{url}/metrics")[1].decode().splitlines():
                if line.startswith("# TYPE "):
                    names |= _series_names(*line.split()[2:4])
        return names


def _series_names(name: str, kind: str) -> set[str]:
    return {name} if kind != "histogram" else {f"{name}_bucket", f"{name}_sum", f"{name}_count"}


class Traffic:
    """Clients that keep more in the queue than the windows hold, until they must stop."""

    def __init__(self, gateway: str, keys: dict[str, str]) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(gateway, keys[name], f"client of {name}"), daemon=True)
            for name in TENANTS
            for _ in range(4)
        ]
        for url, key, model in ((gateway, "wrong", "tiny"), (gateway, keys["alice"], "no-such-model")):
            fetch(f"{url}/v1/completions", key, {"model": model, "prompt": "x"})
        for thread in self._threads:
            thread.start()

    def _ask(self, gateway: str, key: str, prompt: str) -> None:
        for _ in range(1000):
            if self._stop.is_set():
                return
            body = {"model": "tiny", "prompt": prompt, "max_tokens": 30, "stream": True}
            fetch(f"{gateway}/v1/completions", key, body)

    def stop(self) -> None:
        """End it and wait for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join(STUCK_SECONDS)


@contextmanager
def child(command: list[str], folder: Path, **variables: str) -> Iterator["subprocess.Popen[str]"]:
    """A running command whose log goes to a file of `folder`; ended with SIGTERM."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)} | variables
    with (folder / f"{Path(command[-1]).name}.log").open("a") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=folder, start_new_session=True
        )
        watchdog = threading.Timer(4 * STUCK_SECONDS, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=STUCK_SECONDS)
            watchdog.cancel()


def ready(process: "subprocess.Popen[str]") -> str:
    """The URL of a server that says `ready URL`."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("ready "), "the server did not start"
    return line.split()[1]


def _engine(folder: Path, name: str, *options: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "backend",
        "embedded",
        "--max-num-seqs",
        "2",
        "--end-with-parent",
        *options,
        "--seed",
        name,
    ]


def _gateway_configuration(engines: list[str], store: str) -> str:
    tenants = [{"name": name, "keys": [{"id": "main", "file": f"{name}.key"}]} for name in TENANTS]
    pool = {
        "model": "tiny",
        "window": {"sequences": 2},
        "workers": [{"url": url} for url in engines],
        "prices": {"prompt": 0.5, "output": 2, "worker_hour": 3},
    }
    return yaml.safe_dump(
        {
            "listen": {"port": 0},
            "pools": [pool],
            "tenants": tenants,
            "metrics": {"tenant_labels": len(TENANTS) - 1},
            "replicas": {"store": store, "expected": 1},
            "ledger": {"postgres": {"url_env": "LEDGER_URL"}},
            "webhook": {"url": "http://127.0.0.1:9/", "secret_file": "webhook.secret"},
        }
    )


def prometheus_configuration(folder: Path, targets: dict[str, list[str]]) -> Path:
    """deploy/prometheus copied to `folder`, with `targets` by job and a quicker pace; nothing else is changed."""
    for rules in (DEPLOY / "prometheus").glob("*.rules.yml"):
        (folder / rules.name).write_text(rules.read_text())
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert {job["job_name"] for job in configuration["scrape_configs"]} == targets.keys() - {"scrapes"}
    for job in configuration["scrape_configs"]:
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    configuration["scrape_configs"].append({"job_name": "scrapes", "static_configs": [{"targets": targets["scrapes"]}]})
    configuration["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def monitored(folder: Path) -> Iterator[Monitored]:
    """The whole site under traffic, once Prometheus has read every target."""
    with ExitStack() as stack:
        (folder / "faults.json").write_text(FAULTS)
        engines = [
            stack.enter_context(child(command, folder))
            for command in (_engine(folder, "1"), _engine(folder, "2", "--faults", "faults.json"))
        ]
        urls = [ready(engine) for engine in engines]
        store = stack.enter_context(a_store("redis", folder))
        (folder / "gateway.yaml").write_text(_gateway_configuration(urls, store.url))
        (folder / "webhook.secret").write_text("a-secret-of-enough-characters")
        serve = [sys.executable, "-m", "gateway", "serve", "--create-keys", "--announce", "gateway.yaml"]
        gateway = ready(stack.enter_context(child(serve, folder, LEDGER_URL="postgresql://127.0.0.1:1/nowhere")))
        traffic = Traffic(gateway, {name: (folder / f"{name}.key").read_text().strip() for name in TENANTS})
        stack.callback(traffic.stop)
        scrapes = Scrapes()
        threading.Thread(target=scrapes.server.serve_forever, daemon=True).start()
        stack.callback(scrapes.server.server_close)
        stack.callback(scrapes.server.shutdown)
        address = f"127.0.0.1:{_free_port()}"
        targets = {"vtc-gateway": [gateway], "vtc-workers": urls, "scrapes": ["http://" + scrapes.target]}
        configuration = prometheus_configuration(
            folder, {job: [url.removeprefix("http://") for url in found] for job, found in targets.items()}
        )
        stack.enter_context(
            child(
                [
                    "prometheus",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address={address}",
                    "--log.level=warn",
                    f"--config.file={configuration}",
                ],
                folder,
            )
        )
        site = Monitored(f"http://{address}", gateway, urls, scrapes)
        site.until(lambda: _answers(site), "Prometheus answers")
        yield site


def _answers(site: Monitored) -> bool:
    try:
        return len(site.query("up == 1")) == 4
    except (URLError, ConnectionError):
        return False
