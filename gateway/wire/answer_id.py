"""Whether an answer is to the request that was sent, by the id that vLLM makes of the request's.

vLLM writes `chatcmpl-`, `cmpl-` or the like before the `x-request-id`. Other engines draw ids of their own, which say
nothing: only an id that a gateway has drawn can be another request's. One is known by itself: the exclusive or of its
four words is `_MARK`, as it is of one other id in 2**32 (of no regular one: their words are equal in pairs). Words are
read one by one, because numbers of more than 62 bits are slow.
"""

import re
from typing import Final

_MARK: Final = int.from_bytes(b"vtc-", "big")
_LOOKED_AT_BYTES: Final = 512

_ID = re.compile(rb'"id":\s?"(?:[a-z]+[-_])*([0-9a-f]{32})')


def marked(digits: str) -> str:
    """An id with the digits of `digits`, 32 hexadecimal ones, but for the first eight."""
    return f"{_MARK ^ _word(digits, 8) ^ _word(digits, 16) ^ _word(digits, 24):08x}{digits[8:]}"


def answers_another(begin: bytes, request_id: bytes) -> bool:
    """True where the answer that begins with `begin` says that it is to another request of a gateway."""
    found = _ID.search(begin, 0, _LOOKED_AT_BYTES)
    return found is not None and found[1] != request_id and _is_marked(found[1].decode("ascii"))


def _is_marked(digits: str) -> bool:
    return _word(digits, 0) ^ _word(digits, 8) ^ _word(digits, 16) ^ _word(digits, 24) == _MARK


def _word(digits: str, at: int) -> int:
    return int(digits[at : at + 8], 16)
