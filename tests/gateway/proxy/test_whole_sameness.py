"""What the client receives equals what the engine would have sent it, byte for byte, but for ids and stamps."""

import re
from typing import Any

import pytest
from raw_client import ask
from virtual_time import virtual_time
from whole_gateway import CHAT, COMPLETIONS, chat, exactly, stage
from workers_on_stage import EngineWorker

IDS = re.compile(rb"[0-9a-f]{32}")
STAMPS = re.compile(rb'"(created|created_at)":[0-9.]+')
TOOL = {"type": "function", "function": {"name": "boat", "parameters": {"type": "object", "properties": {"a": {}}}}}
USAGE = {"stream_options": {"include_usage": True}}
RUNNING = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
PROMPT = {"model": "tiny", "prompt": [1, 2, 3], **exactly(8)}
MESSAGES = {"model": "tiny", "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]}

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": (CHAT, chat(8)),
    "chat whole": (CHAT, chat(8, stream=False)),
    "chat with usage": (CHAT, chat(8, **USAGE)),
    "chat with running usage": (CHAT, chat(8, **RUNNING)),
    "chat with running usage only": (CHAT, chat(8, stream_options={"continuous_usage_stats": True})),
    "two choices": (CHAT, chat(8, n=2)),
    "two choices with usage": (CHAT, chat(8, n=2, **USAGE)),
    "two choices whole": (CHAT, chat(8, n=2, stream=False)),
    "logprobs": (CHAT, chat(8, logprobs=True, top_logprobs=3)),
    "tools": (CHAT, chat(80, tools=[TOOL])),
    "tools whole": (CHAT, chat(80, tools=[TOOL], stream=False)),
    "token ids": (CHAT, chat(8, return_token_ids=True)),
    "usage in the prompt": (CHAT, chat(8, prompt='data: {"usage":{"prompt_tokens":9}}\n\n,"usage":{')),
    "structured": (CHAT, chat(80, response_format={"type": "json_object"})),
    "completion": (COMPLETIONS, {**PROMPT, "stream": True}),
    "completion whole": (COMPLETIONS, PROMPT),
    "completion with usage": (COMPLETIONS, {**PROMPT, "stream": True, **USAGE}),
    "two prompts": (COMPLETIONS, {**PROMPT, "prompt": [[1, 2], [3, 4]], "n": 2, "stream": True}),
    "responses": ("/v1/responses", {"model": "tiny", "input": "hi", "max_output_tokens": 8, "stream": True}),
    "responses whole": ("/v1/responses", {"model": "tiny", "input": "hi", "max_output_tokens": 8}),
    "messages": ("/v1/messages", {**MESSAGES, "stream": True}),
    "messages whole": ("/v1/messages", MESSAGES),
    "embeddings": ("/v1/embeddings", {"model": "tiny", "input": ["hi", "ho"]}),
    "tokenize": ("/tokenize", {"model": "tiny", "prompt": "hi"}),
    "refused by the engine": (CHAT, chat(8, response_format="free")),
}


def anonymous(body: bytes) -> bytes:
    """Return the body without what is made anew for each request."""
    return STAMPS.sub(rb'"\1":0', IDS.sub(b"ID", body))


@pytest.mark.parametrize("name", REQUESTS)
@virtual_time
async def test_the_gateway_passes_on_what_the_engine_says(name: str) -> None:
    """Each answer equals the engine's own, once the gateway has seen one stream of it; a second one does too."""
    path, body = REQUESTS[name]
    direct = EngineWorker()
    await direct.start()
    async with stage() as scene:
        await ask(direct.url, CHAT, chat(1))
        await scene.ask(chat(1))
        for _ in range(2):
            expected = await ask(direct.url, path, body)
            answer = await scene.ask(body, path=path)
            assert answer.status == expected.status
            assert answer.is_whole
            assert answer.headers["content-type"] == expected.headers["content-type"]
            assert anonymous(answer.body) == anonymous(expected.body)
    await direct.stop()
