"""What a PNG shows: how many pixels of a colour lie where the panels have their data, beside all that is text.

A picture that is blank, or whose axes are empty, has none: the names of its lines stand outside the axes. A test cannot
ask for grey, because the edges of the texts are grey too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from evaluation.pictures.picture import GREY

LEAST_WIDTH = 100  # pixels of a panel's base line, which is grey
LEAST_PIXELS = 30  # of a colour, for something to have been drawn in it
FAINTEST = 0.25  # how much of a colour a pixel has at least, the rest being white
NEAR = 6  # levels of 255 by which a pixel may differ from a mixture of a colour and white


class Drawn:
    """A PNG file, read."""

    def __init__(self, file: Path) -> None:
        """Read `file`; fails where it is no PNG."""
        self._levels = np.rint(imread(file, format="png")[:, :, :3] * 255).astype(int)
        self._is_data = self._where_data_is()

    def pixels(self, colour: str) -> int:
        """How many pixels of the panels' data have `colour`, or a mixture of it with white."""
        return int(np.count_nonzero(self._has(colour, FAINTEST) & self._is_data))

    def shows(self, *colours: str) -> bool:
        """Whether something is drawn in each of `colours`."""
        return all(self.pixels(colour) >= LEAST_PIXELS for colour in colours)

    def _has(self, colour: str, least: float) -> Any:
        wanted = 255 * (1 - np.array(to_rgb(colour)))  # what the colour takes from white
        taken = 255 - self._levels
        share = taken @ wanted / (wanted @ wanted)
        is_mixture = (abs(taken - share[:, :, None] * wanted) <= NEAR).all(axis=2)
        return is_mixture & (share >= least) & (share <= 1.02)

    def _where_data_is(self) -> Any:
        """Above each panel's base line, as wide as that."""
        is_data = np.zeros(self._levels.shape[:2], dtype=bool)
        lines = list(self._base_lines())
        for row, left, right in lines:
            is_data[:row, left:right] = True
        for row, left, right in lines:
            is_data[row, left:right] = False
        return is_data

    def _base_lines(self) -> Iterator[tuple[int, int, int]]:
        for row, is_grey in enumerate(self._has(GREY, 0.95)):
            edges = np.flatnonzero(np.diff(np.concatenate(([0], is_grey.astype(int), [0]))))
            for left, right in edges.reshape(-1, 2):
                if right - left >= LEAST_WIDTH:
                    yield row, int(left), int(right)
