"""A request cancelled between any two turns of the loop: nothing stays behind and nobody else notices.

Each scene is played again and again on one gateway, cancelled one turn later each time, until it ends before the
cancellation comes. So every await of an exchange is struck, in every state that the await can be in.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from raw_client import Answer
from virtual_time import virtual_loop, virtual_time
from whole_gateway import Plan, Stage, chat, stage
from workers_on_stage import ENGINE_CONFIG, AnyWorker, EngineWorker, ScriptedWorker, fault, faults

from backend.engine.faults import FaultKind
from gateway.config import Window
from gateway.outcomes import Outcome

MAX_TURNS = 400
GONE = {Outcome.CLIENT_GONE_QUEUED, Outcome.CLIENT_GONE_WAITING, Outcome.CLIENT_GONE_STREAMING}
EVERY_OTHER_FAILS = faults(fault(FaultKind.REFUSE, every=2, status=500))
EVERY_OTHER_HAS_NO_ROOM = faults(fault(FaultKind.REFUSE, every=2, status=503))
ALL_REFUSED = faults(fault(FaultKind.REFUSE, every=1, status=400))

Workers = Callable[[], tuple[AnyWorker, ...]]

SCENES: dict[str, tuple[Workers, dict[str, Any]]] = {
    "streamed": (lambda: (EngineWorker(),), chat(3)),
    "whole": (lambda: (EngineWorker(),), chat(3, stream=False)),
    "several choices": (lambda: (EngineWorker(),), chat(3, n=2)),
    "failed and tried elsewhere": (lambda: (EngineWorker(EVERY_OTHER_FAILS), EngineWorker()), chat(3)),
    "no room and queued again": (lambda: (EngineWorker(EVERY_OTHER_HAS_NO_ROOM),), chat(3)),
    "refused by the engine": (lambda: (EngineWorker(ALL_REFUSED),), chat(3)),
}


async def cancelled_after(scene: Stage, turns: int, body: dict[str, Any]) -> tuple[Answer, int]:
    """One request whose handler is cancelled `turns` after it was sent; its answer, how many handlers were struck."""
    struck: list[int] = []
    asking = scene.asking(body)
    await scene.until(lambda: scene.open_requests)
    virtual_loop().after_turns(turns, lambda: struck.append(scene.cancel_handlers()))
    answer = await asking
    await scene.settled()
    return answer, sum(struck)


@pytest.mark.parametrize("name", SCENES)
@virtual_time
async def test_a_cancellation_at_any_turn_leaves_nothing_behind(name: str) -> None:
    """Whenever its handler is cancelled, a request ends once and gives back room, queue place and charge."""
    make_workers, body = SCENES[name]
    async with stage(*make_workers()) as scene:
        for turns in range(MAX_TURNS):
            _, struck = await cancelled_after(scene, turns, body)
            event = scene.last
            assert len(scene.finished) == turns + 1
            if not struck:
                break
            assert event.outcome in GONE | {Outcome.COMPLETED}
            if event.outcome is Outcome.CLIENT_GONE_QUEUED:
                assert event.service == 0
        assert not struck, "the request never ended before it was cancelled"
        assert turns > 5
        assert {each.outcome for each in scene.finished} & GONE


@virtual_time
async def test_an_attempt_that_was_never_sent_costs_nothing() -> None:
    """A client that leaves between a second grant and its sending pays nothing for the first, refused attempt."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b"{}"
        if len(worker.requests) % 2:
            writer.write(b"HTTP/1.1 503 Full\r\ncontent-length: 2\r\n\r\n" + body)
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + body)

    worker = ScriptedWorker(respond)
    async with stage(worker) as scene:
        unsent = 0
        for turns in range(MAX_TURNS):
            sent_before = len(worker.requests)
            _, struck = await cancelled_after(scene, turns, chat(3, stream=False))
            if not struck:
                break
            if len(worker.requests) - sent_before < scene.last.attempts:
                unsent += 1
                assert scene.last.service == 0
            if len(worker.requests) % 2:
                await scene.ask(chat(3, stream=False))
        assert unsent


@virtual_time
async def test_the_next_in_the_queue_is_served_whenever_the_first_is_cancelled() -> None:
    """One slot, two requests: cancel the first at any turn, and the second is answered in full."""
    window = Window(sequences=1, slack=0, prefill_tokens=2048)
    async with stage(plan=Plan(window=window)) as scene:
        turns = 0
        while True:
            first = asyncio.create_task(cancelled_after_alone(scene, turns, chat(3)))
            await scene.until(lambda: scene.in_flight)
            second = await scene.ask(chat(2), "bob")
            was_struck = await first
            assert second.is_done
            await scene.settled()
            turns += 1
            if not was_struck:
                break
        assert turns > 10


async def cancelled_after_alone(scene: Stage, turns: int, body: dict[str, Any]) -> bool:
    """One request of alice, broken off by its own connection `turns` after it was sent; False where it ended before."""
    client = await scene.open(body)
    await scene.until(lambda: scene.in_flight)
    loop = virtual_loop()
    done_before: list[bool] = []

    def leave() -> None:
        done_before.append(client.answer.is_whole)
        client.leave()

    loop.after_turns(turns, leave)
    await client.read()
    await scene.until(lambda: done_before)
    await client.close()
    return not done_before[0]


@virtual_time
async def test_shutdown_at_any_turn_ends_every_request_once() -> None:
    """Stop without grace at any turn of three requests' lives (running, retried, queued): each ends once."""
    for turns in range(0, 120, 3):
        plan = Plan(window=Window(sequences=1, slack=0, prefill_tokens=2048), listen={"drain_seconds": 0})
        async with stage(EngineWorker(EVERY_OTHER_FAILS), EngineWorker(ENGINE_CONFIG), plan=plan) as scene:
            asking = [scene.asking(chat(4), tenant) for tenant in ("alice", "bob", "alice")]
            begun = asyncio.Event()
            virtual_loop().after_turns(turns, begun.set)
            await begun.wait()
            await scene.stop()
            answers = await asyncio.gather(*asking, return_exceptions=True)
            for answer in answers:
                if isinstance(answer, Answer):
                    assert answer.is_done or answer.status in (0, 503) or answer.error is not None
                else:
                    assert isinstance(answer, ConnectionError)
            allowed = {Outcome.COMPLETED, Outcome.DRAINING, Outcome.CUT_BY_SHUTDOWN, Outcome.CLIENT_GONE_QUEUED}
            assert set(scene.outcomes) <= allowed, (turns, scene.outcomes)
