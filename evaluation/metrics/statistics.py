"""General statistics: percentiles, means, variance, Jain's index, max-min shares.

Pure functions of numbers; an empty sample has no statistic and gives NaN, which no verdict accepts.
"""

import math
from collections.abc import Mapping, Sequence


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


def variance(values: Sequence[float]) -> float:
    """The mean squared distance from the mean (of the whole population, not an estimate); NaN when empty."""
    centre = mean(values)
    return mean([(value - centre) ** 2 for value in values])


def jain_index(values: Sequence[float]) -> float:
    """`(sum x)^2 / (n sum x^2)`: 1 if all are equal, 1/n if one has everything, NaN if nobody has anything.

    Source: Jain, Chiu, Hawe: "A Quantitative Measure of Fairness and Discrimination", DEC-TR-301, 1984.
    """
    assert all(value >= 0 for value in values)
    largest = max(values, default=0.0)
    if largest == 0:
        return math.nan
    scaled = [value / largest for value in values]  # squares of tiny numbers must not vanish
    return sum(scaled) ** 2 / (len(scaled) * sum(value * value for value in scaled))


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
