"""What the engine says: readable English that depends on nothing but its seed, one byte a token.

A passage is a stream of bytes taken one token at a time. Prose goes on for as long as somebody takes; a recital (a
tool call, a structured answer) has an end of its own. The byte count is the token count, so a prompt that quotes an
answer costs what the answer cost.
"""

from collections.abc import Iterator
from hashlib import blake2b
from itertools import chain, repeat
from random import Random

_OPENINGS = (
    "In the morning",
    "After the rain",
    "By the harbour",
    "On most days",
    "Near the old mill",
    "Late in autumn",
)
_SUBJECTS = (
    "the gardener",
    "a patient clerk",
    "the lighthouse keeper",
    "our neighbour",
    "the young engineer",
    "a baker",
)
_VERBS = ("repairs", "carries", "measures", "remembers", "paints", "counts", "describes", "gathers")
_OBJECTS = ("a wooden boat", "the long ladder", "seven letters", "the quiet road", "an empty basket", "the brass clock")
_ENDINGS = (
    "with great care",
    "before the market opens",
    "for an old friend",
    "while the kettle sings",
    "in small steps",
)


def seed_of(*parts: bytes | str | int) -> int:
    """A 64-bit seed that every process computes alike."""
    digest = blake2b(digest_size=8)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else str(part).encode())
        digest.update(b"\x00")
    return int.from_bytes(digest.digest(), "big")


def prose(random: Random) -> Iterator[bytes]:
    """Sentences without end, token by token."""
    return chain.from_iterable(_tokens(_sentence(random)) for _ in repeat(None))


def recital(text: bytes) -> Iterator[bytes]:
    """`text`, token by token."""
    return _tokens(text)


def _sentence(random: Random) -> bytes:
    parts = (random.choice(words) for words in (_OPENINGS, _SUBJECTS, _VERBS, _OBJECTS, _ENDINGS))
    opening, subject, verb, thing, ending = parts
    return f"{opening} {subject} {verb} {thing} {ending}. ".encode()


def _tokens(text: bytes) -> Iterator[bytes]:
    return (text[index : index + 1] for index in range(len(text)))
