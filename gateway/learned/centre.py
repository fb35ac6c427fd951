"""The weighted mean of pairs (x, y), and the ratio of their sums; each observation makes the earlier ones count less.

An observation has weight 1. If its x is far larger than usual, it has less, so that it counts for at most two usual
ones. After each observation the earlier ones weigh a twentieth less.
"""

from typing import Final

_KEPT: Final = 0.95  # the share of their weight that earlier observations keep with each new one
_FIRST_WEIGHT: Final = 2.0  # the weight of the first guess, in observations
_MOST_USUAL: Final = 2.0  # one observation counts for at most so many usual ones


class Centre:
    """The weighted means of x and y; an observation with x up to twice the mean, or up to `usual_x`, counts whole."""

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
    """y per x: the ratio of decayed sums, within limits."""

    __slots__ = ("_centre", "_least", "_most", "figures")

    def __init__(self, first: float, first_x: float, limits: tuple[float, float], usual_x: float = 0.0) -> None:
        """Begin at `first`, as if it had been observed at `first_x`; `usual_x` is passed to the `Centre`."""
        self._centre = Centre(first_x, first * first_x, usual_x)
        self._least, self._most = limits
        self.figures: tuple[float, ...] = (first,)

    def observe(self, x: float, y: float) -> None:
        """Learn that `x` came with `y`; an `x` that is not positive teaches nothing."""
        if x > 0.0:
            self._centre.observe(x, min(max(y, self._least * x), self._most * x))
            self.figures = (self._centre.y / self._centre.x,)

    @property
    def value(self) -> float:
        """The ratio."""
        return self.figures[0]

    @property
    def votes(self) -> tuple[float | None, ...]:
        """The ratio; None if nothing was observed."""
        return self.figures if self._centre.is_observed else (None,)
