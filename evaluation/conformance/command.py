"""`vtc-gateway conformance` runs the suite against one endpoint and shows it as a table and in files.

The exit status is 0. With `check` it is 1 if a scenario failed. It is 2 if keys, weights and address make no suite.
Only this module reads the wall clock, to stamp the files.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from evaluation.conformance.presentation import document, junit, sheet, write_page
from evaluation.conformance.suite import NAMES, SCENARIOS, Findings, Scenario, Subject, run_suite
from evaluation.conformance.tenants import TenantsError, read_cast
from evaluation.load.client import Address, allow_many_connections
from evaluation.load.keys import read_keys
from evaluation.report.delivery import EXIT_MISSED, EXIT_NOT_RUN, EXIT_PASSED, write_json
from evaluation.report.terminal import Progress, say, show


@dataclass(frozen=True, slots=True)
class ConformanceOptions:
    """What to judge, for how long, and where to write the verdicts. `keys` is a list, or a file of them."""

    urls: Sequence[str]
    keys: str
    model: str = ""
    weights: str = ""
    seconds: float = 8.0
    scenarios: Sequence[str] = ()
    json_file: Path | None = None
    junit_file: Path | None = None
    page: Path | None = None
    check: bool = False


def run(options: ConformanceOptions) -> int:
    """Run the suite and return the exit status."""
    try:
        subject = Subject(
            list(map(_address, options.urls)), read_cast(read_keys(options.keys), options.weights), options.model
        )
        scenarios = _chosen(options.scenarios)
    except (ValueError, OSError) as fault:
        say(f"conformance: {fault}")
        return EXIT_NOT_RUN
    progress = Progress()
    allow_many_connections()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            findings = runner.run(run_suite(subject, scenarios, options.seconds, progress))
    finally:
        progress.clear()
    deliver(findings, options, datetime.now(UTC).isoformat(timespec="seconds"))
    return EXIT_MISSED if options.check and findings.failures else EXIT_PASSED


def deliver(findings: Findings, options: ConformanceOptions, stamp: str) -> None:
    """Print the table and write the files that were asked for."""
    show(sheet(findings))
    if options.json_file is not None:
        write_json(options.json_file, {**document(findings), "time": stamp})
    if options.junit_file is not None:
        options.junit_file.write_bytes(junit(findings, stamp))
    if options.page is not None:
        write_page(findings, stamp, options.page)


def _address(url: str) -> str:
    Address.parse(url)  # raises ValueError with a remedy
    return url.rstrip("/")


def _chosen(names: Sequence[str]) -> Sequence[Scenario]:
    if unknown := [name for name in names if name not in NAMES]:
        raise TenantsError(f"no scenario {unknown[0]!r}: choose from {', '.join(NAMES)}")
    return [scenario for scenario in SCENARIOS if not names or scenario.name in names]
