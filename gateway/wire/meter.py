"""Which meter reads an answer: one interface, one meter per format.

A meter is fed the body of a successful answer as it arrives and gives back what the client may see. Its
numbers are the engine's own, cumulative over choices and prompts; they are the basis of every charge, so no
chunk is ever counted as a token. When the body ends call `end`, when it breaks off `cut`; never both.
"""

from typing import Protocol

from gateway.wire.body_meter import BodyMeter, TailMeter
from gateway.wire.event_meter import MessagesMeter, ResponsesMeter
from gateway.wire.request import Reading
from gateway.wire.sse import MalformedStream
from gateway.wire.stream_meter import StreamMeter
from gateway.wire.surface import Family
from gateway.wire.usage import messages_usage, openai_usage, responses_usage

__all__ = ["MalformedStream", "Meter", "meter_for"]


class Meter(Protocol):
    """Reads one answer; counts are 0 until known, and `has_usage` says that the engine gave them.

    `is_complete`: the true end was seen. `has_error`: the engine sent an error in a good status. `started`:
    the first output or role was seen (TTFT). `fingerprint`: what this engine writes as `system_fingerprint`,
    None if not seen.
    """

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    has_usage: bool
    is_complete: bool
    has_error: bool
    started: bool
    fingerprint: bytes | None

    def feed(self, data: bytes) -> bytes:
        """Meter `data`; what the client may see now. Raises `MalformedStream` on an event without end."""
        ...

    def end(self) -> bytes:
        """The last bytes for the client, where the body ended as it should."""
        ...

    def cut(self) -> bytes:
        """The last bytes for the client, where the body broke off; whole events only."""
        ...


def meter_for(reading: Reading, fingerprint: bytes | None = None) -> Meter:
    """The meter of the answer to `reading`.

    `fingerprint` is what an earlier meter of the same worker learned: with it the last chunk of each choice
    is never held back, and with several choices each gets its fingerprint.
    """
    match reading.endpoint.family:
        case Family.CHAT | Family.COMPLETION if reading.stream:
            return StreamMeter(reading, fingerprint)
        case Family.RESPONSES if reading.stream:
            return ResponsesMeter()
        case Family.MESSAGES if reading.stream:
            return MessagesMeter()
        case Family.RESPONSES:
            return BodyMeter(responses_usage)
        case Family.MESSAGES:
            return BodyMeter(messages_usage)
        case Family.EMBEDDING:
            return TailMeter()
        case Family.TOKENIZE | Family.DETOKENIZE | Family.COUNT_TOKENS:
            return BodyMeter(None)
        case _:
            return BodyMeter(openai_usage)
