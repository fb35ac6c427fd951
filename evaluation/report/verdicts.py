"""A target, the number measured for it, and whether it was met.

A measurement that is not a number never passes: a bench that saw nothing has shown nothing.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum


class Comparison(Enum):
    """How a measurement must stand to its limit; the value is the sign to print."""

    AT_MOST = "<="
    AT_LEAST = ">="
    ABOVE = ">"
    BELOW = "<"


_MEETS: dict[Comparison, Callable[[float, float], bool]] = {
    Comparison.AT_MOST: operator.le,
    Comparison.AT_LEAST: operator.ge,
    Comparison.ABOVE: operator.gt,
    Comparison.BELOW: operator.lt,
}


@dataclass(frozen=True, slots=True)
class Target:
    """What must hold: `name` in words, and the limit of the measured number in `unit`."""

    name: str
    comparison: Comparison
    limit: float
    unit: str = ""

    def judge(self, measured: float, note: str = "") -> "Verdict":
        """The verdict on `measured`; `note` says in words what went into the number."""
        return Verdict(self, measured, note)

    @property
    def text(self) -> str:
        """The limit as printed: sign, number, unit."""
        return f"{self.comparison.value} {number(self.limit)}{self.unit}"


def at_most(name: str, limit: float, unit: str = "") -> Target:
    """The target that the number is not larger than `limit`."""
    return Target(name, Comparison.AT_MOST, limit, unit)


def at_least(name: str, limit: float, unit: str = "") -> Target:
    """The target that the number is not smaller than `limit`."""
    return Target(name, Comparison.AT_LEAST, limit, unit)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target with its measurement."""

    target: Target
    measured: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """True if the measurement meets the limit. NaN meets no limit."""
        return _MEETS[self.target.comparison](self.measured, self.target.limit)

    @property
    def text(self) -> str:
        """The measurement as printed."""
        return f"{number(self.measured)}{self.target.unit}"


def missed(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts whose targets were not met, in order."""
    return [verdict for verdict in verdicts if not verdict.passed]


def number(value: float) -> str:
    """A number for people: about four significant digits, no exponent below a million."""
    if math.isnan(value):
        return "nothing"
    if math.isinf(value):
        return "infinite"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
