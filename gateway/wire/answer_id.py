"""Whether an answer is to the request that was sent, by the id that vLLM makes of the request's.

vLLM writes `chatcmpl-`, `cmpl-` or the like before the `x-request-id`. Other engines draw ids of their own, which say
nothing: only an id that a gateway has drawn can be another request's. One is known by itself: the exclusive or of its
four words is `_MARK`, as it is of one other id in 2**32 (of no regular one: their words are equal in pairs).
"""

import re
from typing import Final

_WORD_BITS: Final = 32
_WORD: Final = 2**_WORD_BITS - 1
_MARK: Final = int.from_bytes(b"vtc-", "big")
_LOOKED_AT_BYTES: Final = 512

_ID = re.compile(rb'"id":\s?"(?:[a-z]+[-_])*([0-9a-f]{32})')


def marked(digits: str) -> str:
    """An id with the digits of `digits`, 32 hexadecimal ones, but for the first eight."""
    value = int(digits, 16)
    return f"{value ^ (_folded(value) ^ _MARK) << 3 * _WORD_BITS:032x}"


def answers_another(begin: bytes, request_id: bytes) -> bool:
    """True where the answer that begins with `begin` says that it is to another request of a gateway."""
    found = _ID.search(begin, 0, _LOOKED_AT_BYTES)
    return found is not None and found[1] != request_id and _folded(int(found[1], 16)) == _MARK


def _folded(value: int) -> int:
    return (value ^ value >> _WORD_BITS ^ value >> 2 * _WORD_BITS ^ value >> 3 * _WORD_BITS) & _WORD
