"""What fairness owes each tenant of what a pool has given in a span of time: weighted max-min shares.

A tenant that had a request waiting at every look could have used more, so it shares what is left by weight. Any other
tenant has got all that it asked for. It is owed just that, but no more than those who waited get for the same weight.
The shares sum up to what the pool has given.
"""

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

Name = TypeVar("Name", bound=Hashable)


class Got(NamedTuple):
    """What one tenant of `weight` has received, in cost units; `has_waited`: it could have used more all the time."""

    weight: float
    received: float
    has_waited: bool


def owed(got: Mapping[Name, Got]) -> dict[Name, float]:
    """What each is owed of the sum that all have received, in cost units; O(n log n)."""
    left = sum(each.received for each in got.values())
    weights = sum(each.weight for each in got.values())
    shares: dict[Name, float] = {}
    modest = sorted(
        ((each.received / each.weight, each, name) for name, each in got.items() if not each.has_waited),
        key=lambda entry: entry[0],
    )
    for level, each, name in modest:
        if level * weights >= left:
            break
        shares[name] = each.received
        left -= each.received
        weights -= each.weight
    for name, each in got.items():
        if name not in shares:
            shares[name] = left * each.weight / weights
    return shares
