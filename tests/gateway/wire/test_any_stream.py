"""Whatever an engine sends, in whatever pieces: every meter reads the same, and keeps a bounded tail."""

from collections.abc import Callable, Sequence
from operator import methodcaller

import pytest
from any_bytes import damaged, kept
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.wire.meter import Meter
from gateway.wire.meters import meter_for
from gateway.wire.sse import EventSplitter, MalformedStream
from gateway.wire.usage import MAX_TOKENS

from .transcripts import CORPUS, at_cuts, numbers, parsed, pieces

BOTH = {"include_usage": True, "continuous_usage_stats": True}
FINGERPRINT = b',"system_fingerprint":"vllm"'
ASKED = {
    "chat": parsed("/v1/chat/completions", stream=True),
    "chat with usage": parsed("/v1/chat/completions", stream=True, stream_options=BOTH),
    "chat, two choices": parsed("/v1/chat/completions", stream=True, n=2),
    "completion, two prompts": parsed("/v1/completions", stream=True, prompt=["a", "b"], n=2),
    "responses": parsed("/v1/responses", stream=True),
    "messages": parsed("/v1/messages", stream=True),
    "chat, whole": parsed("/v1/chat/completions"),
    "responses, whole": parsed("/v1/responses"),
    "messages, whole": parsed("/v1/messages"),
    "embedding": parsed("/v1/embeddings"),
    "rerank": parsed("/v1/rerank"),
    "tokenize": parsed("/tokenize"),
}
UNCHANGED = [name for name in ASKED if name not in ("chat", "chat, two choices", "completion, two prompts")]
RECORDED = [path.read_bytes() for path in sorted(CORPUS.iterdir()) if path.stat().st_size < 5000]
EVENTS = sorted({event + b"\n\n" for stream in RECORDED for event in stream.split(b"\n\n") if event})
WORDS = [
    *(
        b"\n\n",
        b"\r\n\r\n",
        b"\r\r",
        b"\r",
        b"\n",
        b"\n\r\n",
        b": x\n\n",
        b"data: [DONE]\n\n",
        b"data:",
        b"event: error\n",
    ),
    *(
        b',"usage":{',
        b'"usage":null',
        b'"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}',
        b"}",
        b"{",
    ),
    *(
        b'"finish_reason":"stop"',
        b'"choices":[{"index":1',
        b'"choices":[{"index":-1',
        b'"choices":[]',
        b"9" * 15,
        b"-1",
    ),
    *(b'{"error":{}}', b"\xff", b"\xe2\x80\xa8", b"[" * 300, b"1e400", b'"index":true', b"\0"),
]
streams = damaged(RECORDED, WORDS) | st.lists(st.sampled_from(EVENTS + WORDS), max_size=8).map(b"".join)
cuts = st.lists(st.integers(0, 5000), max_size=8)
ENDINGS = methodcaller("end"), methodcaller("cut")


def read(meter: Meter, reads: Sequence[bytes], ending: Callable[[Meter], bytes]) -> tuple[bytes, tuple[object, ...]]:
    """What the client sees of an answer that comes in `reads`, and what the meter says of it."""
    seen = b"".join([meter.feed(each) for each in reads]) + ending(meter)
    return seen, numbers(meter)


def is_read_alike(name: str, data: bytes, reads: Sequence[bytes]) -> None:
    """Whole and in `reads`, ended and broken off, with a known fingerprint and without: the same."""
    for ending in ENDINGS:
        for fingerprint in (FINGERPRINT, None):
            expected, figures = read(meter_for(ASKED[name], fingerprint), [data], ending)
            assert read(meter_for(ASKED[name], fingerprint), reads, ending) == (expected, figures)
            assert all(0 <= figure <= 10 * MAX_TOKENS for figure in figures[:3])  # type: ignore[operator]
            if name in UNCHANGED:
                assert_part_of(expected, data)


def assert_part_of(seen: bytes, data: bytes) -> None:
    """What is seen are bytes of `data` in their order, but for the empty line that ends the last event."""
    rest = iter(data + b"\n\n")
    assert all(byte in rest for byte in seen)


@given(name=st.sampled_from(list(ASKED)), data=streams, at=cuts)
@example(name="chat", data=b"", at=[])
def test_no_split_changes_what_is_read(name: str, data: bytes, at: list[int]) -> None:
    """The same bytes for the client and the same figures, none of them negative; nothing is made up."""
    is_read_alike(name, data, at_cuts(data, at))


@pytest.mark.parametrize("name", ASKED)
def test_kept_streams_are_read_alike(name: str) -> None:
    """Byte by byte, and cut in two at every point."""
    for data in kept("streams"):
        is_read_alike(name, data, list(pieces(data, 1)))
        for at in range(1, len(data)):
            is_read_alike(name, data, [data[:at], data[at:]])


@given(data=streams, at=cuts, bound=st.integers(1, 64))
def test_no_more_is_kept_than_the_bound(data: bytes, at: list[int], bound: int) -> None:
    """A splitter either keeps less than its bound or gives the stream up; what it gave out is the beginning."""
    splitter = EventSplitter(bound)
    given_out = b""
    try:
        for each in at_cuts(data, at):
            given_out += b"".join(splitter.feed(each))
            assert len(splitter.pending) <= bound
    except MalformedStream:
        assert data.startswith(given_out)
    else:
        assert given_out + splitter.tail() == data
