"""What one tenant's answers teach spoils nothing for another: estimates, running charges and the bound hold."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from virtual_time import virtual_time
from whole_gateway import CHAT, COMPLETIONS, MODEL, Plan, Stage, question, stage, tenant
from workers_on_stage import ScriptedWorker

from gateway.config import Limits, Timeouts, Window

LONG = {"max_model_len": 400_000, "timeouts": Timeouts(connect_seconds=2, first_byte_seconds=20, stall_seconds=30)}
DOCUMENT = "x" * 20_000
Counts = Callable[[dict[str, Any]], tuple[int, int]]


def usage(prompt: int, output: int) -> dict[str, int]:
    """Return usage as vLLM writes it."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output}


def event(prompt: int, output: int) -> bytes:
    """Return one chunk of a chat with its running usage."""
    chunk = {
        "id": "a",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None}],
        "usage": usage(prompt, output),
    }
    return b"data: %b\n\n" % orjson.dumps(chunk)


def at_once(counts: Counts, seconds: Callable[[dict[str, Any]], float] = lambda _: 0.3) -> ScriptedWorker:
    """Make a worker whose answers come in one write, streamed or not, `seconds` after the request."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = worker.requests[-1][1]
        await asyncio.sleep(seconds(body))
        prompt, output = counts(body)
        if body.get("stream"):
            events = b"".join(event(prompt, done) for done in range(1, output + 1)) + b"data: [DONE]\n\n"
            kind, answer = b"text/event-stream", events
        else:
            choices = [{"index": 0, "text": "x", "message": {"role": "assistant", "content": "x"}}]
            kind, answer = b"application/json", orjson.dumps({"choices": choices, "usage": usage(prompt, output)})
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (kind, len(answer))
        writer.write(head + answer)

    worker = ScriptedWorker(respond)
    return worker


def greeting_or_document(body: dict[str, Any]) -> tuple[int, int]:
    """Count thirty tokens for a greeting and one in four bytes for all else; the answer has one token."""
    text = body["prompt"] if "prompt" in body else body["messages"][0]["content"]
    return (30 if len(text) < 10 else len(text) // 4), 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
@virtual_time
async def test_greetings_of_one_tenant_do_not_inflate_the_documents_of_another(path: str, stream: bool) -> None:
    """After alice's documents and greetings, a document of bob or of a newcomer is within 7,000 tokens."""
    limit = Limits(tokens_per_minute=7_000)
    plan = Plan(
        tenants=(tenant("alice"), tenant("bob", limits=limit), tenant("new", limits=limit)),
        window=Window(sequences=4, slack=0),
        pool=LONG,
    )

    def body(text: str) -> dict[str, Any]:
        fields: dict[str, Any] = {"max_tokens": 4, "stream": stream}
        return question(text, **fields) if path == CHAT else {"model": MODEL, "prompt": text, **fields}

    async with stage(at_once(greeting_or_document), plan=plan) as scene:
        for text in [DOCUMENT] * 30 + ["hi"] * 20:
            assert (await scene.ask(body(text), "alice", path)).status == 200
        assert scene.account(MODEL).prompts.estimate("alice", 20_000) == pytest.approx(5_000, rel=0.1)
        for name in ("bob", "new"):
            assert (await scene.ask(body(DOCUMENT), name, path)).status == 200, name


@virtual_time
async def test_answers_in_one_read_do_not_raise_what_another_is_charged() -> None:
    """Alice's answers of 16 tokens come in one read; bob's whole answer takes ten seconds for a hundred tokens."""

    def counts(body: dict[str, Any]) -> tuple[int, int]:
        return (20, 16) if body.get("stream") else (20, 100)

    def seconds(body: dict[str, Any]) -> float:
        return 0.3 if body.get("stream") else 10.0

    async with stage(at_once(counts, seconds), plan=Plan(window=Window(sequences=4, slack=0), pool=LONG)) as scene:
        for _ in range(20):
            await scene.ask(question(stream=True, max_tokens=16), "alice")
        bob = scene.asking(question(max_tokens=100_000), "bob")
        await asyncio.sleep(9)
        assert scene.in_flight == 1
        assert 20 < scene.service("bob") < 20 + 2 * 600
        await bob
        assert scene.service("bob") == 20 + 2 * 100
        assert _bound(scene) <= 20 + 2 * 100_000 + 20 + 2 * 600


def _bound(scene: Stage) -> float:
    (pool,) = scene.gateway.pools()
    return pool.spread_bound
