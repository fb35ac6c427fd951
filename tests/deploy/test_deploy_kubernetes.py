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

from gateway.config import load

KUBERNETES = Path(__file__).parents[2] / "deploy" / "kubernetes"
BASE = KUBERNETES / "base"
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


def of_kubernetes() -> list[dict[str, Any]]:
    """Every manifest whose type Kubernetes itself knows; an overlay's patch is no whole manifest."""
    whole = documents(BASE, KUBERNETES / "components" / "monitoring")
    return [each for each in whole if each["apiVersion"] != OPERATOR]


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
    ]
    selectors = [
        selector.get("matchLabels", selector)
        for each in documents(BASE, KUBERNETES / "components" / "monitoring")
        if each["kind"] in ("Service", "Deployment", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy")
        for selector in (each["spec"].get("selector") or each["spec"]["podSelector"],)
    ]
    assert len(selectors) == 8
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


def test_the_pod_ends_after_the_drain() -> None:
    """preStop, the drain of the configuration and ten seconds fit into the grace period, of the example too."""
    spec = manifest("Deployment", "vtc-gateway")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (_, pause) = container["lifecycle"]["preStop"]["exec"]["command"]
    for file in (BASE / "config.yaml", KUBERNETES / "overlays" / "example" / "config.yaml"):
        config = load(file, {"VLLM_API_KEY": "x", "VTC_ADMIN_KEY": "vtc-" + "a" * 43}).config
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
    assert not any(each["kind"] == "Secret" for each in documents(BASE, KUBERNETES / "overlays" / "example"))
    references = re.findall(
        r"secretKeyRef: {name: ([\w-]+), key: (\w+)", "\n".join(file.read_text() for file in BASE.glob("*.yaml"))
    )
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
