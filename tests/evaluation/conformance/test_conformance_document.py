"""The page about the suite says of every scenario what the code says."""

from pathlib import Path

import pytest

from evaluation.conformance.suite import SCENARIOS, Scenario

PAGE = " ".join((Path(__file__).parents[3] / "docs" / "conformance.md").read_text("utf-8").split())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_scenario_is_described_as_it_is_judged(scenario: Scenario) -> None:
    """Title, name, claim, method and the margin's reason, word for word."""
    heading = f"### {scenario.title} (`{scenario.name}`) {scenario.claim}"
    assert f"{heading} - How: {scenario.method} - Margin: {scenario.margin_reason}" in PAGE
