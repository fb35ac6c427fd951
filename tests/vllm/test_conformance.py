"""The conformance suite on real vLLM: the gateway passes, and the controls fail on share and isolation."""

import asyncio
import io
from pathlib import Path

from conftest import ALICE, BOB, OUR_SERVER_SECONDS, Gateway, write_gateway_config
from contract_cases import MODEL
from rich.console import Console
from vllm_servers import python, running

from evaluation.conformance.catalogue import NAMES, SCENARIOS
from evaluation.conformance.judgement import Outcome
from evaluation.conformance.suite import Findings, Subject, run_suite
from evaluation.conformance.tenants import Cast, Tenant
from evaluation.console.progress import Progress

SECONDS = 3.0
CAST = Cast((Tenant(ALICE.name, (ALICE.key,)), Tenant(BOB.name, (BOB.key,))))
NOT_GIVEN = {"weights", "keys"}
CONTROLS = ("share", "isolation")


def findings_on(url: str, *names: str) -> Findings:
    """The suite against `url`."""
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in names]
    progress = Progress(Console(file=io.StringIO()))
    return asyncio.run(run_suite(Subject(url, CAST, MODEL), scenarios, SECONDS, progress))


def failures(findings: Findings) -> dict[str, str]:
    """What failed, and why."""
    return {finding.scenario.name: finding.judgement.reason for finding in findings.failures}


def test_the_gateway_passes(gateway: Gateway) -> None:
    """Every scenario for which two tenants with a key each are enough."""
    findings = findings_on(gateway.url, *NAMES)
    assert failures(findings) == {}
    passed = {each.scenario.name for each in findings.findings if each.judgement.outcome is Outcome.PASSED}
    assert passed == set(NAMES) - NOT_GIVEN


def test_vllm_alone_fails(vllm_url: str) -> None:
    """It serves in the order of arrival."""
    assert set(failures(findings_on(vllm_url, *CONTROLS))) == set(CONTROLS)


def test_first_come_first_served_fails(vllm_url: str, tmp_path: Path) -> None:
    """The gateway without fairness."""
    config = tmp_path / "fcfs.yaml"
    write_gateway_config(config, vllm_url, "fcfs")
    command = python("gateway", "serve", str(config), "--announce")
    with running(command, tmp_path / "fcfs.log", OUR_SERVER_SECONDS) as url:
        assert set(failures(findings_on(url, *CONTROLS))) == set(CONTROLS)
