"""Answers that end before their engine counts them are charged the steps that it made, and hardly less."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage
from workers_on_stage import CPU_TINY, EngineWorker, Meddle, ScriptedWorker, fault

from backend.engine.faults import FaultKind, FaultScript
from gateway.config import Window
from gateway.outcomes import Outcome

STEPS = 2  # the one that runs while the connection closes, and the one before it is seen
ROOMY = Plan(window=Window(sequences=16, slack=0))


async def learn(scene: Stage, **fields: Any) -> None:
    """Let another tenant have a second of ordinary answers, which teach the engine's pace."""
    for _ in range(6):
        assert (await scene.ask(chat(30, **fields), "bob")).status == 200


def unlike(scene: Stage) -> list[tuple[int, int]]:
    """Return alice's requests that are more than two steps off: tokens charged, tokens generated."""
    figures = []
    for event in scene.finished:
        if event.tenant == "alice":
            (count,) = scene.engine_count(event.request_id)
            if abs(event.output_tokens - count.output_tokens) > STEPS * count.sequences:
                figures.append((event.output_tokens, count.output_tokens))
    return figures


async def leave(scene: Stage, body: object, seconds: float) -> None:
    """Send a request of alice whose client leaves after so long; in the end its engine has heard of it."""
    client = await scene.open(body)
    await asyncio.sleep(seconds)
    client.leave()
    before = len(scene.finished)
    await scene.until_finished(before + 1)
    await client.close()
    await scene.turn(20)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("choices", [1, 3])
@virtual_time
async def test_a_client_that_leaves_pays_for_the_steps_that_its_engine_made(choices: int, stream: bool) -> None:
    """The charge is right within two steps, before the first token and after seconds, seen or unseen."""
    async with stage(EngineWorker(CPU_TINY), plan=ROOMY) as scene:
        await learn(scene, n=choices)
        for milliseconds in (3, 8, 20, 63, 63, 150, 400, 800, 1700, 3100):
            await leave(scene, chat(1500, stream=stream, n=choices), milliseconds / 1000)
        assert len(scene.finished) == 16
        assert not unlike(scene)
        assert sum(event.output_tokens for event in scene.finished[6:]) > 900 * choices


@virtual_time
async def test_those_who_leave_side_by_side_pay_for_the_steps_that_they_shared() -> None:
    """Twelve whole answers slow the engine down, and it gets faster with each that ends."""
    async with stage(EngineWorker(CPU_TINY), plan=ROOMY) as scene:
        await learn(scene)
        await asyncio.gather(*(leave(scene, chat(1500, stream=False), 1.5 + number / 8) for number in range(12)))
        for event in scene.finished[6:]:
            (count,) = scene.engine_count(event.request_id)
            assert 0.95 * count.output_tokens <= event.output_tokens <= count.output_tokens + STEPS


@virtual_time
async def test_an_engine_that_stands_still_makes_no_steps_to_charge_for() -> None:
    """The engine freezes after a second, and clients that leave seconds later pay for that second."""
    async with stage(EngineWorker(CPU_TINY), plan=ROOMY) as scene:
        await learn(scene)
        leaving = [asyncio.create_task(leave(scene, chat(1500, stream=stream), 5)) for stream in (False, True)]
        await asyncio.sleep(1.0)
        scene.engines[0].engine.freeze()
        await asyncio.wait(leaving)
        scene.engines[0].engine.thaw()
        await scene.turn(20)
        assert [event.output_tokens > 100 for event in scene.finished[6:]] == [True, True]
        assert not unlike(scene)


@pytest.mark.parametrize(
    ("kind", "stream"),
    [(FaultKind.CUT, False), (FaultKind.CUT, True), (FaultKind.CUT_EVENT, True), (FaultKind.ERROR_EVENT, True)],
)
@pytest.mark.parametrize("tokens", [5, 90])
@virtual_time
async def test_an_answer_that_its_engine_breaks_off_is_charged_what_was_made(
    kind: FaultKind, tokens: int, stream: bool
) -> None:
    """This holds after any number of tokens."""
    script = FaultScript((fault(kind, nth=7, after_tokens=tokens),))
    async with stage(EngineWorker(replace(CPU_TINY, faults=script)), plan=ROOMY) as scene:
        await learn(scene)
        await scene.ask(chat(200, stream=stream))
        assert scene.last.outcome is Outcome.WORKER_LOST_STREAMING
        assert scene.last.output_tokens >= tokens - 1
        assert not unlike(scene)


def token(number: int) -> bytes:
    """Return the event of a stream that brings token `number`, as a chunk."""
    usage = b'{"prompt_tokens":5,"completion_tokens":%d,"total_tokens":%d}' % (number, 5 + number)
    event = b'data: {"choices":[{"index":0,"delta":{"content":"word"}}],"usage":%b}\n\n' % usage
    return b"%x\r\n%b\r\n" % (len(event), event)


@virtual_time
async def test_a_client_that_leaves_pays_for_what_the_gateway_had_not_read_yet() -> None:
    """The next token comes in the same turn of the event loop as the news that the client has left."""
    writers: list[asyncio.StreamWriter] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(token(1))
        await reader.read()

    async with stage(ScriptedWorker(respond)) as scene:
        client = await scene.open(chat(9))
        await client.read_piece()
        writers[0].write(token(2))
        assert scene.cancel_handlers() == 1
        await scene.until_finished(1)
        await client.close()
        assert (scene.last.outcome, scene.last.output_tokens) == (Outcome.CLIENT_GONE_STREAMING, 2)


async def hidden(_request: web.Request, _page: web.StreamResponse) -> web.StreamResponse:
    """Answer as an engine without metrics."""
    return web.Response(status=404)


@pytest.mark.parametrize("prompt", ["hi", "x" * 1500])
@pytest.mark.parametrize("meddle", [hidden, None], ids=["hidden", "told"])
@virtual_time
async def test_nobody_pays_for_more_than_the_engine_can_have_made(prompt: str, meddle: Meddle | None) -> None:
    """This also holds if only short whole answers to long prompts have shown its pace."""
    worker = EngineWorker(CPU_TINY)
    worker.meddle = meddle
    async with stage(worker, plan=ROOMY) as scene:
        for number in range(20):
            await scene.ask(chat(4, stream=False, prompt=f"{number}" + "x" * 1500))
        for milliseconds in (20, 63, 63, 150, 400, 900):
            await leave(scene, chat(400, stream=False, prompt=prompt), milliseconds / 1000)
        for event in scene.finished[20:]:
            (count,) = scene.engine_count(event.request_id)
            assert event.output_tokens <= count.output_tokens + STEPS
