"""The suite against servers of every kind, with real sockets in virtual time: always verdicts, and the right ones."""

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console
from servers import (
    Dialect,
    Handler,
    Order,
    alice_first,
    cuts_after,
    engine,
    halves,
    hangs,
    in_order,
    knows_alice_alone,
    least_served,
    not_streamed,
    refuses,
    serving,
)
from virtual_time import run_in_virtual_time

from evaluation.conformance.rules import ScenarioOutcome
from evaluation.conformance.suite import NAMES, SCENARIOS, Findings, Subject, run_suite
from evaluation.conformance.tenants import read_cast
from evaluation.report.terminal import Progress

SECONDS = 2.0
NOWHERE = Subject(["http://127.0.0.1:9"], read_cast("a=1,b=2", ""), "tiny")


async def _suite(subject: Subject, names: Sequence[str]) -> Findings:
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in names]
    return await run_suite(subject, scenarios, SECONDS, Progress(Console(file=io.StringIO())))


def judged(handler: Handler, *names: str) -> Findings:
    """The findings on a server."""

    async def story() -> Findings:
        async with serving(handler) as subject:
            return await _suite(subject, names or NAMES)

    return run_in_virtual_time(story())


def outcomes(findings: Findings) -> dict[str, ScenarioOutcome]:
    """Outcome by scenario."""
    return {finding.scenario.name: finding.judgement.outcome for finding in findings.findings}


@pytest.mark.parametrize(
    ("order", "failing", "passing"),
    [
        (least_served, {"on-off", "past-use"}, {"share", "isolation", "conservation"}),
        (in_order, {"share", "isolation"}, {"on-off", "past-use", "conservation"}),
        (alice_first, {"share"}, {"conservation"}),
        (halves, {"conservation"}, {"share", "isolation", "on-off"}),
    ],
    ids=["stored credit", "in order of arrival", "a favourite", "fixed halves"],
)
def test_each_kind_of_unfairness_fails_its_scenarios(order: Order, failing: set[str], passing: set[str]) -> None:
    """And passes those that it does not break: a verdict tells which promise is not kept."""
    found = outcomes(judged(engine(order), *failing, *passing))
    assert {name for name, outcome in found.items() if outcome is ScenarioOutcome.FAILED} == failing
    assert {name for name, outcome in found.items() if outcome is ScenarioOutcome.PASSED} == passing


@pytest.mark.parametrize(
    ("dialect", "tokens_setting"),
    [
        (Dialect(), "usage in every event"),
        (Dialect(running_usage=False), "usage at the end"),
        (Dialect(running_usage=False, final_usage=False), "events are counted"),
        (Dialect(refused_fields=("ignore_eos",)), "usage in every event"),
        (Dialect(refused_fields=("ignore_eos",), refusal=403), "usage in every event"),
        (Dialect(running_usage=False, final_usage=False, refused_fields=("stream_options",)), "events are counted"),
        (Dialect(surfaces=("/v1/chat/completions",)), "usage in every event"),
    ],
    ids=[
        "running usage",
        "final usage",
        "no usage",
        "no ignore_eos",
        "no right to ignore_eos",
        "no stream_options",
        "chat only",
    ],
)
def test_every_dialect_is_measured(dialect: Dialect, tokens_setting: str) -> None:
    """Fairness is seen and unfairness is seen, however the server tells its tokens and whichever fields it takes."""
    fair = judged(engine(least_served, dialect), "share")
    assert tokens_setting in fair.setting["tokens"]
    assert outcomes(fair) == {"share": ScenarioOutcome.PASSED}
    assert ("events are counted as tokens" in fair.findings[0].judgement.reason) == (not dialect.final_usage)
    assert outcomes(judged(engine(in_order, dialect), "share")) == {"share": ScenarioOutcome.FAILED}


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (refuses, "status 429"),
        (hangs, "no answer to the end within 30 s"),
        (knows_alice_alone, "does not serve the key of bob: status 401"),
        (not_streamed, "ended without [DONE]"),
        (cuts_after(0), "connection closed before the end"),
        (cuts_after(4), "no answer to 2 requests at once within 30 s"),
    ],
    ids=["refuses", "hangs", "knows one key", "does not stream", "cuts", "cuts later"],
)
def test_a_server_that_does_not_serve_fails_every_scenario(handler: Handler, said: str) -> None:
    """With what it did instead as the reason."""
    findings = judged(handler)
    assert set(outcomes(findings).values()) == {ScenarioOutcome.FAILED}
    assert all(said in finding.judgement.reason for finding in findings.findings)


def test_nobody_listening_fails_every_scenario() -> None:
    """As does a server that dies before the suite."""
    findings = run_in_virtual_time(_suite(NOWHERE, NAMES))
    assert set(outcomes(findings).values()) == {ScenarioOutcome.FAILED}
    assert all("cannot connect" in finding.judgement.reason for finding in findings.findings)


def test_a_server_that_breaks_in_the_middle_fails_from_there() -> None:
    """A verdict for each scenario: those before it stand."""
    findings = judged(cuts_after(350), "on-off", "conservation", "refusals")
    assert outcomes(findings) == {
        "on-off": ScenarioOutcome.PASSED,
        "conservation": ScenarioOutcome.FAILED,
        "refusals": ScenarioOutcome.FAILED,
    }
    assert "most answers broke" in findings.findings[-1].judgement.reason


def test_a_server_without_a_list_of_models_asks_for_one() -> None:
    """The verdicts say which option is missing; with it the suite runs."""

    async def story(model: str) -> Findings:
        async with serving(engine(least_served), models={"object": "list"}) as subject:
            return await _suite(replace(subject, model=model), ["share"])

    unnamed = run_in_virtual_time(story(""))
    assert "give --model" in unnamed.findings[0].judgement.reason
    assert outcomes(run_in_virtual_time(story("tiny"))) == {"share": ScenarioOutcome.PASSED}
