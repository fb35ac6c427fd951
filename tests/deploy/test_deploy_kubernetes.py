"""The Kubernetes manifests: valid by Kubernetes' own schemas, complete, and consistent with each other."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.config import Config, Replicas, load

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
BASE = KUBERNETES / "base"
MONITORING, REPLICAS, STORE = (KUBERNETES / "components" / name for name in ("monitoring", "replicas", "store"))
LEDGER = KUBERNETES / "components" / "ledger"
FLEET = KUBERNETES / "overlays" / "replicas" / "config.yaml"
KUSTOMIZATIONS = sorted([*KUBERNETES.rglob("kustomization.yaml"), KUBERNETES.parent / "grafana" / "kustomization.yaml"])
# The oldest and the newest version whose schemas are at hand among those that are still kept.
VERSIONS = ("1.32", "1.37")
OPERATOR = "monitoring.coreos.com/v1"


def documents(*folders: Path) -> Iterator[dict[str, Any]]:
    for folder in folders:
        for file in sorted(folder.glob("*.yaml")):
            for document in yaml.safe_load_all(file.read_text()):
                if "kind" in document and not document["apiVersion"].startswith("kustomize"):
                    yield document


def manifest(kind: str, name: str, folder: Path = BASE) -> Any:
    (found,) = [each for each in documents(folder) if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def merged(whole: Any, patch: Any) -> Any:
    """`whole` with a strategic merge patch: mappings key by key, lists of named members by their names."""
    match whole, patch:
        case dict(), dict():
            return whole | {key: merged(whole.get(key), value) for key, value in patch.items()}
        case [{"name": _}, *_], [{"name": _}, *_]:
            members = {each["name"]: each for each in whole}
            for each in patch:
                members[each["name"]] = merged(members.get(each["name"]), each)
            return list(members.values())
    return patch


def fleet_deployment() -> Any:
    """The gateways' Deployment as the component `replicas` makes it."""
    return merged(manifest("Deployment", "vtc-gateway"), manifest("Deployment", "vtc-gateway", REPLICAS))


def with_ledger(deployment: Any) -> Any:
    """`deployment` as the component `ledger` makes it."""
    return merged(deployment, manifest("Deployment", "vtc-gateway", LEDGER))


def of_kubernetes() -> list[dict[str, Any]]:
    """Every manifest whose type Kubernetes itself knows; the patch of a component counts with what it patches."""
    whole = [each for each in documents(BASE, MONITORING, STORE) if each["apiVersion"] != OPERATOR]
    return [*whole, manifest("PodDisruptionBudget", "vtc-gateway", REPLICAS), with_ledger(fleet_deployment())]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", of_kubernetes(), ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_the_schema_of_kubernetes_accepts_it(document: dict[str, Any], version: str) -> None:
    """The check is strict: the cluster would ignore an unknown field, so it is a fault here."""
    kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_would_notice_a_misspelt_field() -> None:
    """The check above can fail."""
    document = manifest("Deployment", "vtc-gateway")
    spec = document["spec"]["template"]["spec"]
    spec["terminationGracePeriodSecs"] = spec.pop("terminationGracePeriodSeconds")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("file", KUSTOMIZATIONS, ids=lambda file: file.parent.name)
def test_a_kustomization_names_every_file_beside_it_and_no_other(file: Path) -> None:
    """Nobody would apply a manifest that no kustomization names."""
    content = yaml.safe_load(file.read_text())
    generated = [name for generator in content.get("configMapGenerator", []) for name in generator["files"]]
    patches = [patch["path"] for patch in content.get("patches", [])]
    named = {*content.get("resources", []), *content.get("components", []), *generated, *patches}
    for name in named:
        path = file.parent / name
        assert path.is_file() or (path / "kustomization.yaml").is_file(), name
    beside = {path.name for path in file.parent.glob("*.yaml")} - {"kustomization.yaml"}
    assert beside <= named


