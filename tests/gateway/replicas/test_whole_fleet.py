"""Whole gateways that share an account, in virtual time: the engine and the accounts judge what they did together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import getrandbits

import pytest
from uncompiled import needs_sources
from virtual_time import run_in_virtual_time, virtual_loop
from whole_gateway import Plan, Stage, chat, several_gateways, tenant
from workers_on_stage import MODEL, EngineWorker

from backend.engine.config import EngineConfig
from gateway.config import Window
from gateway.events import ConfigReloaded, LifeChanged
from gateway.proxy.directory import Directory
from gateway.turnover import Turnover
from gateway.workers import prefix_chain

from .model_store import ModelStore

WINDOW = 9
PLAN = Plan(
    tenants=(tenant("alice", weight=4), tenant("bob")),
    window=Window(sequences=WINDOW - 1, slack=1, prefill_tokens=2048),
)
ENGINE = EngineConfig.of_profile("cpu-tiny", MODEL, max_num_seqs=WINDOW - 1)
CLIENTS = 14


@pytest.fixture(autouse=True)
def clock_of_the_story(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stands still when its event loop does."""
    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())


@asynccontextmanager
async def fleet(gateways: int, store: ModelStore) -> AsyncIterator[list[Stage]]:
    """Gateways in front of one engine."""
    async with several_gateways(gateways, EngineWorker(ENGINE), plan=PLAN, connect=store.connect) as scenes:
        yield list(scenes)


async def flood(scene: Stage, tenant: str, until: float, clients: int = CLIENTS) -> None:
    """Keep `clients` streams of `tenant` open or waiting at one gateway, until the loop's time `until`."""

    async def client() -> None:
        while virtual_loop().time() < until:
            answer = await scene.ask(chat(20), tenant)
            assert answer.status == 200, answer

    await asyncio.gather(*(client() for _ in range(clients)))


def share(scenes: list[Stage], before: dict[str, float]) -> float:
    """The part of alice in what alice and bob were served at all gateways since `before`."""
    served = {name: sum(scene.service(name) for scene in scenes) - before[name] for name in ("alice", "bob")}
    return served["alice"] / sum(served.values())


def served(scenes: list[Stage]) -> dict[str, float]:
    """What each was served so far at all gateways."""
    return {name: sum(scene.service(name) for scene in scenes) for name in ("alice", "bob")}


async def skewed(scenes: list[Stage], seconds: float) -> float:
    """The share of alice, who comes by the first gateway alone, beside bob, who comes by the last alone."""
    loop = virtual_loop()
    until = loop.time() + seconds
    floods = [
        asyncio.create_task(flood(scenes[0], "alice", until)),
        asyncio.create_task(flood(scenes[-1], "bob", until)),
    ]
    await asyncio.sleep(seconds / 4)
    before = served(scenes)
    await asyncio.sleep(seconds / 2)
    found = share(scenes, before)
    await asyncio.gather(*floods)
    return found


def test_weights_hold_over_gateways() -> None:
    """Weights 4:1 at different gateways give 80:20, and the engine never has more than its window."""

    async def story() -> None:
        async with fleet(2, ModelStore()) as scenes:
            assert await skewed(scenes, 24.0) == pytest.approx(0.8, abs=0.02)
            assert scenes[0].witness.max_held <= WINDOW

    run_in_virtual_time(story())


def test_gateways_that_do_not_share_turn_weights_into_halves() -> None:
    """Control: each has a store of its own."""

    async def story() -> None:
        async with several_gateways(
            2, EngineWorker(ENGINE), plan=PLAN, connect=lambda replicas: ModelStore().connect(replicas)
        ) as scenes:
            assert await skewed(list(scenes), 40.0) < 0.7
            assert scenes[0].witness.max_held > WINDOW

    run_in_virtual_time(story())


def test_sharing_costs_no_throughput() -> None:
    """Three gateways serve at least 0.98 of what one serves of the same load."""

    async def story(gateways: int) -> float:
        async with fleet(gateways, ModelStore()) as scenes:
            await skewed(scenes, 12.0)
            return sum(served(scenes).values())

    alone = run_in_virtual_time(story(1))
    assert run_in_virtual_time(story(3)) >= 0.98 * alone


