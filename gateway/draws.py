"""Numbers that look random and are the same in every run.

They come from a linear congruential sequence with Knuth's MMIX constants.
"""

from typing import Final

_MULTIPLIER: Final = 6364136223846793005
_INCREMENT: Final = 1442695040888963407
_MODULUS: Final = 2**64


class Draws:
    """One sequence; sequences of different seeds differ."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        """Begin at `seed`."""
        self._state = seed

    def uniform(self) -> float:
        """The next number, from 0 to below 1."""
        return self._next() / _MODULUS

    def below(self, bound: int) -> int:
        """The next whole number, from 0 to below `bound`."""
        return (self._next() >> 33) % bound  # the low bits of such a sequence repeat soon

    def _next(self) -> int:
        self._state = (self._state * _MULTIPLIER + _INCREMENT) % _MODULUS
        return self._state
