"""If a reload changes the address of a worker's name, nothing of the old engine belongs to the new one."""

import asyncio
from contextlib import AsyncExitStack

from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage
from workers_on_stage import EngineWorker

from gateway.config import Window
from gateway.outcomes import Outcome

ONE_SLOT = Window(sequences=1, slack=0, prefill_tokens=2048)


def move(scene: Stage, url: str) -> None:
    """Reload with the only worker, `w0`, at `url`."""
    config = scene.gateway.config
    (pool,) = config.pools
    workers = (pool.workers[0].model_copy(update={"url": url}),)
    found = config.model_copy(update={"pools": (pool.model_copy(update={"workers": workers}),)})
    scene.reload(found)


async def spare(stack: AsyncExitStack) -> EngineWorker:
    """Another engine."""
    worker = EngineWorker()
    await worker.start()
    stack.push_async_callback(worker.stop)
    return worker


def states(scene: Stage) -> dict[str, str]:
    """The state of each worker by its address."""
    return {worker.url: worker.state for worker in scene.gateway.workers()}


@virtual_time
async def test_what_runs_at_the_old_address_goes_on_and_the_new_one_joins_afresh() -> None:
    """Answers there go on to their ends; the new engine's whole window is free at once."""
    async with AsyncExitStack() as stack, stage(plan=Plan(window=Window(sequences=2, slack=0))) as scene:
        old, new = scene.engines[0], await spare(stack)
        running = [scene.asking(chat(300, stream=is_streamed)) for is_streamed in (True, False)]
        await scene.until(lambda: old.engine.witness.started == 2)
        move(scene, new.url)
        assert states(scene) == {old.url: "draining", new.url: "starting"}
        fresh = [scene.asking(chat(30), "bob") for _ in range(2)]
        await scene.until(lambda: new.engine.witness.started == 2)
        assert [(await answer).status for answer in (*fresh, *running)] == [200] * 4
        assert old.engine.witness.started == 2
        await scene.turn(10)
        assert states(scene) == {new.url: "serving"}
        assert set(scene.outcomes) == {Outcome.COMPLETED}


@virtual_time
async def test_faults_at_the_old_address_are_not_the_new_engines() -> None:
    """When the old engine dies, its requests end or go to the new one, and nobody suspects the new one."""
    async with AsyncExitStack() as stack, stage(plan=Plan(window=Window(sequences=4, slack=0))) as scene:
        old, new = scene.engines[0], await spare(stack)
        running = [scene.asking(chat(1500), name) for name in ("alice", "bob", "alice", "bob")]
        await scene.until(lambda: old.engine.witness.started == 4)
        await asyncio.sleep(0.5)
        move(scene, new.url)
        name = next(worker.worker for worker in scene.gateway.workers() if worker.url == new.url)
        old.kill()
        assert all(answer.error for answer in await asyncio.gather(*running))
        await asyncio.sleep(3)
        assert states(scene) == {new.url: "serving"}
        assert not [change for change in scene.changes if change.worker == name and change.state == "down"]
        assert (await scene.ask(chat(5))).status == 200


@virtual_time
async def test_a_probe_of_the_old_address_says_nothing_of_the_new_engine() -> None:
    """An idle worker that hangs moves during its probe: the failure does not count for the new one."""
    async with AsyncExitStack() as stack, stage() as scene:
        old, new = scene.engines[0], await spare(stack)
        old.kill()
        await asyncio.sleep(0.9)
        move(scene, new.url)
        await asyncio.sleep(3)
        assert [(worker.worker, worker.state) for worker in scene.gateway.workers()] == [("tiny/w0", "serving")]
        assert (await scene.ask(chat(5))).status == 200


@virtual_time
async def test_there_and_back_while_requests_run() -> None:
    """A worker whose address comes back while it drains is the same worker, under any name."""
    async with AsyncExitStack() as stack, stage(plan=Plan(window=ONE_SLOT)) as scene:
        old, new = scene.engines[0], await spare(stack)
        first = scene.asking(chat(300))
        await scene.until(lambda: old.engine.witness.started == 1)
        move(scene, new.url)
        second = scene.asking(chat(300))
        await scene.until(lambda: new.engine.witness.started == 1)
        move(scene, old.url)
        assert states(scene) == {old.url: "serving", new.url: "draining"}
        third = scene.asking(chat(10), "bob")
        await scene.until(lambda: scene.queued == 1)
        assert [(await answer).is_done for answer in (first, second, third)] == [True] * 3
        assert (old.engine.witness.started, new.engine.witness.started) == (2, 1)
        for url in (new.url, new.url, old.url):
            move(scene, url)
            assert (await scene.ask(chat(3))).is_done
            assert states(scene) == {url: "serving"}


@virtual_time
async def test_a_worker_without_requests_keeps_its_name() -> None:
    """Nothing is at the old address: the name is the new engine's, its circuit and window fresh."""
    async with AsyncExitStack() as stack, stage() as scene:
        new = await spare(stack)
        assert (await scene.ask(chat(3))).is_done
        move(scene, new.url)
        assert [(each.worker, each.url, each.state) for each in scene.gateway.workers()] == [
            ("tiny/w0", new.url, "starting")
        ]
        assert (await scene.ask(chat(3))).is_done
        assert new.engine.witness.started == 1
