"""Who takes part: two to four tenants with their keys and weights, as the operator writes them. PURE.

Keys are `NAME=KEY`, or `KEY` alone for a tenant of its own. Weights are `NAME=WEIGHT`, or bare numbers in the tenants'
order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evaluation.load.keys import entries, keys_by_tenant

FEWEST_TENANTS = 2
MOST_TENANTS = 4


class TenantsError(ValueError):
    """The keys or the weights do not make a suite; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant at the endpoint."""

    name: str
    keys: tuple[str, ...] = field(repr=False)
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Cast:
    """All tenants. `has_weights` is true if the operator gave the weights; else they are assumed equal."""

    tenants: tuple[Tenant, ...]
    has_weights: bool = False

    @property
    def weights(self) -> dict[str, float]:
        """Weight by tenant."""
        return {tenant.name: tenant.weight for tenant in self.tenants}

    @property
    def with_several_keys(self) -> Tenant | None:
        """The tenant with the most keys, if one has more than one."""
        richest = max(self.tenants, key=lambda tenant: len(tenant.keys))
        return richest if len(richest.keys) > 1 else None


def read_cast(keys: str, weights: str) -> Cast:
    """The tenants of `keys` (entries separated by commas or lines) with `weights` ("" for none).

    Raises KeysError or TenantsError.
    """
    named = keys_by_tenant(keys, unnamed="tenant")
    if not FEWEST_TENANTS <= len(named) <= MOST_TENANTS:
        raise TenantsError(
            f"{len(named)} tenants were given: name {FEWEST_TENANTS} to {MOST_TENANTS}, each with a key (NAME=KEY)"
        )
    given = _weights(entries(weights), list(named))
    return Cast(
        tuple(Tenant(name, keys_of_it, given.get(name, 1.0)) for name, keys_of_it in named.items()),
        has_weights=len(set(given.values())) > 1,
    )


def _weights(written: Sequence[str], names: Sequence[str]) -> Mapping[str, float]:
    given: dict[str, float] = {}
    for position, entry in enumerate(written):
        name, parted, text = entry.rpartition("=")
        if not parted:
            name = names[position] if position < len(names) else ""
        if name.strip() not in names:
            raise TenantsError(f"weight {entry!r} names no tenant: write {names[0]}=1,{names[1]}=3")
        given[name.strip()] = _positive(text.strip(), entry)
    if given and set(given) != set(names):
        raise TenantsError(f"give every tenant a weight: {', '.join(names)}")
    return given


def _positive(text: str, entry: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < float("inf"):
        raise TenantsError(f"weight {entry!r} is not a number above 0")
    return weight
