"""The configurations of deploy/ are right, and agree with the engines that stand beside them."""

import re
from pathlib import Path
from typing import Any

import pytest
import valkey
import yaml
from deployed_engines import COMPOSE, DEPLOY, ENGINES, FLEET, KUBERNETES, compose_engine
from real_stores import a_store

from gateway.config import Config, KeyFormat, Replicas, load


def environment() -> dict[str, str]:
    """The variables that the examples take from outside."""
    keys = {name: KeyFormat.create() for name in ("SEARCH_KEY", "BATCH_KEY", "VTC_ADMIN_KEY")}
    store = {"VTC_STORE": "redis://vtc-store:6379", "VTC_STORE_PASSWORD": "secret"}
    return {"MODEL_NAME": "llama", "VLLM_API_KEY": "secret", **store, **keys}


CONFIGURATIONS = {
    "image": DEPLOY / "docker" / "vllm" / "config.yaml",
    "compose": DEPLOY / "compose" / "gateway" / "config.yaml",
    "systemd": DEPLOY / "systemd" / "config.yaml",
    "kubernetes": KUBERNETES / "base" / "config.yaml",
    "example": KUBERNETES / "overlays" / "example" / "config.yaml",
    "compose replicas": DEPLOY / "compose" / "replicas" / "config.yaml",
    "kubernetes replicas": KUBERNETES / "overlays" / "replicas" / "config.yaml",
}


def test_no_configuration_is_forgotten() -> None:
    """Every config.yaml under deploy/ is among those that are read here."""
    assert set(DEPLOY.rglob("config.yaml")) == set(CONFIGURATIONS.values())


def loaded(name: str) -> Config:
    return load(CONFIGURATIONS[name], environment()).config


@pytest.mark.parametrize("example", CONFIGURATIONS)
def test_the_gateway_would_start_with_it(example: str) -> None:
    """No fault, no file that is missing, and a gateway that others can reach from a container."""
    config = load(CONFIGURATIONS[example], {**environment(), "VTC_HOST": "0.0.0.0"}).config
    assert config.listen.host == "0.0.0.0"
    assert config.listen.port == 8000
    assert config.anonymous.tenant is None
    assert config.admin.digest is not None


@pytest.mark.parametrize("example", ENGINES)
def test_its_window_is_the_engines(example: str) -> None:
    """Context, sequences and prefill tokens are what vLLM is started with; every engine is a worker."""
    (pool,) = loaded(example).pools
    engine = ENGINES[example]()
    assert pool.max_model_len == int(engine.options["--max-model-len"])
    assert engine.options["--enable-prompt-tokens-details"] == ""
    for worker in pool.workers:
        assert worker.window.sequences == int(engine.options["--max-num-seqs"])
        assert worker.window.prefill_tokens == int(engine.options["--max-num-batched-tokens"])
        assert worker.api_key is not None and worker.api_key.get_secret_value() == "secret"
    assert tuple(worker.url for worker in pool.workers) == engine.urls


@pytest.mark.parametrize("name", ["kubernetes", "example"])
def test_its_model_is_the_engines(name: str) -> None:
    """Clients' name for the model is what the workers answer to."""
    (pool,) = loaded(name).pools
    assert pool.model == ENGINES[name]().options["--served-model-name"]


@pytest.mark.parametrize("name", ["image", "systemd", "kubernetes", "example", "kubernetes replicas"])
def test_no_key_of_an_example_opens_anything(name: str) -> None:
    """The digests of files that people copy are no digests of keys: all but their last digit is zero."""
    for tenant in loaded(name).tenants:
        for key in tenant.keys:
            assert int.from_bytes(key.digest) < 16


def test_compose_names_every_variable_that_it_needs() -> None:
    """.env.example has each variable of the compose files, and compose gives the gateway each of its configuration."""
    text = "".join((DEPLOY / "compose" / name).read_text() for name in ("compose.yaml", "replicas.yaml"))
    needed = set(re.findall(r"\$\{(\w+)", text))
    offered = set(re.findall(r"^(\w+)=", (DEPLOY / "compose" / ".env.example").read_text(), re.MULTILINE))
    assert needed == offered
    config = CONFIGURATIONS["compose"].read_text()
    used = set(re.findall(r"\$\{(\w+)\}", config)) | set(re.findall(r"env: (\w+)", config))
    assert used <= COMPOSE["services"]["gateway"]["environment"].keys()


