"""The suite against our gateway with its engine, in virtual time: what passes, and the controls that must not."""

import io
from collections.abc import Mapping, Sequence

import pytest
from rich.console import Console
from virtual_time import run_in_virtual_time
from whole_gateway import Plan, key_of, stage, tenant
from workers_on_stage import EngineWorker

from backend.engine.faults import FaultScript
from evaluation.conformance.rules import ScenarioOutcome
from evaluation.conformance.suite import NAMES, SCENARIOS, Findings, Subject, run_suite
from evaluation.conformance.tenants import read_cast
from evaluation.report.terminal import Progress
from gateway.config import Right

SECONDS = 1.5
WEIGHTED = {"alice": 1.0, "bob": 3.0, "carol": 1.0}
FOUR_TO_ONE = {"alice": 4.0, "bob": 1.0}
EQUAL = {"alice": 1.0, "bob": 1.0}


class SharedWorker(EngineWorker):
    """The worker of another stage, which starts and stops it."""

    def __init__(self, worker: EngineWorker) -> None:
        """A second name of `worker`."""
        super().__init__()
        self._worker = worker

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._worker.url

    async def start(self, faults: FaultScript | None = None) -> None:
        """Leave it to the other stage."""

    async def stop(self) -> None:
        """Leave it to the other stage."""


def findings_on(
    policy: str,
    names: Sequence[str],
    tenants: Mapping[str, float] = WEIGHTED,
    *,
    engine_alone: bool = False,
    strangers: bool = False,
) -> Findings:
    """The suite on the gateway under `policy`, which it gets twice, or on its engine without it; alice has two keys.

    With `strangers` the second gateway is another one, which shares no account with the first.
    """

    async def story() -> Findings:
        terms = {name: {"weight": weight, "allow": frozenset({Right.IGNORE_EOS})} for name, weight in tenants.items()}
        cast = [tenant(name, keys=2, **each) for name, each in terms.items()]
        plan, worker = Plan(cast, scheduler={"policy": policy}), EngineWorker()
        async with stage(worker, plan=plan) as scene, stage(SharedWorker(worker), plan=plan) as other:
            keys = ",".join(f"{name}={key_of(name)}" for name in tenants)
            weights = ",".join(f"{name}={weight}" for name, weight in tenants.items())
            subject = read_cast(f"{keys},alice={key_of('alice', 2)}", weights)
            first = worker.url if engine_alone else scene.url
            urls = [first, other.url if strangers else first]
            scenarios = [scenario for scenario in SCENARIOS if scenario.name in names]
            return await run_suite(Subject(urls, subject), scenarios, SECONDS, Progress(Console(file=io.StringIO())))

    return run_in_virtual_time(story())


def outcomes(findings: Findings) -> dict[str, ScenarioOutcome]:
    """Outcome by scenario."""
    return {finding.scenario.name: finding.judgement.outcome for finding in findings.findings}


def test_our_gateway_passes_every_scenario() -> None:
    """Three tenants, weights 1 : 3 : 1, one with two keys: nothing is left out and nothing fails."""
    assert outcomes(findings_on("vtc", NAMES)) == dict.fromkeys(NAMES, ScenarioOutcome.PASSED)


@pytest.mark.parametrize(("policy", "engine_alone"), [("fcfs", False), ("vtc", True)], ids=["fcfs", "the engine alone"])
def test_first_come_first_served_fails(policy: str, engine_alone: bool) -> None:
    """With the gateway and without it: shares of every kind, and isolation."""
    failing = ("share", "unequal", "weights", "isolation", "keys")
    assert outcomes(findings_on(policy, failing, engine_alone=engine_alone)) == dict.fromkeys(
        failing, ScenarioOutcome.FAILED
    )


@pytest.mark.parametrize(("weights", "unfair"), [(EQUAL, 3), (FOUR_TO_ONE, 6)], ids=["1:1", "4:1"])
def test_gateways_that_share_no_account_fail_under_skewed_ingress(weights: Mapping[str, float], unfair: float) -> None:
    """Of two of ours, who comes by both gets three quarters, or six tenths. A gateway named twice keeps the shares."""
    (strange,) = findings_on("vtc", ["skewed"], weights, strangers=True).findings
    (shared,) = findings_on("vtc", ["skewed"], weights).findings
    assert strange.judgement.outcome is ScenarioOutcome.FAILED
    assert strange.judgement.number == pytest.approx(unfair, rel=0.1)
    assert shared.judgement.number == pytest.approx(1.0, abs=0.05)


def test_stored_credit_fails() -> None:
    """Without the lift, both that get credit for a pause and that pay for past use are seen; other shares are right."""
    found = outcomes(findings_on("lcf", ("share", "on-off", "past-use"), EQUAL))
    assert found == {
        "share": ScenarioOutcome.PASSED,
        "on-off": ScenarioOutcome.FAILED,
        "past-use": ScenarioOutcome.FAILED,
    }
