"""Meters streams whose usage comes only at the end: `/v1/responses` and `/v1/messages`.

The meters cut out only keep-alives, and these only before the first output. Events can repeat what the client sent
(metadata, tools, a tool's input), so a regular expression could find usage that the client invented. Therefore the
meters go by the `event:` line and decode the events that carry usage.
"""

from abc import abstractmethod
from typing import Any, Final

import orjson

from gateway.wire.body_meter import BodyMeter
from gateway.wire.meter import Meter
from gateway.wire.sse import EventSplitter, closed, event_data
from gateway.wire.usage import messages_usage, responses_usage

_KEEP_ALIVES: Final = frozenset({b"ping", b"keepalive"})
_ANNOUNCEMENTS: Final = frozenset(
    {
        b"response.created",
        b"response.queued",
        b"response.in_progress",
        b"response.output_item.added",
        b"response.content_part.added",
        b"response.reasoning_part.added",
        b"response.reasoning_summary_part.added",
    }
)
_EMPTY_BLOCKS: Final = frozenset({"text", "thinking"})


class EventMeter(Meter):
    """What the meters of event streams share: whole events pass unchanged, and `_read` sees each of them."""

    __slots__ = ("_last", "_splitter")

    def __init__(self) -> None:
        super().__init__()
        self._splitter = EventSplitter()
        self._last = b""

    def feed(self, data: bytes) -> bytes:
        """Meter `data`; returns the events that are whole now."""
        return self._show(self._splitter.feed(data))

    def end(self) -> bytes:
        """The last event at the true end of the body, and the bytes after the end of the answer."""
        shown = self.cut()
        rest = self._splitter.tail() if self.is_complete and not shown else b""
        self._splitter = EventSplitter()
        return shown + rest

    def cut(self) -> bytes:
        """The last event if only its empty line is missing; an event that is less whole is not shown."""
        last = closed(self._splitter.tail())
        return self._show([last]) if last else b""

    def _show(self, events: list[bytes]) -> bytes:
        shown = []
        for event in events:
            name = _name(event)
            if name and name not in _KEEP_ALIVES:
                self._last = event
                self._read(event, name)
            elif not self.outputs and (name or not event_data(event)):
                continue
            shown.append(event)
        return b"".join(shown)

    @abstractmethod
    def _read(self, event: bytes, name: bytes) -> None:
        """Meter one event that is no keep-alive; its `event:` line says `name`."""


class ResponsesMeter(EventMeter):
    """Meter of a stream of `/v1/responses`; the event that finishes the response carries usage and end."""

    __slots__ = ()

    def whole(self) -> Meter:
        """The meter of a response that is not streamed."""
        return BodyMeter(responses_usage)

    @property
    def next_sequence_number(self) -> int:
        """The number after that of the last event."""
        number = _decoded(self._last).get("sequence_number")
        return number + 1 if isinstance(number, int) else 0

    def _read(self, event: bytes, name: bytes) -> None:
        if name in _ANNOUNCEMENTS:
            return
        self.outputs += 1
        match name:
            case b"response.completed" | b"response.incomplete":
                self._take(responses_usage(_member(event, "response").get("usage")))
                self.is_complete = True
            case b"response.failed":
                self._take(responses_usage(_member(event, "response").get("usage")))
                self.has_error = True
            case b"error":
                self.has_error = True
            case _:
                pass


class MessagesMeter(EventMeter):
    """Meter of a stream of `/v1/messages`; its start carries the prompt's tokens, its end those of the output."""

    __slots__ = ()

    def whole(self) -> Meter:
        """The meter of a message that is not streamed."""
        return BodyMeter(messages_usage)

    def _read(self, event: bytes, name: bytes) -> None:
        match name:
            case b"message_start":
                self._take(messages_usage(_member(event, "message").get("usage")))
                return
            case b"content_block_start":
                if not self.outputs and _member(event, "content_block").get("type") in _EMPTY_BLOCKS:
                    return
            case b"message_delta":
                self._take(messages_usage(_member(event, "usage")))
            case b"message_stop":
                self.is_complete = True
            case b"error":
                self.has_error = True
            case _:
                pass
        self.outputs += 1


def _name(event: bytes) -> bytes:
    """The event's name from its `event:` line or, without one, from its JSON `type`; b"" for a comment."""
    start = 0 if event.startswith(b"event:") else event.find(b"\nevent:") + 1
    if event.startswith(b"event:", start):
        return event[start + 6 :].splitlines()[0].strip()
    kind = _decoded(event).get("type", "")
    return kind.encode() if isinstance(kind, str) else b""


def _member(event: bytes, name: str) -> dict[str, Any]:
    member = _decoded(event).get(name)
    return member if isinstance(member, dict) else {}


def _decoded(event: bytes) -> dict[str, Any]:
    try:
        decoded = orjson.loads(event_data(event))
    except orjson.JSONDecodeError:
        return {}
    return decoded if isinstance(decoded, dict) else {}
