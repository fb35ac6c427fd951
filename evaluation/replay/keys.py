"""Which keys each tenant sends with, as the operator writes them. PURE.

One entry per key, `TENANT=KEY`; entries of one tenant are its several keys. A file has one entry per line, `#` begins
a comment; a list is parted by commas. `*=KEY` is for every tenant that has no entry. Without any entry nobody sends a
credential.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from evaluation.requests import Request

EVERYBODY = "*"


class KeysError(ValueError):
    """The keys cannot be used; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of each tenant, in order."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """The keys of `text`, entries parted by commas or lines; raises `KeysError`."""
        named: dict[str, tuple[str, ...]] = {}
        for number, entry in enumerate(_entries(text), 1):
            tenant, _, key = (part.strip() for part in entry.partition("="))
            if not tenant or not key:
                raise KeysError(f"entry {number} of the keys is not TENANT=KEY")
            named[tenant] = (*named.get(tenant, ()), key)
        return cls(named)

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


def _entries(text: str) -> list[str]:
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]
