"""The arithmetic of paced streams: gaps between tokens, and how late each token is against the stream's own pace."""

from collections.abc import Sequence
from itertools import pairwise


def gaps(arrivals: Sequence[float]) -> list[float]:
    """Times between consecutive arrivals."""
    return [later - earlier for earlier, later in pairwise(arrivals)]


def lateness(arrivals: Sequence[float], interval: float) -> list[float]:
    """How much later each token of an even stream came than its most punctual one allows.

    Token k is due k intervals after token 0; the stream's start is where its earliest token, against that pace, puts
    it. So a constant delay is no lateness, and one token that is held up does not make the others early.
    """
    offsets = [at - number * interval for number, at in enumerate(arrivals)]
    earliest = min(offsets, default=0.0)
    return [offset - earliest for offset in offsets]
