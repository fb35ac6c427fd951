"""The gateway believes no engine that claims more tokens than a request can take, on any path, and says so."""

import asyncio
from typing import Any

import orjson
import pytest
from virtual_time import virtual_time
from whole_gateway import CHAT, COMPLETIONS, MODEL, question, stage
from workers_on_stage import ScriptedWorker

from gateway.events import UsageCapped

MANY = 10**9
MODEL_LEN = 2048  # of the stage's pool
OPENAI = {"prompt_tokens": MANY, "total_tokens": 2 * MANY, "completion_tokens": MANY}
OTHERS = {"input_tokens": MANY, "output_tokens": MANY, "total_tokens": 2 * MANY}
EMBEDDED = {"prompt_tokens": MANY, "total_tokens": MANY}
CHUNK = {"id": "a", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}], "usage": OPENAI}
MESSAGE = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
RESPONSE = {"model": MODEL, "input": "hi", "max_output_tokens": 5}


def events(*named: tuple[str, dict[str, Any]]) -> bytes:
    """A stream of named events."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(data)) for name, data in named)


STREAM = b"data: %b\n\n" % orjson.dumps(CHUNK) * 3 + b"data: [DONE]\n\n"
RESPONSES = events(
    ("response.output_text.delta", {"delta": "x"}), ("response.completed", {"response": {"usage": OTHERS}})
)
MESSAGES = events(
    ("message_start", {"message": {"usage": OTHERS}}),
    ("content_block_delta", {"delta": {"text": "x"}}),
    ("message_delta", {"usage": OTHERS}),
    ("message_stop", {}),
)

# What is asked, what the engine answers, and the most that the request can take: prompt tokens, output tokens.
CLAIMS: dict[str, tuple[str, dict[str, Any], bytes, int, int]] = {
    "chat stream": (CHAT, question(max_tokens=5, stream=True), STREAM, MODEL_LEN, 5),
    "chat stream without limit": (CHAT, question(stream=True), STREAM, MODEL_LEN, MODEL_LEN),
    "chat": (CHAT, question(max_tokens=5), orjson.dumps({"choices": [], "usage": OPENAI}), MODEL_LEN, 5),
    "two choices": (CHAT, question(max_tokens=5, n=2), orjson.dumps({"usage": OPENAI}), MODEL_LEN, 10),
    "completion of two prompts": (
        COMPLETIONS,
        {"model": MODEL, "prompt": ["hi", "ho"], "max_tokens": 5},
        orjson.dumps({"choices": [], "usage": OPENAI}),
        2 * MODEL_LEN,
        10,
    ),
    "responses stream": ("/v1/responses", RESPONSE | {"stream": True}, RESPONSES, MODEL_LEN, 5),
    "responses": ("/v1/responses", RESPONSE, orjson.dumps({"usage": OTHERS}), MODEL_LEN, 5),
    "messages stream": ("/v1/messages", MESSAGE | {"stream": True}, MESSAGES, MODEL_LEN, 5),
    "messages": ("/v1/messages", MESSAGE, orjson.dumps({"usage": OTHERS}), MODEL_LEN, 5),
    "embeddings": (
        "/v1/embeddings",
        {"model": MODEL, "input": ["a", "b", "c"]},
        orjson.dumps({"data": [], "usage": EMBEDDED}),
        3 * MODEL_LEN,
        0,
    ),
    "rerank": (
        "/v1/rerank",
        {"model": MODEL, "query": "a", "documents": ["b", "c"]},
        orjson.dumps({"results": [], "usage": EMBEDDED}),
        2 * MODEL_LEN,
        0,
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
@virtual_time
async def test_no_more_is_charged_than_a_request_can_take(name: str) -> None:
    """While it runs and at its end; the computed bound stays one of real requests, and event, log and metric say it."""
    path, body, answer, prompt, output = CLAIMS[name]
    is_stream = bool(body.get("stream"))
    most = prompt + 2 * output

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = b"text/event-stream" if is_stream else b"application/json"
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(answer)))
        writer.write(answer[: len(answer) // 2])
        await asyncio.sleep(1)
        assert scene.service("alice") <= most
        writer.write(answer[len(answer) // 2 :])

    async with stage(ScriptedWorker(respond)) as scene:
        assert (await scene.ask(body, "alice", path)).status == 200
        assert scene.last.prompt_tokens == prompt
        assert scene.last.output_tokens == output
        assert scene.last.service == scene.service("alice") == most
        (pool,) = scene.gateway.pools()
        assert pool.spread_bound <= 2 * most
        (claim,) = [event for event in scene.events if isinstance(event, UsageCapped)]
        assert claim == UsageCapped(scene.last.request_id, MODEL, "tiny/w0", MANY, MANY if output else 0)
        page = (await scene.get("/metrics")).body
        assert b'vtc_gateway_usage_capped_total{pool="tiny",worker="tiny/w0"} 1' in page
        assert '"usage capped"' in scene.end_log()
