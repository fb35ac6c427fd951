"""Reading requests: what counts, what is refused, what is sent on."""

from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.long_work import at_once
from gateway.outcomes import Outcome
from gateway.wire.engine_arguments import EngineTenant
from gateway.wire.fields import RIGHTS
from gateway.wire.json_body import MAX_FIELDS, MAX_NAMES, Values
from gateway.wire.prompt import MAX_ITEMS
from gateway.wire.request import ParsedRequest, RequestFault, Rights, read_in_steps, read_request
from gateway.wire.surface import ENDPOINTS

from .transcripts import PATIENT

CHAT: dict[str, object] = {"messages": [{"role": "user", "content": "hi"}]}
BODIES: dict[str, dict[str, object]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "hello"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {**CHAT, "max_tokens": 5},
    "/v1/embeddings": {"input": "hi"},
    "/v1/rerank": {"query": "q", "documents": ["a", "b"]},
    "/v1/score": {"queries": "q", "documents": ["a", "b"]},
    "/tokenize": {"prompt": "hi"},
    "/detokenize": {"tokens": [1, 2]},
    "/v1/messages/count_tokens": CHAT,
}
GENERATE = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]
NOBODY = Rights()


def read(path: str, fields: Mapping[str, object], rights: Rights = NOBODY) -> ParsedRequest:
    """Read a valid small request to `path` with `fields` in it."""
    return read_request(ENDPOINTS[path], orjson.dumps({"model": "tiny", **BODIES[path], **fields}), rights)


def whole(parsed: ParsedRequest, model: str, cache_salt: str, tenant: EngineTenant | None = None) -> bytes:
    """The body for a worker."""
    return parsed.upstream_start(model, cache_salt, tenant) + parsed.rest


def sent(parsed: ParsedRequest) -> dict[str, object]:
    """What a worker receives."""
    body: dict[str, object] = orjson.loads(whole(parsed, "served", "salt"))
    return body


def refused(path: str, fields: Mapping[str, object], rights: Rights = NOBODY) -> RequestFault:
    """The refusal of a request."""
    with pytest.raises(RequestFault) as fault:
        read(path, fields, rights)
    return fault.value


def repr_of(value: object) -> str:
    """A short name of a long value."""
    return repr(value)[:12]


@pytest.mark.parametrize("path", BODIES)
def test_a_small_request_passes_as_it_is(path: str) -> None:
    """Only model and salt (and, for responses, the absence of a store) differ upstream."""
    parsed = read(path, {"temperature": 0.5, "something_new": {"a": [1]}})
    expected = {**BODIES[path], "temperature": 0.5, "something_new": {"a": [1]}, "model": "served"}
    if "count_tokens" not in path and "tokenize" not in path:
        expected["cache_salt"] = "salt"
    if path == "/v1/responses":
        expected["store"] = False
    assert sent(parsed) == expected
    assert (parsed.endpoint.path, parsed.model) == (path, "tiny")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e999}',
        b'{"a":"\\ud800"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xff"}',
        b'{"a":1}{"a":2}',
        b"{'a':1}",
        b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"a":' + b"[" * 400 + b"]" * 400 + b"}",
        b'{"a":' + b'{"b":' * 300 + b"1" + b"}" * 300 + b"}",
    ],
)
@pytest.mark.parametrize("path", BODIES)
def test_unreadable_bodies_are_bad_requests(path: str, body: bytes) -> None:
    """Each is refused in words that do not repeat the body."""
    with pytest.raises(RequestFault) as fault:
        read_request(ENDPOINTS[path], body, NOBODY)
    assert fault.value.outcome is Outcome.BAD_REQUEST
    assert fault.value.message
    assert "[[[" not in fault.value.message


def test_a_byte_order_mark_is_no_part_of_the_json() -> None:
    """Some editors and languages write one in front of UTF-8."""
    body = b"\xef\xbb\xbf" + orjson.dumps({"model": "tiny", **CHAT})
    assert read_request(ENDPOINTS["/v1/chat/completions"], body, NOBODY).model == "tiny"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "latin-1", "cp1252"])
def test_a_body_in_another_encoding_is_told_which_one_is_read(encoding: str) -> None:
    """The message names UTF-8, not a parser's trouble."""
    body = '{"model": "tiny", "prompt": "né"}'.encode(encoding)
    with pytest.raises(RequestFault) as fault:
        read_request(ENDPOINTS["/v1/completions"], body, NOBODY)
    assert (fault.value.outcome, "UTF-8" in fault.value.message) == (Outcome.BAD_REQUEST, True)


@pytest.mark.parametrize(
    "value",
    [
        *([1] * 2**18, [[]] * 2**18, [""] * 2**18, [""] * 2**20),
        *({str(i): 0 for i in range(2**18)}, {str(i): [0] * 4 for i in range(2**16)}),
    ],
    ids=repr_of,
)
def test_bodies_of_too_many_values_are_refused_unread(value: object) -> None:
    """Reading a megabyte of tiny values would hold up every stream; text of the same length would not."""
    fault = refused("/v1/chat/completions", {"messages": value})
    assert fault.outcome is Outcome.BAD_REQUEST
    assert "values" in fault.message or "members" in fault.message


def test_bodies_of_too_many_names_are_refused_unread() -> None:
    """A name takes longer to read than another value."""
    fault = refused("/v1/chat/completions", {"metadata": {str(i): 0 for i in range(MAX_NAMES)}})
    assert fault.outcome is Outcome.BAD_REQUEST
    assert f"more than {MAX_NAMES} members" in fault.message


