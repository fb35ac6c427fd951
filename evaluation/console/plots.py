"""Whether pictures can be drawn: matplotlib is the extra `plots`, which a gateway in production does without."""

from importlib.util import find_spec


class PlotsMissing(Exception):
    """matplotlib is not installed; the message names the remedy."""


def require_matplotlib() -> None:
    """Raise `PlotsMissing` where pictures cannot be drawn."""
    if find_spec("matplotlib") is None:
        raise PlotsMissing("drawing the plot needs matplotlib, the extra `plots`: pip install 'vtc-gateway[plots]'")
