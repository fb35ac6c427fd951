"""If all workers of a pool are gone, requests wait for the stated time, in the queue and within its bounds."""

import asyncio

from raw_client import Answer
from virtual_time import virtual_time
from whole_gateway import CHAT, MODEL, Plan, Stage, chat, question, stage, tenant
from workers_on_stage import EngineWorker

from gateway.config import Limits
from gateway.outcomes import Outcome

OUTAGE_SECONDS = 30
RESTART_SECONDS = 22  # what two workers take for their models


async def lose_all(scene: Stage) -> None:
    """Let every worker die, and let the gateway know."""
    for number, engine in enumerate(scene.engines):
        engine.kill()
        await scene.until_worker_is("down", number)


def code(answer: Answer) -> str:
    """Return the error code of an answer."""
    return str(answer.json["error"]["code"])


async def readiness(scene: Stage) -> tuple[int, str]:
    """Return what `/ready` says, of the gateway and of the first pool."""
    answer = await scene.get("/ready")
    return answer.status, answer.json["pools"]["tiny"]


@virtual_time
async def test_no_request_is_refused_while_both_workers_restart() -> None:
    """Both die under load and are back after 22 s: requests from before, meanwhile and after are all answered."""
    async with stage(EngineWorker(), EngineWorker()) as scene:
        before = [scene.asking(chat(30, stream=False), who) for who in ("alice", "bob") for _ in range(8)]
        await scene.until(lambda: scene.in_flight >= 8)
        for engine in scene.engines:
            engine.kill()
        meanwhile = []
        for _ in range(RESTART_SECONDS):
            meanwhile += [scene.asking(chat(5), who) for who in ("alice", "bob")]
            await asyncio.sleep(1)
        assert await readiness(scene) == (200, "waiting")
        for engine in scene.engines:
            await engine.start()
        answers = await asyncio.gather(*before, *meanwhile)
        refused = [answer for answer in answers if answer.status == 503]
        assert refused == []
        assert all(answer.is_done for answer in answers[len(before) :])
        assert await readiness(scene) == (200, "ready")


@virtual_time
async def test_a_long_outage_asks_for_another_attempt_in_a_minute() -> None:
    """Nobody knows when it ends, so clients go on trying."""
    async with stage() as scene:
        await lose_all(scene)
        await asyncio.sleep(600)
        for body, path in ((chat(5), CHAT), ({"model": MODEL, "prompt": "hi"}, "/tokenize")):
            refused = await scene.ask(body, path=path)
            assert (refused.status, refused.header("retry-after"), refused.header("x-should-retry")) == (
                503,
                "60",
                None,
            )


@virtual_time
async def test_after_its_time_an_outage_refuses_what_is_new_and_keeps_what_waits() -> None:
    """New requests are refused at once, with the outage's age as `Retry-After`; others keep their queue time."""
    async with stage() as scene:
        await lose_all(scene)
        await asyncio.sleep(OUTAGE_SECONDS - 1)
        waiting = scene.asking(chat(5))
        await asyncio.sleep(2)
        for seconds in (31, 41):
            refused = await scene.ask(chat(5))
            assert (refused.status, code(refused)) == (503, "no_worker")
            assert abs(int(refused.header("retry-after") or 0) - seconds) <= 1
            assert scene.last.duration_seconds < 0.1
            await asyncio.sleep(10)
        assert await readiness(scene) == (503, "no worker")
        assert not waiting.done()
        await scene.engines[0].start()
        assert (await waiting).is_done
        assert (await scene.ask(chat(5))).is_done
        await lose_all(scene)
        assert await readiness(scene) == (200, "waiting")


@virtual_time
async def test_a_worker_that_was_never_there_is_awaited_from_the_start() -> None:
    """A model loads for 20 s: its first requests wait and are answered, and `/ready` is 503 until it serves."""
    engine = EngineWorker()
    await engine.start()
    engine.kill()
    async with stage(engine) as scene:
        engine.kill()  # the stage has started it
        take_over = scene.gateway.config.pools[0].model_copy(update={"model": "new", "aliases": ()})
        config = scene.gateway.config.model_copy(update={"pools": (take_over,)})
        scene.reload(config)
        first = scene.asking(question(model="new", max_tokens=3))
        await asyncio.sleep(20)
        answer = await scene.get("/ready?pool=new")
        assert (answer.status, answer.json["pools"]) == (503, {"new": "no worker"})
        await engine.start()
        assert (await first).status == 200
        scene.events.clear()


@virtual_time
async def test_what_waits_out_an_outage_keeps_to_the_bounds_of_the_queue() -> None:
    """A tenant's `max_queued`, the pool's and the queue time hold, and a flood pushes out no other tenant."""
    alice = tenant("alice", limits=Limits(max_queued=3))
    plan = Plan((alice, tenant("bob")), scheduler={"max_queued": 5, "queue_timeout_seconds": 10})
    async with stage(plan=plan) as scene:
        await lose_all(scene)
        asking = [scene.asking(chat(5), who) for who in ("alice",) * 4 + ("bob",) * 4]
        await scene.when(lambda: len(scene.finished) >= 3)
        assert scene.queued == 5
        at_once = [(each.tenant, each.outcome) for each in scene.finished]
        assert at_once.count(("alice", Outcome.TENANT_QUEUE_FULL)) == 1
        assert [outcome for _, outcome in at_once].count(Outcome.PUSHED_OUT) == 2
        answers = await asyncio.gather(*asking)
        ended = scene.finished[3:]
        assert {(event.outcome, round(event.duration_seconds)) for event in ended} == {(Outcome.NO_WORKER, 10)}
        assert sorted(answer.status for answer in answers) == [429] * 3 + [503] * 5


@virtual_time
async def test_requests_that_take_no_place_do_not_wait() -> None:
    """`/tokenize` in an outage is refused at once, with a time to come again."""
    async with stage() as scene:
        await lose_all(scene)
        refused = await scene.ask({"model": "tiny", "prompt": "x"}, path="/tokenize")
        assert (refused.status, code(refused)) == (503, "no_worker")
        assert scene.last.duration_seconds < 0.1
