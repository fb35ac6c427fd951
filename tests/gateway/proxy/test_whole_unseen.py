"""Tokens that nobody sees are charged too: unread streams, engines that count at the end, cut answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from virtual_time import virtual_time
from whole_gateway import CHAT, COMPLETIONS, MODEL, Plan, Stage, chat, exactly, question, stage
from workers_on_stage import CPU_TINY, EngineWorker, ScriptedWorker

from gateway.config import Timeouts, Window
from gateway.outcomes import Outcome

WIDE = Window(sequences=16, slack=0)
TOKEN_SECONDS = 0.02
PACE = 1 / TOKEN_SECONDS
LONG = 20_000  # tokens that nobody waits for
LOGPROBS = {"logprobs": True, "top_logprobs": 20}  # makes 600 bytes of a token
READERS: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "chat": (CHAT, lambda tokens: chat(tokens, **LOGPROBS)),
    "two choices": (CHAT, lambda tokens: chat(tokens, n=2, **LOGPROBS)),
    "completion": (
        COMPLETIONS,
        lambda tokens: {"model": MODEL, "prompt": "hi", "stream": True, "logprobs": 20, **exactly(tokens)},
    ),
}


@pytest.mark.parametrize("leaves", [False, True], ids=["cut", "leaves"])
@pytest.mark.parametrize("name", READERS)
@virtual_time
async def test_clients_that_never_read_pay_for_what_is_generated(name: str, leaves: bool) -> None:
    """They pay whether they are cut or leave by themselves, while the answer goes on and at its end."""
    path, body = READERS[name]
    plan = Plan(window=WIDE, listen={"write_stall_seconds": 5})
    async with stage(EngineWorker(CPU_TINY), plan=plan) as scene:
        for _ in range(5):  # the gateway learns this engine's pace from another tenant
            await scene.ask(body(200), "bob", path)
        before = scene.witness.output_tokens
        clients = [await scene.open(body(1800), path=path, receive_bytes=2048) for _ in range(4)]
        await asyncio.sleep(4)
        generated = scene.witness.output_tokens - before
        assert scene.service("alice") / 2 == pytest.approx(generated, rel=0.1)
        if leaves:
            for client in clients:
                client.leave()
        await scene.when(lambda: len(scene.finished) == 5 + len(clients))
        generated = scene.witness.output_tokens - before
        assert sum(event.output_tokens for event in scene.finished[5:]) == pytest.approx(generated, rel=0.01)
        for client in clients:
            await client.close()


# -- an engine that counts only at its end, or never


def counted(prompt: int, output: int) -> dict[str, int]:
    """Return usage as OpenAI's APIs write it."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + output, "completion_tokens": output}


def data(value: object, name: str = "") -> bytes:
    """Return one event."""
    return (b"event: %b\n" % name.encode() if name else b"") + b"data: %b\n\n" % orjson.dumps(value)


DELTA = {"index": 0, "delta": {"content": "x"}, "text": "x", "logprobs": None, "finish_reason": None}
BEGINNINGS = {
    "/v1/messages": data({"message": {"usage": {"input_tokens": 30, "output_tokens": 0}}}, "message_start"),
    "/v1/responses": data({"response": {}}, "response.created"),
}
TOKENS = {
    CHAT: data({"id": "a", "choices": [DELTA]}),
    COMPLETIONS: data({"id": "a", "choices": [DELTA]}),
    "/v1/messages": data({"delta": {"text": "x"}}, "content_block_delta"),
    "/v1/responses": data({"delta": "x"}, "response.output_text.delta"),
}
ASKED: dict[str, dict[str, Any]] = {
    CHAT: question(stream=True, max_tokens=LONG),
    COMPLETIONS: {"model": MODEL, "prompt": "hi", "stream": True, "max_tokens": LONG},
    "/v1/messages": {"model": MODEL, "messages": question()["messages"], "stream": True, "max_tokens": LONG},
    "/v1/responses": {"model": MODEL, "input": "hi", "stream": True, "max_output_tokens": LONG},
}