@pytest.mark.parametrize(
    "value", [[1] * (2**18 - 20), ["some, text"] * (2**18 - 20), {str(i): 0 for i in range(MAX_NAMES - 20)}]
)
def test_bodies_of_as_many_values_as_may_be_are_read(value: object) -> None:
    """Numbers, texts, names."""
    assert read("/v1/chat/completions", {"metadata": value}).prompt_bytes == 2


def test_a_body_of_more_fields_than_any_api_has_is_refused() -> None:
    """Each is looked up; what is inside of a field is not."""
    fields = {f"f{number}": 1 for number in range(MAX_FIELDS)}
    assert str(MAX_FIELDS) in refused("/v1/chat/completions", fields).message
    assert read("/v1/chat/completions", {"metadata": fields}).prompt_bytes == 2


_SEVERAL_PARTS = [{"type": "text", "text": "x"}] * 3


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        ("/v1/chat/completions", "messages", [{"role": "user", "content": "x"}] * (MAX_ITEMS // 3 + 1)),
        ("/v1/chat/completions", "messages", [{"role": "user", "content": _SEVERAL_PARTS}] * (MAX_ITEMS // 12 + 1)),
        ("/v1/chat/completions", "messages", [{str(member): 0 for member in range(MAX_ITEMS)}]),
        ("/v1/messages", "messages", [[]] * (MAX_ITEMS + 1)),
        ("/v1/responses", "input", [{"type": "message", "content": "x"}] * (MAX_ITEMS // 3 + 1)),
        ("/tokenize", "messages", ["x"] * (MAX_ITEMS + 1)),
    ],
    ids=repr_of,
)
def test_conversations_of_too_many_items_are_refused(path: str, field: str, value: object) -> None:
    """Each item is looked at while every stream waits; text within one item is free of that."""
    fault = refused(path, {field: value})
    assert (fault.outcome, fault.param) == (Outcome.BAD_REQUEST, field)
    assert str(MAX_ITEMS) in fault.message


def test_a_long_conversation_is_read() -> None:
    """Thousands of messages are a conversation."""
    messages = [{"role": "user", "content": "x"}] * (MAX_ITEMS // 3 - 1)
    assert read("/v1/chat/completions", {"messages": messages}).prompt_bytes == len(messages)


@pytest.mark.parametrize("field", ["tools", "documents", "anything"])
def test_what_is_nested_too_deeply_to_be_written_again_is_refused(field: str) -> None:
    """Wherever it stands it is the client's fault, not ours."""
    deep = b'{"model":"m","messages":[{"role":"user","content":"x"}],"%b":%b}'
    with pytest.raises(RequestFault) as fault:
        read_request(ENDPOINTS["/v1/chat/completions"], deep % (field.encode(), b"[" * 300 + b"1" + b"]" * 300), NOBODY)
    assert fault.value.message == "The body is nested too deeply."


@pytest.mark.parametrize("text", [",[{" * 2**18, '",[' * 2**18, '\\",' * 2**18, "\\" * 2**18 + "," * 2**18])
def test_commas_and_brackets_of_text_are_no_values(text: str) -> None:
    """The bound is on structure, not on what a prompt says."""
    parsed = read("/v1/completions", {"prompt": [text, text]})
    assert parsed.prompt_bytes == 2 * len(text)


@given(
    st.lists(st.sampled_from(['"', "\\", "[", "{", ",", ":", "x", "é"]), max_size=60).map("".join), st.integers(1, 9)
)
def test_values_are_counted_alike_however_the_body_is_sliced(text: str, slice_bytes: int) -> None:
    """A slice may end within a string and beside any escape."""
    body = orjson.dumps({"a": [text, {text: 1}], "b": text})

    def count(at_a_time: int) -> tuple[int, int, int]:
        values, start = Values(at_a_time), 0
        while start < len(body):
            start = values.count(body, start)
        return values.marks, values.quotes, values.names

    assert count(2 * slice_bytes) == count(len(body) + 1)


def known(parsed: ParsedRequest) -> dict[str, object]:
    """Everything that a request says of itself."""
    values = {name: getattr(parsed, name) for name in dir(parsed) if not name.startswith("_")}
    return {name: value for name, value in values.items() if not callable(value)}


@pytest.mark.parametrize("path", BODIES)
def test_a_body_is_read_alike_in_steps_and_at_once(path: str) -> None:
    """Also one so long that its values are counted in several slices."""
    long = {"user": "someone", "metadata": {"note": '\\"[{,:' * 200_000}}
    body = orjson.dumps({"model": "tiny", **BODIES[path], **long})
    endpoint = ENDPOINTS[path]
    assert known(at_once(read_in_steps(endpoint, body, NOBODY))) == known(read_request(endpoint, body, NOBODY))


def test_the_last_of_duplicate_keys_counts_and_only_it_is_sent() -> None:
    """Gateway and engine cannot read two different values out of one body."""
    body = b'{"model":"a","model":"b","prompt":"x","max_tokens":1,"max_tokens":7,"n":1,"n":2}'
    parsed = read_request(ENDPOINTS["/v1/completions"], body, NOBODY)
    assert (parsed.model, parsed.max_output_tokens, parsed.choices) == ("b", 7, 2)
    assert whole(parsed, "b", "s").count(b"max_tokens") == 1


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("model", [7, ["a"], "m" * 257])
def test_a_model_is_a_name(path: str, model: object) -> None:
    """Anything else names the field; an absent or empty model is the caller's to resolve."""
    assert refused(path, {"model": model}).param == "model"
    assert read(path, {"model": None}).model == read(path, {"model": ""}).model == ""


@pytest.mark.parametrize("path", BODIES)
def test_what_is_the_gateways_is_taken_out(path: str) -> None:
    """Priority, ids, chunk grouping, salts and end users of the client never reach a worker."""
    parsed = read(
        path,
        {
            "priority": -100,
            "request_id": "mine",
            "session_id": "s",
            "stream_interval": 10_000,
            "cache_salt": "victim",
            "safety_identifier": "x",
        },
    )
    body = sent(parsed)
    for name in ("priority", "request_id", "session_id", "stream_interval", "safety_identifier"):
        assert name not in body
    assert body.get("cache_salt") in ("salt", None)


@pytest.mark.parametrize(
    ("path", "fields", "end_user"),
    [
        ("/v1/chat/completions", {"user": "u"}, "u"),
        ("/v1/chat/completions", {"safety_identifier": "s"}, "s"),
        ("/v1/chat/completions", {"user": "u", "safety_identifier": "s"}, "u"),
        ("/v1/chat/completions", {"user": "u" * 5000}, "u" * 256),
        ("/v1/chat/completions", {"user": 7}, None),
        ("/v1/chat/completions", {"user": ""}, None),
        ("/v1/chat/completions", {"metadata": {"user_id": "m"}}, None),
        ("/v1/messages", {"metadata": {"user_id": "m"}}, "m"),
        ("/v1/messages", {"metadata": {"user_id": ["m"]}}, None),
        ("/v1/messages", {"metadata": 3}, None),
        ("/v1/responses", {"user": "u"}, "u"),
        ("/v1/embeddings", {"user": "u"}, "u"),
    ],
)
def test_the_end_user(path: str, fields: dict[str, object], end_user: str | None) -> None:
    """Whom the client acts for, bounded; it is not sent on, save where the answer repeats it."""
    parsed = read(path, fields)
    assert parsed.end_user == end_user
    assert ("user" in sent(parsed)) == (path == "/v1/responses" and "user" in fields)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("options", "wants_usage", "wants_continuous"),
    [
        (None, False, False),
        ({}, False, False),
        ({"include_usage": True}, True, False),
        ({"include_usage": False, "continuous_usage_stats": True}, False, False),
        ({"continuous_usage_stats": True}, False, False),
        ({"include_usage": True, "continuous_usage_stats": True, "other": 1}, True, True),
        ({"include_usage": None}, False, False),
    ],
)
def test_usage_is_forced_upstream_and_the_wish_is_kept(
    path: str, options: dict[str, object] | None, wants_usage: bool, wants_continuous: bool
) -> None:
    """Both options go upstream with the client's other ones; what the client asked for is remembered."""
    parsed = read(path, {"stream": True, "stream_options": options})
    assert (parsed.wants_usage, parsed.wants_continuous_usage) == (wants_usage, wants_continuous)
    forced = {"include_usage": True, "continuous_usage_stats": True}
    assert sent(parsed)["stream_options"] == (options or {}) | forced


def test_stream_options_without_a_stream_are_left_to_the_engine() -> None:
    """vLLM refuses them in its own words; other families have none to force."""
    assert sent(read("/v1/completions", {"stream_options": {"include_usage": True}}))["stream_options"] == {
        "include_usage": True
    }
    assert "stream_options" not in sent(read("/v1/completions", {}))
    for path in ("/v1/responses", "/v1/messages"):
        parsed = read(path, {"stream": True})
        assert parsed.stream
        assert "stream_options" not in sent(parsed)


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/chat/completions", {"stream": "perhaps"}, "stream"),
        ("/v1/chat/completions", {"stream": 2}, "stream"),
        ("/v1/chat/completions", {"stream": True, "stream_options": []}, "stream_options"),
        ("/v1/chat/completions", {"stream": True, "stream_options": {"include_usage": "perhaps"}}, "include_usage"),
        ("/v1/chat/completions", {"messages": None}, "messages"),
        ("/v1/chat/completions", {"messages": "hi"}, "messages"),
        ("/v1/chat/completions", {"n": 0}, "n"),
        ("/v1/chat/completions", {"n": 5}, "n"),
        ("/v1/chat/completions", {"n": 1.5}, "n"),
        ("/v1/chat/completions", {"n": "many"}, "n"),
        ("/v1/chat/completions", {"n": "5"}, "n"),
        ("/v1/chat/completions", {"max_tokens": -1}, "max_tokens"),
        ("/v1/chat/completions", {"max_tokens": [9]}, "max_tokens"),
        ("/v1/chat/completions", {"max_tokens": 5, "max_completion_tokens": 2**64 - 1}, "max_completion_tokens"),
        ("/v1/chat/completions", {"logprobs": 3}, "logprobs"),
        ("/v1/chat/completions", {"top_logprobs": 21}, "top_logprobs"),
        ("/v1/chat/completions", {"top_logprobs": -1}, "top_logprobs"),
        ("/v1/chat/completions", {"logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias"),
        ("/v1/chat/completions", {"logit_bias": []}, "logit_bias"),
        ("/v1/chat/completions", {"logprob_token_ids": list(range(21))}, "logprob_token_ids"),
        ("/v1/chat/completions", {"logprob_token_ids": {}}, "logprob_token_ids"),
        ("/v1/chat/completions", {"max_tokens": 5, "min_tokens": 6}, "min_tokens"),
        ("/v1/chat/completions", {"min_tokens": -1}, "min_tokens"),
        ("/v1/completions", {"logprobs": 21}, "logprobs"),
        ("/v1/completions", {"logprobs": "all"}, "logprobs"),
        ("/v1/completions", {"min_tokens": 17}, "min_tokens"),
        ("/v1/completions", {"prompt": None}, "prompt"),
        ("/v1/completions", {"prompt": []}, "prompt"),
        ("/v1/completions", {"prompt": [[]]}, "prompt"),
        ("/v1/completions", {"prompt": {"a": 1}}, "prompt"),
        ("/v1/completions", {"prompt": ["a", 1]}, "prompt"),
        ("/v1/completions", {"prompt": [1, "a"]}, "prompt"),
        ("/v1/completions", {"prompt": [1.5]}, "prompt"),
        ("/v1/completions", {"prompt": [1, -1]}, "prompt"),
        ("/v1/completions", {"prompt": [2**63]}, "prompt"),
        ("/v1/completions", {"prompt": [[1], "a"]}, "prompt"),
        ("/v1/completions", {"prompt": ["a"] * 2049}, "prompt"),
        ("/v1/messages", {"max_tokens": None}, "max_tokens"),
        ("/v1/messages", {"messages": {}}, "messages"),
        ("/v1/responses", {"background": True}, "background"),
        ("/v1/responses", {"conversation": "conv_1"}, "conversation"),
        ("/v1/responses", {"conversation": {"id": "conv_1"}}, "conversation"),
        ("/v1/responses", {"background": "yes"}, "background"),
        ("/v1/responses", {"store": "perhaps"}, "store"),
        ("/v1/responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("/v1/embeddings", {"input": None}, "input"),
        ("/v1/embeddings", {"input": []}, "input"),
        ("/v1/rerank", {"documents": ["a"] * 2049}, "documents"),
        ("/v1/score", {"documents": ["a"] * 2049}, "documents"),
        ("/v1/embeddings", {"input": [[{"role": "user", "content": "x"}]] * 2049}, "input"),
    ],
)
def test_bad_fields_are_named(path: str, fields: dict[str, object], param: str) -> None:
    """The refusal is a bad request that names the field."""
    fault = refused(path, fields)
    assert (fault.outcome, fault.param) == (Outcome.BAD_REQUEST, param)
    assert param in fault.message


def test_a_right_to_prompt_log_probabilities_is_no_right_to_any_number() -> None:
    """They are held to the same limit as those of the output."""
    rights = Rights(allow=frozenset({"prompt_logprobs"}))
    fault = refused("/v1/chat/completions", {"prompt_logprobs": 21}, rights)
    assert (fault.outcome, fault.param) == (Outcome.BAD_REQUEST, "prompt_logprobs")
    read("/v1/chat/completions", {"prompt_logprobs": 20}, rights)


def test_responses_are_stateless() -> None:
    """Any store becomes false, as at vLLM; `background: false` is no wish."""
    kept: dict[str, object] = {"store": None, "background": "false", "previous_response_id": None, "conversation": None}
    for fields in ({}, {"store": False}, {"store": True}, {"store": "true"}, {"store": "false"}, kept):
        assert sent(read("/v1/responses", fields))["store"] is False
    assert "stateless" in refused("/v1/responses", {"previous_response_id": "r"}).message


CAP = Rights(max_output_tokens=100)
REFUSING = Rights(max_output_tokens=100, cuts_output=False)


@pytest.mark.parametrize(
    ("path", "fields", "limit", "written"),
    [
        ("/v1/chat/completions", {}, 100, {"max_completion_tokens": 100}),
        ("/v1/chat/completions", {"max_tokens": None}, 100, {"max_completion_tokens": 100}),
        ("/v1/chat/completions", {"max_tokens": 7}, 7, {"max_tokens": 7}),
        ("/v1/chat/completions", {"max_tokens": 7, "max_completion_tokens": 9}, 9, {"max_completion_tokens": 9}),
        ("/v1/chat/completions", {"max_completion_tokens": 100}, 100, {"max_completion_tokens": 100}),
        ("/v1/completions", {}, 16, {}),
        ("/v1/completions", {"max_tokens": None}, 100, {"max_tokens": 100}),
        ("/v1/completions", {"max_tokens": 0}, 0, {"max_tokens": 0}),
        ("/v1/responses", {}, 100, {"max_output_tokens": 100}),
        ("/v1/responses", {"max_output_tokens": 3}, 3, {"max_output_tokens": 3}),
        ("/v1/messages", {}, 5, {"max_tokens": 5}),
        ("/v1/embeddings", {}, None, {}),
    ],
)
def test_the_output_limit_in_force(
    path: str, fields: dict[str, object], limit: int | None, written: dict[str, object]
) -> None:
    """An absent limit becomes the tenant's cap, except where the engine's default is lower."""
    parsed = read(path, fields, CAP)
    assert parsed.max_output_tokens == limit
    assert sent(parsed).items() >= written.items()
    if path == "/v1/completions" and not fields:
        assert "max_tokens" not in sent(parsed)


def test_a_cap_below_the_default_of_completions_is_written() -> None:
    """vLLM would generate 16 tokens where nothing is said."""
    parsed = read("/v1/completions", {}, Rights(max_output_tokens=10))
    assert (parsed.max_output_tokens, sent(parsed)["max_tokens"]) == (10, 10)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "max_tokens"),
        ("/v1/chat/completions", "max_completion_tokens"),
        ("/v1/completions", "max_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/messages", "max_tokens"),
    ],
)
def test_an_explicit_limit_beyond_the_cap_is_cut_or_refused(path: str, name: str) -> None:
    """Cut to the cap, or refused with the cap in the message, as the tenant's rights say; without a cap it passes."""
    parsed = read(path, {name: 101}, CAP)
    assert (parsed.max_output_tokens, sent(parsed)[name]) == (100, 100)
    fault = refused(path, {name: 101}, REFUSING)
    assert (fault.outcome, fault.param) == (Outcome.BAD_REQUEST, name)
    assert "100" in fault.message
    assert read(path, {name: 101}).max_output_tokens == 101


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_the_least_output_is_cut_with_the_most(path: str) -> None:
    """The engine refuses `min_tokens` above its limit; one that the client itself put above is still refused."""
    parsed = read(path, {"max_tokens": 500, "min_tokens": 300}, CAP)
    assert sent(parsed).items() >= {"max_tokens": 100, "min_tokens": 100}.items()
    assert parsed.min_output_tokens == 100
    assert sent(read(path, {"max_tokens": 500, "min_tokens": 7}, CAP))["min_tokens"] == 7
    assert refused(path, {"max_tokens": 500, "min_tokens": 501}, CAP).param == "min_tokens"


@pytest.mark.parametrize(
    ("asked", "budget", "cap", "sent_budget"),
    [(64000, 31999, 8192, 8191), (8192, 4096, 8192, 4096), (64000, 8192, 8192, 8191), (64000, 8191, 8192, 8191)],
)
def test_the_thoughts_budget_is_cut_with_the_output(asked: int, budget: int, cap: int, sent_budget: int) -> None:
    """The engine refuses a budget that leaves no room for the answer; one that the client itself put there it may."""
    thinking = {"type": "enabled", "budget_tokens": budget}
    parsed = read("/v1/messages", {"max_tokens": asked, "thinking": thinking}, Rights(max_output_tokens=cap))
    assert sent(parsed).items() >= {"max_tokens": cap, "thinking": thinking | {"budget_tokens": sent_budget}}.items()
    foolish = {"max_tokens": asked, "thinking": thinking | {"budget_tokens": asked}}
    assert sent(read("/v1/messages", foolish, Rights(max_output_tokens=cap)))["thinking"] == foolish["thinking"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_without_a_cap_nothing_is_written(path: str) -> None:
    """The engine's context is the limit."""
    parsed = read(path, {})
    assert parsed.max_output_tokens is None
    assert not {"max_tokens", "max_completion_tokens", "max_output_tokens"} & set(sent(parsed))


@pytest.mark.parametrize(
    ("path", "fields", "choices", "prompts", "tokens"),
    [
        ("/v1/chat/completions", {"n": 4}, 4, 1, None),
        ("/v1/chat/completions", {"n": None}, 1, 1, None),
        ("/v1/completions", {"prompt": ["a", "bc"], "n": 2}, 2, 2, None),
        ("/v1/completions", {"prompt": [1, 2, 3]}, 1, 1, 3),
        ("/v1/completions", {"prompt": [[1, 2], [3]], "n": 3}, 3, 2, 3),
        ("/v1/completions", {"prompt": None, "prompt_embeds": "AAAA"}, 1, 1, None),
        ("/v1/completions", {"prompt": None, "prompt_embeds": ["AAAA"] * 3, "n": 2}, 2, 3, None),
        ("/v1/completions", {"prompt": [1, 2], "prompt_embeds": ["AAAA"] * 3}, 1, 4, None),
        ("/v1/messages", {"n": 9}, 1, 1, None),
        ("/v1/embeddings", {"input": ["a", "b", "c"]}, 1, 3, None),
        ("/v1/embeddings", {"input": [[1, 2], [3, 4]]}, 1, 2, 4),
        ("/v1/embeddings", {"input": None, "messages": CHAT["messages"]}, 1, 1, None),
        ("/v1/embeddings", {"input": [CHAT["messages"]] * 3}, 1, 3, None),
        ("/v1/embeddings", {"input": CHAT["messages"]}, 1, 1, None),
        ("/v1/rerank", {"documents": "one"}, 1, 1, None),
        ("/v1/rerank", {"documents": ["a"] * 7}, 1, 7, None),
        ("/v1/score", {"queries": ["q"] * 3, "documents": ["d"] * 3}, 1, 3, None),
        ("/v1/score", {"queries": None, "text_1": "a", "text_2": ["b"] * 4}, 1, 4, None),
        ("/detokenize", {"tokens": [1, 2]}, 1, 1, 2),
        ("/detokenize", {"tokens": []}, 1, 1, 0),
    ],
)
def test_sequences_multiply(
    path: str, fields: dict[str, object], choices: int, prompts: int, tokens: int | None
) -> None:
    """Every choice of every prompt is a sequence of the engine."""
    parsed = read(path, fields, Rights(allow=frozenset({"prompt_embeds"})))
    assert (parsed.choices, parsed.prompts, parsed.sequences) == (choices, prompts, choices * prompts)
    assert parsed.prompt_tokens == tokens


def test_the_beam_width_counts_as_choices() -> None:
    """A tenant that may search beams pays room for each."""
    rights = Rights(allow=frozenset({"beam_search"}), max_choices=8)
    assert read("/v1/completions", {"use_beam_search": True, "n": 8}, rights).sequences == 8


@pytest.mark.parametrize(
    ("path", "fields", "text_bytes"),
    [
        ("/v1/completions", {"prompt": "hé"}, 3),
        ("/v1/completions", {"prompt": ["ab", "😀"], "suffix": "x"}, 7),
        ("/v1/completions", {"prompt": [1, 2]}, 0),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "abc"}] * 2}, 6),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "text", "text": "abc"}]}]}, 3),
        ("/v1/chat/completions", {"messages": [{"role": "assistant", "content": None, "reasoning": "ab"}]}, 2),
        ("/v1/messages", {"system": "abcd"}, 6),
        ("/v1/messages", {"system": [{"type": "text", "text": "abcd"}]}, 6),
        ("/v1/messages/count_tokens", {"system": "abcd"}, 6),
        ("/v1/responses", {"input": "hi", "instructions": "abc"}, 5),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "abc"}]}]}, 3),
        ("/v1/responses", {"input": [{"type": "function_call_output", "call_id": "c", "output": "abc"}]}, 3),
        ("/v1/embeddings", {"input": ["ab", "c"]}, 3),
        ("/v1/rerank", {"query": "ab", "documents": ["c", "d"]}, 4),
        ("/v1/score", {"queries": "ab", "documents": ["c", {"content": [{"type": "text", "text": "d"}]}]}, 4),
        ("/tokenize", {"prompt": "abc"}, 3),
        ("/tokenize", {"prompt": None, "messages": [{"role": "user", "content": "ab"}]}, 2),
    ],
)
def test_text_bytes_cover_all_prompts(path: str, fields: dict[str, object], text_bytes: int) -> None:
    """UTF-8 bytes of what a template can render; roles and ids are structure."""
    assert read(path, fields).prompt_bytes == text_bytes


