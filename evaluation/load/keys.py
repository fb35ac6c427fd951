"""Which keys each tenant sends with, as the operator writes them.

Each key has an entry, `NAME=KEY`; entries of one name are keys of one tenant. Commas separate the entries of a list; a
file has one entry per line. `#` begins a comment. A key may contain an equals sign. In a keyring `*=KEY` is for every
tenant without an entry, and several keys of a tenant stand for those of the workload. Without any entry nobody sends a
credential.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.requests import Request

EVERYBODY = "*"


class KeysError(ValueError):
    """The keys cannot be used; the message says what to write instead."""


def read_keys(keys: str) -> str:
    """The entries: `keys` itself if it is a list, else the text of the file of that name; raises OSError."""
    is_list = not keys or "=" in keys or "," in keys
    return keys if is_list else Path(keys).read_text("utf-8")


def entries(text: str) -> list[str]:
    """The parts between commas and line ends, without comments and blanks."""
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]


def keys_by_tenant(text: str, unnamed: str = "") -> dict[str, tuple[str, ...]]:
    """The keys of each tenant in order; raises KeysError.

    A key alone belongs to a tenant called `unnamed` with the entry's number, if `unnamed` is given.
    """
    named: dict[str, tuple[str, ...]] = {}
    for number, entry in enumerate(entries(text), 1):
        name, parted, key = (part.strip() for part in entry.partition("="))
        if unnamed and not parted:
            name, key = f"{unnamed}{number}", entry
        if not name or not key:
            raise KeysError(f"entry {number} of the keys is not NAME=KEY")
        named[name] = (*named.get(name, ()), key)
    return named


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys of each tenant, in order."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, text: str) -> "Keyring":
        """The keys of `text`; raises `KeysError`."""
        return cls(keys_by_tenant(text))

    def check(self, tenants: Iterable[str]) -> None:
        """Raise `KeysError` if there are keys and a tenant has none."""
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
