"""How many tokens the next answer of a tenant will have: the size of the reservation taken at dispatch.

One `Predictor` per tenant and pool. Predictions are tokens per sequence and are capped by the request's own maximum
by the caller. A bad prediction delays only its own tenant: what was not used is refunded at the end.
Sources: the paper's section on length prediction (moving average, factor 1/5); the quantile is ours.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol


class Predictor(Protocol):
    """Learns from finished answers of one tenant in one pool."""

    def predict(self, max_output_tokens: int) -> int:
        """Tokens expected of the next sequence, which can have `max_output_tokens` at most."""
        ...

    def observe(self, output_tokens: int) -> None:
        """A sequence came to its own end after `output_tokens`."""
        ...


class NoPrediction:
    """Reserve nothing: plain VTC, every token charged as it comes."""

    __slots__ = ()

    def predict(self, max_output_tokens: int) -> int:
        """Zero."""
        return 0

    def observe(self, output_tokens: int) -> None:
        """Nothing to learn."""


class Oracle:
    """Reserve the request's maximum: exact where every answer runs to it; for experiments."""

    __slots__ = ()

    def predict(self, max_output_tokens: int) -> int:
        """The maximum."""
        return max_output_tokens

    def observe(self, output_tokens: int) -> None:
        """Nothing to learn."""


class MovingAverage:
    """Exponential moving average with factor 1/5, the paper's predictor."""

    __slots__ = ("_mean",)

    _FACTOR = 0.2

    def __init__(self) -> None:
        """Predict zero until an answer was seen."""
        self._mean: float | None = None

    def predict(self, max_output_tokens: int) -> int:
        """The average, rounded, within the maximum."""
        return min(max_output_tokens, round(self._mean or 0.0))

    def observe(self, output_tokens: int) -> None:
        """Move the average towards `output_tokens`."""
        seen = self._mean
        self._mean = output_tokens if seen is None else seen + self._FACTOR * (output_tokens - seen)


class Quantile:
    """Median of the last 32 answers: one giant or one empty answer does not move it."""

    __slots__ = ("_recent", "_sorted")

    _WINDOW_ANSWERS = 32

    def __init__(self) -> None:
        """Predict zero until an answer was seen."""
        self._recent: deque[int] = deque()
        self._sorted: list[int] = []

    def predict(self, max_output_tokens: int) -> int:
        """The lower median within the maximum."""
        if not self._sorted:
            return 0
        return min(max_output_tokens, self._sorted[(len(self._sorted) - 1) // 2])

    def observe(self, output_tokens: int) -> None:
        """Let `output_tokens` replace the oldest of the window."""
        if len(self._recent) == self._WINDOW_ANSWERS:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(output_tokens)
        insort(self._sorted, output_tokens)


PREDICTORS: Mapping[str, Callable[[], Predictor]] = MappingProxyType(
    {"none": NoPrediction, "moving_average": MovingAverage, "quantile": Quantile, "oracle": Oracle}
)
