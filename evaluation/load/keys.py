"""Which keys each tenant sends with, as the operator writes them.

One entry per key, `NAME=KEY`; entries of one name are keys of one tenant. A list is parted by commas; a file has one
entry per line. `#` begins a comment. A key may hold an equals sign.
"""

from pathlib import Path


class KeysError(ValueError):
    """The keys cannot be used; the message says what to write instead."""


def read_keys(keys: str) -> str:
    """The entries: `keys` itself where it is a list, else the text of the file of that name; raises OSError."""
    is_list = not keys or "=" in keys or "," in keys
    return keys if is_list else Path(keys).read_text("utf-8")


def entries(text: str) -> list[str]:
    """What commas and lines part, without comments and blanks."""
    lines = (line.partition("#")[0] for line in text.splitlines())
    return [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]


def keys_by_tenant(text: str, unnamed: str = "") -> dict[str, tuple[str, ...]]:
    """The keys of each tenant in order; raises KeysError.

    A key alone is that of a tenant called `unnamed` with the entry's number, where such names are given.
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