def test_tools_and_their_calls_are_part_of_the_prompt() -> None:
    """A tenant cannot hide a long prompt in tool definitions or in the arguments of earlier calls."""
    long = "x" * 1000
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": long}}
    tools = [{"type": "function", "function": {"name": "f", "description": long}}]
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {"image_url": long}}
    for path, fields in (
        ("/v1/chat/completions", {"tools": tools}),
        ("/v1/chat/completions", {"messages": [{"role": "assistant", "tool_calls": [call]}]}),
        ("/v1/chat/completions", {"documents": [{"title": "t", "text": long}]}),
        ("/v1/messages", {"messages": [{"role": "assistant", "content": [use]}]}),
        ("/v1/responses", {"tools": tools}),
    ):
        parsed = read(path, fields)
        assert 1000 <= parsed.prompt_bytes < 1150
        assert parsed.media_parts == 0


@pytest.mark.parametrize(
    ("path", "field", "value", "right"),
    [
        ("/v1/completions", "use_beam_search", True, "beam_search"),
        ("/v1/chat/completions", "use_beam_search", True, "beam_search"),
        ("/v1/completions", "best_of", 2, "best_of"),
        ("/v1/completions", "ignore_eos", True, "ignore_eos"),
        ("/v1/responses", "ignore_eos", True, "ignore_eos"),
        ("/v1/completions", "echo", True, "echo"),
        ("/v1/completions", "prompt_logprobs", 0, "prompt_logprobs"),
        ("/v1/completions", "prompt_embeds", "AAAA", "prompt_embeds"),
        ("/v1/chat/completions", "chat_template", "{{x}}", "chat_template"),
        ("/tokenize", "chat_template", "{{x}}", "chat_template"),
        ("/v1/chat/completions", "kv_transfer_params", {"a": 1}, "kv_transfer"),
        ("/v1/messages", "ec_transfer_params", {"a": 1}, "kv_transfer"),
        ("/v1/messages", "vllm_xargs", {"a": 1}, "vllm_xargs"),
        ("/v1/chat/completions", "media_io_kwargs", {"a": {}}, "mm_kwargs"),
        ("/v1/embeddings", "mm_processor_kwargs", {"a": 1}, "mm_kwargs"),
    ],
)
def test_fields_that_need_a_right(path: str, field: str, value: object, right: str) -> None:
    """Forbidden with the field and the right in the message; passed unchanged where the tenant has the right."""
    fault = refused(path, {field: value}, Rights(allow=RIGHTS - {right}))
    assert (fault.outcome, fault.param) == (Outcome.FORBIDDEN, field)
    assert f"'{right}'" in fault.message and f"`allow: [{right}]`" in fault.message
    assert sent(read(path, {field: value}, Rights(allow=frozenset({right}))))[field] == value


