"""Finds out from an answer's id whether the answer belongs to the request that was sent.

vLLM makes the answer's id from the `x-request-id`, with `chatcmpl-`, `cmpl-` or the like before it. Other engines draw
ids of their own, which say nothing. So an answer belongs to another request only if its id is one that a gateway drew.
Such an id carries a mark: the exclusive or of its four words is `_MARK`. One in 2**32 random ids has the mark by
chance. Regular ids never have it, because their words are equal in pairs. The
words are read one by one, because numbers of more than 62 bits are slow.
"""

import re
from binascii import unhexlify
from collections.abc import Callable
from struct import Struct
from typing import Final

_MARK: Final = int.from_bytes(b"vtc-", "big")
_LOOKED_AT_BYTES: Final = 512

_words: Callable[[bytes], tuple[int, ...]] = Struct(">4I").unpack
_ID: Final = re.compile(rb'"id":\s?"(?:[a-z]+[-_])*([0-9a-f]{32})')


def marked(digits: str) -> list[str]:
    """Ids with the mark, one for each 32 of `digits`, which are hexadecimal; the first quarter of them is replaced.

    The four words of an id come from the four quarters. So all ids are marked by three operations on long numbers.
    """
    size = len(digits) // 4
    second, third, fourth = (digits[at : at + size] for at in range(size, 4 * size, size))
    marks = int(f"{_MARK:08x}" * (size // 8), 16)
    first = f"{marks ^ int(second, 16) ^ int(third, 16) ^ int(fourth, 16):0{size}x}"
    return ["".join([words[at : at + 8] for words in (first, second, third, fourth)]) for at in range(0, size, 8)]


def answers_another(begin: bytes, request_id: bytes) -> bool:
    """True if the answer that begins with `begin` has the id of another request of a gateway."""
    found = _ID.search(begin, 0, _LOOKED_AT_BYTES)
    if found is None:
        return False
    digits: bytes = found[1]
    if digits == request_id:
        return False
    first, second, third, fourth = _words(unhexlify(digits))
    return first ^ second ^ third ^ fourth == _MARK
