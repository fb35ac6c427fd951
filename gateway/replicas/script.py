"""What the store's three scripts have in common: the text, the names of the keys, the status of a reply."""

import hashlib
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from importlib.resources import files


class Status(IntEnum):
    """What became of a call."""

    OK = 0
    REGISTER = 1  # the store does not know the caller: it must say what it holds
    LATE = 2  # the store has seen a later call of the caller; this one had no effect


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script; `digest` is the name under which a server keeps it."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


@dataclass(frozen=True)
class AccountScript:
    """A script of this package and the data of the accounts that it keeps; an account has a key for each of `parts`.

    `layout` stands in front of every key: it changes with the meaning of the data.
    """

    file: str
    layout: str
    parts: tuple[str, ...]

    @cached_property
    def script(self) -> Script:
        """What the store runs."""
        return Script((files(__package__) / self.file).read_text("utf-8"))

    def keys(self, account: str) -> list[str]:
        """The names of the store's keys of one account; one hash tag keeps them together in a cluster."""
        return [self.key(account, part) for part in self.parts]

    def key(self, account: str, part: str) -> str:
        """The name of one of them."""
        return f"{self.layout}:{{{account}}}:{part}"

    def channel(self, account: str, replica: str) -> str:
        """Where messages to a replica are published."""
        return f"{self.key(account, self.parts[0])}:{replica}"


def as_text(word: bytes | str) -> str:
    """A word of a reply."""
    return word.decode() if isinstance(word, bytes) else word
