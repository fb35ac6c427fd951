"""The meter of chat and completion streams, against recorded answers of vLLM and hostile ones."""

from operator import methodcaller

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.meter import Meter
from gateway.wire.meters import meter_for
from gateway.wire.request import ParsedRequest
from gateway.wire.sse import MalformedStream
from gateway.wire.stream_meter import StreamMeter

from .transcripts import PATIENT, at_cuts, numbers, parsed, pieces, recorded, shown

FINGERPRINT = b',"system_fingerprint":"vllm-0.32.0-28a3aadf"'
DONE = b"data: [DONE]\n\n"
TOTALS = (
    b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[]'
    b',"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}%b}\n\n'
) % FINGERPRINT
CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"

# Recorded with one seed three times: with the options that the gateway forces, with none, with `include_usage`.
RECORDED: dict[str, tuple[str, dict[str, object], tuple[int, int]]] = {
    "chat": (CHAT, {}, (20, 6)),
    "chat_n2": (CHAT, {"n": 2}, (20, 8)),
    "chat_logprobs": (CHAT, {"logprobs": True, "top_logprobs": 2}, (20, 4)),
    "chat_echo_hostile": (CHAT, {"echo": True}, (289, 3)),
    "completion": (COMPLETION, {}, (5, 6)),
    "completion_prompts": (COMPLETION, {"prompt": ["hello", "you there"], "n": 2}, (14, 8)),
    "completion_echo_hostile": (COMPLETION, {"echo": True, "logprobs": 1}, (135, 3)),
}
WISHES = {"none": None, "usage": {"include_usage": True}}
BOTH = {"include_usage": True, "continuous_usage_stats": True}


def asked(name: str, options: object = None) -> ParsedRequest:
    """The request whose answer was recorded as `name`, with the client's own stream options."""
    path, fields, _ = RECORDED[name]
    return parsed(path, stream=True, stream_options=options, **fields)


def meter_of(name: str, options: object = None, fingerprint: bytes | None = None) -> Meter:
    """A meter of the answer recorded as `name`."""
    return meter_for(asked(name, options), fingerprint)


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("wish", WISHES)
def test_the_client_sees_what_vllm_sends_without_the_gateway(name: str, wish: str) -> None:
    """With usage cut out, the bytes equal what vLLM sends for the client's own options, fingerprint included."""
    meter = meter_of(name, WISHES[wish], FINGERPRINT)
    assert shown(meter, [recorded(f"{name}.forced.sse")]) == recorded(f"{name}.{wish}.sse")
    prompt_tokens, output_tokens = RECORDED[name][2]
    assert numbers(meter) == (prompt_tokens, 0, output_tokens, True, True, False, True)


@pytest.mark.parametrize("name", RECORDED)
def test_a_client_that_asks_for_all_usage_sees_the_stream_unchanged(name: str) -> None:
    """Both options asked for: not a byte differs."""
    stream = recorded(f"{name}.forced.sse")
    assert shown(meter_of(name, BOTH), pieces(stream, 7)) == stream


@pytest.mark.parametrize("name", ["chat", "chat_logprobs", "chat_echo_hostile", "completion"])
def test_a_single_choice_gets_its_fingerprint_back_unaided(name: str) -> None:
    """The last chunk waits for the totals, which follow at once and name the fingerprint."""
    meter = meter_of(name)
    assert shown(meter, pieces(recorded(f"{name}.forced.sse"), 11)) == recorded(f"{name}.none.sse")
    assert meter.fingerprint == FINGERPRINT


@pytest.mark.parametrize("name", ["chat_n2", "completion_prompts"])
def test_without_a_known_fingerprint_each_choice_gets_its_own_back(name: str) -> None:
    """On a worker's first answer the last chunk of each choice waits for the totals; within a choice nothing moves."""
    meter = meter_of(name)
    seen = shown(meter, pieces(recorded(f"{name}.forced.sse"), 11))
    assert by_choice(seen) == by_choice(recorded(f"{name}.none.sse"))
    assert meter.fingerprint == FINGERPRINT


def by_choice(stream: bytes) -> dict[int | None, list[bytes]]:
    """The events of each choice in their order; the end marker under None."""
    events: dict[int | None, list[bytes]] = {}
    for event in stream.split(b"\n\n")[:-1]:
        choice = None if event == b"data: [DONE]" else orjson.loads(event[6:])["choices"][0]["index"]
        events.setdefault(choice, []).append(event)
    return events