def counting_late(path: str, tokens: int, *, then: float = 0.0) -> ScriptedWorker:
    """A worker whose streams tell no usage while they run; it stands still for `then` seconds before the end.

    A request for fewer tokens ends with these, counted.
    """

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = worker.requests[-1][1]
        asked = body.get("max_tokens") or body.get("max_output_tokens")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        writer.write(BEGINNINGS.get(path, b""))
        for _ in range(min(asked, tokens)):
            writer.write(TOKENS[path])
            await writer.drain()
            await asyncio.sleep(TOKEN_SECONDS)
        if asked > tokens:
            await asyncio.sleep(then)
        usage = counted(30, min(asked, tokens))
        other = {"input_tokens": 30, "output_tokens": min(asked, tokens)}
        match path:
            case "/v1/messages":
                writer.write(data({"usage": other}, "message_delta") + data({}, "message_stop"))
            case "/v1/responses":
                writer.write(data({"response": {"usage": other}}, "response.completed"))
            case _:
                writer.write(data({"id": "a", "choices": [], "usage": usage}) + b"data: [DONE]\n\n")
        writer.close()

    worker = ScriptedWorker(respond)
    return worker


def plan(stall_seconds: float = 600) -> Plan:
    """Give the engine room for one long answer."""
    timeouts = Timeouts(connect_seconds=2, first_byte_seconds=20, stall_seconds=stall_seconds)
    return Plan(window=WIDE, pool={"max_model_len": 40_000, "timeouts": timeouts})


async def learn(scene: Stage, path: str) -> None:
    """Send some whole answers, from which the gateway learns the pace."""
    for _ in range(8):
        short = {name: 100 for name in ASKED[path] if name.startswith("max_")}
        assert (await scene.ask(ASKED[path] | short, "bob", path)).status == 200


@pytest.mark.parametrize("path", ASKED)
@virtual_time
async def test_a_stream_is_charged_while_its_engine_does_not_count(path: str) -> None:
    """The charge follows the tenant's pace or the pool's, a metric shows it, and the engine's count settles it."""
    async with stage(counting_late(path, 1000), plan=plan()) as scene:
        await learn(scene, path)
        asking = scene.asking(ASKED[path], "alice", path)
        for seconds in range(2, 19, 4):
            await asyncio.sleep(4 if seconds > 2 else 2)
            charged = (scene.service("alice") - 30) / 2
            assert PACE * (seconds - 1.5) * 0.8 <= charged <= PACE * seconds * 1.2
            page = (await scene.get("/metrics")).body.decode()
            (line,) = [
                each for each in page.splitlines() if each.startswith('vtc_gateway_estimated_tokens{pool="tiny"')
            ]
            assert float(line.split()[-1]) == pytest.approx(charged, abs=16)
        assert (await asking).status == 200
        assert scene.last.output_tokens == 1000
        assert scene.service("alice") == 30 + 2 * 1000


@pytest.mark.parametrize("path", ASKED)
@virtual_time
async def test_a_stream_that_the_gateway_cuts_is_charged_what_was_seen(path: str) -> None:
    """After two seconds of tokens nothing comes until the cut: neither its limit nor its silence is charged."""
    async with stage(counting_late(path, 100, then=3600), plan=plan(stall_seconds=20)) as scene:
        await learn(scene, path)
        await scene.ask(ASKED[path], "alice", path)
        assert scene.last.outcome is Outcome.WORKER_STALLED
        assert scene.last.output_tokens == pytest.approx(100, rel=0.1)
        assert scene.last.estimated_tokens == scene.last.output_tokens


@pytest.mark.parametrize("path", ASKED)
@virtual_time
async def test_a_client_that_leaves_an_engine_that_does_not_count_pays_for_its_time(path: str) -> None:
    """It pays four seconds at the engine's pace, and the event says that this is an estimate."""
    async with stage(counting_late(path, 1000), plan=plan()) as scene:
        await learn(scene, path)
        client = await scene.open(ASKED[path], path=path)
        await asyncio.sleep(4)
        client.leave()
        await scene.when(lambda: len(scene.finished) == 9)
        assert scene.last.output_tokens == pytest.approx(4 * PACE, rel=0.1)
        assert scene.last.estimated_tokens == scene.last.output_tokens
        page = (await scene.get("/metrics")).body.decode()
        assert f'vtc_gateway_uncounted_tokens_total{{pool="tiny",tenant="alice"}} {scene.last.output_tokens}' in page
        await client.close()