PAYER = EngineTenant("opaque", 2.5)
TOLD = {"vtc_tenant": "opaque", "vtc_weight": 2.5}


@pytest.mark.parametrize("path", GENERATE)
def test_an_engine_that_orders_its_queue_is_told_who_pays(path: str) -> None:
    """Beside what the client may send, and whatever it wrote in the gateway's place; once, in one body."""
    forged: dict[str, object] = {"vllm_xargs": {"a": 1, "vtc_tenant": "other", "vtc_weight": 1e6}}
    parsed = read(path, forged, Rights(allow=frozenset({"vllm_xargs"})))
    body = whole(parsed, "served", "salt", PAYER)
    assert orjson.loads(body)["vllm_xargs"] == {"a": 1, **TOLD}
    assert body.count(b"vllm_xargs") == 1
    assert orjson.loads(whole(read(path, {}), "served", "salt", PAYER))["vllm_xargs"] == TOLD
    assert sent(parsed)["vllm_xargs"] == {"a": 1}


def test_an_endpoint_without_a_place_for_the_tenant_is_left_alone() -> None:
    """vLLM's pooling requests carry no arguments of that kind."""
    parsed = read("/v1/embeddings", {})
    assert whole(parsed, "served", "salt", PAYER) == whole(parsed, "served", "salt")


