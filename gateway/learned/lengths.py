"""How long answers are, for each tenant of a pool: what a rate over tokens takes at a request's arrival.

The mean of what was lately used, so that what is taken in advance comes to what is used in the end. What is reserved of
the pool is not decided here: that is the predictor's (`gateway.fairness`), which an operator may turn off.
"""

import math
from typing import Final

from gateway.learned.centre import Ratio
from gateway.learned.panel import Figures, Panel

_FIRST_TOKENS: Final = 256.0  # of an answer where no tenant has had one yet
_FIRST_WEIGHT: Final = 0.2  # of that, or of what others' answers say, beside the tenant's own
_ANSWER: Final = 1.0
_RANGE: Final = (0.0, 2.0**53)


def _length(figures: Figures) -> Ratio:
    return Ratio(figures[0], _FIRST_WEIGHT, _RANGE, _ANSWER)


class AnswerLengths:
    """Tokens of a sequence, by tenant; a newcomer's are the median over the others."""

    __slots__ = ("_lengths",)

    def __init__(self) -> None:
        """Nobody has had an answer."""
        self._lengths: Panel[Ratio] = Panel(_length, (_FIRST_TOKENS,), first_votes=False)

    def expected(self, tenant: str, most_tokens: int) -> int:
        """Tokens expected of the next sequence of `tenant`, which can have `most_tokens` at most."""
        return min(most_tokens, math.ceil(self._lengths.figures(tenant)[0]))

    def observe(self, tenant: str, tokens: float) -> None:
        """A sequence had so many tokens."""
        self._lengths.observed(tenant).observe(_ANSWER, tokens)