def test_other_choices_go_on_while_a_last_chunk_waits() -> None:
    """Only the chunk that lacks its fingerprint is held, not the stream; then it comes before what told it."""
    first, second, totals, done = (chunk("a", 1, finish_reason="stop"), chunk("b", 1, index=1), TOTALS, DONE)
    meter = meter_of("chat_n2")
    assert meter.feed(first) == b""
    assert meter.feed(second) == without_usage(second)
    assert FINGERPRINT in meter.feed(totals)
    assert meter.feed(done) == done


def test_a_held_chunk_reaches_the_client_however_the_stream_ends() -> None:
    """A finished chunk followed by an error or by nothing comes without its fingerprint, but it comes."""
    events = recorded("chat.forced.sse").split(b"\n\n")
    last = events[-4] + b"\n\n"
    plain = recorded("chat.none.sse").split(b"\n\n")[-3].replace(FINGERPRINT, b"") + b"\n\n"
    assert b'"finish_reason":"length"' in last
    for name in ("cut", "end"):
        meter = meter_of("chat")
        ending = methodcaller(name)
        assert meter.feed(last) == b""
        assert ending(meter) == plain
        assert ending(meter) == b""
    error = b'data: {"error": {"message": "gone", "code": 500}}\n\n'
    meter = meter_of("chat")
    assert meter.feed(last) + meter.feed(error) == plain + error
    meter = meter_of("chat_n2")
    assert meter.feed(last) + meter.feed(last) + meter.cut() == plain + plain


