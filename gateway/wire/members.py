"""Finds members of the outermost object of a JSON text while the text passes, and keeps only a few bytes of it.

A quote inside a string is always escaped. So the reader knows which brackets are outside strings, and they show how
deep a place is. Members of the outermost object are at depth one. The cost of a call is bounded by what it is fed.
"""

import json
import re
from collections.abc import Sequence
from typing import Final

MOST_VALUE_BYTES: Final = 8 * 1024  # of a wanted member; a longer one is not read
UNREAD: Final = False
"""The value of a member that is too long or no JSON."""

_DECODER: Final = json.JSONDecoder()


class Members:
    """Reads one JSON text piece by piece; `values` has the wanted members found so far, the last one of each name."""

    __slots__ = ("_depth", "_find_name", "_is_in_string", "_most_ahead", "_rest", "values")

    def __init__(self, names: Sequence[str]) -> None:
        """Look for members called `names`; nothing is read yet."""
        either = b"|".join(re.escape(name.encode()) for name in names)
        # A name in quotes, with the colon behind it or not yet, and not with an escaped quote, which ends a string.
        self._find_name = re.compile(rb'(?<!\\)("(?:%b)")\s*(?::|\Z)' % either).search
        self._most_ahead = max(len(name.encode()) for name in names) + len(b'""')
        self._rest = b""
        self._depth = 0
        self._is_in_string = False
        self.values: dict[str, object] = {}

    def feed(self, data: bytes) -> None:
        """Read `data`; bytes that may begin a member are kept and read again with the next piece."""
        text = self._rest + data
        self._rest = text[self._read(text, is_whole=False) :]

    def end(self) -> None:
        """Read the bytes that were kept, because the text is whole."""
        self._read(self._rest, is_whole=True)
        self._rest = b""

    def _read(self, text: bytes, *, is_whole: bool) -> int:
        """Read `text`; returns how far it was read."""
        start = 0
        end = len(text) if is_whole else max(0, len(text) - self._most_ahead)
        while (found := self._find_name(text, start)) is not None and found.start() < end:
            at, mark = found.start(), found[1]
            size = len(mark)
            self._pass(text[start:at])
            start = at
            if self._depth == 1 and not self._is_in_string:
                ahead = text[at + size : at + size + MOST_VALUE_BYTES]
                is_enough = is_whole or len(ahead) == MOST_VALUE_BYTES
                if not self._take(mark[1:-1].decode(), ahead, is_enough=is_enough):
                    return start
            start = at + size  # the name's two quotes and its letters change nothing
        if start < end:
            last = text[start:end]
            end -= (len(last) - len(last.rstrip(b"\\"))) & 1  # a backslash belongs to what comes behind it
            self._pass(text[start:end])
        return max(start, end)

    def _take(self, name: str, ahead: bytes, *, is_enough: bool) -> bool:
        """Read the value after what may be a member's name; False if more bytes are needed for that."""
        text = ahead.decode("utf-8", "replace").lstrip()
        if text and text[0] != ":":
            return True  # a value that reads like a name
        text = text[1:].lstrip()
        try:
            value, end = _DECODER.raw_decode(text)
        except (ValueError, RecursionError):
            value, end = UNREAD, len(text)
        if not is_enough and not text[end:].lstrip().startswith((",", "}")):
            return False
        self.values[name] = value
        return True

    def _pass(self, text: bytes) -> None:
        """Count the brackets of `text`, which does not end inside an escape."""
        if b"\\" in text:
            text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
        between_quotes = text.split(b'"')
        outside = b"".join(between_quotes[int(self._is_in_string) :: 2])
        self._depth += outside.count(b"{") + outside.count(b"[") - outside.count(b"}") - outside.count(b"]")
        self._is_in_string = self._is_in_string is (len(between_quotes) % 2 == 1)
