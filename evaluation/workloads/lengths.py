"""How long prompts and answers are: the kinds of distributions that a workload's file may name, and how each is drawn.

A drawn length is a whole number of tokens, at least 1. Every draw takes one number from the caller's generator and
inverts the distribution, so that a seed gives the same lengths everywhere: Python promises only for `random()` that it
stays the same between versions.
"""

import math
from bisect import bisect_right
from itertools import pairwise
from random import Random
from statistics import NormalDist
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.config.section import Count, Quantity, Section, setting

MAX_LENGTH_TOKENS = 10_000_000
# `random()` can give 0, which no normal distribution has an inverse of.
_SMALLEST_SHARE = 2.0**-53


def refused(message: str, remedy: str) -> PydanticCustomError:
    """The error of a value that its type allows and a rule forbids."""
    return PydanticCustomError("refused", "{message}", {"message": message, "remedy": remedy})


def _tokens(default: Any, meaning: str) -> Any:
    return setting(default, meaning, unit="tokens", ge=1, le=MAX_LENGTH_TOKENS)


class Fixed(Section):
    """Always the same."""

    kind: Literal["fixed"] = setting(..., "Always the same; a plain number says it shorter.")
    tokens: Count = _tokens(..., "The length.")

    @property
    def longest(self) -> int:
        """No draw is longer."""
        return self.tokens

    def draw(self, source: Random) -> int:
        """One length. It takes its number like every other kind, so that changing the kind moves nothing else."""
        source.random()
        return self.tokens


class Uniform(Section):
    """Each whole number between two ends is equally likely, both ends included."""

    kind: Literal["uniform"] = setting(..., "Every whole number between two ends, both included, equally often.")
    shortest: Count = _tokens(..., "The shortest.")
    longest: Count = _tokens(..., "The longest.")

    @model_validator(mode="after")
    def _ordered(self) -> "Uniform":
        _refuse_disorder(self.shortest, self.longest)
        return self

    def draw(self, source: Random) -> int:
        """One length."""
        return self.shortest + int(source.random() * (self.longest - self.shortest + 1))


class Lognormal(Section):
    """The logarithm is normally distributed. A length outside the two ends becomes the nearer end."""

    kind: Literal["lognormal"] = setting(..., "The logarithm is normal; what lies beyond an end counts as that end.")
    median: Quantity = setting(..., "Half are longer.", unit="tokens", gt=0, le=MAX_LENGTH_TOKENS)
    sigma: Quantity = setting(..., "Standard deviation of the natural logarithm.", gt=0, le=10)
    shortest: Count = _tokens(1, "The shortest.")
    longest: Count = _tokens(..., "The longest.")

    @model_validator(mode="after")
    def _ordered(self) -> "Lognormal":
        _refuse_disorder(self.shortest, self.longest)
        return self

    def draw(self, source: Random) -> int:
        """One length."""
        share = max(source.random(), _SMALLEST_SHARE)
        length = self.median * math.exp(self.sigma * NormalDist().inv_cdf(share))
        return round(min(max(length, self.shortest), self.longest))


class Quantiles(Section):
    """A measured distribution: lengths at some shares of it, straight lines between them."""

    kind: Literal["quantiles"] = setting(..., "A measured distribution; straight lines between its points.")
    points: tuple[tuple[Quantity, Annotated[Count, Field(ge=1, le=MAX_LENGTH_TOKENS)]], ...] = setting(
        ..., "Pairs of a share, from 0 to 1 and rising, and the length at it, not falling.", min_length=2
    )

    @model_validator(mode="after")
    def _rising(self) -> "Quantiles":
        if self.points[0][0] != 0 or self.points[-1][0] != 1:
            raise refused("does not go from share 0 to share 1", "give the shortest at 0 and the longest at 1")
        if any(later[0] <= earlier[0] or later[1] < earlier[1] for earlier, later in pairwise(self.points)):
            raise refused("has points that do not rise", "order them by share; lengths must not fall")
        return self

    @property
    def longest(self) -> int:
        """No draw is longer."""
        return self.points[-1][1]

    def draw(self, source: Random) -> int:
        """One length."""
        share = source.random()
        place = bisect_right(self.points, share, key=lambda point: point[0])
        (below, shorter), (above, longer) = self.points[place - 1], self.points[place]
        return round(shorter + (longer - shorter) * (share - below) / (above - below))


def _from_number(value: object) -> object:
    """A plain number is the fixed length."""
    if isinstance(value, int) and not isinstance(value, bool):
        return {"kind": "fixed", "tokens": value}
    return value


Lengths = Annotated[
    Annotated[Fixed | Uniform | Lognormal | Quantiles, Field(discriminator="kind")],
    BeforeValidator(_from_number),
]


def _refuse_disorder(shortest: int, longest: int) -> None:
    if shortest > longest:
        raise refused(f"has shortest {shortest} above longest {longest}", "swap them")
