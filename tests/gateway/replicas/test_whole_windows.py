"""Whole gateways that share an engine whose size nobody configured: one finds it for all, whoever has the requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from virtual_time import run_in_virtual_time, virtual_loop
from whole_gateway import Plan, Stage, chat, several_gateways
from workers_on_stage import CPU_TINY, EngineWorker

from gateway.config import Window
from gateway.events import TokensUnmetered, WindowDegraded
from gateway.watch.reconciliation import PERIOD_SECONDS

from .model_store import ModelStore

STEP_SECONDS = 0.1
COST = replace(CPU_TINY.profile.cost, step_seconds=STEP_SECONDS, decode_sequence_seconds=0.0)
PLAN = Plan(window=Window())


@pytest.fixture(autouse=True)
def clock_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stands still when its event loop does."""
    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())


@asynccontextmanager
async def fleet(slots: int) -> AsyncIterator[list[Stage]]:
    """Two gateways in front of an engine of so many slots; the first is the tuner."""
    engine = replace(
        CPU_TINY,
        profile=replace(CPU_TINY.profile, cost=COST),
        capacity=replace(CPU_TINY.capacity, max_num_seqs=slots),
    )
    async with several_gateways(2, EngineWorker(engine), plan=PLAN, connect=ModelStore().connect) as scenes:
        yield list(scenes)


@asynccontextmanager
async def flooded(*scenes: Stage, clients: int) -> AsyncIterator[None]:
    """So many streams at these gateways, in turn."""

    async def client(scene: Stage) -> None:
        while True:
            await scene.ask(chat(100))

    tasks = [asyncio.create_task(client(scenes[number % len(scenes)])) for number in range(clients)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def window(scene: Stage) -> int:
    (worker,) = scene.gateway.workers()
    return worker.window_sequences


@pytest.mark.parametrize("senders", [(1,), (0, 1)])
def test_the_size_is_found_whoever_has_the_requests(senders: tuple[int, ...]) -> None:
    """The tuner finds it though all requests are another gateway's, and no gateway takes the others' for foreign."""

    async def story() -> None:
        async with fleet(20) as scenes:
            async with flooded(*(scenes[place] for place in senders), clients=40):
                await asyncio.sleep(15)
                assert window(scenes[0]) in {20, 21}
                await asyncio.sleep(1)
                assert window(scenes[1]) == window(scenes[0])
                before = scenes[0].witness.output_tokens
                await asyncio.sleep(10)
                assert scenes[0].witness.output_tokens - before > 0.9 * 20 * 10 / STEP_SECONDS
            assert not [event for scene in scenes for event in scene.events if isinstance(event, WindowDegraded)]

    run_in_virtual_time(story())


def test_a_successor_goes_on_where_the_tuner_left() -> None:
    """When the tuner leaves in the middle of growth, the window grows on and is never small again."""

    async def story() -> None:
        async with fleet(40) as scenes, flooded(scenes[1], clients=80):
            await asyncio.sleep(2.0)
            found = window(scenes[0])
            assert 12 <= found < 40, "it grows"
            await scenes[0].stop()
            sizes = []
            for _ in range(60):
                await asyncio.sleep(0.2)
                sizes.append(window(scenes[1]))
            assert min(sizes) >= found
            assert sizes[-1] in {40, 41}

    run_in_virtual_time(story())


def test_what_another_gateway_metered_is_not_unmetered() -> None:
    """Each gateway sees all tokens of the engine and meters some; together they miss none."""

    async def story() -> None:
        async with fleet(8) as scenes:
            async with flooded(*scenes, clients=16):
                await asyncio.sleep(3.5 * PERIOD_SECONDS)
            assert not [event for scene in scenes for event in scene.events if isinstance(event, TokensUnmetered)]
            for scene in scenes:
                assert scene.gateway.workers()[0].unmetered_share == pytest.approx(0.0, abs=0.02)

    run_in_virtual_time(story())