def test_selectors_find_their_pods() -> None:
    """Services, workloads, budgets and policies select labels that a pod template has."""
    labels = [
        manifest("Deployment", "vtc-gateway")["spec"]["template"]["metadata"]["labels"],
        manifest("StatefulSet", "vtc-worker")["spec"]["template"]["metadata"]["labels"],
        manifest("StatefulSet", "vtc-store", STORE)["spec"]["template"]["metadata"]["labels"],
    ]
    selectors = [
        selector.get("matchLabels", selector)
        for each in of_kubernetes()
        if each["kind"] in ("Service", "Deployment", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy")
        for selector in (each["spec"].get("selector") or each["spec"]["podSelector"],)
    ]
    assert len(selectors) == 14
    assert all(selector in labels for selector in selectors)


def test_monitors_find_their_services() -> None:
    """Each ServiceMonitor selects one Service, whose name is the job that the rules ask for."""
    services = {
        each["metadata"]["name"]: each["metadata"]["labels"] for each in documents(BASE) if each["kind"] == "Service"
    }
    for monitor in ("vtc-gateway", "vtc-workers"):
        spec = manifest("ServiceMonitor", monitor, KUBERNETES / "components" / "monitoring")["spec"]
        wanted = spec["selector"]["matchLabels"].items()
        assert [name for name, labels in services.items() if wanted <= labels.items()] == [monitor]


def loaded(file: Path) -> Config:
    secrets = {"VLLM_API_KEY": "x", "VTC_ADMIN_KEY": "vtc-" + "a" * 43}
    return load(file, {**secrets, "VTC_STORE": "redis://vtc-store:6379", "VTC_STORE_PASSWORD": "x"}).config


def test_a_fleet_agrees_with_its_configuration() -> None:
    """As many pods as the gateways expect each other, the store's variables, and all else as for one gateway."""
    spec = fleet_deployment()["spec"]
    config = loaded(FLEET)
    assert config.replicas is not None
    assert config.replicas.expected == spec["replicas"] >= 2
    assert config.model_copy(update={"replicas": None}) == loaded(BASE / "config.yaml")
    (container,) = spec["template"]["spec"]["containers"]
    names = {variable["name"] for variable in container["env"]}
    assert set(re.findall(r"\${(VTC_STORE)}|password_env: (\w+)", FLEET.read_text())) == {
        ("VTC_STORE", ""),
        ("", "VTC_STORE_PASSWORD"),
    }
    assert {"VTC_STORE", "VTC_STORE_PASSWORD", "VLLM_API_KEY", "VTC_ADMIN_KEY"} == names


def test_a_ledger_agrees_with_the_section_that_it_asks_for(tmp_path: Path) -> None:
    """Its folder is on a volume that may be written, its address comes from the Secret."""
    (section,) = re.findall(r"^#   (ledger: .+)$", (LEDGER / "kustomization.yaml").read_text(), re.MULTILINE)
    (container,) = with_ledger(manifest("Deployment", "vtc-gateway"))["spec"]["template"]["spec"]["containers"]
    file = tmp_path / "config.yaml"
    file.write_text((BASE / "config.yaml").read_text() + section + "\n")
    secrets = {"VLLM_API_KEY": "x", "VTC_ADMIN_KEY": "vtc-" + "a" * 43}
    url = "postgresql://vtc:x@db/vtc?sslmode=verify-full"
    ledger = load(file, {**secrets, "VTC_LEDGER_URL": url}).config.ledger
    assert ledger is not None and ledger.postgres is not None
    assert "VTC_LEDGER_URL" in {variable["name"] for variable in container["env"]}
    (mount,) = [each for each in container["volumeMounts"] if not each.get("readOnly")]
    assert str(ledger.folder.parent) == mount["mountPath"]


def test_a_rollout_of_a_fleet_never_has_fewer_gateways() -> None:
    """The budget and the strategy leave all but one, or all; no two gateways share a node where there is another."""
    spec = fleet_deployment()["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    budget = manifest("PodDisruptionBudget", "vtc-gateway", REPLICAS)["spec"]
    assert budget["maxUnavailable"] < spec["replicas"]
    (term,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert term["podAffinityTerm"]["labelSelector"] == spec["selector"] == budget["selector"]


def test_the_store_is_reached_from_the_gateways_only() -> None:
    """It lets in the gateways' pods alone and reaches nobody."""
    policy = manifest("NetworkPolicy", "vtc-store", STORE)["spec"]
    (rule,) = policy["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "vtc-gateway"}}}]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and "egress" not in policy
    (service,) = [each for each in documents(STORE) if each["kind"] == "Service"]
    (port,) = service["spec"]["ports"]
    assert loaded(FLEET).replicas == Replicas(
        store=f"redis://{service['metadata']['name']}:{port['port']}", password="x"
    )


def test_the_pod_ends_after_the_drain() -> None:
    """preStop, the drain of the configuration and ten seconds fit into the grace period, of the example too."""
    spec = manifest("Deployment", "vtc-gateway")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (_, pause) = container["lifecycle"]["preStop"]["exec"]["command"]
    for file in (BASE / "config.yaml", KUBERNETES / "overlays" / "example" / "config.yaml", FLEET):
        config = loaded(file)
        assert spec["terminationGracePeriodSeconds"] == int(pause) + config.listen.drain_seconds + 10


def test_a_worker_ends_after_its_answers() -> None:
    """vLLM's own time for running answers fits into the grace period."""
    spec = manifest("StatefulSet", "vtc-worker")["spec"]["template"]["spec"]
    (argument,) = re.findall(r"--shutdown-timeout=(\d+)", " ".join(spec["containers"][0]["args"]))
    assert spec["terminationGracePeriodSeconds"] == int(argument) + 15


def test_probes_ask_the_gateway_what_they_mean() -> None:
    """Liveness asks whether it lives, readiness whether a worker serves."""
    (container,) = manifest("Deployment", "vtc-gateway")["spec"]["template"]["spec"]["containers"]
    paths = {name: container[name]["httpGet"]["path"] for name in container if name.endswith("Probe")}
    assert paths == {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}


def test_workers_are_reached_from_the_gateway_only() -> None:
    """The base lets in nobody but the gateway's pods; the component lets Prometheus in."""
    (rule,) = manifest("NetworkPolicy", "vtc-worker")["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "vtc-gateway"}}}]
    assert manifest("Service", "vtc-workers")["spec"]["clusterIP"] == "None"
    assert not any(
        each["kind"] == "Ingress" or each["spec"].get("type")
        for each in documents(BASE)
        if "spec" in each and each["kind"] == "Service"
    )


def test_every_secret_is_named_and_none_is_written() -> None:
    """Keys come from the Secret `vtc-gateway`, which is not among the manifests."""
    folders = (BASE, REPLICAS, STORE, LEDGER)
    assert not any(each["kind"] == "Secret" for each in documents(*folders, KUBERNETES / "overlays" / "example"))
    text = "\n".join(file.read_text() for folder in folders for file in folder.glob("*.yaml"))
    references = re.findall(r"secretKeyRef: {name: ([\w-]+), key: (\w+)", text)
    assert {name for name, _ in references} == {"vtc-gateway"}
    readme = (KUBERNETES.parent / "README.md").read_text()
    assert all(f"--from-literal={key}=" in readme for _, key in references)


class Served:
    """`vtc-gateway serve` in front of nothing, with its log at hand."""

    def __init__(self, config: Path) -> None:
        command = [sys.executable, "-m", "gateway", "serve", "--announce", str(config)]
        environment = os.environ | {"PYTHONPATH": str(KUBERNETES.parents[1]), "VTC_PORT": "0"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("ready ")

    def logged(self, event: str) -> dict[str, Any]:
        """The next line of the log with this event."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            found: dict[str, Any] = json.loads(line)
            if found["event"] == event:
                return found
        raise AssertionError(f"{event} was not logged")

    def end(self) -> None:
        """Stop it."""
        self.process.kill()
        self.process.communicate()


def write_volume(volume: Path, stamp: str, text: str) -> None:
    """What the kubelet does with a mounted ConfigMap: a new folder, one rename of a link, the old folder away."""
    before = (volume / "..data").resolve()
    (volume / stamp).mkdir()
    (volume / stamp / "config.yaml").write_text(text)
    (volume / "..data_tmp").symlink_to(stamp)
    (volume / "..data_tmp").rename(volume / "..data")
    if before.name == "..data":
        (volume / "config.yaml").symlink_to("..data/config.yaml")
    else:
        shutil.rmtree(before)


def test_a_changed_config_map_is_in_force_without_a_restart(tmp_path: Path) -> None:
    """The gateway notices the kubelet's replacement of the volume, again and again, and a wrong one too."""
    text = "listen: {port: 0}\npools: [{model: m, workers: [{url: 'http://127.0.0.1:9'}]}]\ntenants: [{name: a}]\n"
    write_volume(tmp_path, "..1", text)
    served = Served(tmp_path / "config.yaml")
    try:
        for stamp, name in (("..2", "b"), ("..3", "c")):
            write_volume(tmp_path, stamp, text.replace("name: a", f"name: {name}"))
            assert any(name in change for change in served.logged("configuration applied")["changes"])
        write_volume(tmp_path, "..4", text.replace("tenants", "tenant"))
        assert served.logged("configuration rejected")["faults"]
    finally:
        served.end()
