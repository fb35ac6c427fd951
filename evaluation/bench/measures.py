"""The arithmetic of the benches: percentiles, ratios of service, releases of room, max-min shares.

Pure functions of numbers; an empty sample has no percentile and gives NaN, which no verdict accepts.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise


def percentile(values: Sequence[float], percent: float) -> float:
    """The `percent`-th percentile with linear interpolation between the two nearest ranks; NaN when empty."""
    assert 0 <= percent <= 100
    if not values:
        return math.nan
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = math.floor(rank)
    above = math.ceil(rank)
    if below == above:
        return ordered[below]
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def median(values: Sequence[float]) -> float:
    """The 50th percentile; NaN when empty."""
    return percentile(values, 50)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; NaN when empty."""
    return sum(values) / len(values) if values else math.nan


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


def max_min_shares(demands: Mapping[str, float], weights: Mapping[str, float], capacity: float) -> dict[str, float]:
    """The weighted max-min fair division of `capacity`: nobody gets more than they ask for while others ask.

    Water-filling: the tenant with the smallest demand per weight is served first, at most its weighted
    part of what is left; what it leaves over goes to the rest.
    """
    shares: dict[str, float] = {}
    left = capacity
    weight_left = sum(weights[tenant] for tenant in demands)
    for tenant in sorted(demands, key=lambda tenant: demands[tenant] / weights[tenant]):
        shares[tenant] = min(demands[tenant], left * weights[tenant] / weight_left)
        left -= shares[tenant]
        weight_left -= weights[tenant]
    return shares
