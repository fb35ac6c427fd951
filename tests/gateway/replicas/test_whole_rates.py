"""Gateways that share a tenant's rate hold a burst to it, and tell its clients what is left."""

import asyncio

import pytest
from burst import PLAN, RATE, burst
from virtual_time import run_in_virtual_time, virtual_loop
from whole_gateway import exactly, question, several_gateways
from workers_on_stage import CPU_TINY, INSTANT, EngineWorker

from .model_store import ModelStore


@pytest.mark.parametrize("name", ["chat", "completion stream", "embeddings"])
def test_a_burst_at_three_gateways_is_held_to_the_rate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They hold the rate together."""

    async def story() -> None:
        store = ModelStore()
        async with several_gateways(3, EngineWorker(CPU_TINY), plan=PLAN, connect=store.connect) as scenes:
            await burst(scenes, name)

    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())
    run_in_virtual_time(story())


def test_gateways_that_share_a_rate_tell_what_is_left_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is used at one of them is missing at the other, once the store has heard of it."""

    async def story() -> None:
        store, body = ModelStore(), question("ten", **exactly(200))
        async with several_gateways(2, EngineWorker(INSTANT), plan=PLAN, connect=store.connect) as scenes:
            assert (await scenes[0].ask(body, "alice")).status == 200
            await asyncio.sleep(1.0)
            answer = await scenes[1].ask(question("ten", max_tokens=-1), "alice")
            used = 200 + scenes[0].last.prompt_tokens
            assert RATE - used <= int(answer.header("x-ratelimit-remaining-tokens") or 0) <= RATE - used + 25

    monkeypatch.setattr("gateway.store.boot_clock.seconds", lambda: virtual_loop().time())
    run_in_virtual_time(story())