def test_engine_arguments_are_an_object() -> None:
    """Anything else could not be added to."""
    fault = refused("/v1/completions", {"vllm_xargs": [1]}, Rights(allow=frozenset({"vllm_xargs"})))
    assert (fault.outcome, fault.param) == (Outcome.BAD_REQUEST, "vllm_xargs")


def test_a_template_inside_the_template_arguments_needs_the_right() -> None:
    """The renderer would take it for the template."""
    fields: dict[str, object] = {"chat_template_kwargs": {"chat_template": "{{x}}"}}
    assert refused("/v1/chat/completions", fields).outcome is Outcome.FORBIDDEN
    read("/v1/chat/completions", {"chat_template_kwargs": {"enable_thinking": True}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("use_beam_search", False),
        ("best_of", 1),
        ("best_of", None),
        ("ignore_eos", False),
        ("echo", False),
        ("prompt_logprobs", None),
        ("prompt_embeds", None),
        ("chat_template", None),
        ("kv_transfer_params", None),
        ("vllm_xargs", {}),
    ],
)
def test_defaults_written_out_need_no_right(field: str, value: object) -> None:
    """SDKs send defaults; they ask for nothing."""
    assert sent(read("/v1/completions", {field: value}))[field] == value


URL, DATA = "https://example.org/a.png", "data:image/png;base64,AAAA"
IMAGE = {"type": "image_url", "image_url": {"url": URL}}


