"""vLLM's chat answers as bytes on the wire, rendered once: a paced engine sends them without thinking.

Every event is one HTTP chunk, as uvicorn writes it. Usage stands in an event only where it was asked for, as in vLLM
0.32: in each event for `continuous_usage_stats`, in one event without choices for `include_usage`; without the latter
the last token's event names the fingerprint.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

PROMPT_TOKENS = 20
WORD = " word"

_FINGERPRINT = b',"system_fingerprint":"vllm-0.32.0-28a3aadf"'
_CACHED = b'"prompt_tokens_details":{"cached_tokens":0,"created_cache_tokens":0}'
_HEAD = (
    b'"id":"chatcmpl-8f14e45fceea467f9b5d2b1c0a7e3d61","object":"chat.completion%b",'
    b'"created":1795447492,"model":"bench","choices":['
)
_SERVER = b"HTTP/1.1 %b\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n"

STREAM_HEAD = _SERVER % b"200 OK" + (
    b"content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)


def whole_answer(tokens: int) -> bytes:
    """A complete answer of `tokens` that is not streamed, with its head."""
    total = PROMPT_TOKENS + tokens
    text = (WORD * tokens).encode()
    return json_answer(
        b"{"
        + _HEAD % b""
        + b'{"index":0,"message":{"role":"assistant","content":"%b","refusal":null,"annotations":null,"audio":null,'
        b'"function_call":null,"reasoning":null},"logprobs":null,"finish_reason":"length","stop_reason":null,'
        b'"token_ids":null,"routed_experts":null}],"service_tier":null%b,"usage":{"prompt_tokens":%d,"total_tokens":%d,'
        b'"completion_tokens":%d,%b,"multimodal_tokens":null},"completion_tokens_details":null},'
        b'"prompt_logprobs":null,"prompt_token_ids":null,"prompt_text":null,"kv_transfer_params":null,'
        b'"ec_transfer_params":null,"metrics":null}'
        % (text, _FINGERPRINT, PROMPT_TOKENS, total, tokens, _CACHED.removesuffix(b"}"))
    )


def json_answer(body: bytes, status: bytes = b"200 OK") -> bytes:
    """A JSON body with its head."""
    return _SERVER % status + b"content-length: %d\r\ncontent-type: application/json\r\n\r\n" % len(body) + body


@dataclass(slots=True)
class Frames:
    """The events of one form of stream; `running` and `totals` say where usage stands."""

    running: bool
    totals: bool
    _tokens: list[bytes] = field(default_factory=list)

    @property
    def role(self) -> bytes:
        """The first event, which has no token."""
        choice = b'{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}'
        return self._event(choice, self._usage(0) + b',"prompt_token_ids":null,"prompt_text":null')

    def tokens(self, count: int) -> Sequence[bytes]:
        """The events of the tokens 1 to `count` at least, of a stream that goes on after them."""
        choice = b'{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":null,"token_ids":null}'
        for number in range(len(self._tokens) + 1, count + 1):
            self._tokens.append(self._event(choice % WORD.encode(), self._usage(number)))
        return self._tokens

    def end(self, count: int) -> bytes:
        """The event of the last token, the totals where they are wanted, the end marker and the end of the body."""
        choice = (
            b'{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":"length","stop_reason":null,'
            b'"token_ids":null}' % WORD.encode()
        )
        events = [self._event(choice, self._usage(count) + (b"" if self.totals else _FINGERPRINT))]
        if self.totals:
            events.append(self._event(b"", _usage(count, _CACHED) + _FINGERPRINT))
        return b"".join([*events, _chunk(b"data: [DONE]\n\n"), b"0\r\n\r\n"])

    def _usage(self, tokens: int) -> bytes:
        return _usage(tokens, b'"completion_tokens_details":null') if self.running else b""

    def _event(self, choice: bytes, rest: bytes) -> bytes:
        return _chunk(b"data: {" + _HEAD % b".chunk" + choice + b"]" + rest + b"}\n\n")


def _usage(tokens: int, details: bytes) -> bytes:
    return b',"usage":{"prompt_tokens":%d,"total_tokens":%d,"completion_tokens":%d,%b}' % (
        PROMPT_TOKENS,
        PROMPT_TOKENS + tokens,
        tokens,
        details,
    )


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
