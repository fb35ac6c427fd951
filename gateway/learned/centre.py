"""The centre of pairs (x, y), and the ratio of their sums: both follow what is observed and forget by it.

An observation has weight 1, or less where its x is far beyond what was usual: it then counts for no more than two usual
ones. What was seen before weighs a twentieth less after each.
"""

from typing import Final

_KEPT: Final = 0.95  # of the weight of earlier observations, with each new one
_FIRST_WEIGHT: Final = 2.0  # of the first guess, in observations
_MOST_USUAL: Final = 2.0  # usual observations that one may count for


class Centre:
    """Weighted means of x and y; `x` below `usual_x` always counts whole."""

    __slots__ = ("_usual_x", "_weight", "is_observed", "x", "y")

    def __init__(self, x: float, y: float, usual_x: float = 0.0) -> None:
        """Begin at the guess (`x`, `y`)."""
        self.x = x
        self.y = y
        self.is_observed = False
        self._weight = _FIRST_WEIGHT
        self._usual_x = usual_x

    def observe(self, x: float, y: float) -> None:
        """Move towards (`x`, `y`)."""
        usual = max(_MOST_USUAL * self.x, self._usual_x)
        weight = 1.0 if x <= usual else usual / x
        kept = _KEPT * self._weight
        self._weight = kept + weight
        self.x += (x - self.x) * weight / self._weight
        self.y += (y - self.y) * weight / self._weight
        self.is_observed = True


class Ratio:
    """y per x by the ratio of decayed sums, within its limits."""

    __slots__ = ("_centre", "_least", "_most", "figures")

    def __init__(self, first: float, first_x: float, limits: tuple[float, float], usual_x: float = 0.0) -> None:
        """Begin at `first`, as if it had been seen at `first_x`; `usual_x` is the centre's."""
        self._centre = Centre(first_x, first * first_x, usual_x)
        self._least, self._most = limits
        self.figures: tuple[float, ...] = (first,)

    def observe(self, x: float, y: float) -> None:
        """Learn of `y` for `x`; nothing is learned where `x` is not positive."""
        if x > 0.0:
            self._centre.observe(x, min(max(y, self._least * x), self._most * x))
            self.figures = (self._centre.y / self._centre.x,)

    @property
    def value(self) -> float:
        """The ratio."""
        return self.figures[0]

    @property
    def votes(self) -> tuple[float | None, ...]:
        """The ratio, None where nothing was observed."""
        return self.figures if self._centre.is_observed else (None,)
