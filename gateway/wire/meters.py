"""Chooses the meter of an answer; there is one for each format, and the request decides the format."""

from collections.abc import Callable, Mapping
from typing import Final

from gateway.usage import Usage
from gateway.wire.body_meter import BodyMeter, TailMeter
from gateway.wire.event_meter import MessagesMeter, ResponsesMeter
from gateway.wire.meter import Meter
from gateway.wire.request import ParsedRequest
from gateway.wire.stream_meter import StreamMeter
from gateway.wire.surface import Family
from gateway.wire.usage import messages_usage, openai_usage, responses_usage

_RESPONSES: Final = Family.RESPONSES
_MESSAGES: Final = Family.MESSAGES
_EMBEDDING: Final = Family.EMBEDDING

# How the `usage` of a body that is not streamed is read; None for families for which no model runs.
_USAGES: Final[Mapping[Family, Callable[[object], Usage | None] | None]] = {
    Family.CHAT: openai_usage,
    Family.COMPLETION: openai_usage,
    Family.RESPONSES: responses_usage,
    Family.MESSAGES: messages_usage,
    Family.RERANK: openai_usage,
    Family.SCORE: openai_usage,
    Family.TOKENIZE: None,
    Family.DETOKENIZE: None,
    Family.COUNT_TOKENS: None,
}


def meter_for(parsed: ParsedRequest, fingerprint: bytes | None = None) -> Meter:
    """The meter of the answer to `parsed`.

    `fingerprint` is what an earlier meter of the same worker learned; with it no last chunk of a choice has to wait.
    """
    family = parsed.endpoint.family
    if parsed.stream:
        if not parsed.reports_at_end:
            return StreamMeter(parsed, fingerprint)
        if family is _RESPONSES:
            return ResponsesMeter()
        if family is _MESSAGES:
            return MessagesMeter()
    return TailMeter() if family is _EMBEDDING else BodyMeter(_USAGES[family])