def test_the_fleet_of_compose_is_two_equal_gateways() -> None:
    """Both have the image, the variables and the bounds of the one, and reach the workers and the store."""
    one, services = COMPOSE["services"]["gateway"], FLEET["services"]
    first, second = services["gateway"], services["gateway-2"]
    assert second["environment"] == one["environment"] | first["environment"]
    assert second["volumes"] == first["volumes"] == ["./replicas:/etc/vtc-gateway:ro"]
    assert set(second["networks"]) == {*one["networks"], *first["networks"]} > set(services["store"]["networks"])
    own = {"environment", "volumes", "networks", "ports", "build"}
    assert {key: value for key, value in second.items() if key not in own} == {
        key: value for key, value in one.items() if key not in own
    }
    assert set(second["ports"]).isdisjoint(one["ports"])
    config = loaded("compose replicas")
    assert config.replicas == Replicas(store="redis://store:6379", password="secret")
    assert config.model_copy(update={"replicas": None, "tenants": ()}) == loaded("compose").model_copy(
        update={"tenants": (), "admin": config.admin}
    )


def stores() -> dict[str, list[str]]:
    """The commands by which the examples start a store, with a password in the place of its variable."""
    documents = yaml.safe_load_all((KUBERNETES / "components" / "store" / "store.yaml").read_text())
    (workload,) = [each for each in documents if each["kind"] == "StatefulSet"]
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    commands = {
        "compose": FLEET["services"]["store"]["command"],
        "kubernetes": [*container["command"], *container["args"]],
    }
    return {
        name: [re.sub(r"^\$[({]VTC_STORE_PASSWORD.*", "secret", word) for word in command]
        for name, command in commands.items()
    }


def test_the_stores_of_the_examples_are_started_alike() -> None:
    """Neither saves anything or forgets a part, and both ask for a password."""
    compose, kubernetes = stores().values()
    assert compose == kubernetes


def test_a_store_starts_so(tmp_path: Path) -> None:
    """A real Valkey takes the arguments, saves nothing, and refuses who has no password."""
    _, *arguments, option, password = stores()["compose"]
    assert option == "--requirepass"
    with a_store("valkey", tmp_path, *arguments, password=password) as store:
        settings = store.client.config_get("save", "appendonly", "maxmemory", "maxmemory-policy")
        assert settings == {
            "save": "",
            "appendonly": "no",
            "maxmemory": str(256 * 2**20),
            "maxmemory-policy": "noeviction",
        }
        with pytest.raises(valkey.AuthenticationError):
            valkey.Valkey(unix_socket_path=str(store.socket)).ping()


def test_the_scrapes_reach_the_services_of_compose() -> None:
    """Prometheus finds the gateway and each worker by the names that compose gives them."""
    jobs: dict[str, Any] = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    }
    assert jobs["vtc-gateway"] == ["gateway:8000"]
    assert [f"http://{target}" for target in jobs["vtc-workers"]] == list(compose_engine().urls)


def test_compose_stops_after_the_drain() -> None:
    """The engine of containers waits for the drain and ten seconds more."""
    grace = int(COMPOSE["services"]["gateway"]["stop_grace_period"].removesuffix("s"))
    assert grace == loaded("compose").listen.drain_seconds + 10


def test_nobody_passes_by_the_gateway_of_compose() -> None:
    """Workers publish no port, and share a network with the gateway and with Prometheus alone."""
    networks = {name: set(service["networks"]) for name, service in COMPOSE["services"].items()}
    assert {name for name, joined in networks.items() if "workers" in joined} == {
        "gateway",
        "prometheus",
        "worker-0",
        "worker-1",
    }
    assert not any("ports" in COMPOSE["services"][name] for name in ("worker-0", "worker-1"))
    gpus = [
        device["device_ids"]
        for name in ("worker-0", "worker-1")
        for device in COMPOSE["services"][name]["deploy"]["resources"]["reservations"]["devices"]
    ]
    assert gpus == [["0"], ["1"]]
