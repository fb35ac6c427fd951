"""y = constant + slope * x, from the centres of small and of large observations (Wald's method of two groups).

The two centres forget by their own observations only. The slope is that between them, drawn to the first guess the
more the nearer they lie (ridge regression): a floor under the denominator.
"""

from dataclasses import dataclass
from typing import Final

from gateway.learned.centre import Centre

_SMALL_GUESS: Final = 1 / 16  # of the knee: where the first guess is put on either side of it
_LARGE_GUESS: Final = 4.0


@dataclass(frozen=True, slots=True)
class Range:
    """Where the small end and the large begin (`knee`, of x), and the limits of what is believed."""

    knee: float
    least_slope: float
    most_slope: float
    most_constant: float


class Line:
    """A line that is learned; `figures` are its constant and its slope."""

    __slots__ = ("_first_slope", "_large", "_range", "_small", "figures")

    def __init__(self, limits: Range, constant: float, slope: float) -> None:
        """Begin with a guess."""
        knee = limits.knee
        self._range = limits
        self._first_slope = slope
        self._small = Centre(_SMALL_GUESS * knee, constant + slope * _SMALL_GUESS * knee, knee)
        self._large = Centre(_LARGE_GUESS * knee, constant + slope * _LARGE_GUESS * knee, knee)
        self.figures: tuple[float, ...] = (constant, slope)

    def observe(self, x: float, y: float) -> None:
        """Learn of `y` at `x`, neither of them negative."""
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
        """Constant and slope, None for what nothing was observed of: small ones tell the one, large the other."""
        constant, slope = self.figures
        return constant if self._small.is_observed else None, slope if self._large.is_observed else None
