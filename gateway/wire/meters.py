"""Which meter reads an answer: one for each format, chosen by what was asked."""

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
_CHUNKED = frozenset({Family.CHAT, Family.COMPLETION})

# What makes sense of the `usage` of a body that is not streamed; no model runs for those of which nothing is read.
_USAGES: Mapping[Family, Callable[[object], Usage | None] | None] = {
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

    `fingerprint` is what an earlier meter of the same worker learned: with it no last chunk of a choice is held back.
    """
    family = parsed.endpoint.family
    if parsed.stream:
        if family in _CHUNKED:
            return StreamMeter(parsed, fingerprint)
        if family is _RESPONSES:
            return ResponsesMeter()
        if family is _MESSAGES:
            return MessagesMeter()
    return TailMeter() if family is _EMBEDDING else BodyMeter(_USAGES[family])
