"""A worker that comes back gets one request more, and is trusted as soon as anything shows that it works."""

import asyncio
import json
from typing import Any

from aiohttp import web
from virtual_time import virtual_time
from whole_gateway import ADMIN_KEY, Plan, Stage, chat, stage
from workers_on_stage import CPU_TINY, EngineWorker, ScriptedWorker

from gateway.config import Timeouts, Window
from gateway.watch.health import PROBE_SECONDS
from gateway.watch.watchdog import TICK_SECONDS
from gateway.workers import Signal
from gateway.workers.worker import PROBES_OF_TRIAL

WORKER = "tiny/w0"
LONG_SECONDS = 20.0
WINDOW = Window(sequences=8, slack=0, prefill_tokens=4096)
PLAN = Plan(window=WINDOW, pool={"timeouts": Timeouts(connect_seconds=2, first_byte_seconds=120, stall_seconds=30)})
ANSWER = b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"content":"tea"}}]}'


def slow_for(prompt: str) -> ScriptedWorker:
    """Make a worker without metrics that takes long for one prompt and answers every other at once."""

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if prompt in json.dumps(worker.requests[-1][1]):
            await asyncio.sleep(LONG_SECONDS)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(ANSWER) + ANSWER)

    worker = ScriptedWorker(respond)
    return worker


async def without_metrics(*_: object) -> web.StreamResponse:
    """Make an engine that has no such page."""
    return web.Response(status=404)


async def come_back(scene: Stage) -> None:
    """Take the worker for gone and let it answer its next probe."""
    scene.signal(WORKER, Signal.GONE)
    await scene.until_worker_is("on_trial")


async def limited_by(scene: Stage) -> Any:
    """Return what the state page says holds back the worker's next request."""
    (worker,) = (await scene.get("/debug/state", ADMIN_KEY)).json["workers"]
    return worker["limited_by"]


def waits(scene: Stage, tenant: str) -> list[float]:
    """Return how long each ended request of `tenant` waited in the queue."""
    return [event.queue_wait_seconds or 0.0 for event in scene.finished if event.tenant == tenant]


@virtual_time
async def test_a_trial_that_is_answered_whole_keeps_others_for_some_probes() -> None:
    """Only its probes show that it lives: others go after some, and until then the state says why they wait."""
    async with stage(slow_for("long"), plan=PLAN) as scene:
        await come_back(scene)
        trial = scene.asking(chat(5, stream=False, prompt="long"))
        await asyncio.sleep(0.1)
        others = [scene.asking(chat(5, stream=False, prompt=f"short {n}"), "bob") for n in range(5)]
        await asyncio.sleep(1)
        assert (scene.queued, await limited_by(scene)) == (5, "trial")
        assert all(answer.status == 200 for answer in await asyncio.gather(*others))
        assert not trial.done()
        assert max(waits(scene, "bob")) <= (PROBES_OF_TRIAL + 1) * PROBE_SECONDS
        assert scene.changes[-1].state == "serving"
        assert (await limited_by(scene)) == "nothing"
        assert (await trial).status == 200


@virtual_time
async def test_a_trial_whose_engine_makes_steps_keeps_nobody() -> None:
    """An answer that is not streamed shows in the engine's metrics: the others go within two looks at these."""
    async with stage(EngineWorker(), plan=PLAN) as scene:
        await come_back(scene)
        trial = scene.asking(chat(1900, stream=False))
        await asyncio.sleep(0.1)
        others = [scene.asking(chat(5), "bob") for _ in range(3)]
        assert all(answer.is_done for answer in await asyncio.gather(*others))
        assert not trial.done()
        assert max(waits(scene, "bob")) <= 4 * TICK_SECONDS
        assert (await trial).status == 200


@virtual_time
async def test_old_streams_that_go_on_end_the_trial() -> None:
    """Three streams still run when the worker comes back, and their bytes alone show that it works."""
    worker = EngineWorker(CPU_TINY)
    worker.meddle = without_metrics
    async with stage(worker, plan=PLAN) as scene:
        old = [scene.asking(chat(1900)) for _ in range(3)]
        await asyncio.sleep(1)
        scene.signal(WORKER, Signal.GONE)
        trial = scene.asking(chat(1900, stream=False))
        await asyncio.sleep(0.1)
        others = [scene.asking(chat(5), "bob") for _ in range(3)]
        assert all(answer.is_done for answer in await asyncio.gather(*others))
        assert not any(each.done() for each in (*old, trial))
        assert max(waits(scene, "bob")) <= PROBE_SECONDS + 2 * TICK_SECONDS
        assert all(answer.is_done for answer in await asyncio.gather(*old))
        assert (await trial).status == 200


@virtual_time
async def test_a_trial_is_one_request_more_than_the_silent_ones_that_run() -> None:
    """Three whole answers show nothing: one more request goes at once, and its answer lets in all others."""
    async with stage(slow_for("long"), plan=PLAN) as scene:
        old = [scene.asking(chat(5, stream=False, prompt="long")) for _ in range(3)]
        await asyncio.sleep(1)
        await come_back(scene)
        others = [scene.asking(chat(5, stream=False, prompt=f"short {n}"), "bob") for n in range(5)]
        assert all(answer.status == 200 for answer in await asyncio.gather(*others))
        assert not any(each.done() for each in old)
        assert max(waits(scene, "bob")) < 0.1
        assert all(answer.status == 200 for answer in await asyncio.gather(*old))
