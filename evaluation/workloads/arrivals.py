"""When requests arrive: the kinds of arrival processes that a workload's file may name, and how each is drawn.

Rates are per minute, as the literature of the field states them; moments are seconds from the start, ascending.
Every moment lies in [0, seconds). The processes use only `random()` of the caller's generator: Python promises to keep
that method alone. A process that is switched off and on is drawn as if it ran throughout and then thinned, so that the
schedule moves no moment.
"""

import math
from collections.abc import Iterable
from itertools import accumulate
from random import Random
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from evaluation.workloads.lengths import refused
from gateway.config.section import Count, Quantity, Section, setting

MAX_SECONDS = 10_000_000.0
MAX_PER_MINUTE = 10_000_000.0
SECONDS_PER_MINUTE = 60.0


def _rate(meaning: str) -> Any:
    return setting(..., meaning, unit="requests per minute", gt=0, le=MAX_PER_MINUTE)


def _duration(default: Any, meaning: str, **bounds: Any) -> Any:
    return setting(default, meaning, unit="seconds", **(bounds or {"gt": 0}), le=MAX_SECONDS)


class OnOff(Section):
    """A tenant that is on, then off, and so on, beginning with on."""

    on_seconds: Quantity = _duration(..., "How long it is on.")
    off_seconds: Quantity = _duration(..., "How long it is off.")

    def keep(self, moments: Iterable[float]) -> list[float]:
        """The moments at which the tenant is on."""
        cycle = self.on_seconds + self.off_seconds
        return [moment for moment in moments if moment % cycle < self.on_seconds]


class _AtRate(Section):
    """A mean rate, off and on by turns."""

    kind: str
    per_minute: Quantity = _rate("The mean rate.")
    on_off: OnOff | None = setting(None, "Off and on by turns.")

    def expected(self, seconds: float) -> float:
        """How many come, at most."""
        return self.per_minute * seconds / SECONDS_PER_MINUTE


class EvenlySpaced(_AtRate):
    """Equal distances. The first moment within its distance is drawn, so that tenants do not send in step."""

    kind: Literal["evenly_spaced"] = setting(..., "Equal distances, the first moment drawn within the first distance.")

    def moments(self, seconds: float, source: Random) -> list[float]:
        """The moments within `seconds`."""
        distance, phase = SECONDS_PER_MINUTE / self.per_minute, source.random()
        count = math.ceil(seconds / distance - phase)
        return _when_on(((phase + index) * distance for index in range(count)), self.on_off)


class Poisson(_AtRate):
    """Independent arrivals."""

    kind: Literal["poisson"] = setting(..., "Independent arrivals, the distances between them exponential.")

    def moments(self, seconds: float, source: Random) -> list[float]:
        """The moments within `seconds`."""
        found: list[float] = []
        at = 0.0
        while True:
            at -= math.log(1.0 - source.random()) * SECONDS_PER_MINUTE / self.per_minute
            if at >= seconds:
                return _when_on(found, self.on_off)
            found.append(at)


class Ramp(Section):
    """A rate that changes steadily. A request comes each time the area under the rate has grown by one."""

    kind: Literal["ramp"] = setting(..., "A rate that changes steadily from one value to another.")
    from_per_minute: Quantity = _rate("The rate at the start.")
    to_per_minute: Quantity = _rate("The rate at the end.")
    on_off: OnOff | None = setting(None, "Off and on by turns.")

    def expected(self, seconds: float) -> float:
        """How many come, at most."""
        return (self.from_per_minute + self.to_per_minute) / 2 * seconds / SECONDS_PER_MINUTE

    def moments(self, seconds: float, source: Random) -> list[float]:
        """The moments within `seconds`."""
        phase = source.random()
        count = math.ceil(self.expected(seconds) - phase)
        return _when_on((self._moment(phase + index, seconds) for index in range(count)), self.on_off)

    def _moment(self, area: float, seconds: float) -> float:
        """When `area` requests are due: the positive root of `start t + (end - start) t^2 / (2 seconds) = area`."""
        start = self.from_per_minute / SECONDS_PER_MINUTE
        slope = (self.to_per_minute - self.from_per_minute) / SECONDS_PER_MINUTE / seconds
        return 2 * area / (start + math.sqrt(max(0.0, start * start + 2 * slope * area)))


class Scattered(Section):
    """A known number of requests at moments that are uniformly distributed over an interval."""

    kind: Literal["scattered"] = setting(..., "A known number of requests at random moments of an interval.")
    requests: Count = setting(..., "How many.", unit="requests", ge=1, le=100_000_000)
    from_second: Quantity = _duration(0, "Where the interval begins.", ge=0)
    to_second: Quantity | None = _duration(None, "Where it ends; default: with the workload.")

    @model_validator(mode="after")
    def _ordered(self) -> "Scattered":
        if self.to_second is not None and self.to_second <= self.from_second:
            raise refused("has an interval that ends before it begins", "let `to_second` be the later one")
        return self

    def expected(self, seconds: float) -> float:
        """How many come, at most."""
        return self.requests

    def moments(self, seconds: float, source: Random) -> list[float]:
        """The moments within `seconds`."""
        end = seconds if self.to_second is None else self.to_second
        drawn = sorted(self.from_second + (end - self.from_second) * source.random() for _ in range(self.requests))
        return [moment for moment in drawn if moment < seconds]


class Silent(Section):
    """Nothing arrives: for a phase."""

    kind: Literal["silent"] = setting(..., "Nothing arrives.")

    def expected(self, seconds: float) -> float:
        """None."""
        return 0.0

    def moments(self, seconds: float, source: Random) -> list[float]:
        """None."""
        return []


Steady = Annotated[EvenlySpaced | Poisson | Ramp | Scattered | Silent, Field(discriminator="kind")]


class Phase(Section):
    """One part of the whole; its arrivals count time from its own start."""

    seconds: Quantity = _duration(..., "How long it lasts.")
    arrivals: Steady = setting(..., "What arrives in it.")


class Phases(Section):
    """Several processes, one after the other. After the last one nothing arrives."""

    kind: Literal["phases"] = setting(..., "Several kinds one after the other, each on a clock of its own.")
    parts: tuple[Phase, ...] = setting(..., "The phases in their order.", min_length=1)

    def expected(self, seconds: float) -> float:
        """How many come, at most."""
        return sum(phase.arrivals.expected(phase.seconds) for phase in self.parts)

    def moments(self, seconds: float, source: Random) -> list[float]:
        """The moments within `seconds`."""
        starts = accumulate((phase.seconds for phase in self.parts), initial=0.0)
        drawn = (
            start + moment
            for start, phase in zip(starts, self.parts, strict=False)
            for moment in phase.arrivals.moments(phase.seconds, source)
        )
        return [moment for moment in drawn if moment < seconds]


Arrivals = Annotated[EvenlySpaced | Poisson | Ramp | Scattered | Silent | Phases, Field(discriminator="kind")]


def _when_on(moments: Iterable[float], on_off: OnOff | None) -> list[float]:
    return list(moments) if on_off is None else on_off.keep(moments)
