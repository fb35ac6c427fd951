"""Learns how long each tenant's answers are; a limit on tokens per minute takes this much when a request arrives.

The estimate is the mean of recent answers, so that what is taken in advance equals, on average, what is used in the
end. The predictor in `gateway.fairness` decides what is reserved, and an operator may turn it off.
"""

import math
from typing import Final

from gateway.learned.centre import Ratio
from gateway.learned.panel import Figures, Panel

_FIRST_TOKENS: Final = 256.0  # of an answer if no tenant has had one yet
_FIRST_WEIGHT: Final = 0.2  # the weight of that guess, or of other tenants' answers, in answers of the tenant's own
_ANSWER: Final = 1.0
_LEAST_TOKENS: Final = 0.0
_MOST_TOKENS: Final = 2.0**53


def _length(figures: Figures) -> Ratio:
    return Ratio(figures[0], _FIRST_WEIGHT, (_LEAST_TOKENS, _MOST_TOKENS), _ANSWER)


class AnswerLengths:
    """Tokens of a sequence, by tenant; a new tenant has the median over the others."""

    __slots__ = ("_lengths",)

    def __init__(self) -> None:
        """Start without any answer."""
        self._lengths: Panel[Ratio] = Panel(_length, (_FIRST_TOKENS,), first_votes=False)

    def expected(self, tenant: str, most_tokens: int) -> int:
        """How many tokens the next sequence of `tenant` is expected to have; it can have at most `most_tokens`."""
        return min(most_tokens, math.ceil(self._lengths.figures(tenant)[0]))

    def observe(self, tenant: str, tokens: float) -> None:
        """Learn that a sequence of `tenant` had so many tokens."""
        self._lengths.observed(tenant).observe(_ANSWER, tokens)
