"""Cuts a byte stream into server-sent events, whatever the pieces in which the stream arrives.

An event ends at the first empty line: LF LF, CR LF CR LF, CR CR, or LF followed by CR LF. JSON escapes line breaks, so
an event never ends inside a string. No byte is changed or lost: the events and the tail together are the input, and the
cuts do not depend on how the input was split. A tail that lacks only the empty line can be closed. Left to the meters:
what an event means. Source of the format: the WHATWG HTML standard, section 9.2.
"""

import re
from typing import Final

import orjson

DONE: Final = b"[DONE]"
"""The data of the event that ends a stream of chat or completions."""
DEFAULT_MAX_EVENT_BYTES: Final = 8 * 2**20

# As numbers, because `number in data` takes a tenth of the time of `bytes in data`, which first tries it as a number.
LINE_FEED: Final = ord("\n")
RETURN: Final = ord("\r")

_BOUNDARY: Final = re.compile(rb"\n\n|\n\r\n|\r\r")
# All of a boundary but its last byte can lie before the bytes that just came.
_BOUNDARY_OVERLAP: Final = 2


class MalformedStream(Exception):
    """An engine sent bytes that are no stream of events, or an event beyond the bound."""


class EventSplitter:
    """Collects bytes and returns whole events; `pending` is the part of an event, at most `max_event_bytes` long."""

    __slots__ = ("_has_returns", "_max_event_bytes", "pending")

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self.pending = bytearray()
        self._has_returns = False

    def feed(self, data: bytes) -> list[bytes]:
        """Every event that is whole now, with its empty line; raises `MalformedStream` beyond the bound."""
        if self.pending or not _is_whole(data):
            data = self._take(data)
        elif data.find(b"\n") == len(data) - 2:  # the usual read: one event of one line
            return [data]
        return split_events(data)

    def tail(self) -> bytes:
        """The bytes after the last whole event."""
        return bytes(self.pending)

    def _take(self, data: bytes) -> bytes:
        pending = self.pending
        searched = max(len(pending) - _BOUNDARY_OVERLAP, 0)
        pending += data
        self._has_returns = self._has_returns or RETURN in data
        end = self._last_end(searched)
        if len(pending) - end > self._max_event_bytes:
            raise MalformedStream(f"an event of more than {self._max_event_bytes} bytes")
        whole = bytes(memoryview(pending)[:end])
        del pending[:end]
        return whole

    def _last_end(self, searched: int) -> int:
        """Where the last whole event ends; no boundary ends at or before `searched`."""
        end = 0
        if self._has_returns:
            for boundary in _BOUNDARY.finditer(self.pending, searched):
                end = boundary.end()
        elif (at := self.pending.rfind(b"\n\n", searched)) >= 0:
            line_feeds = at + 2 - len(self.pending[: at + 2].rstrip(b"\n"))
            end = at + 2 - line_feeds % 2
        return end


def closed(tail: bytes) -> bytes:
    """The last event of a stream with its empty line added; b"" if more than that is missing."""
    if not tail:
        return b""
    data = event_data(tail)
    try:
        is_whole = data == DONE or isinstance(orjson.loads(data), dict)
    except orjson.JSONDecodeError:
        return b""
    return tail.rstrip(b"\r\n") + b"\n\n" if is_whole else b""


def split_events(whole: bytes) -> list[bytes]:
    """Cut `whole`, which ends where an event ends, into events."""
    if RETURN not in whole:
        return [text + b"\n\n" for text in whole.split(b"\n\n")[:-1]]
    events = []
    start = 0
    for boundary in _BOUNDARY.finditer(whole):
        events.append(whole[start : boundary.end()])
        start = boundary.end()
    return events


def event_data(event: bytes) -> bytes:
    """The contents of the event's `data:` lines, joined by LF; b"" if there are none, as in a comment."""
    if event.startswith(b"data: ") and _is_whole(event) and event.find(b"\n") == len(event) - 2:
        return event[6:-2]
    lines = event.splitlines()
    return b"\n".join(
        line[6:] if line.startswith(b"data: ") else line[5:] for line in lines if line.startswith(b"data:")
    )


def _is_whole(data: bytes) -> bool:
    """True if `data`, which begins with an event, ends with an event too, as nearly every read does."""
    return data.endswith(b"\n\n") and not data.endswith(b"\n\n\n") and RETURN not in data
