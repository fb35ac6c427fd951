"""Chat and text completions of the embedded engine: what vLLM 0.32 would have written, key by key."""

import re
from dataclasses import replace

from engine_harness import CHAT, INSTANT, RUNNING_USAGE, USAGE, Site, against

# The usage member as a gateway cuts it out of a chunk.
USAGE_MEMBER = re.compile(
    r',"usage":\{"prompt_tokens":(\d+),"total_tokens":(\d+),"completion_tokens":(\d+)[^{}]*(?:\{[^{}]*\}[^{}]*)*\}'
)
PROMPT_TOKENS = len(b"user: hi\nassistant: ")
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@against(INSTANT)
async def test_a_chat_stream_is_vllms_byte_for_byte(site: Site) -> None:
    """Role chunk, one chunk a token, fingerprint on the last, `[DONE]`; keys in the order of vLLM's models."""
    answer = await site.post("/v1/chat/completions", {**CHAT, "stream": True, "max_tokens": 2}, {"X-Request-Id": "abc"})
    head = '{"id":"chatcmpl-abc","object":"chat.completion.chunk","created":0,"model":"tiny","choices":[{"index":0,'
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in answer.chunks)
    assert len(text) == 2
    created = re.compile(r'"created":\d+')
    assert created.sub('"created":0', answer.text) == (
        f'data: {head}"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}],'
        '"prompt_token_ids":null,"prompt_text":null}\n\n'
        f'data: {head}"delta":{{"content":"{text[0]}"}},"logprobs":null,"finish_reason":null,"token_ids":null}}]}}\n\n'
        f'data: {head}"delta":{{"content":"{text[1]}"}},"logprobs":null,"finish_reason":"length","stop_reason":null,'
        '"token_ids":null}],"system_fingerprint":"vllm-0.32.0-embedded"}\n\n'
        "data: [DONE]\n\n"
    )
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Server"] == "uvicorn"


@against(INSTANT)
async def test_a_completion_stream_is_vllms_byte_for_byte(site: Site) -> None:
    """No role chunk; the last event has the totals, the cached tokens and the fingerprint."""
    answer = await site.post(
        "/v1/completions", {"model": "tiny", "prompt": "hi", "max_tokens": 1, **RUNNING_USAGE}, {"X-Request-Id": "abc"}
    )
    text = answer.chunks[0]["choices"][0]["text"]
    head = 'data: {"id":"cmpl-abc","object":"text_completion","created":0,"model":"tiny","choices":['
    usage = '"usage":{"prompt_tokens":2,"total_tokens":3,"completion_tokens":1'
    assert re.sub(r'"created":\d+', '"created":0', answer.text) == (
        f'{head}{{"index":0,"text":"{text}","logprobs":null,"finish_reason":"length","stop_reason":null,'
        f'"prompt_token_ids":null,"token_ids":null}}],{usage}}}}}\n\n'
        f'{head}],{usage},"prompt_tokens_details":{{"cached_tokens":0}}}},'
        '"system_fingerprint":"vllm-0.32.0-embedded"}\n\n'
        "data: [DONE]\n\n"
    )


@against(INSTANT)
async def test_running_usage_counts_each_choice_from_its_first_token(site: Site) -> None:
    """Usage is cumulative for each choice, the prompt exact from the start, the final event the sum."""
    chunks = (await site.chat(n=3, max_tokens=5, ignore_eos=True, **RUNNING_USAGE)).chunks
    counts = {index: [] for index in range(3)}  # type: dict[int, list[int]]
    for chunk in chunks[:-1]:
        assert chunk["usage"]["prompt_tokens"] == PROMPT_TOKENS
        counts[chunk["choices"][0]["index"]].append(chunk["usage"]["completion_tokens"])
    assert counts == {index: [0, 1, 2, 3, 4, 5] for index in range(3)}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 15
    assert site.engine.witness.output_tokens == 15


@against(INSTANT)
async def test_the_usage_member_can_be_cut_out_by_one_expression(site: Site) -> None:
    """In every chunk exactly one match, and what is left is the chunk of a client that did not ask."""
    asked = await site.chat(max_tokens=4, seed=7, **RUNNING_USAGE)
    plain = await site.chat(max_tokens=4, seed=7, stream=True)
    stripped = []
    for event in asked.events[:-2]:
        assert len(USAGE_MEMBER.findall(event)) == 1
        stripped.append(USAGE_MEMBER.sub("", event))
    assert USAGE_MEMBER.search(asked.events[-2])
    ids = re.compile(r'"id":"[^"]*"|"created":\d+|,"system_fingerprint":"[^"]*"')
    assert [ids.sub("", event) for event in stripped] == [ids.sub("", event) for event in plain.events[:-1]]