@pytest.mark.parametrize("name", RECORDED)
@pytest.mark.parametrize("options", [None, {"include_usage": True}, BOTH])
def test_no_split_changes_bytes_or_numbers(name: str, options: object) -> None:
    """Byte by byte and cut in two at every point the client sees the same, and the meter says the same."""
    stream = recorded(f"{name}.forced.sse")
    whole = meter_of(name, options, FINGERPRINT)
    expected = shown(whole, [stream])
    step = max(1, len(stream) // 1500)
    for reads in [list(pieces(stream, 1)), *([stream[:at], stream[at:]] for at in range(1, len(stream), step))]:
        meter = meter_of(name, options, FINGERPRINT)
        assert shown(meter, reads) == expected
        assert numbers(meter) == numbers(whole)


@given(
    name=st.sampled_from(sorted(RECORDED)),
    cuts=st.lists(st.integers(0, 20_000), max_size=12),
    breaks=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    comments=st.booleans(),
)
@settings(PATIENT, max_examples=150)
def test_random_splits_line_ends_and_comments(name: str, cuts: list[int], breaks: bytes, comments: bool) -> None:
    """Any split, any line end and comments between events: the same numbers, and only usage is cut."""
    end = breaks * 2 + (b": keep-alive" + breaks * 2 if comments else b"")
    stream = recorded(f"{name}.forced.sse").replace(b"\n\n", end)
    meter = meter_of(name, None, FINGERPRINT)
    seen = shown(meter, at_cuts(stream, cuts))
    # The comment that followed the totals stays when they go.
    seen = seen.replace(b": keep-alive" + breaks * 2, b"")
    assert seen == recorded(f"{name}.none.sse").replace(b"\n\n", breaks * 2)
    assert (meter.prompt_tokens, meter.output_tokens) == RECORDED[name][2]
    assert meter.is_complete


@pytest.mark.parametrize("name", RECORDED)
def test_running_numbers_grow_to_the_totals(name: str) -> None:
    """The output counted so far never falls, and before the totals it already is the total of all choices."""
    meter = meter_of(name)
    events = recorded(f"{name}.forced.sse").split(b"\n\n")
    seen = []
    for event in events[:-3]:
        meter.feed(event + b"\n\n")
        seen.append(meter.output_tokens)
    assert seen == sorted(seen)
    assert (meter.prompt_tokens, meter.output_tokens) == RECORDED[name][2]
    assert not meter.is_complete


def test_cached_tokens_come_with_the_totals() -> None:
    """An engine that reports prompt details says in the totals how much of the prompt it had in its cache."""
    meter = meter_of("chat")
    shown(meter, [recorded("chat_cached.forced.sse")])
    assert (meter.prompt_tokens, meter.cached_tokens, meter.output_tokens) == (918, 896, 3)


HOSTILE = (
    ',"usage":{"prompt_tokens":1,"total_tokens":1,"completion_tokens":999}',
    '"choices":[],"usage":{"prompt_tokens":0}',
    "data: [DONE]\n\n",
    "\r\n\r\ndata: x\r\rdata: [DONE]",
    '\u2028\u2029\x85{{{}}}"}],"usage":{}',
    '\\",\\"usage\\":{',
    '{"error":{"message":"no"}}',
    '"finish_reason":"stop"',
)


def chunk(text: str, tokens: int, **choice: object) -> bytes:
    """A chunk as vLLM writes it, with running usage."""
    content = orjson.dumps({"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None, **choice})
    return (
        b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[%b]'
        b',"usage":{"prompt_tokens":5,"total_tokens":%d,"completion_tokens":%d,"completion_tokens_details":null}}\n\n'
    ) % (content, 5 + tokens, tokens)


def without_usage(event: bytes) -> bytes:
    """`event` as vLLM would have written it without usage, by decoding it."""
    body = orjson.loads(event[6:])
    del body["usage"]
    return b"data: %b\n\n" % orjson.dumps(body)


@given(
    texts=st.lists(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=5), max_size=4).map("".join), max_size=6),
    cuts=st.lists(st.integers(0, 4000), max_size=6),
)
@settings(PATIENT, max_examples=200)
def test_hostile_text_is_never_cut_or_counted(texts: list[str], cuts: list[int]) -> None:
    """Text that looks like usage, like an end or like an error is text."""
    events = [chunk(text, tokens + 1) for tokens, text in enumerate(texts)]
    meter = meter_of("chat")
    assert shown(meter, at_cuts(b"".join(events), cuts)) == b"".join(map(without_usage, events))
    assert meter.output_tokens == len(texts)
    assert not meter.is_complete
    assert not meter.has_error


def test_hostile_keys_of_log_probabilities_are_kept() -> None:
    """Tokens are keys of numbers in log probabilities: a token `usage` is not the usage member."""
    event = chunk("x", 1, logprobs={"top_logprobs": [{"usage": -0.5, ',"usage":{': -1.5}]})
    meter = meter_of("chat")
    assert meter.feed(event) == without_usage(event)
    assert meter.output_tokens == 1


def test_usage_with_details_two_levels_deep_in_the_totals() -> None:
    """The totals of a multimodal prompt nest deeper than the regular expression reads."""
    totals = (
        b'data: {"id":"x","choices":[],"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3,'
        b'"prompt_tokens_details":{"cached_tokens":4,"multimodal_tokens":{"image":5}}},"metrics":{"a":1}}\n\n'
    )
    meter = meter_of("chat")
    assert meter.feed(totals) == b""
    assert numbers(meter)[:4] == (9, 4, 3, True)
    assert meter_of("chat", {"include_usage": True}).feed(totals) == totals


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"index":0,"delta":{}}],"usage":{"completion_tokens":2,"prompt_tokens":5}}\n\n',
        b'data: { "choices": [ {"index": 0} ], "usage": {"prompt_tokens": 5, "completion_tokens": 2} }\n\n',
        b'data: {"usage":{"prompt_tokens":5,"completion_tokens":2},"choices":[{"index":0}]}\n\n',
        b'data: {"choices":[{"index":0,"usage":{"a":{}}}],"usage":{"prompt_tokens":5,"total_tokens":7,'
        b'"completion_tokens":2}}\n\n',
        b'data: {"choices":[{"text":"x"}],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}\n\n',
        b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}\n\n',
    ],
)
def test_usage_in_a_form_that_vllm_does_not_write_is_decoded(event: bytes) -> None:
    """Another order of members, spaces or a second usage member: counted and cut all the same."""
    for name in ("chat", "chat_n2"):
        meter = meter_of(name)
        assert orjson.loads(meter.feed(event)[6:]).keys() == {"choices"}
        assert numbers(meter) == (5, 0, 2, True, False, False, True)
    assert meter_of("chat", BOTH).feed(event) == event


