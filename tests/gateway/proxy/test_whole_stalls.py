"""A worker that stands still with requests in it is found by its progress, whatever its server answers."""

import asyncio
import re
from dataclasses import replace

import pytest
from aiohttp import web
from virtual_time import VirtualLoop, run_in_virtual_time, virtual_time
from whole_gateway import Plan, Stage, chat, stage
from workers_on_stage import CPU_TINY, EngineWorker, Meddle, ScriptedWorker, fault, faults

from backend.engine.faults import FaultKind
from gateway.config import Timeouts, Window
from gateway.events import WorkerStalled
from gateway.outcomes import Outcome
from gateway.watch.watchdog import MIN_PATIENCE_SECONDS, TICK_SECONDS, Heartbeat
from gateway.workers import EngineSample

TIMEOUTS = Timeouts(connect_seconds=2, first_byte_seconds=120, stall_seconds=30)
PLAN = Plan(window=Window(), pool={"timeouts": TIMEOUTS})
SLACK_SECONDS = 2.5  # a step, a reading that times out, a tick


def stalls(scene: Stage) -> list[bool]:
    """Return the events about stalls, in order."""
    return [event.is_stalled for event in scene.events if isinstance(event, WorkerStalled)]


async def never(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Answer with metrics that never come."""
    await asyncio.sleep(3600)
    return response


async def failing(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Answer with an error in place of metrics."""
    return web.Response(status=500)


def freezing(tokens: int = 20) -> EngineWorker:
    """Make an engine that stops stepping after so many tokens of its first request; its server still answers."""
    return EngineWorker(faults(fault(FaultKind.FREEZE, after_tokens=tokens)))


@virtual_time
async def test_a_frozen_engine_gets_nothing_new_though_its_health_is_green() -> None:
    """It is down after the least patience; the queue goes to the other, its own streams end by their limit."""
    async with stage(freezing(), EngineWorker(), plan=PLAN) as scene:
        doomed = [scene.asking(chat(400)) for _ in range(8)]
        await scene.until_worker_is("down")
        began = asyncio.get_running_loop().time()
        assert stalls(scene) == [True]
        change = next(change for change in scene.changes if change.state == "down")
        assert change.worker == "tiny/w0"
        assert change.reason.startswith("stalled: ")
        grants = len(scene.dispatched)
        answers = await asyncio.gather(*(scene.ask(chat(5)) for _ in range(20)))
        assert all(answer.is_done for answer in answers)
        assert {grant.worker for grant in scene.dispatched[grants:]} == {"tiny/w1"}
        await asyncio.gather(*doomed)
        ended = [event for event in scene.finished if event.outcome is Outcome.WORKER_STALLED]
        assert ended
        assert {event.worker for event in ended} == {"tiny/w0"}
        assert asyncio.get_running_loop().time() - began <= TIMEOUTS.stall_seconds
        assert stalls(scene) == [True]


@virtual_time
async def test_how_soon_a_frozen_engine_is_found() -> None:
    """The gateway finds it within the least patience and the pause between two looks."""
    worker = EngineWorker(CPU_TINY)
    async with stage(worker, plan=PLAN) as scene:
        asking = [scene.asking(chat(1500)) for _ in range(4)]
        await asyncio.sleep(5)
        frozen_at = asyncio.get_running_loop().time()
        worker.engine.freeze()
        await scene.until_worker_is("down")
        waited = asyncio.get_running_loop().time() - frozen_at
        assert MIN_PATIENCE_SECONDS - TICK_SECONDS <= waited <= MIN_PATIENCE_SECONDS + SLACK_SECONDS
        worker.engine.thaw()
        await asyncio.gather(*asking)
        assert stalls(scene) == [True, False]
        await scene.ask(chat(5))
        assert scene.changes[-1].state == "serving"


@virtual_time
async def test_a_frozen_engine_without_metrics_is_found_by_its_streams_after_the_longer_limit() -> None:
    """If steps cannot be seen, silent answers say little before that time."""
    worker = EngineWorker(CPU_TINY)
    worker.meddle = never
    async with stage(worker, plan=PLAN) as scene:
        asking = [scene.asking(chat(1500)) for _ in range(4)]
        await asyncio.sleep(3)
        worker.engine.freeze()
        frozen_at = asyncio.get_running_loop().time()
        await scene.until_worker_is("down")
        waited = asyncio.get_running_loop().time() - frozen_at
        limit = TIMEOUTS.first_byte_seconds
        assert limit - 3 * TICK_SECONDS <= waited <= limit + SLACK_SECONDS
        worker.engine.thaw()
        answers = await asyncio.gather(*asking)
        assert all(answer.is_done for answer in answers), "it moved before their own limit"


@pytest.mark.parametrize("meddle", [never, failing])
def test_an_engine_whose_metrics_end_while_it_answers_whole_is_no_stall(meddle: Meddle) -> None:
    """Its steps were seen before; from then on they cannot be, and its answers show nothing until they are there."""

    async def story() -> None:
        worker = EngineWorker(CPU_TINY)
        async with stage(worker, plan=PLAN) as scene:
            asking = scene.asking(chat(1900, stream=False))
            await asyncio.sleep(1)
            worker.meddle = meddle
            assert (await asking).status == 200
            assert scene.last.duration_seconds > 2 * MIN_PATIENCE_SECONDS
            assert stalls(scene) == []

    run_in_virtual_time(story())


@virtual_time
async def test_a_long_prompt_on_a_slow_engine_is_no_stall() -> None:
    """Steps are progress: a prompt that takes a minute, alone at the worker, streamed or not."""
    cost = replace(CPU_TINY.profile.cost, prefill_token_seconds=0.06)
    capacity = replace(CPU_TINY.capacity, max_num_batched_tokens=64)
    slow = replace(CPU_TINY, profile=replace(CPU_TINY.profile, cost=cost), capacity=capacity)
    for stream in (True, False):
        async with stage(EngineWorker(slow), plan=PLAN) as scene:
            answer = await scene.ask(chat(3, prompt="x" * 1000, stream=stream))
            assert answer.status == 200
            assert scene.last.duration_seconds > 50
            assert stalls(scene) == []


@virtual_time
async def test_a_long_silence_before_the_first_byte_is_no_stall_where_steps_cannot_be_seen() -> None:
    """An engine without metrics may think for a minute or answer whole, up to `first_byte_seconds`."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)
        answer = b'{"choices":[{"index":0}],"usage":{"prompt_tokens":20,"total_tokens":25,"completion_tokens":5}}'
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer))

    async with stage(ScriptedWorker(respond), plan=PLAN) as scene:
        assert (await scene.ask(chat(5, stream=False))).status == 200
        assert stalls(scene) == []


@virtual_time
async def test_a_client_that_reads_slowly_does_not_make_its_worker_stand_still() -> None:
    """The engine is done and waits for nobody; what is owed is owed by the client."""
    plan = replace(PLAN, listen={"write_stall_seconds": 3000})
    async with stage(EngineWorker(CPU_TINY), plan=plan) as scene:
        client = await scene.open(chat(1900, logprobs=True, top_logprobs=20), receive_bytes=4096)
        await asyncio.sleep(10)
        assert scene.in_flight == 1
        await asyncio.sleep(190)
        assert stalls(scene) == []
        await client.close()
        await scene.settled()


@pytest.mark.parametrize(
    ("gap_seconds", "stall_seconds", "is_reading", "patience"),
    [
        (0.0, 30.0, False, 5.0),
        (0.5, 30.0, False, 5.0),
        (2.0, 30.0, False, 16.0),
        (9.0, 30.0, False, 30.0),
        (0.5, 30.0, True, 15.0),
        (0.5, 2.0, False, 2.0),
        (0.5, 600.0, False, 5.0),
    ],
)
def test_patience_follows_the_longest_usual_silence(
    gap_seconds: float, stall_seconds: float, is_reading: bool, patience: float
) -> None:
    """Patience lies between a few seconds and the pool's limit, and is longer while prompts are being read."""
    heartbeat = Heartbeat()
    for tick in range(int(gap_seconds / TICK_SECONDS)):
        assert not heartbeat.beat(-1.0, None, is_owed=True, seconds=TICK_SECONDS), tick
    assert heartbeat.beat(1.0, None, is_owed=True, seconds=TICK_SECONDS)
    assert heartbeat.patience_seconds(stall_seconds, is_reading=is_reading) == patience


def test_steps_and_bytes_are_progress_and_what_is_not_owed_is_no_silence() -> None:
    """Each alone ends a silence; one whose figures vanish has neither moved nor lost its count."""
    heartbeat = Heartbeat()

    def beat(reads: int, steps: float | None, *, is_owed: bool = True) -> float:
        sample = None if steps is None else EngineSample(asked_at=0.0, running=1, waiting=0, steps=steps)
        heartbeat.beat(reads, sample, is_owed=is_owed, seconds=1.0)
        return heartbeat.silent_seconds

    assert [beat(1, 10), beat(1, 10), beat(1, None), beat(1, 10)] == [0, 1, 2, 3]
    assert [beat(1, 11), beat(1, 11), beat(2, 11)] == [0, 1, 0]
    assert [beat(2, 11), beat(2, 11, is_owed=False), beat(2, 11)] == [1, 0, 1]


def late_looks(text: str) -> tuple[int, int]:
    """How many looks a scrape shows, and how many of them were more than 200 ms late."""
    name = r"^vtc_gateway_loop_lag_seconds_"
    found = [re.search(name + what + r" (\d+)$", text, re.MULTILINE) for what in ("count", r'bucket\{le="0.2"\}')]
    count, early = (int(match[1]) for match in found if match is not None)
    return count, count - early


@virtual_time
async def test_a_loop_that_is_busy_with_something_else_shows_in_the_metrics() -> None:
    """One look of several is late, by the time that the loop was busy while it was due."""
    async with stage() as scene:
        await asyncio.sleep(10 * TICK_SECONDS + TICK_SECONDS / 2)
        before, late = late_looks((await scene.get("/metrics")).body.decode())
        assert before >= 10
        assert late == 0
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.selector.now += TICK_SECONDS / 2 + 0.3  # nothing runs meanwhile
        await asyncio.sleep(2 * TICK_SECONDS)
        after, late = late_looks((await scene.get("/metrics")).body.decode())
        assert after > before
        assert late == 1
