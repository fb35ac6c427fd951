"""Ids of requests: nobody can guess one, no two are the same, and each differs from an engine's own ids."""

from secrets import token_hex
from typing import Final

from gateway.wire.answer_id import marked

_ID_BYTES: Final = 16
_IDS_AT_ONCE: Final = 64  # drawn by one system call: a call for each id would double its cost


class RequestIds:
    """Hands out ids, drawn from the system's random numbers many at a time."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        """Start empty; ids are drawn when they are needed."""
        self._left: list[str] = []

    def draw(self) -> str:
        """An id that was not handed out before: 32 hexadecimal digits."""
        if not self._left:
            self._left = marked(token_hex(_ID_BYTES * _IDS_AT_ONCE))
        return self._left.pop()
