"""Predicts how many tokens the next answer of a tenant will have: this is reserved at dispatch.

Each tenant has one `Predictor` in each pool. Predictions are tokens per sequence, within the request's own maximum
(except for `noisy_oracle`, an experiment). A bad prediction delays only its own tenant, and what was not used is
refunded at the end. Sources: the paper's section on length prediction (moving average with factor 1/5; noisy oracle);
the quantile is ours.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Mapping
from itertools import count
from types import MappingProxyType
from typing import Protocol

from gateway.draws import Draws


class Predictor(Protocol):
    """Learns from finished answers of one tenant in one pool."""

    def predict(self, max_output_tokens: int) -> int:
        """The tokens expected of the next sequence, which can have at most `max_output_tokens`."""
        ...

    def observe(self, output_tokens: int) -> None:
        """Learn from a sequence that came to its own end after `output_tokens`."""
        ...


class NoPrediction:
    """Reserve nothing: this is plain VTC, which charges every token as it comes."""

    __slots__ = ()

    def predict(self, max_output_tokens: int) -> int:
        """Zero."""
        return 0

    def observe(self, output_tokens: int) -> None:
        """Nothing to learn."""


class Oracle:
    """Reserve the request's maximum, which is exact if every answer runs to it; for experiments."""

    __slots__ = ()

    def predict(self, max_output_tokens: int) -> int:
        """The maximum."""
        return max_output_tokens

    def observe(self, output_tokens: int) -> None:
        """Nothing to learn."""


class MovingAverage:
    """The exponential moving average with factor 1/5: the paper's predictor."""

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
    """The median of the last 32 answers; one giant or one empty answer hardly moves it."""

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
        """Add `output_tokens`; in a full window it replaces the oldest answer."""
        if len(self._recent) == self._WINDOW_ANSWERS:
            del self._sorted[bisect_left(self._sorted, self._recent.popleft())]
        self._recent.append(output_tokens)
        insort(self._sorted, output_tokens)


class NoisyOracle:
    """The request's maximum times an error, uniform within +-`error`: the paper's imperfect prediction.

    For experiments in which every answer runs to its maximum. The error falls on both sides of the truth, so a
    reservation may exceed the maximum; the excess is refunded at the end. The noise is the same in every run.
    """

    __slots__ = ("_draws", "_error")

    def __init__(self, error: float, seed: int) -> None:
        """Err by up to `error` (0 to 1); `seed` makes the sequence differ from other tenants'."""
        self._error = error
        self._draws = Draws(seed)
        for _ in range(3):  # the first numbers of neighbouring seeds are alike
            self._draws.uniform()

    def predict(self, max_output_tokens: int) -> int:
        """The maximum times 1 +- the error, rounded."""
        return round(max_output_tokens * (1.0 + self._error * (2.0 * self._draws.uniform() - 1.0)))

    def observe(self, output_tokens: int) -> None:
        """Nothing to learn."""


DEFAULT_ERROR_PERCENT = 50.0


def _noisy_oracles(error_percent: float | None) -> Callable[[], Predictor]:
    seeds = count(1)
    error = (DEFAULT_ERROR_PERCENT if error_percent is None else error_percent) / 100
    return lambda: NoisyOracle(error, next(seeds))


PREDICTORS: Mapping[str, Callable[[float | None], Callable[[], Predictor]]] = MappingProxyType(
    {
        "none": lambda _: NoPrediction,
        "moving_average": lambda _: MovingAverage,
        "noisy_oracle": _noisy_oracles,
        "quantile": lambda _: Quantile,
        "oracle": lambda _: Oracle,
    }
)
"""By name: takes the optional parameter (`noisy_oracle`: the error in percent); returns the maker of predictors."""