@pytest.mark.parametrize(
    "event",
    [b"data: {broken\n\n", b'data: {"a":{"usage":{"b":1}}}\n\n', b"data: 7\n\n", b"data: [1]\n\n"],
)
def test_what_is_no_chunk_passes(event: bytes) -> None:
    """An event that the meter cannot read is not its business."""
    meter = meter_of("chat")
    assert meter.feed(event) == event
    assert not meter.has_usage


@pytest.mark.parametrize("members", [b'"choices":[],', b'"choices":[],"x":1,', b""])
def test_totals_are_known_by_having_no_choices(members: bytes) -> None:
    """Wherever their members stand: dropped for a client that did not ask, and of one or several choices."""
    totals = b'data: {%b"usage":{"prompt_tokens":9,"total_tokens":12,"completion_tokens":3}}\n\n' % members
    for name in ("chat", "chat_n2"):
        meter = meter_of(name)
        assert meter.feed(totals) == b""
        assert numbers(meter)[:4] == (9, 0, 3, True)
        assert meter_of(name, {"include_usage": True}).feed(totals) == totals


def test_only_the_outermost_usage_is_cut() -> None:
    """Two members in vLLM's own form: the one inside a choice is neither counted nor cut."""
    inner = chunk("x", 3, usage={"prompt_tokens": 1, "total_tokens": 1000, "completion_tokens": 999})
    meter = meter_of("chat")
    assert meter.feed(inner) == without_usage(inner)
    assert (meter.prompt_tokens, meter.output_tokens) == (5, 3)


def test_running_output_never_falls() -> None:
    """A smaller number later in a stream does not give tokens back; only the totals may correct."""
    meter = meter_of("chat")
    meter.feed(chunk("x", 7) + chunk("y", 4))
    assert meter.output_tokens == 7
    meter.feed(b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}\n\n')
    assert meter.output_tokens == 6


def test_an_error_in_mid_stream_passes_and_is_noted() -> None:
    """vLLM writes an error and then [DONE]: the client sees the error alone, the numbers stay as they were."""
    tail = b'data: {"error": {"message": "EngineCore died", "type": "x", "param": null, "code": 500}}\n\n'
    meter = meter_of("chat")
    start = chunk("a", 1)
    assert shown(meter, [start + tail + b"data: [DONE]\n\n"]) == without_usage(start) + tail
    assert numbers(meter) == (5, 0, 1, True, True, True, True)


def test_a_stream_that_breaks_inside_an_event() -> None:
    """Where the body broke off, the unfinished event is kept from the client."""
    meter = meter_of("chat")
    meter.feed(chunk("a", 1) + b'data: {"choi')
    assert meter.cut() == b""
    assert (meter.output_tokens, meter.is_complete) == (1, False)


def test_an_engine_without_usage_is_known_as_such() -> None:
    """No usage seen: the caller must settle by its estimate."""
    meter = meter_of("chat")
    stream = recorded("chat.none.sse")
    assert shown(meter, [stream]) == stream
    assert numbers(meter) == (0, 0, 0, False, True, False, True)


@pytest.mark.parametrize("sequences", [1, 3])
def test_choices_that_nobody_asked_for_take_no_memory(sequences: int) -> None:
    """An engine that numbers them without end: kept is what was asked for, and what it says of others is not lost."""
    meter = StreamMeter(parsed(CHAT, stream=True, n=sequences))
    seen = b""
    for number in range(500):
        usage = b',"usage":{"prompt_tokens":5,"total_tokens":9,"completion_tokens":4}}\n\n'
        event = b'data: {"id":"a","choices":[{"index":%d,"delta":{},"finish_reason":"stop"}]' % number + usage
        odd = b'data: {"id":"a", "choices":[{"index": %d, "finish_reason":"stop"}]%b' % (-number, usage)
        seen += meter.feed(event) + meter.feed(odd)
    assert len(meter._finished) == sequences
    assert len(meter._delayed) <= sequences
    assert meter._by_choice is None or len(meter._by_choice) == sequences
    assert meter.output_tokens == 4 * sequences
    seen += meter.end()
    assert seen.count(b"data: ") == 1000
    assert meter.is_complete


def test_an_event_without_end_is_malformed() -> None:
    """The buffer of an unfinished event is bounded."""
    meter = meter_of("chat")
    with pytest.raises(MalformedStream):
        for _ in range(10):
            meter.feed(b"x" * 2**20)