def content(*parts: object) -> dict[str, object]:
    """A chat with `parts` as the content of its message."""
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("path", "fields", "right"),
    [
        ("/v1/chat/completions", content(IMAGE), "media_url"),
        ("/v1/chat/completions", content({"image_url": URL}), "media_url"),
        ("/v1/chat/completions", content({"type": "video_url", "video_url": {"url": "file:///etc/x"}}), "media_url"),
        ("/v1/chat/completions", content({"type": "audio_url", "audio_url": {"url": URL}}), "media_url"),
        ("/v1/chat/completions", content({"type": "image_embeds", "image_embeds": "AA"}), "prompt_embeds"),
        ("/v1/chat/completions", content({"type": "prompt_embeds", "data": "AA"}), "prompt_embeds"),
        ("/v1/messages", content({"type": "image", "source": {"type": "url", "url": URL}}), "media_url"),
        (
            "/v1/messages",
            content({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url", "url": URL}}]}),
            "media_url",
        ),
        ("/v1/responses", {"input": [{"content": [{"type": "input_image", "image_url": URL}]}]}, "media_url"),
        ("/v1/responses", {"input": [{"type": "x", "output": [{"image_url": URL}]}]}, "media_url"),
        ("/v1/responses", {"input": [{"content": [{"type": "input_file", "file_url": URL}]}]}, "media_url"),
        ("/v1/embeddings", {"input": None, **content(IMAGE)}, "media_url"),
        ("/v1/rerank", {"documents": [{"content": [IMAGE]}]}, "media_url"),
        ("/v1/rerank", {"query": {"content": [IMAGE]}}, "media_url"),
        ("/v1/score", {"documents": {"content": [IMAGE]}}, "media_url"),
        ("/tokenize", {"prompt": None, **content(IMAGE)}, "media_url"),
        ("/v1/messages/count_tokens", content({"type": "image", "source": {"url": URL}}), "media_url"),
    ],
)
def test_media_need_a_right_wherever_they_are(path: str, fields: dict[str, object], right: str) -> None:
    """An engine must not fetch what a tenant may not name, however deep it is nested; media are not text."""
    fault = refused(path, fields, Rights(allow=RIGHTS - {right}))
    assert fault.outcome is Outcome.FORBIDDEN
    assert f"'{right}'" in fault.message
    parsed = read(path, fields, Rights(allow=frozenset({right})))
    assert parsed.prompt_bytes < 10
    body = sent(parsed)
    assert all(body[name] == value for name, value in fields.items())


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", content({"type": "image_url", "image_url": {"url": DATA}})),
        ("/v1/chat/completions", content({"type": "image_url", "image_url": {"url": "DATA:,x"}})),
        ("/v1/chat/completions", content({"type": "input_audio", "input_audio": {"data": "AA"}})),
        ("/v1/messages", content({"type": "image", "source": {"type": "base64", "data": "AA"}})),
        ("/v1/responses", {"input": [{"content": [{"type": "input_image", "image_url": DATA}]}]}),
        ("/v1/responses", {"input": [{"content": [{"type": "input_file", "file_data": DATA}]}]}),
        ("/v1/embeddings", {"input": None, **content({"type": "image_url", "image_url": {"url": DATA}})}),
        ("/v1/messages/count_tokens", content({"type": "image", "source": {"type": "base64", "data": "AA"}})),
    ],
)
def test_media_inside_the_body_need_no_right(path: str, fields: dict[str, object]) -> None:
    """Nobody fetches anything; each counts as one, and none as text."""
    parsed = read(path, fields)
    assert (parsed.media_parts, parsed.prompt_bytes < 10, parsed.rights_used) == (1, True, frozenset())


