"""Which request goes with which key.

`*=KEY` is for every tenant that has no entry. Several keys of a tenant stand for those of the workload. Without any
entry nobody sends a credential.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from evaluation.load.keys import KeysError, keys_by_tenant
from evaluation.requests import Request

EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of each tenant, in order."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """The keys of `text`, entries parted by commas or lines; raises `KeysError`."""
        return cls(keys_by_tenant(text))

    def check(self, tenants: Iterable[str]) -> None:
        """Raise `KeysError` where there are keys and a tenant has none."""
        lacking = [tenant for tenant in tenants if tenant not in self.keys]
        if self.keys and lacking and EVERYBODY not in self.keys:
            raise KeysError(f"no key for {', '.join(lacking[:5])}: add {lacking[0]}=KEY, or *=KEY for all others")

    def assign(self, requests: Iterable[Request]) -> list[str | None]:
        """The key of each request: several of a tenant stand for the workload's in turn."""
        places: dict[str, dict[str, int]] = {}
        assigned: list[str | None] = []
        for request in requests:
            keys = self.keys.get(request.tenant) or self.keys.get(EVERYBODY)
            place = places.setdefault(request.tenant, {})
            number = place.setdefault(request.key, len(place))
            assigned.append(keys[number % len(keys)] if keys else None)
        return assigned
