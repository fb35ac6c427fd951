"""Finds out from an answer's id whether the answer belongs to the request that was sent.

vLLM makes the answer's id from the `x-request-id`, with `chatcmpl-`, `cmpl-` or the like before it. Other engines draw
ids of their own, which say nothing. So an answer belongs to another request only if its id is one that a gateway drew.
Such an id carries a mark: the exclusive or of its four words is `_MARK`. One in 2**32 random ids has the mark by
chance. Regular ids never have it, because their words are equal in pairs. The
words are read one by one, because numbers of more than 62 bits are slow.
"""

import re
from typing import Final

_MARK: Final = int.from_bytes(b"vtc-", "big")
_LOOKED_AT_BYTES: Final = 512

_ID = re.compile(rb'"id":\s?"(?:[a-z]+[-_])*([0-9a-f]{32})')


def marked(digits: str) -> str:
    """The id with the mark that has the 32 hexadecimal digits `digits`, except for the first eight."""
    return f"{_MARK ^ _word(digits, 8) ^ _word(digits, 16) ^ _word(digits, 24):08x}{digits[8:]}"


def answers_another(begin: bytes, request_id: bytes) -> bool:
    """True if the answer that begins with `begin` has the id of another request of a gateway."""
    found = _ID.search(begin, 0, _LOOKED_AT_BYTES)
    return found is not None and found[1] != request_id and _is_marked(found[1].decode("ascii"))


def _is_marked(digits: str) -> bool:
    return _word(digits, 0) ^ _word(digits, 8) ^ _word(digits, 16) ^ _word(digits, 24) == _MARK


def _word(digits: str, at: int) -> int:
    return int(digits[at : at + 8], 16)
