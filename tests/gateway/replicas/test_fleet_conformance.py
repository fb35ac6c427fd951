"""The fairness suite, from outside, on three gateways that share an account: they pass it as one gateway does."""

import io

import pytest
from rich.console import Console
from virtual_time import run_in_virtual_time, virtual_loop
from whole_gateway import Plan, key_of, several_gateways, tenant
from workers_on_stage import EngineWorker

from evaluation.conformance.rules import ScenarioOutcome
from evaluation.conformance.suite import SCENARIOS, Findings, Subject, run_suite
from evaluation.conformance.tenants import read_cast
from evaluation.report.terminal import Progress
from gateway.config import Right

from .model_store import ModelStore

WEIGHTS = {"alice": 4.0, "bob": 1.0}
SECONDS = 1.5


@pytest.fixture(autouse=True)
def clock_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stands still when its event loop does."""
    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())


def test_a_fleet_passes_every_scenario() -> None:
    """Weights 4:1 and a tenant with two keys; the skewed ingress is judged, for there are several URLs."""

    async def story() -> Findings:
        cast = [
            tenant(name, keys=2, weight=weight, allow=frozenset({Right.IGNORE_EOS})) for name, weight in WEIGHTS.items()
        ]
        async with several_gateways(3, EngineWorker(), plan=Plan(cast), connect=ModelStore().connect) as fleet:
            keys = ",".join(f"{name}={key_of(name)}" for name in WEIGHTS) + f",alice={key_of('alice', 2)}"
            subject = read_cast(keys, ",".join(f"{name}={weight}" for name, weight in WEIGHTS.items()))
            progress = Progress(Console(file=io.StringIO()))
            return await run_suite(Subject([scene.url for scene in fleet], subject), SCENARIOS, SECONDS, progress)

    found = {finding.scenario.name: finding.judgement for finding in run_in_virtual_time(story()).findings}
    assert {name: each.reason for name, each in found.items() if each.outcome is not ScenarioOutcome.PASSED} == {}
    assert found["skewed"].number == pytest.approx(1.0, abs=0.1)
