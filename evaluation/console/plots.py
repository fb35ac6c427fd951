"""Whether pictures can be drawn, and what all of them look like.

matplotlib is the extra `bench`, which a gateway in production does without.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#222222"
FAINT = "#8a8a8a"
GRID = "#e6e6e6"


class PlotsMissing(Exception):
    """matplotlib is not installed; the message names the remedy."""


def has_matplotlib() -> bool:
    """Whether pictures can be drawn."""
    return find_spec("matplotlib") is not None


def require_matplotlib() -> None:
    """Raise `PlotsMissing` where pictures cannot be drawn."""
    if not has_matplotlib():
        raise PlotsMissing("drawing the plot needs matplotlib, the extra `bench`: pip install 'vtc-gateway[bench]'")


def lay_bare(axes: "Axes") -> None:
    """Leave of the frame the base line alone, with labels but no ticks, all of it behind the data."""
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