@against(INSTANT)
async def test_prompts_and_choices_are_numbered_together(site: Site) -> None:
    """Choice i of prompt p is p * n + i; each counts its own prompt, the total counts each prompt once."""
    answer = await site.complete(prompt=["a", "bb"], n=2, max_tokens=1, **RUNNING_USAGE)
    prompts = {chunk["choices"][0]["index"]: chunk["usage"]["prompt_tokens"] for chunk in answer.chunks[:-1]}
    assert prompts == {0: 1, 1: 1, 2: 2, 3: 2}
    assert answer.chunks[-1]["usage"] == {
        "prompt_tokens": 3,
        "total_tokens": 7,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


@against(INSTANT)
async def test_the_same_request_gets_the_same_text(site: Site) -> None:
    """Text depends on the prompt, the seed and the choice, streamed or not; it is plain English."""
    whole = (await site.chat(seed=3)).json
    again = (await site.chat(seed=3, stream=True)).chunks
    content = whole["choices"][0]["message"]["content"]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in again) == content
    assert (await site.chat(seed=4)).json["choices"][0]["message"]["content"] != content
    assert re.fullmatch(r"[A-Za-z .]+", content)


@against(INSTANT)
async def test_an_answer_ends_by_itself_with_a_token_of_its_own(site: Site) -> None:
    """The end of sequence is counted and has no text, as a model's is."""
    answer = (await site.chat()).json
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len(choice["message"]["content"]) + 1
    longer = (await site.chat(min_tokens=500)).json
    assert longer["usage"]["completion_tokens"] >= 500


@against(INSTANT)
async def test_a_stop_string_ends_the_text_before_it(site: Site) -> None:
    """No part of the stop string leaves the server, in no chunk; the reason names it."""
    whole = (await site.chat(seed=1, ignore_eos=True, max_tokens=200)).json["choices"][0]["message"]["content"]
    stop = whole[20:26]
    stopped = (await site.chat(seed=1, ignore_eos=True, max_tokens=200, stop=["zzzzzzzz", stop], **USAGE)).chunks
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in stopped[:-1])
    assert text == whole[: whole.index(stop)]
    assert stopped[-2]["choices"][0]["finish_reason"] == "stop"
    assert stopped[-2]["choices"][0]["stop_reason"] == stop
    assert stopped[-1]["usage"]["completion_tokens"] == whole.index(stop) + len(stop)
    kept = (await site.chat(seed=1, ignore_eos=True, max_tokens=200, stop=stop, include_stop_str_in_output=True)).json
    assert kept["choices"][0]["message"]["content"] == whole[: whole.index(stop) + len(stop)]


@against(INSTANT)
async def test_the_stream_interval_bundles_tokens(site: Site) -> None:
    """First and last at once, the rest in bundles; the count is unchanged."""
    chunks = (await site.complete(max_tokens=10, ignore_eos=True, stream_interval=4, **RUNNING_USAGE)).chunks
    assert [chunk["usage"]["completion_tokens"] for chunk in chunks] == [1, 5, 9, 10, 10]


@against(INSTANT)
async def test_logprobs_name_each_token(site: Site) -> None:
    """Chat and completions have one entry a token, and as many alternatives as asked."""
    chat = (await site.chat(max_tokens=3, logprobs=True, top_logprobs=2)).json["choices"][0]
    entries = chat["logprobs"]["content"]
    assert "".join(entry["token"] for entry in entries) == chat["message"]["content"]
    assert all(list(entry) == ["token", "logprob", "bytes", "top_logprobs"] for entry in entries)
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    text = (await site.complete(max_tokens=3, logprobs=1, echo=True)).json["choices"][0]
    assert "".join(text["logprobs"]["tokens"]) == text["text"]
    assert text["logprobs"]["text_offset"] == [0, 1, 2, 3, 4]
    assert text["logprobs"]["token_logprobs"][0] is None


