"""What each tenant should get: max-min fairness by water-filling, the oracle that outcomes are held against."""

from collections.abc import Mapping


def max_min_shares(demand: Mapping[str, float], weight: Mapping[str, float], capacity: float) -> dict[str, float]:
    """Fill `capacity` by weight until each demand is met: nobody can get more without one that has less losing."""
    shares: dict[str, float] = {}
    open_tenants = dict(demand)
    while open_tenants:
        level = capacity / sum(weight[name] for name in open_tenants)
        met = {name: wanted for name, wanted in open_tenants.items() if wanted <= level * weight[name]}
        if not met:
            shares.update({name: level * weight[name] for name in open_tenants})
            break
        shares.update(met)
        capacity -= sum(met.values())
        open_tenants = {name: wanted for name, wanted in open_tenants.items() if name not in met}
    return shares


def is_fair(got: Mapping[str, float], due: Mapping[str, float], margin: float) -> bool:
    """True if each tenant got what was due, within `margin`."""
    return all(abs(got.get(name, 0.0) - wanted) <= margin * wanted for name, wanted in due.items())
