"""Which meter reads an answer: one for each format, chosen by what was asked."""

from gateway.wire.body_meter import BodyMeter, TailMeter
from gateway.wire.event_meter import MessagesMeter, ResponsesMeter
from gateway.wire.meter import Meter
from gateway.wire.request import Reading
from gateway.wire.stream_meter import StreamMeter
from gateway.wire.surface import Family
from gateway.wire.usage import messages_usage, openai_usage, responses_usage


def meter_for(reading: Reading, fingerprint: bytes | None = None) -> Meter:
    """The meter of the answer to `reading`.

    `fingerprint` is what an earlier meter of the same worker learned: with it no last chunk of a choice is held back.
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