def test_media_parts_are_counted() -> None:
    """The estimate charges each by a constant."""
    rights = Rights(allow=frozenset({"media_url"}))
    fields = content(IMAGE, IMAGE, {"type": "text", "text": "x"})
    assert read("/v1/chat/completions", fields, rights).media_parts == 2


def test_a_media_id_of_the_clients_choice_needs_a_right() -> None:
    """The engine's media cache is shared, so an id could name what another tenant sent."""
    part = {**IMAGE, "uuid": "cat"}
    fault = refused("/v1/chat/completions", content(part), Rights(allow=RIGHTS - {"mm_kwargs"}))
    assert fault.outcome is Outcome.FORBIDDEN
    read("/v1/chat/completions", content(part), Rights(allow=RIGHTS))


def test_unclassified_fields_pass_unless_the_tenant_is_strict() -> None:
    """Everything else of the APIs passes unchanged."""
    fields = {"brand_new": [1, {"a": None}]}
    assert sent(read("/v1/chat/completions", fields))["brand_new"] == [1, {"a": None}]
    fault = refused("/v1/chat/completions", fields, Rights(strict=True))
    assert (fault.outcome, fault.param) == (Outcome.BAD_REQUEST, "brand_new")
    read("/v1/chat/completions", {"temperature": 1, "tools": [], "brand_new": None}, Rights(strict=True))


