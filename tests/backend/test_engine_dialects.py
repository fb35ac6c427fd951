"""The other dialects of the embedded engine: responses, messages, pooling, tokens, service endpoints."""

import json
import struct
from base64 import b64decode

import pytest
from engine_harness import CHAT, INSTANT, Answer, Site, against

from backend.engine.api.template import render_chat

MESSAGE = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


def named_events(answer: Answer) -> list[tuple[str, dict[str, object]]]:
    """Events with their names."""
    pairs = (event.split("\n") for event in answer.events)
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in pairs]


@against(INSTANT)
async def test_a_message_stream_tells_one_block(site: Site) -> None:
    """Start, block, deltas, stop, the usage with the end; every event is named by its type."""
    events = named_events(await site.post("/v1/messages", {**MESSAGE, "stream": True}))
    assert all(name == event["type"] for name, event in events)
    assert [name for name, _ in events] == [
        *("message_start", "content_block_start"),
        *["content_block_delta"] * 5,
        *("content_block_stop", "message_delta", "message_stop"),
    ]
    assert events[-2][1] == {
        "type": "message_delta",
        "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
        "usage": {
            "input_tokens": 4,
            "output_tokens": 5,
            "cache_creation_input_tokens": 16,
            "cache_read_input_tokens": 0,
        },
    }


@against(INSTANT)
async def test_a_message_uses_tools_and_takes_their_results(site: Site) -> None:
    """The forced call comes back as a block with its input; a conversation with results is counted whole."""
    asked = {**MESSAGE, "max_tokens": 500, "tools": [TOOL], "tool_choice": {"type": "any"}}
    whole = (await site.post("/v1/messages", asked)).json
    assert whole["stop_reason"] == "tool_use"
    assert whole["content"][0]["input"] == {"city": "a wooden boat"}
    events = named_events(await site.post("/v1/messages", {**asked, "stream": True}))
    deltas = [event["delta"] for name, event in events if name == "content_block_delta"]
    assert "".join(delta["partial_json"] for delta in deltas) == '{"city":"a wooden boat"}'  # type: ignore[index]
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "rain"}]},
    ]
    counted = (await site.post("/v1/messages/count_tokens", {"model": "tiny", "messages": turns})).json
    rendered = b'user: hi\nassistant: weather({"city": "x"})\ntool: rain\nassistant: '
    assert counted == {
        "input_tokens": len(rendered),
        "context_management": {"original_input_tokens": len(rendered)},
    }


@against(INSTANT)
async def test_errors_of_messages_have_anthropics_shape(site: Site) -> None:
    """What the chat layer refuses is translated; a malformed body is not, as in vLLM."""
    unknown = await site.post("/v1/messages", {**MESSAGE, "model": "other"})
    assert (unknown.status, unknown.json["type"], unknown.json["error"]["type"]) == (404, "error", "NotFoundError")
    malformed = await site.post("/v1/messages", CHAT)
    assert malformed.json["error"]["param"] == "body.max_tokens"


@against(INSTANT)
async def test_a_response_stream_numbers_its_events(site: Site) -> None:
    """From created to completed, the usage with the last; the text of the deltas is the text of the end."""
    asked = {"model": "tiny", "input": "hi", "max_output_tokens": 6, "stream": True}
    events = named_events(await site.post("/v1/responses", asked))
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    text = "".join(str(event["delta"]) for name, event in events if name == "response.output_text.delta")
    name, last = events[-1]
    assert name == "response.completed"
    response = last["response"]
    assert isinstance(response, dict)
    assert response["output"][0]["content"][0]["text"] == text
    assert response["status"] == "incomplete"
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (20, 6)
    whole = (await site.post("/v1/responses", {**asked, "stream": False})).json
    assert whole["output"][0]["content"][0]["text"] == text


@against(INSTANT)
async def test_a_response_calls_functions(site: Site) -> None:
    """The output item is the call; its arguments stream."""
    tool = {"type": "function", "name": "weather", "parameters": TOOL["input_schema"]}
    asked = {"model": "tiny", "input": [{"role": "user", "content": "hi"}], "tools": [tool], "tool_choice": "required"}
    whole = (await site.post("/v1/responses", asked)).json
    assert whole["output"][0]["type"] == "function_call"
    assert json.loads(whole["output"][0]["arguments"]) == {"city": "a wooden boat"}
    events = named_events(await site.post("/v1/responses", {**asked, "stream": True}))
    deltas = [event["delta"] for name, event in events if name == "response.function_call_arguments.delta"]
    assert "".join(str(delta) for delta in deltas) == whole["output"][0]["arguments"]


