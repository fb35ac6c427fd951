"""A scenario's verdict: passed, failed or not applicable, with a number, a margin and the reason in words. PURE.

A number that is not finite never passes: where nobody received anything nothing was shown.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from evaluation.report.verdicts import Target


class Outcome(Enum):
    """What a scenario found; the value is the word to print."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One verdict. `number` is None where there was nothing to measure; `measurements` holds the figures behind it."""

    outcome: Outcome
    reason: str
    number: float | None = None
    margin: Target | None = None
    measurements: Mapping[str, object] = field(default_factory=dict)


def judged(margin: Target, number: float, reason: str, measurements: Mapping[str, object] | None = None) -> Judgement:
    """Hold `number` against `margin`."""
    passed = math.isfinite(number) and margin.judge(number).passed
    return Judgement(Outcome.PASSED if passed else Outcome.FAILED, reason, number, margin, measurements or {})


def failed(reason: str, margin: Target | None = None) -> Judgement:
    """The verdict on an endpoint that gave nothing to measure."""
    return Judgement(Outcome.FAILED, reason, None, margin)


def not_applicable(reason: str) -> Judgement:
    """The verdict where the suite was not given what the scenario needs."""
    return Judgement(Outcome.NOT_APPLICABLE, reason)
