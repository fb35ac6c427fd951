"""Profiles: the speed, the sizes and the habits of one model on one machine, read from `profiles/NAME.json`.

A profile says where its numbers come from. Command-line options replace sizes, never costs.
"""

import math
from dataclasses import dataclass
from importlib import resources
from random import Random

import orjson
from pydantic import TypeAdapter, ValidationError

from backend.engine.core import EngineCapacity, StepCost


@dataclass(frozen=True, slots=True)
class OutputLengths:
    """How long an answer is when nothing bounds it: log-normal, in tokens."""

    median_tokens: int
    sigma: float

    def draw(self, random: Random) -> int:
        """One length, at least 8 tokens and at most 8 medians."""
        drawn = round(self.median_tokens * math.exp(random.gauss(0.0, self.sigma)))
        return min(max(drawn, 8), 8 * self.median_tokens)


@dataclass(frozen=True, slots=True)
class Profile:
    """One file of `profiles/`."""

    description: str
    source: str
    cost: StepCost
    capacity: EngineCapacity
    output: OutputLengths


_PROFILES = resources.files("backend.engine") / "profiles"
_ADAPTER = TypeAdapter(Profile)


def profile_names() -> list[str]:
    """Names that `load_profile` knows."""
    return sorted(entry.name.removesuffix(".json") for entry in _PROFILES.iterdir() if entry.name.endswith(".json"))


def load_profile(name: str) -> Profile:
    """The profile of that name; ValueError names the ones that exist."""
    if name not in profile_names():
        raise ValueError(f"no profile {name!r}: choose one of {', '.join(profile_names())}")
    try:
        return _ADAPTER.validate_python(orjson.loads((_PROFILES / f"{name}.json").read_bytes()))
    except ValidationError as error:
        raise ValueError(f"profile {name}: {error}") from error
