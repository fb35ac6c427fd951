"""Requests of several sequences pass the whole gateway: others wait little beside them, and little stays idle."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from virtual_time import virtual_time
from whole_gateway import CHAT, COMPLETIONS, MODEL, Plan, Stage, chat, exactly, stage
from workers_on_stage import ENGINE_CONFIG, EngineWorker

from gateway.config import Window

SLOTS, SLACK = 16, 1
STEP_SECONDS = 0.1  # a whole batch takes so long, so a minute is few tokens
COST = replace(ENGINE_CONFIG.profile.cost, step_seconds=STEP_SECONDS, decode_sequence_seconds=0.0)
ENGINE = replace(
    ENGINE_CONFIG,
    profile=replace(ENGINE_CONFIG.profile, cost=COST),
    capacity=ENGINE_CONFIG.capacity.resized({"max_num_seqs": SLOTS}),
)
PLAN = Plan(window=Window(sequences=SLOTS, slack=SLACK, prefill_tokens=2048))
CHOICES, TOKENS = 4, 20
FLOOD, ASKED = 16, 40
SHAPES = {
    "streamed": (CHAT, chat(TOKENS, n=CHOICES)),
    "not streamed": (CHAT, chat(TOKENS, n=CHOICES, stream=False)),
    "prompts": (COMPLETIONS, {"model": MODEL, "prompt": ["hi"] * CHOICES, **exactly(TOKENS)}),
}


async def release_seconds(path: str, body: dict[str, Any]) -> float:
    """Return how long one of the flood's requests is at an engine that is full of them."""
    async with stage(EngineWorker(ENGINE), plan=PLAN) as scene:
        await asyncio.gather(*(scene.asking(body, path=path) for _ in range(SLOTS // CHOICES)))
        return max(event.duration_seconds for event in scene.finished)


async def keep_asking(scene: Stage, path: str, body: dict[str, Any]) -> None:
    while True:
        assert (await scene.ask(body, "alice", path)).status == 200


async def first_tokens(path: str, body: dict[str, Any] | None, policy: str = "vtc", asked: int = ASKED) -> list[float]:
    """Return the sorted TTFTs of a tenant of single requests, beside a flood of `body` if that is given."""
    async with stage(EngineWorker(ENGINE), plan=replace(PLAN, scheduler={"policy": policy})) as scene:
        crowd = [asyncio.create_task(keep_asking(scene, path, body)) for _ in range(FLOOD) if body is not None]
        await asyncio.sleep(5)
        for number in range(asked):
            assert (await scene.ask(chat(5), "bob")).is_done
            await asyncio.sleep(0.13 * (number % 7))
        for client in crowd:
            client.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        await scene.settled()
        return sorted(event.ttft_seconds or 0.0 for event in scene.finished if event.tenant == "bob")


def ninety_fifth(times: list[float]) -> float:
    """Return the 95th percentile of sorted `times`."""
    return times[len(times) * 95 // 100 - 1]


@pytest.mark.parametrize("shape", SHAPES)
@virtual_time
async def test_beside_a_flood_of_several_sequences_a_tenant_waits_for_one_release(shape: str) -> None:
    """The time to first token is that of the tenant alone and one answer of the flood."""
    path, body = SHAPES[shape]
    most = ninety_fifth(await first_tokens(path, None)) + await release_seconds(path, body)
    assert ninety_fifth(await first_tokens(path, body)) <= most


@virtual_time
async def test_beside_such_a_flood_it_waits_longer_under_fcfs() -> None:
    """This is the control: under fcfs it waits behind the whole flood."""
    path, body = SHAPES["not streamed"]
    most = ninety_fifth(await first_tokens(path, None)) + await release_seconds(path, body)
    assert min(await first_tokens(path, body, "fcfs", asked=4)) > 2 * most
