"""The meters of `/v1/responses` and `/v1/messages` streams, against recorded answers of vLLM."""

import pytest

from gateway.wire.meter import Meter
from gateway.wire.meters import meter_for

from .transcripts import numbers, parsed, pieces, recorded, shown

RECORDED = {
    "responses.sse": ("/v1/responses", (20, 0, 5)),
    "messages.sse": ("/v1/messages", (20, 0, 5)),
    # vLLM says `input_tokens` 22 and `cache_read_input_tokens` 896 of a prompt of 918.
    "messages_cached.sse": ("/v1/messages", (918, 896, 5)),
}


def meter_of(path: str) -> Meter:
    """A meter of a streamed answer of `path`."""
    return meter_for(parsed(path, stream=True))


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
    assert numbers(meter) == (20, 0, 0, True, False, False, False)


@pytest.mark.parametrize("name", ["created", "in_progress", "queued"])
def test_a_response_has_not_started_before_its_first_output(name: str) -> None:
    """vLLM announces a response before the model has run."""
    meter = meter_of("/v1/responses")
    meter.feed(b'event: response.%b\ndata: {"response":{"usage":null}}\n\n' % name.encode())
    assert not meter.outputs
    meter.feed(b'event: response.output_text.delta\ndata: {"delta":"x"}\n\n')
    assert meter.outputs


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
@pytest.mark.parametrize("event", [b"data: {broken\n\n", b"data: 3\n\n", b'data: {"type":4}\n\n'])
def test_what_is_no_event_of_the_api_passes(path: str, event: bytes) -> None:
    """Unreadable data passes without a trace."""
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


OUTPUTS = {
    "/v1/responses": b'event: response.output_text.delta\ndata: {"delta":"x"}\n\n',
    "/v1/messages": b'event: content_block_delta\ndata: {"delta":{"text":"x"}}\n\n',
}


@pytest.mark.parametrize("path", OUTPUTS)
@pytest.mark.parametrize(
    "event", [b": ping\n\n", b"\n\n", b'event: ping\ndata: {"type":"ping"}\n\n', b'data: {"type":"keepalive"}\n\n']
)
def test_a_keep_alive_is_no_output_and_passes_once_there_is_some(path: str, event: bytes) -> None:
    """Before, it would only stand between the answer and another worker."""
    meter = meter_of(path)
    assert meter.feed(event) == b""
    assert numbers(meter) == (0, 0, 0, False, False, False, False)
    assert meter.feed(OUTPUTS[path]) == OUTPUTS[path]
    outputs = meter.outputs
    assert meter.feed(event) == event
    assert meter.outputs == outputs


@pytest.mark.parametrize(
    ("path", "events"),
    [
        (
            "/v1/responses",
            [
                b'event: response.created\ndata: {"response":{"usage":null},"sequence_number":0}\n\n',
                b'event: response.in_progress\ndata: {"response":{"usage":null},"sequence_number":1}\n\n',
                b'event: response.output_item.added\ndata: {"item":{"type":"message"},"sequence_number":2}\n\n',
                b'event: response.content_part.added\ndata: {"part":{"text":""},"sequence_number":3}\n\n',
            ],
        ),
        (
            "/v1/messages",
            [
                b'event: message_start\ndata: {"message":{"usage":{"input_tokens":7,"output_tokens":0}}}\n\n',
                b'event: content_block_start\ndata: {"index":0,"content_block":{"type":"text","text":""}}\n\n',
            ],
        ),
    ],
)
def test_announcements_are_shown_in_their_order_and_are_no_output(path: str, events: list[bytes]) -> None:
    """They say that there will be an answer, not that there is one."""
    meter = meter_of(path)
    assert b"".join(meter.feed(event) for event in events) == b"".join(events)
    assert not meter.outputs
    meter.feed(OUTPUTS[path])
    assert meter.outputs == 1


def test_the_name_of_a_tool_is_output() -> None:
    """The model chose it."""
    meter = meter_of("/v1/messages")
    meter.feed(b'event: content_block_start\ndata: {"content_block":{"type":"tool_use","name":"f","input":{}}}\n\n')
    assert meter.outputs == 1


def test_an_event_of_ours_has_the_number_behind_the_last() -> None:
    """Whatever came in between; without a number there is none to go on from."""
    meter = meter_of("/v1/responses")
    assert meter.next_sequence_number == 0
    meter.feed(b'event: response.output_text.delta\ndata: {"delta":"x","sequence_number":41}\n\n: ping\n\n')
    assert meter.next_sequence_number == 42
    meter.feed(b'event: response.output_text.delta\ndata: {"delta":"x"}\n\n')
    assert meter.next_sequence_number == 0


@pytest.mark.parametrize("path", OUTPUTS)
def test_an_event_that_broke_off_is_never_shown(path: str) -> None:
    """The stream ends with the last whole event, so that an error event can follow."""
    for last in (b"event: ping\ndata", b'event: x\ndata: {"delta":', b"event: x\n"):
        ended, broken = meter_of(path), meter_of(path)
        assert ended.feed(last) == broken.feed(last) == b""
        assert broken.cut() == ended.end() == b""


@pytest.mark.parametrize("tail", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("path", OUTPUTS)
def test_an_event_that_lacks_only_its_empty_line_is_closed(path: str, tail: bytes) -> None:
    """Its JSON is whole; at the end of the answer it makes the answer whole."""
    name = b"response.completed" if path == "/v1/responses" else b"message_stop"
    last = b'event: %b\ndata: {"response":{"usage":%b}}' % (name, USAGE)
    for finish in ("end", "cut"):
        meter = meter_of(path)
        meter.feed(OUTPUTS[path] + last + tail)
        assert getattr(meter, finish)() == last + b"\n\n"
        assert meter.is_complete


def test_what_follows_the_end_of_an_answer_is_shown() -> None:
    """Nothing is written behind it."""
    meter = meter_of("/v1/messages")
    meter.feed(b'event: message_stop\ndata: {"type":"message_stop"}\n\n: bye')
    assert meter.end() == b": bye"
    assert meter.end() == b""
