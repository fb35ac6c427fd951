"""Meters streams whose usage comes only at the end: `/v1/responses` and `/v1/messages`.

Nothing is cut out of them. Their events can repeat what the client sent (metadata, tools, a tool's input), so
no regular expression may look for usage here: the events that carry it, named by their `event:` line, are
decoded.
"""

from abc import abstractmethod
from typing import Any

import orjson

from gateway.wire.meter import Meter
from gateway.wire.sse import EventSplitter, event_data
from gateway.wire.usage import messages_usage, responses_usage


class EventMeter(Meter):
    """What the meters of event streams share: whole events pass unchanged, each is shown to `_read`."""

    __slots__ = ("_splitter",)

    def __init__(self) -> None:
        super().__init__()
        self._splitter = EventSplitter()

    def feed(self, data: bytes) -> bytes:
        """Meter what just arrived; the whole events there are now."""
        events = self._splitter.feed(data)
        for event in events:
            self._read(event, _name(event))
        return b"".join(events)

    def end(self) -> bytes:
        """The bytes of an unfinished event, at the true end of the body."""
        rest = self._splitter.tail()
        self._splitter = EventSplitter()
        return rest

    def cut(self) -> bytes:
        """Nothing: an unfinished event is not shown where the body broke off."""
        return b""

    @abstractmethod
    def _read(self, event: bytes, name: bytes) -> None:
        """Take in one event, called `name` by its `event:` line."""


class ResponsesMeter(EventMeter):
    """Meter of a stream of `/v1/responses`: usage and end are in the event that finishes the response."""

    __slots__ = ()

    def _read(self, event: bytes, name: bytes) -> None:
        match name:
            case b"response.completed" | b"response.incomplete":
                self._take(responses_usage(_member(event, "response").get("usage")))
                self.is_complete = self.started = True
            case b"response.failed":
                self._take(responses_usage(_member(event, "response").get("usage")))
                self.has_error = True
            case b"error":
                self.has_error = True
            case b"response.created" | b"response.in_progress" | b"response.queued" | b"":
                pass
            case _:
                self.started = True


class MessagesMeter(EventMeter):
    """Meter of a stream of `/v1/messages`: the prompt is known at its start, the output before its end."""

    __slots__ = ()

    def _read(self, event: bytes, name: bytes) -> None:
        match name:
            case b"message_start":
                self.started = True
                self._take(messages_usage(_member(event, "message").get("usage")))
            case b"message_delta":
                self._take(messages_usage(_member(event, "usage")))
            case b"message_stop":
                self.is_complete = True
            case b"error":
                self.has_error = True
            case _:
                pass


def _name(event: bytes) -> bytes:
    """The event's name: its `event:` line, else its JSON `type`; b"" for a comment."""
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