def test_a_request_can_be_sent_twice() -> None:
    """A retry at another worker gets the same body."""
    parsed = read("/v1/chat/completions", {"stream": True, "n": 2})
    assert whole(parsed, "m", "s") == whole(parsed, "m", "s")
    assert orjson.loads(whole(parsed, "other", "s"))["model"] == "other"


@pytest.mark.parametrize("path", BODIES)
def test_a_body_is_written_once_however_often_it_is_sent(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits holds the text of its body: to send it costs the few members that the gateway sets."""
    parsed = read(path, {"anything": ["x"] * 1000})
    written: set[str] = set()

    def dumps(members: dict[str, object]) -> bytes:
        written.update(members)
        return b"{}"

    monkeypatch.setattr("orjson.dumps", dumps)
    assert whole(parsed, "m", "s").endswith(parsed.rest)
    assert "model" in written <= {"model", "cache_salt", "stream_options"}


TURNS = [
    {"role": "user", "content": "Tell me of ships."},
    {"role": "assistant", "content": "They swim."},
    {"role": "user", "content": "Why?"},
]
TOOLS = [{"type": "function", "function": {"name": "sail"}}]
CONVERSATIONS = {
    "/v1/chat/completions": ("messages", {"tools": TOOLS}),
    "/v1/messages": ("messages", {"system": "Be kind.", "tools": TOOLS}),
    "/v1/responses": ("input", {"instructions": "Be kind.", "tools": TOOLS}),
}


@pytest.mark.parametrize("path", CONVERSATIONS)
def test_the_next_turn_of_a_conversation_begins_like_the_last(path: str) -> None:
    """Whatever else is asked for and in whichever order: the prompt's JSON is the former one's, continued."""
    name, frame = CONVERSATIONS[path]
    former = read(path, {**frame, name: TURNS[:1], "max_tokens": 5, "temperature": 0.5}).prompt.tobytes()
    later = read(path, {"temperature": 1, name: TURNS, "stream": True, **frame}).prompt.tobytes()
    assert later.startswith(former.removesuffix(b"]"))
    assert later != former
    other = read(path, {**frame, "tools": [], name: TURNS}).prompt.tobytes()
    assert not other.startswith(former[:40])


def test_what_is_no_prompt_is_not_part_of_it() -> None:
    """The prompt's JSON is what the engine reads; requests that generate nothing have none."""
    assert read("/v1/completions", {"prompt": "abc", "suffix": "d"}).prompt.tobytes() == b',"prompt":"abc"'
    assert read("/tokenize", {}).prompt.tobytes() == b""


@pytest.mark.parametrize("path", GENERATE)
def test_what_changes_between_attempts_is_not_the_requests_identity(path: str) -> None:
    """Another seed, trace of the caller or way to be answered is the same work; another prompt or limit is not."""
    first = read(path, {"temperature": 0.5, "max_tokens": 5}).identity
    again = {"seed": 7, "metadata": {"user_id": "x"}, "stream": True, "service_tier": "auto", "prompt_cache_key": "k"}
    other = read(path, {"temperature": 0.5, "max_tokens": 5, **again})
    assert other.identity == first
    assert orjson.loads(b'{"model":"m"' + other.identity.tobytes() + b"}").items() >= {"temperature": 0.5}.items()
    assert {**again, "max_tokens": 5}.items() <= sent(other).items()
    for change in ({"temperature": 0.6}, {"logprobs": None}, {"prompt": "x", "messages": [], "input": "x"}):
        assert read(path, {"temperature": 0.5, "max_tokens": 5, **change}).identity != first


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted(
    {"model", "messages", "input", "prompt", "documents", "query", "queries", "tokens", "system", "tools", "n"}
    | {"stream", "stream_options", "max_tokens", "max_output_tokens", "min_tokens", "logprobs", "logit_bias"}
    | {"user", "metadata", "store", "suffix", "instructions", "echo", "best_of", "chat_template_kwargs"}
)


@given(path=st.sampled_from(sorted(BODIES)), fields=st.dictionaries(st.sampled_from(NAMES), values, max_size=5))
@settings(PATIENT, max_examples=400)
def test_no_body_makes_the_reader_fail(path: str, fields: dict[str, object]) -> None:
    """Any JSON object is either read, and can then be written, or refused with a reason."""
    body = orjson.dumps({**BODIES[path], **fields})
    try:
        parsed = read_request(ENDPOINTS[path], body, NOBODY)
    except RequestFault as fault:
        assert fault.outcome in (Outcome.BAD_REQUEST, Outcome.FORBIDDEN)
        assert fault.message
    else:
        assert parsed.sequences >= 1
        assert parsed.prompt_bytes >= 0
        assert sent(parsed)["model"] == "served"
