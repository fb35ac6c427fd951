"""Whole gateways that share an account while their configuration changes, a worker is out of reach, or one ends.

The store is the model of its script, in virtual time. The engine is the witness of what runs.
"""

import asyncio
from collections.abc import AsyncIterator, Sized
from contextlib import asynccontextmanager

import pytest
from uncompiled import needs_sources
from virtual_time import run_in_virtual_time, virtual_loop
from whole_gateway import Plan, Stage, chat, several_gateways
from workers_on_stage import MODEL, EngineWorker

from backend.engine.config import EngineConfig
from gateway.config import Config, Window
from gateway.replicas.replica import IDLE_SECONDS
from gateway.telemetry import life

from .model_store import ModelStore

WINDOW = 9
OTHER = "other"
PLAN = Plan(window=Window(sequences=WINDOW - 1, slack=1, prefill_tokens=2048))
ENGINE = EngineConfig.of_profile("cpu-tiny", MODEL, max_num_seqs=WINDOW - 1)
STUCK_SECONDS = 60.0


@pytest.fixture(autouse=True)
def clock_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stands still when its event loop does."""
    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())


@asynccontextmanager
async def fleet(gateways: int, *engines: EngineWorker, store: ModelStore | None = None) -> AsyncIterator[list[Stage]]:
    """Gateways in front of `engines` (default: one)."""
    connect = (store or ModelStore()).connect
    engines = engines or (EngineWorker(ENGINE),)
    async with (
        asyncio.timeout(STUCK_SECONDS),
        several_gateways(gateways, *engines, plan=PLAN, connect=connect) as scenes,
    ):
        yield list(scenes)
        for scene in scenes:
            scene.events.clear()  # what was charged in a pool that is gone cannot be compared with the accounts


def with_another_pool(config: Config) -> Config:
    """`config` and one more pool, of another worker at the same engine."""
    (pool,) = config.pools
    worker = pool.workers[0].model_copy(update={"name": "w9"})
    other = pool.model_copy(update={"model": OTHER, "aliases": (), "workers": (worker,)})
    return config.model_copy(update={"pools": (pool, other)})


def without(config: Config) -> Config:
    """`config` with its first pool alone."""
    return config.model_copy(update={"pools": config.pools[:1]})


async def ask_all(scene: Stage, requests: int, model: str = MODEL) -> list[int]:
    """The statuses of so many streams at once."""
    answers = await asyncio.gather(*(scene.ask(chat(20) | {"model": model}) for _ in range(requests)))
    return [answer.status for answer in answers]


def test_a_pool_that_is_removed_and_added_again_serves_as_before() -> None:
    """More requests at both gateways than there is room are served as fast as before the pool was removed."""

    async def story() -> None:
        async with fleet(2) as scenes:
            seconds = []
            for _ in range(2):
                for scene in scenes:
                    scene.reload(with_another_pool(scene.gateway.config))
                await asyncio.sleep(5.0)
                began = virtual_loop().time()
                found = await asyncio.gather(*(ask_all(scene, 2 * WINDOW, OTHER) for scene in scenes))
                assert found == [[200] * 2 * WINDOW] * 2
                seconds.append(virtual_loop().time() - began)
                for scene in scenes:
                    scene.reload(without(scene.gateway.config))
            assert seconds[1] == pytest.approx(seconds[0], rel=0.2)

    run_in_virtual_time(story())


def test_a_pool_that_was_removed_is_shared_no_longer() -> None:
    """After its last request the store hears nothing of it."""

    async def story() -> None:
        async with fleet(2) as scenes:
            for scene in scenes:
                scene.reload(with_another_pool(scene.gateway.config))
            await asyncio.sleep(5.0)
            running = [scene.asking(chat(20) | {"model": OTHER}) for scene in scenes]
            await scenes[0].until(lambda: all(scene.in_flight for scene in scenes))
            for scene in scenes:
                scene.reload(without(scene.gateway.config))
            assert [(await each).status for each in running] == [200, 200]
            await asyncio.sleep(0.1)
            for scene in scenes:
                snapshot = scene.gateway.replicas()
                assert snapshot is not None
                assert [pool.pool for pool in snapshot.pools] == [MODEL]

    run_in_virtual_time(story())


def test_a_pool_that_is_new_has_room_before_its_first_request() -> None:
    """A request that comes some time after the reload is served at once."""

    async def story() -> None:
        async with fleet(2) as scenes:
            for scene in scenes:
                scene.reload(with_another_pool(scene.gateway.config))
            await asyncio.sleep(5.0)
            began = virtual_loop().time()
            assert await ask_all(scenes[0], 1, OTHER) == [200]
            assert virtual_loop().time() - began < 1.0

    run_in_virtual_time(story())


def test_an_answer_that_comes_after_its_pool_was_removed_disturbs_nobody() -> None:
    """The calls go on without a failure, whether the pool is gone or is there anew."""

    async def story() -> None:
        store = ModelStore()
        store.way_seconds = 0.02
        async with fleet(2, store=store) as scenes:
            for seconds in (0.001, 0.011, 0.021, 0.031):
                for again in (False, True):
                    for scene in scenes:
                        scene.reload(with_another_pool(scene.gateway.config))
                    await asyncio.sleep(0.5 + seconds)
                    for scene in scenes:
                        alone = without(scene.gateway.config)
                        scene.reload(alone)
                        if again:
                            scene.reload(with_another_pool(scene.gateway.config))
                            scene.reload(alone)
                    assert await ask_all(scenes[0], 2 * WINDOW) == [200] * 2 * WINDOW

    run_in_virtual_time(story())


def test_a_worker_that_is_added_is_used_by_both_gateways() -> None:
    """Each gateway fills the windows of both workers."""

    async def story() -> None:
        engines = EngineWorker(ENGINE), EngineWorker(ENGINE)
        async with fleet(2, *engines) as scenes:
            (pool,) = scenes[0].gateway.config.pools
            one = pool.model_copy(update={"workers": pool.workers[:1]})
            for scene in scenes:
                scene.reload(scene.gateway.config.model_copy(update={"pools": (one,)}))
            await asyncio.sleep(3.0)
            for scene in scenes:
                scene.reload(scene.gateway.config.model_copy(update={"pools": (pool,)}))
            await asyncio.sleep(3.0)
            for scene in scenes:
                before = [len(engine.sent) for engine in engines]
                assert await ask_all(scene, 2 * WINDOW) == [200] * 2 * WINDOW
                assert all(len(engine.sent) - had >= WINDOW - 1 for engine, had in zip(engines, before, strict=True))

    run_in_virtual_time(story())


@pytest.mark.parametrize("gateway", [0, 1])
def test_a_worker_that_one_gateway_cannot_use_serves_the_other(gateway: int) -> None:
    """The one fills the other worker alone; the other uses both."""

    async def story() -> None:
        engines = EngineWorker(ENGINE), EngineWorker(ENGINE)
        async with fleet(2, *engines) as scenes:
            cut_off, free = scenes[gateway], scenes[1 - gateway]
            cut_off.fleet.pause(cut_off.gateway.workers()[0].worker)
            await asyncio.sleep(3.0)
            assert await ask_all(cut_off, 2 * WINDOW) == [200] * 2 * WINDOW
            assert not engines[0].sent
            both = asyncio.gather(*(ask_all(scene, 2 * WINDOW) for scene in scenes))
            assert await both == [[200] * 2 * WINDOW] * 2
            assert engines[0].engine.witness.max_held >= WINDOW - 1
            assert free.dispatched and all(each.worker != "w0" for each in cut_off.dispatched)

    run_in_virtual_time(story())


def test_a_gateway_that_ends_in_order_gives_its_room_back_at_once() -> None:
    """When it has ended, the other uses the whole window at once, before any lease or reading."""

    async def story() -> None:
        async with fleet(2) as scenes:
            await ask_all(scenes[1], 1)
            await asyncio.sleep(3.0)
            await scenes[1].stop()
            running = [scenes[0].asking(chat(200)) for _ in range(WINDOW)]
            await asyncio.sleep(0.2)
            assert scenes[0].in_flight == WINDOW
            assert [(await each).status for each in running] == [200] * WINDOW

    run_in_virtual_time(story())


def test_a_gateway_that_has_ended_in_order_lives_no_longer() -> None:
    """The other knows it with its next call, long before a lease ends, and nothing stands for what it held."""

    async def story() -> None:
        async with fleet(2) as scenes:
            await asyncio.gather(*(ask_all(scene, WINDOW) for scene in scenes))
            await scenes[1].stop()
            await asyncio.sleep(IDLE_SECONDS + 0.1)
            assert (living(scenes[0]), ghosts(scenes[0])) == (1, 0)

    run_in_virtual_time(story())


def test_who_comes_after_all_have_ended_in_order_waits_for_nobody() -> None:
    """Nothing runs that the store does not know, so there is room at once, however long ago the last has ended."""

    async def story() -> None:
        store = ModelStore()
        async with fleet(2, store=store) as scenes:
            await asyncio.gather(*(ask_all(scene, WINDOW) for scene in scenes))
        await asyncio.sleep(10.0)
        began = virtual_loop().time()
        async with fleet(2, store=store) as scenes:
            assert virtual_loop().time() - began < 0.5
            assert all(idle(scene) > 0 for scene in scenes)

    run_in_virtual_time(story())


def living(scene: Stage) -> int:
    """How many gateways share the account, as one of them knows."""
    snapshot = scene.gateway.replicas()
    assert snapshot is not None
    return snapshot.pools[0].living


def test_what_a_dead_gateway_held_is_free_again_although_nobody_asks() -> None:
    """An idle engine is read until it has shown that nothing is left there."""

    async def story() -> None:
        store = ModelStore()
        async with fleet(2, store=store) as scenes:
            await asyncio.sleep(3.0)
            store.deaf_to = "g1"
            await asyncio.sleep(3.0)
            assert ghosts(scenes[0]) > 0
            await asyncio.sleep(5.0)
            assert ghosts(scenes[0]) == 0
            running = [scenes[0].asking(chat(200)) for _ in range(WINDOW)]
            await asyncio.sleep(0.2)
            assert scenes[0].in_flight == WINDOW
            assert [(await each).status for each in running] == [200] * WINDOW

    run_in_virtual_time(story())


def ghosts(scene: Stage) -> int:
    """What dead gateways held, as one gateway knows."""
    snapshot = scene.gateway.replicas()
    assert snapshot is not None
    return snapshot.pools[0].workers[0].ghosts


def test_a_store_that_answers_slowly_slows_nobody_down() -> None:
    """Each answer takes 40 ms: all requests are served, and never more than the window at once."""

    async def story() -> None:
        store = ModelStore()
        store.way_seconds = 0.02
        async with fleet(3, store=store) as scenes:
            for _ in range(3):
                found = await asyncio.gather(*(ask_all(scene, WINDOW) for scene in scenes))
                assert found == [[200] * WINDOW] * 3
            assert scenes[0].witness.max_held <= WINDOW

    run_in_virtual_time(story())


@pytest.mark.parametrize("fault", ["limits_fail_because", "no_messages_because"])
def test_what_only_partly_works_is_said(fault: str) -> None:
    """Log and state name a store that refuses the calls about limits, or sends no messages, as long as it does."""

    async def story() -> None:
        store = ModelStore()
        async with fleet(2, store=store) as (scene, _):
            setattr(store, fault, "store: not permitted")
            await asyncio.sleep(10.0)
            snapshot = scene.gateway.replicas()
            assert snapshot is not None and snapshot.failure == "store: not permitted"
            setattr(store, fault, "")
            await asyncio.sleep(10.0)
            snapshot = scene.gateway.replicas()
            assert snapshot is not None and not snapshot.failure
            log = scene.end_log()
            assert log.count("store: not permitted") == log.count(life.STORE_ANSWERS) == 1

    run_in_virtual_time(story())


def test_a_lease_ends_in_time_although_connecting_takes_a_second() -> None:
    """Two seconds after the last answer a gateway has no room at hand that the store gave it."""

    async def story() -> None:
        store = ModelStore()
        store.giving_up_seconds = 1.0
        async with fleet(2, store=store) as scenes:
            await asyncio.sleep(1.0)
            assert all(idle(scene) > 0 for scene in scenes)
            store.is_silent = True
            await asyncio.sleep(2.1)
            assert [idle(scene) for scene in scenes] == [0, 0]
            store.is_silent = False

    run_in_virtual_time(story())


def idle(scene: Stage) -> int:
    """The room that one gateway has at hand."""
    snapshot = scene.gateway.replicas()
    assert snapshot is not None
    return snapshot.pools[0].workers[0].idle


def test_calls_that_break_by_a_mistake_of_ours_are_calls_without_an_answer() -> None:
    """The lease ends, and is not used beyond; when calls succeed again, all is as before."""

    async def story() -> None:
        store, reported = ModelStore(), []
        async with fleet(2, store=store) as scenes:
            await asyncio.sleep(1.0)
            virtual_loop().set_exception_handler(lambda _, context: reported.append(context["message"]))
            store.mistake = RuntimeError("a digit too many")
            await asyncio.sleep(3.0)
            assert reported and [idle(scene) for scene in scenes] == [0, 0]
            snapshot = scenes[0].gateway.replicas()
            assert snapshot is not None and "a digit too many" in snapshot.failure
            store.mistake = None
            await asyncio.sleep(10.0)
            found = await asyncio.gather(*(ask_all(scene, 2 * WINDOW) for scene in scenes))
            assert found == [[200] * 2 * WINDOW] * 2

    run_in_virtual_time(story())


def known_by_worker(scene: Stage) -> list[Sized]:
    """All that a gateway keeps by the names of workers because it shares an account; nothing else shows it."""
    sharing, meters = scene.gateway._sharing, scene.gateway._reconciliation  # noqa: SLF001
    assert sharing is not None and sum(meters.totals().values()) > 0
    replica, windows = sharing.replicas[MODEL], sharing.windows
    return [replica.rooms.rooms, replica.strangers, windows._metered, meters.totals(), meters._others]  # noqa: SLF001


@needs_sources
def test_workers_that_are_gone_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of fifteen workers that come and go one after the other only the last few are known, and the others serve on."""
    monkeypatch.setattr("gateway.store.windows.MOST_GONE", 3)

    async def story() -> None:
        store = ModelStore()
        async with fleet(2, store=store) as scenes:
            (pool,) = scenes[0].gateway.config.pools
            for number in range(15):
                passing = pool.workers[0].model_copy(update={"name": f"passing-{number}"})
                changed = pool.model_copy(update={"workers": (*pool.workers, passing)})
                for scene in scenes:
                    scene.reload(scene.gateway.config.model_copy(update={"pools": (changed,)}))
                await asyncio.sleep(0.7)
                assert await asyncio.gather(*(ask_all(scene, WINDOW) for scene in scenes)) == [[200] * WINDOW] * 2
                await asyncio.sleep(0.7)
            for scene in scenes:
                scene.reload(scene.gateway.config.model_copy(update={"pools": (pool,)}))
            await asyncio.sleep(5.0)
            for scene in scenes:
                assert max(map(len, known_by_worker(scene))) <= 1 + 3
            (account,) = store.pools.values()
            assert len(account.windows) <= 1 + 2 * (1 + 3)  # of the latest of which each gateway reports at most four
            assert await asyncio.gather(*(ask_all(scene, WINDOW) for scene in scenes)) == [[200] * WINDOW] * 2

    run_in_virtual_time(story())