def test_a_silent_store_stops_nobody() -> None:
    """While the store does not answer all requests are served; afterwards the shares are right again."""

    async def story() -> None:
        store = ModelStore()
        async with fleet(2, store) as scenes:
            loop = virtual_loop()
            loop.call_later(2.0, setattr, store, "is_silent", True)
            loop.call_later(8.0, setattr, store, "is_silent", False)
            until = loop.time() + 10.0
            await asyncio.gather(flood(scenes[0], "alice", until), flood(scenes[1], "bob", until))
            assert await skewed(scenes, 24.0) == pytest.approx(0.8, abs=0.02)
            assert scenes[0].witness.max_held <= WINDOW + 1

    run_in_virtual_time(story())


@pytest.mark.parametrize("silent_after", [0.0, 5.0])
def test_a_silent_store_stops_no_request_that_comes_to_idle_gateways(silent_after: float) -> None:
    """Gateways that have never heard the store, or were idle when it fell silent, serve a request at once."""

    async def story() -> None:
        store = ModelStore()
        store.is_silent = not silent_after
        async with fleet(2, store) as scenes:
            await asyncio.sleep(silent_after)
            store.is_silent = True
            await asyncio.sleep(10.0)
            for scene in scenes:
                asked_at = virtual_loop().time()
                async with asyncio.timeout(20.0):
                    assert (await scene.ask(chat(1), "alice")).status == 200
                assert virtual_loop().time() - asked_at < 1.0

    run_in_virtual_time(story())


def test_a_disagreement_is_logged() -> None:
    """Two gateways have other weights of a tenant; each says so once, and once more when they agree again."""

    async def story() -> None:
        async with fleet(2, ModelStore()) as scenes:
            first = scenes[0]
            ours = first.gateway.config
            heavier = (tenant("alice", weight=7), *ours.tenants[1:])
            first.reload(ours.model_copy(update={"tenants": heavier}))
            await asyncio.sleep(2.0)
            first.reload(ours)
            await asyncio.sleep(2.0)
            for scene in scenes:
                phases = [event.phase for event in scene.events if isinstance(event, LifeChanged)]
                assert phases.count("the gateways disagree") == phases.count("the gateways agree") == 1

    run_in_virtual_time(story())


def test_a_request_that_has_room_asks_nobody() -> None:
    """Requests that come one by one find spare room: no call is made for them."""

    async def story() -> None:
        store = ModelStore()
        async with fleet(2, store) as scenes:
            before = store.calls
            began = virtual_loop().time()
            for _ in range(20):
                assert (await scenes[0].ask(chat(1), "alice")).status == 200
            passed = virtual_loop().time() - began
            assert store.calls - before <= 2 * (passed / 0.5 + 1)

    run_in_virtual_time(story())


def names_of_processes(prompt: bytes | memoryview, *salt: str, is_shared: bool = False) -> tuple[int, ...]:
    """The names of a prompt's blocks; those that are not shared differ from one process to the next."""
    return prefix_chain(prompt, *salt, is_shared=True) if is_shared else (getrandbits(60),)


@needs_sources
@pytest.mark.parametrize("are_processes", [False, True])
def test_a_new_prompt_goes_to_the_same_worker_and_cache_from_every_gateway(
    monkeypatch: pytest.MonkeyPatch, are_processes: bool
) -> None:
    """Each of 12 prompts that nobody knows meets the worker and the salt that it would meet by the other gateway."""
    monkeypatch.setattr("gateway.proxy.router.prefix_chain", names_of_processes)

    def be_processes(scene: Stage) -> None:
        """Gateways that are processes of one have no `replicas` in their configuration."""
        config = scene.gateway.config.model_copy(update={"replicas": None})
        notice = ConfigReloaded("config.yaml", (), (), ())
        scene.gateway.take_over(Turnover(notice, config, (), Directory(config, b"salt of all")))

    async def story() -> None:
        workers = (EngineWorker(ENGINE), EngineWorker(ENGINE))
        prompts = [f"{number} " * 200 for number in range(12)]
        async with several_gateways(2, *workers, plan=PLAN, connect=ModelStore().connect) as scenes:
            for scene, asked in zip(scenes, (prompts, prompts[::-1]), strict=True):
                if are_processes:
                    be_processes(scene)
                for prompt in asked:
                    assert (await scene.ask(chat(1, prompt=prompt), "alice")).status == 200
        sent = [[each.body for each in worker.sent] for worker in workers]
        places = [sorted(each["messages"][0]["content"] for each in bodies) for bodies in sent]
        assert all(places) and all(place[::2] == place[1::2] for place in places)
        assert len({each["cache_salt"] for bodies in sent for each in bodies}) == 1

    run_in_virtual_time(story())
