"""The conformance suite on real vLLM: the gateway passes, and the controls fail on share and isolation."""

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
from conftest import ALICE, BOB, OUR_SERVER_SECONDS, SEQUENCES, VLLM_SECONDS, write_gateway_config
from contract_cases import MODEL
from rich.console import Console
from vllm_servers import python, running

from evaluation.bench.settings import VLLM_MODEL
from evaluation.conformance.rules import ScenarioOutcome
from evaluation.conformance.suite import NAMES, SCENARIOS, Findings, Subject, run_suite
from evaluation.conformance.tenants import Cast, Tenant
from evaluation.report.terminal import Progress

SECONDS = 3.0
CAST = Cast((Tenant(ALICE.name, (ALICE.key,)), Tenant(BOB.name, (BOB.key,))))
NOT_GIVEN = {"weights", "keys", "skewed"}
CONTROLS = ("share", "isolation")


def findings_on(url: str, *names: str) -> Findings:
    """The suite against `url`."""
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in names]
    progress = Progress(Console(file=io.StringIO()))
    return asyncio.run(run_suite(Subject([url], CAST, MODEL), scenarios, SECONDS, progress))


def failures(findings: Findings) -> dict[str, str]:
    """What failed, and why."""
    return {finding.scenario.name: finding.judgement.reason for finding in findings.failures}


@pytest.fixture(scope="module")
def engine_url(logs: Path) -> Iterator[str]:
    """A vLLM of its own: with the smallest model its API server is the bottleneck, and nobody waits for the engine."""
    sizes = ("--max-num-seqs", str(SEQUENCES), "--hf-overrides", orjson.dumps(VLLM_MODEL).decode())
    with running(python("backend", "vllm", "--model", MODEL, "--", *sizes), logs / "engine.log", VLLM_SECONDS) as url:
        yield url


@contextmanager
def gateway_in_front(engine_url: str, policy: str, folder: Path) -> Iterator[str]:
    """The gateway under `policy`."""
    config = folder / f"{policy}.yaml"
    write_gateway_config(config, engine_url, policy)
    command = python("gateway", "serve", str(config), "--announce")
    with running(command, folder / f"{policy}.log", OUR_SERVER_SECONDS) as url:
        yield url


def test_the_gateway_passes(engine_url: str, tmp_path: Path) -> None:
    """Every scenario for which two tenants with a key each are enough."""
    with gateway_in_front(engine_url, "vtc", tmp_path) as url:
        findings = findings_on(url, *NAMES)
    assert failures(findings) == {}
    passed = {each.scenario.name for each in findings.findings if each.judgement.outcome is ScenarioOutcome.PASSED}
    assert passed == set(NAMES) - NOT_GIVEN


def test_vllm_alone_fails(engine_url: str) -> None:
    """It serves in the order of arrival."""
    assert set(failures(findings_on(engine_url, *CONTROLS))) == set(CONTROLS)


def test_first_come_first_served_fails(engine_url: str, tmp_path: Path) -> None:
    """The gateway without fairness."""
    with gateway_in_front(engine_url, "fcfs", tmp_path) as url:
        assert set(failures(findings_on(url, *CONTROLS))) == set(CONTROLS)