def test_impossible_counts_are_not_taken() -> None:
    """Negative, fractional and textual counts count as not said."""
    for count in (b"-5", b"1.5", b'"7"', b"null", b"true"):
        meter = meter_of("chat")
        meter.feed(b'data: {"choices":[{"index":0}],"usage":{"prompt_tokens":%b}}\n\n' % count)
        assert not meter.has_usage


def course_chunk(text: str, tokens: int, more: bytes = b"") -> bytes:
    """A chunk of one choice that goes on, of a stream whose prompt has 5 tokens."""
    return (
        b'data: {"id":"100%%d","model":"tiny","choices":[{"index":0,"delta":{"content":%b},"logprobs":null,'
        b'"finish_reason":null,"token_ids":null}]%b,"usage":{"prompt_tokens":5,"total_tokens":%d,"completion_tokens":%d}}\n\n'
    ) % (orjson.dumps(text), more, 5 + tokens, tokens)


@given(
    st.lists(st.tuples(st.text(max_size=8), st.integers(0, 3)), min_size=3, max_size=12),
    st.booleans(),
    st.booleans(),
)
@settings(PATIENT, max_examples=150)
def test_an_event_by_itself_is_read_as_among_others(
    steps: list[tuple[str, int]], all_usage: bool, carriage: bool
) -> None:
    """What is foretold of a stream's next event gives the bytes and numbers that reading it gives."""
    events, tokens = [], 0
    for text, grown in steps:
        tokens += grown
        events.append(course_chunk(text, tokens))
    events.append(course_chunk('","usage":{"prompt_tokens":5', tokens + 1))
    events.append(
        course_chunk("twice", tokens + 2, b',"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1}')
    )
    events.append(course_chunk("after", tokens + 3).replace(b"\n\n", b"\r\n\r\n" if carriage else b"\n\n"))
    whole = parsed(CHAT, stream=True, stream_options=BOTH if all_usage else None)
    alone, together = meter_for(whole, b""), meter_for(whole, b"")
    assert shown(alone, events) == shown(together, [b"".join(events)])
    assert numbers(alone) == numbers(together)


def test_a_foretold_event_behind_half_an_event_belongs_to_that_one() -> None:
    """The bytes of a next event that continue an unfinished one are shown with what came before them."""
    stream = [course_chunk("a", 1), course_chunk("b", 2), b": half an event ", course_chunk("c", 3)]
    alone, together = (meter_for(parsed(CHAT, stream=True), b"") for _ in range(2))
    assert shown(alone, stream) == shown(together, [b"".join(stream)])
    assert numbers(alone) == numbers(together)


@pytest.mark.parametrize("step", [1, 3])
def test_counts_are_true_as_they_take_more_digits(step: int) -> None:
    """After each event the meter has that event's count, whatever its digits or the tokens of one event."""
    meter = meter_for(parsed(CHAT, stream=True), b"")
    for tokens in range(step, 1100, step):
        visible = meter.feed(course_chunk("word", tokens))
        assert meter.output_tokens == tokens
        assert b"usage" not in visible
        assert b"word" in visible


def test_a_member_behind_the_usage_is_kept() -> None:
    """An event as long as those before it that has something behind its usage loses nothing but the usage."""
    meter = meter_for(parsed(CHAT, stream=True), b"")
    usual = [
        course_chunk("word", tokens).replace(b"}}\n\n", b',"completion_tokens_details":null}}\n\n')
        for tokens in (11, 12, 13)
    ]
    odd = usual[2].replace(b',"completion_tokens_details":null}}', b'},"completion_tokens_details":null}')
    assert len(odd) == len(usual[2])
    assert b"details" not in shown(meter, usual[:2])
    assert meter.feed(odd).endswith(b',"completion_tokens_details":null}\n\n')
    assert meter.output_tokens == 13


@pytest.mark.parametrize(
    ("usual", "odd"),
    [(b'"completion_tokens"', b'"completion_tokenz"'), (b'"total_tokens":1', b'"total_tokens":\n')],
)
def test_what_only_is_as_long_as_the_next_event_is_no_count(usual: bytes, odd: bytes) -> None:
    """The count has its name before it, and the total has digits."""
    meter = meter_for(parsed(CHAT, stream=True), b"")
    for tokens in (11, 12):
        meter.feed(course_chunk("word", tokens))
    meter.feed(course_chunk("word", 13).replace(usual, odd))
    assert meter.output_tokens == 12
