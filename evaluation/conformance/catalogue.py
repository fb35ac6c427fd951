"""The scenarios in the order in which they run: what each claims, how it is judged, and why by that margin.

Their words stand in `scenarios.yaml`, which this module alone reads.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files

import yaml

from evaluation.conformance import plays
from evaluation.conformance.arena import Arena
from evaluation.conformance.judgement import Judgement

# Why a margin is what it is, where several scenarios have the same.
MARGINS = {
    "coarse": (
        "A factor of two: shares are measured from outside over seconds, and a neighbour on the machine must not "
        "decide. What is judged unfair here is off by more than any of that."
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
    play: Callable[[Arena], Awaitable[Judgement]]


def _scenario(entry: Mapping[str, str]) -> Scenario:
    margin = MARGINS.get(entry["margin"], entry["margin"])
    return Scenario(
        name=entry["name"],
        title=entry["title"],
        claim=entry["claim"],
        method=entry["method"],
        margin_reason=f"{margin} {entry.get('besides', '')}".strip(),
        play=getattr(plays, entry["play"]),
    )


SCENARIOS = tuple(
    map(_scenario, yaml.safe_load(files("evaluation.conformance").joinpath("scenarios.yaml").read_text("utf-8")))
)
NAMES = tuple(scenario.name for scenario in SCENARIOS)