@against(INSTANT)
async def test_embeddings_are_unit_vectors_in_both_encodings(site: Site) -> None:
    """Base64 holds the same little-endian floats; prompts are counted, nothing is generated."""
    asked = {"model": "tiny", "input": ["a boat", "a boat on the road"]}
    plain = (await site.post("/v1/embeddings", asked)).json
    vectors = [entry["embedding"] for entry in plain["data"]]
    assert all(sum(value * value for value in vector) == pytest.approx(1.0) for vector in vectors)
    assert plain["usage"]["prompt_tokens"] == len("a boat" + "a boat on the road")
    packed = (await site.post("/v1/embeddings", {**asked, "encoding_format": "base64"})).json
    decoded = struct.unpack("<64f", b64decode(packed["data"][0]["embedding"]))
    assert list(decoded) == pytest.approx(vectors[0])
    assert site.engine.witness.output_tokens == 0


@against(INSTANT)
async def test_rerank_puts_the_likest_first(site: Site) -> None:
    """Results are sorted and cut to `top_n`; a score is the same likeness."""
    asked = {"model": "tiny", "query": "the boat", "documents": ["a clock", "the boat", "the road"], "top_n": 2}
    ranked = (await site.post("/v1/rerank", asked)).json
    assert [result["index"] for result in ranked["results"]] == [1, 2]
    score = (await site.post("/v1/score", {"model": "tiny", "text_1": "the boat", "text_2": ["the boat"]})).json
    assert score["data"][0]["score"] == pytest.approx(1.0)


@against(INSTANT)
async def test_a_token_is_a_byte(site: Site) -> None:
    """Tokenize and detokenize invert each other; a chat is rendered first."""
    tokens = (await site.post("/tokenize", {"model": "tiny", "prompt": "hé", "return_token_strs": True})).json
    assert tokens == {"count": 3, "max_model_len": 8192, "tokens": [104, 195, 169], "token_strs": ["h", "Ã", "©"]}
    assert (await site.post("/detokenize", {"model": "tiny", "tokens": [*tokens["tokens"], 257]})).json == {
        "prompt": "hé</s>"
    }
    chat = (await site.post("/tokenize", CHAT)).json
    assert bytes(chat["tokens"]) == render_chat([{"role": "user", "content": "hi"}], [])


@against(INSTANT)
async def test_the_filtered_metrics_hold_the_samples_asked_for(site: Site) -> None:
    """With the slash only what is named; without it everything."""
    await site.chat(max_tokens=3, ignore_eos=True)
    some = await site.get("/metrics/?name[]=vllm:generation_tokens_total&name[]=vllm:num_requests_running")
    samples = [line for line in some.text.splitlines() if not line.startswith("#")]
    assert sorted(samples) == [
        'vllm:generation_tokens_total{engine="0",model_name="tiny"} 3.0',
        'vllm:num_requests_running{engine="0",model_name="tiny"} 0.0',
    ]
    assert some.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    everything = (await site.get("/metrics?name[]=vllm:num_requests_running")).text
    for name in ("cache_config_info", "kv_cache_usage_perc", "iteration_tokens_total_count", "request_success_total"):
        assert f"vllm:{name}{{" in everything


@against(INSTANT)
async def test_the_service_endpoints_answer_as_vllms(site: Site) -> None:
    """Health is empty, the version is vLLM's, the model card has the context length, the router says `detail`."""
    assert (await site.get("/health")).text == ""
    assert (await site.get("/version")).json == {"version": "0.32.0"}
    assert (await site.get("/load")).json == {"server_load": 0}
    card = (await site.get("/v1/models")).json["data"][0]
    assert (card["id"], card["max_model_len"]) == ("tiny", 8192)
    assert (await site.get("/nowhere")).text == '{"detail":"Not Found"}'
    wrong = await site.get("/v1/completions")
    assert (wrong.status, wrong.text, wrong.headers["Allow"]) == (405, '{"detail":"Method Not Allowed"}', "POST")


@against(INSTANT)
async def test_a_body_that_is_no_json_object_is_refused(site: Site) -> None:
    """The position of the fault is the parameter."""
    for body, param in ((b"{nope", "body.1"), (b"[]", "body"), (b"\xff", None)):
        headers = {"Content-Type": "application/json"}
        async with site.http.post("/v1/completions", data=body, headers=headers) as response:
            assert response.status == 400
            assert (await response.json())["error"]["param"] == param
    async with site.http.post("/v1/completions", data=b"{}", headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 400
