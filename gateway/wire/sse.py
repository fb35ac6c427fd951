"""Cuts a byte stream into server-sent events, whatever the pieces in which it arrives.

An event ends at the first empty line: LF LF, CR LF CR LF, CR CR, or LF followed by CR LF. JSON escapes line
breaks, so an event never ends inside a string. Bytes are never changed and never lost: the events and the
tail, joined, are the input, and the cuts do not depend on how the input was split. What an event means is the
meter's to say. Source of the format: the WHATWG HTML standard, section 9.2.
"""

import re
from typing import Final

DEFAULT_MAX_EVENT_BYTES: Final = 8 * 2**20

_BOUNDARY = re.compile(rb"\n\n|\n\r\n|\r\r")
# All of a boundary but its last byte can lie before the bytes that just came.
_BOUNDARY_OVERLAP: Final = 2


class MalformedStream(Exception):
    """An engine sent what is not a stream of events within the bound."""


class EventSplitter:
    """Collects bytes and gives out whole events; holds less than one event, of at most `max_event_bytes`."""

    __slots__ = ("_max_event_bytes", "_pending")

    def __init__(self, max_event_bytes: int = DEFAULT_MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._pending = bytearray()

    def take(self, data: bytes) -> bytes:
        """Every whole event there is now, joined; raises `MalformedStream` past the bound."""
        if not self._pending and data.endswith(b"\n\n") and b"\r" not in data and not data.endswith(b"\n\n\n"):
            return data
        pending = self._pending
        searched = max(len(pending) - _BOUNDARY_OVERLAP, 0)
        pending += data
        end = 0
        for boundary in _BOUNDARY.finditer(pending, searched):
            end = boundary.end()
        if len(pending) - end > self._max_event_bytes:
            raise MalformedStream(f"an event of more than {self._max_event_bytes} bytes")
        whole = bytes(memoryview(pending)[:end])
        del pending[:end]
        return whole

    def feed(self, data: bytes) -> list[bytes]:
        """Every whole event there is now, each with its terminator."""
        return split_events(self.take(data))

    def tail(self) -> bytes:
        """The bytes after the last whole event."""
        return bytes(self._pending)


def split_events(whole: bytes) -> list[bytes]:
    """Cut `whole`, which ends where an event ends, into events."""
    events = []
    start = 0
    for boundary in _BOUNDARY.finditer(whole):
        events.append(whole[start : boundary.end()])
        start = boundary.end()
    return events


def event_data(event: bytes) -> bytes:
    """The payload of the event's `data:` lines, joined by LF; b"" where there are none (comments)."""
    lines = event.splitlines()
    return b"\n".join(
        line[6:] if line.startswith(b"data: ") else line[5:] for line in lines if line.startswith(b"data:")
    )
