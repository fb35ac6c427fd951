"""The suite from greeting to last verdict, and its scenarios with claim, method and reason of the margin.

`scenarios.yaml` holds the words of the scenarios, in the order in which they run. If an endpoint answers no form of
request, or stops answering while the suite looks for its capacity, every scenario fails with that reason. That is a
verdict, not an error of the suite.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files

import yaml

from evaluation.conformance import plays
from evaluation.conformance.arena import Arena
from evaluation.conformance.capacity import EndpointCapacity, Scale, find_capacity, scale_of
from evaluation.conformance.greeting import Reporting, Unserved, greet
from evaluation.conformance.rules import Judgement, ScenarioOutcome, failed
from evaluation.conformance.tenants import Cast
from evaluation.report.terminal import Progress

# Which URL a request goes to, unless a scenario says otherwise.
SPREAD = "Requests are spread over all URLs."
# The reasons of margins that several scenarios share.
MARGINS = {
    "coarse": (
        "A factor of two: shares are measured from outside over seconds, and a neighbour on the machine must not "
        "decide. Unfair gateways miss this margin clearly."
    ),
    "halfway": (
        "The square root of the unfair result: as far from right as from wrong, and never more than a factor of two."
    ),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario. `name` is its name for `--scenario`, for JSON and JUnit."""

    name: str
    title: str
    claim: str
    method: str
    margin_reason: str
    ingress: str
    play: Callable[[Arena], Awaitable[Judgement]]


def _scenario(entry: Mapping[str, str]) -> Scenario:
    margin = MARGINS.get(entry["margin"], entry["margin"])
    return Scenario(
        name=entry["name"],
        title=entry["title"],
        claim=entry["claim"],
        method=entry["method"],
        margin_reason=f"{margin} {entry.get('besides', '')}".strip(),
        ingress=entry.get("ingress", SPREAD),
        play=getattr(plays, entry["play"]),
    )


SCENARIOS = tuple(
    map(_scenario, yaml.safe_load(files("evaluation.conformance").joinpath("scenarios.yaml").read_text("utf-8")))
)
NAMES = tuple(scenario.name for scenario in SCENARIOS)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged: the gateways of one fleet, their tenants, and the model ("" for the first that is listed)."""

    urls: Sequence[str]
    cast: Cast
    model: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One scenario with its verdict and how long it took."""

    scenario: Scenario
    judgement: Judgement
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Findings:
    """The whole suite; `setting` says in words what the endpoint is like."""

    url: str
    setting: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def count(self, outcome: ScenarioOutcome) -> int:
        """How many scenarios have this outcome."""
        return sum(finding.judgement.outcome is outcome for finding in self.findings)

    @property
    def failures(self) -> list[Finding]:
        """The scenarios that failed, in order."""
        return [finding for finding in self.findings if finding.judgement.outcome is ScenarioOutcome.FAILED]


async def run_suite(subject: Subject, scenarios: Sequence[Scenario], seconds: float, progress: Progress) -> Findings:
    """Judge `subject` in windows of `seconds`, longer ones where it is very slow."""
    findings = Findings(", ".join(subject.urls))
    weights = subject.cast.weights.items()
    findings.setting["tenants"] = ", ".join(f"{name} (weight {weight:g})" for name, weight in weights)
    try:
        progress.step("learning how the endpoint speaks")
        greeting = await greet(subject.urls, subject.model, subject.cast)
        findings.setting.update(greeting.words)
        capacity = await find_capacity(greeting.endpoint, subject.cast, seconds, progress)
    except Unserved as fault:
        findings.setting["endpoint"] = "does not serve"
        reason = f"the endpoint does not serve: {fault}"
        findings.findings.extend(Finding(scenario, failed(reason)) for scenario in scenarios)
        return findings
    scale = scale_of(capacity, seconds)
    findings.setting.update(_words(capacity, scale))
    arena = Arena(greeting.endpoint, subject.cast, scale, progress)
    for scenario in scenarios:
        finding = await _play(scenario, arena)
        findings.findings.append(_with_source_of_tokens(finding, greeting.reporting))
    return findings


async def _play(scenario: Scenario, arena: Arena) -> Finding:
    loop = asyncio.get_running_loop()
    start = loop.time()
    judgement = await scenario.play(arena)
    return Finding(scenario, judgement, loop.time() - start)


def _with_source_of_tokens(finding: Finding, reporting: Reporting) -> Finding:
    """The finding. If only the events gave the number of tokens, its reason says so."""
    judgement = finding.judgement
    if reporting is not Reporting.NONE or judgement.number is None:
        return finding
    return replace(finding, judgement=replace(judgement, reason=f"{judgement.reason} ({reporting.value})"))


def _words(capacity: EndpointCapacity, scale: Scale) -> dict[str, str]:
    return {
        "capacity": f"{capacity.outstanding} requests at once; beyond, it {capacity.limit.value}",
        "answers": f"{scale.answer_tokens} tokens, about {scale.answer_seconds:.2f} s each",
        "window": f"{scale.window_seconds:.1f} s after a warm-up of {scale.warmup_seconds:.1f} s",
    }
