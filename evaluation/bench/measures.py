"""The arithmetic of the benches: ratios of service, releases of room.

Pure functions of numbers; an empty sample has no share and gives NaN, which no verdict accepts. The general statistics
are those of `evaluation.metrics`.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise


def ratio_of_service(services: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Largest over smallest service per weight: 1 is perfectly fair, infinite where somebody got nothing."""
    shares = [service / weights[tenant] for tenant, service in services.items()]
    smallest = min(shares)
    return max(shares) / smallest if smallest > 0 else math.inf


def share_within(samples: Sequence[float], limit: float) -> float:
    """The share of `samples` that are at most `limit`; NaN when empty."""
    if not samples:
        return math.nan
    return sum(sample <= limit for sample in samples) / len(samples)


def release_moments(finished_at: Sequence[float], same_step_seconds: float) -> list[float]:
    """The moments at which room appears: ends within `same_step_seconds` of the first one are one moment.

    One step of the engine ends several requests at once; whoever waits then waited for one release of
    room, not for several.
    """
    moments: list[float] = []
    for at in sorted(finished_at):
        if not moments or at - moments[-1] > same_step_seconds:
            moments.append(at)
    return moments


def intervals(moments: Sequence[float]) -> list[float]:
    """The distances between consecutive `moments`."""
    return [later - earlier for earlier, later in pairwise(moments)]


def releases_seen(moments: Sequence[float], arrived_at: float, granted_at: float) -> int:
    """How many of the ascending `moments` of release fell into a wait, both of its ends included."""
    return bisect_right(moments, granted_at) - bisect_left(moments, arrived_at)
