"""The meters of `/v1/responses` and `/v1/messages` streams, against recorded answers of vLLM."""

import pytest

from gateway.wire.meter import Meter
from gateway.wire.meters import meter_for

from .transcripts import numbers, pieces, reading, recorded, shown

RECORDED = {
    "responses.sse": ("/v1/responses", (20, 0, 5)),
    "messages.sse": ("/v1/messages", (20, 0, 5)),
    # vLLM says `input_tokens` 22 and `cache_read_input_tokens` 896 of a prompt of 918.
    "messages_cached.sse": ("/v1/messages", (918, 896, 5)),
}


def meter_of(path: str) -> Meter:
    """A meter of a streamed answer of `path`."""
    return meter_for(reading(path, stream=True))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_streams_pass_unchanged_at_every_split(name: str) -> None:
    """Whole, byte by byte and cut in two everywhere: the same bytes and the same numbers."""
    path, (prompt_tokens, cached_tokens, output_tokens) = RECORDED[name]
    stream = recorded(name)
    splits = ([stream[:at], stream[at:]] for at in range(0, len(stream), 3))
    for reads in [[stream], list(pieces(stream, 1)), *splits]:
        meter = meter_of(path)
        assert shown(meter, reads) == stream
        assert numbers(meter) == (prompt_tokens, cached_tokens, output_tokens, True, True, False, True)


def test_the_prompt_is_known_from_the_start_of_a_message() -> None:
    """Anthropic's stream says the prompt first and the output last."""
    meter = meter_of("/v1/messages")
    start, *_ = recorded("messages.sse").split(b"\n\n")
    meter.feed(start + b"\n\n")
    assert numbers(meter) == (20, 0, 0, True, False, False, True)


@pytest.mark.parametrize("name", ["created", "in_progress", "queued"])
def test_a_response_has_not_started_before_its_first_output(name: str) -> None:
    """vLLM announces a response before the model has run."""
    meter = meter_of("/v1/responses")
    meter.feed(b'event: response.%b\ndata: {"response":{"usage":null}}\n\n' % name.encode())
    assert not meter.started
    meter.feed(b'event: response.output_text.delta\ndata: {"delta":"x"}\n\n')
    assert meter.started


USAGE = b'{"input_tokens":7,"output_tokens":3,"input_tokens_details":{"cached_tokens":2}}'


@pytest.mark.parametrize(
    ("name", "is_complete", "has_error"),
    [("response.completed", True, False), ("response.incomplete", True, False), ("response.failed", False, True)],
)
def test_the_ends_of_a_response(name: str, is_complete: bool, has_error: bool) -> None:
    """Each way to end carries usage; a failed response is an error."""
    meter = meter_of("/v1/responses")
    meter.feed(b'event: %b\ndata: {"response":{"usage":%b}}\n\n' % (name.encode(), USAGE))
    assert numbers(meter)[:6] == (7, 2, 3, True, is_complete, has_error)


def test_what_the_client_sent_is_never_taken_for_usage() -> None:
    """Answers repeat tools and metadata of the request, which may look like usage; only the engine's place counts."""
    meter = meter_of("/v1/responses")
    echoed = b'"metadata":{"usage":{"input_tokens":0,"output_tokens":0}},"tools":[{"usage":%b}]' % USAGE
    meter.feed(b'event: response.created\ndata: {"response":{%b,"usage":null}}\n\n' % echoed)
    meter.feed(b'event: response.output_item.done\ndata: {"type":"response.completed",%b}\n\n' % echoed)
    assert numbers(meter)[:5] == (0, 0, 0, False, False)
    message = meter_of("/v1/messages")
    message.feed(b'event: content_block_start\ndata: {"content_block":{"input":{"usage":{"input_tokens":1}}}}\n\n')
    assert not message.has_usage


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_error_events_are_noted(path: str) -> None:
    """An `error` event, with an `event:` line or named only in its JSON."""
    for event in (b'event: error\ndata: {"type":"error"}\n\n', b'data: {"type":"error"}\r\n\r\n'):
        meter = meter_of(path)
        assert meter.feed(event) == event
        assert meter.has_error
        assert not meter.is_complete


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
@pytest.mark.parametrize(
    "event", [b": ping\n\n", b"data: {broken\n\n", b"data: 3\n\n", b'data: {"type":4}\n\n', b"\n\n"]
)
def test_what_is_no_event_of_the_api_passes(path: str, event: bytes) -> None:
    """Comments and unreadable data pass without a trace."""
    meter = meter_of(path)
    assert meter.feed(event) == event
    assert numbers(meter) == (0, 0, 0, False, False, False, False)


@pytest.mark.parametrize("name", [b"response.completed", b"message_start", b"message_delta"])
def test_usage_that_is_none_is_not_taken(name: bytes) -> None:
    """An event that should carry usage and does not leaves the numbers unknown."""
    for path in ("/v1/responses", "/v1/messages"):
        for data in (b"{broken", b"[]", b'{"response":{},"message":{},"usage":{"input_tokens":-1}}'):
            meter = meter_of(path)
            meter.feed(b"event: %b\ndata: %b\n\n" % (name, data))
            assert not meter.has_usage


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages"])
def test_an_unfinished_event_is_shown_only_at_the_true_end(path: str) -> None:
    """Cut off, the stream ends with the last whole event, so that an error event can follow."""
    ended, broken = meter_of(path), meter_of(path)
    assert ended.feed(b"event: ping\ndata") == broken.feed(b"event: ping\ndata") == b""
    assert broken.cut() == b""
    assert ended.end() == b"event: ping\ndata"
    assert ended.end() == b""
