"""Learns y = constant + slope * x from the centres of small and of large observations (Wald's method of two groups).

Each centre forgets only by its own observations. The slope is that of the line through both. If the centres lie close
together, the slope is drawn towards the first guess (ridge regression), which puts a floor under the denominator.
"""

from dataclasses import dataclass
from typing import Final

from gateway.learned.centre import Centre

_SMALL_GUESS: Final = 1 / 16  # of the knee: where the centre of small observations begins
_LARGE_GUESS: Final = 4.0  # of the knee: where the centre of large observations begins


@dataclass(frozen=True, slots=True)
class Range:
    """The `knee` is the x that divides small from large observations; the others limit what is believed."""

    knee: float
    least_slope: float
    most_slope: float
    most_constant: float


class Line:
    """A line that is learned; `figures` are its constant and its slope."""

    __slots__ = ("_first_slope", "_large", "_range", "_small", "figures")

    def __init__(self, limits: Range, constant: float, slope: float) -> None:
        """Begin with the guess `constant + slope * x`."""
        knee = limits.knee
        self._range = limits
        self._first_slope = slope
        self._small = Centre(_SMALL_GUESS * knee, constant + slope * _SMALL_GUESS * knee, knee)
        self._large = Centre(_LARGE_GUESS * knee, constant + slope * _LARGE_GUESS * knee, knee)
        self.figures: tuple[float, ...] = (constant, slope)

    def observe(self, x: float, y: float) -> None:
        """Learn that `x` came with `y`; both are >= 0."""
        limits = self._range
        y = min(max(y, limits.least_slope * x), limits.most_constant + limits.most_slope * x)
        group = self._small if x < limits.knee else self._large
        group.observe(x, y)
        self.figures = self._fit()

    def _fit(self) -> tuple[float, float]:
        limits, small, large = self._range, self._small, self._large
        run, knee = large.x - small.x, limits.knee
        slope = (run * (large.y - small.y) + knee * knee * self._first_slope) / (run * run + knee * knee)
        slope = min(max(slope, limits.least_slope), limits.most_slope)
        return min(max(small.y - slope * small.x, 0.0), limits.most_constant), slope

    @property
    def votes(self) -> tuple[float | None, ...]:
        """Constant and slope; None for the constant without small observations, for the slope without large ones."""
        constant, slope = self.figures
        return constant if self._small.is_observed else None, slope if self._large.is_observed else None
