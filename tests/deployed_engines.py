"""How the examples of deploy/ start their engines: vLLM's options, and the addresses that the gateway is given."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
FLEET = yaml.safe_load((DEPLOY / "compose" / "replicas.yaml").read_text())


@dataclass(frozen=True, slots=True)
class Engine:
    """How the engines of an example are started: vLLM's options, and the addresses that they get."""

    options: Mapping[str, str]
    urls: tuple[str, ...]


def options(words: list[str]) -> dict[str, str]:
    """`--name=value` and `--name value` as a table; a flag has the value ""."""
    joined = re.sub(r" (?!--)", "=", " ".join(words))
    return {name: value for name, _, value in (word.partition("=") for word in joined.split())}


def compose_engine() -> Engine:
    workers = {name: service for name, service in COMPOSE["services"].items() if name.startswith("worker-")}
    (command,) = {tuple(service["command"]) for service in workers.values()}
    return Engine(options(list(command)), tuple(f"http://{name}:8000" for name in workers))


def systemd_engine() -> Engine:
    unit = (DEPLOY / "systemd" / "vllm@.service").read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=\S+ -m \S+ (.*)$", unit, re.MULTILINE)
    lines = (DEPLOY / "systemd" / "vllm.env").read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    for name, value in values.items():
        command = command.replace(f"${{{name}}}", value).replace(f"${name}", value)
    ports = sorted(re.findall(r"\d+", file.name)[0] for file in (DEPLOY / "systemd").glob("vllm-*.env"))
    first = command.replace("%i", ports[0])
    return Engine(options(first.split()), tuple(f"http://127.0.0.1:{port}" for port in ports))


def stateful_set(path: Path) -> Engine:
    (found,) = [each for each in yaml.safe_load_all(path.read_text()) if each["kind"] == "StatefulSet"]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    urls = tuple(f"http://vtc-worker-{number}.vtc-workers:8000" for number in range(found["spec"]["replicas"]))
    return Engine(options(container["args"]), urls)


ENGINES: dict[str, Callable[[], Engine]] = {
    "compose": compose_engine,
    "systemd": systemd_engine,
    "kubernetes": lambda: stateful_set(KUBERNETES / "base" / "workers.yaml"),
    "example": lambda: stateful_set(KUBERNETES / "overlays" / "example" / "workers.yaml"),
}
