"""Who takes part: two to four tenants with their keys and weights, as the operator writes them. PURE.

One entry per key, `NAME=KEY` or `KEY` alone; entries of the same name are keys of one tenant. A file has one entry per
line, a list is parted by commas. Weights are `NAME=WEIGHT`, or bare numbers in the tenants' order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    """All tenants; `has_weights` tells weights that the operator gave from weights that were assumed equal."""

    tenants: tuple[Tenant, ...]
    has_weights: bool = False

    @property
    def weights(self) -> dict[str, float]:
        """Weight by tenant."""
        return {tenant.name: tenant.weight for tenant in self.tenants}

    @property
    def with_several_keys(self) -> Tenant | None:
        """The tenant with the most keys, where one has more than one."""
        richest = max(self.tenants, key=lambda tenant: len(tenant.keys))
        return richest if len(richest.keys) > 1 else None


def read_cast(keys: str, weights: str) -> Cast:
    """The tenants of `keys` (entries parted by commas or lines) with `weights` ("" for none); raises TenantsError."""
    named = _keys_by_tenant(_entries(keys))
    if not FEWEST_TENANTS <= len(named) <= MOST_TENANTS:
        raise TenantsError(
            f"{len(named)} tenants were given: name {FEWEST_TENANTS} to {MOST_TENANTS}, each with a key (NAME=KEY)"
        )
    given = _weights(_entries(weights), list(named))
    return Cast(
        tuple(Tenant(name, tuple(keys), given.get(name, 1.0)) for name, keys in named.items()),
        has_weights=len(set(given.values())) > 1,
    )


def _entries(text: str) -> list[str]:
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]


def _keys_by_tenant(entries: Sequence[str]) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for number, entry in enumerate(entries, 1):
        name, parted, key = entry.partition("=")
        name, key = (name.strip(), key.strip()) if parted else (f"tenant{number}", entry)
        if not name or not key:
            raise TenantsError(f"entry {number} of the keys is not NAME=KEY")
        named.setdefault(name, []).append(key)
    return named


def _weights(entries: Sequence[str], names: Sequence[str]) -> Mapping[str, float]:
    given: dict[str, float] = {}
    for position, entry in enumerate(entries):
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