@against(INSTANT)
async def test_a_tool_call_counts_more_tokens_than_it_shows(site: Site) -> None:
    """The name comes first, then arguments that parse; the frame of the call is counted and has no chunk."""
    chunks = (await site.chat(tools=[TOOL], tool_choice="required", **RUNNING_USAGE)).chunks
    calls = [chunk["choices"][0]["delta"].get("tool_calls", [{}])[0] for chunk in chunks[1:-1]]
    assert calls[0]["function"] == {"name": "weather"}
    arguments = "".join(call.get("function", {}).get("arguments", "") for call in calls)
    assert arguments == '{"city":"a wooden boat"}'
    assert chunks[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["completion_tokens"] > len(chunks)
    whole = (await site.chat(tools=[TOOL], tool_choice="required")).json["choices"][0]
    assert whole["message"]["tool_calls"][0]["function"] == {"name": "weather", "arguments": arguments}
    after = [*CHAT["messages"], {"role": "tool", "content": "rain", "tool_call_id": "x"}]
    assert (await site.chat(messages=after, tools=[TOOL])).json["choices"][0]["message"]["content"]


@against(INSTANT)
async def test_a_structured_answer_fits_its_schema(site: Site) -> None:
    """`json_schema` gives the smallest value of the schema, cut short only by the token limit."""
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["s", "m"]}, "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}},
        "required": ["size", "tags"],
        "$defs": {"tag": {"type": "string", "maxLength": 3}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = (await site.chat(response_format=form)).json["choices"][0]
    assert answer["message"]["content"] == '{"size":"s","tags":["a w"]}'
    assert (await site.chat(response_format=form, max_tokens=5)).json["choices"][0]["finish_reason"] == "length"


@against(INSTANT)
async def test_a_prompt_seen_before_is_cached_for_its_salt_only(site: Site) -> None:
    """Full blocks of an earlier prompt are found again, another tenant's salt hides them."""
    prompt = "x" * 50
    details = [
        (await site.complete(prompt=prompt, cache_salt=salt)).json["usage"]["prompt_tokens_details"]["cached_tokens"]
        for salt in ("a", "a", "b")
    ]
    assert details == [0, 48, 0]


REFUSED: list[tuple[dict[str, object], int, str, str | None]] = [
    ({"messages": []}, 400, "BadRequestError", None),
    ({"messages": None}, 400, "Bad Request", "body.messages"),
    ({"model": "other"}, 404, "NotFoundError", "model"),
    ({"stream_options": {"include_usage": True}}, 400, "BadRequestError", "stream_options"),
    ({"max_tokens": 10**6}, 400, "BadRequestError", "max_tokens"),
    ({"max_completion_tokens": 10**6}, 400, "BadRequestError", "max_completion_tokens"),
    ({"max_tokens": 0}, 400, "BadRequestError", "max_tokens"),
    ({"max_tokens": "many"}, 400, "Bad Request", "body.max_tokens"),
    ({"n": 0}, 400, "BadRequestError", None),
    ({"min_tokens": 9, "max_tokens": 3}, 400, "BadRequestError", None),
    ({"cache_salt": "a/b"}, 400, "BadRequestError", "cache_salt"),
    ({"top_logprobs": 1}, 400, "BadRequestError", "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, 400, "BadRequestError", "logprobs"),
    ({"temperature": -1}, 400, "BadRequestError", "temperature"),
    ({"temperature": 0, "n": 2}, 400, "BadRequestError", None),
    ({"tool_choice": "required"}, 400, "BadRequestError", "tool_choice"),
    ({"tool_choice": {"function": {"name": "x"}}, "tools": [TOOL]}, 400, "BadRequestError", "tool_choice"),
    ({"messages": [{"role": "user", "content": "x" * 9000}]}, 400, "BadRequestError", "input_tokens"),
]


@against(INSTANT)
async def test_a_request_that_cannot_be_is_refused_as_vllm_refuses_it(site: Site) -> None:
    """Status, type and parameter of each error; nothing reaches the engine."""
    for fields, status, kind, param in REFUSED:
        answer = await site.chat(**fields)
        error = answer.json["error"]
        assert (answer.status, error["type"], error["param"], error["code"]) == (status, kind, param, status), fields
        assert list(error) == ["message", "type", "param", "code"]
    assert site.engine.witness.started == 0


@against(replace(INSTANT, max_num_queued_reqs=2))
async def test_a_full_engine_answers_503_at_once(site: Site) -> None:
    """Choices count one by one; the refusal has the reason phrase as its type and no Retry-After."""
    refused = await site.chat(n=3)
    assert refused.status == 503
    assert refused.json["error"]["type"] == "Service Unavailable"
    assert "Retry-After" not in refused.headers
    assert (await site.chat(n=2)).status == 200
    metrics = (await site.get("/metrics/?name[]=vllm:admission_rejections_total")).text
    assert 'vllm:admission_rejections_total{model_name="tiny",reason="max_num_queued_reqs"} 1.0' in metrics
