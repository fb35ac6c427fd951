"""A tenant beside one that sends a hundred times as often: nothing refused, as much served, one release waited for."""

import asyncio
from dataclasses import dataclass, replace

from virtual_time import virtual_time
from whole_gateway import Plan, chat, stage
from workers_on_stage import ENGINE_CONFIG, EngineWorker

STEP_SECONDS = 0.1  # a whole batch takes so long, so a minute is few tokens
COST = replace(ENGINE_CONFIG.profile.cost, step_seconds=STEP_SECONDS, decode_sequence_seconds=0.0)
ENGINE = replace(ENGINE_CONFIG, profile=replace(ENGINE_CONFIG.profile, cost=COST))
PERIOD_SECONDS, ASKED = 5.0, 25
TIMES_AS_OFTEN = 100
NOISE = chat(10, stream=False)
MARGIN_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Seen:
    """What the victim saw: its answers that did not come, tokens while it asked, its times to first token, sorted."""

    missing: int
    tokens: int
    first_tokens: list[float]


async def seen_by_victim(times_as_often: int, policy: str = "vtc") -> Seen:
    """Ask at a constant rate, whatever the answers; the other tenant asks that many times as often."""
    plan = Plan(scheduler={"policy": policy, "max_queued": 100, "queue_timeout_seconds": 60})
    async with stage(EngineWorker(ENGINE), plan=plan) as scene:
        asking, noise = [], []
        for _ in range(ASKED):
            asking.append(scene.asking(chat(5), "bob"))
            for _ in range(times_as_often):
                noise.append(scene.asking(NOISE, "alice"))
                await asyncio.sleep(PERIOD_SECONDS / TIMES_AS_OFTEN)
            await asyncio.sleep(0.0 if times_as_often else PERIOD_SECONDS)
        in_time = [event for event in scene.finished if event.tenant == "bob"]
        answers = await asyncio.gather(*asking)
        await asyncio.gather(*noise)
        times = [event.ttft_seconds for event in scene.finished if event.tenant == "bob"]
    return Seen(
        sum(not answer.is_done for answer in answers),
        sum(event.output_tokens for event in in_time),
        sorted(time for time in times if time is not None),
    )


async def release_seconds() -> float:
    """How long one answer of the noise is at a full engine, which is the longest until some room is released."""
    async with stage(EngineWorker(ENGINE)) as scene:
        await asyncio.gather(*(scene.asking(NOISE) for _ in range(ENGINE.capacity.max_num_seqs)))
        return max(event.duration_seconds for event in scene.finished)


@virtual_time
async def test_a_tenant_that_sends_a_hundred_times_as_often_spoils_nothing() -> None:
    """No answer of the victim is missing, 95 % of its tokens come in the same time, first tokens within one release."""
    alone, beside = await seen_by_victim(0), await seen_by_victim(TIMES_AS_OFTEN)
    assert beside.missing == alone.missing == 0
    assert beside.tokens >= 0.95 * alone.tokens
    most = alone.first_tokens[-1] + await release_seconds() + MARGIN_SECONDS
    assert beside.first_tokens[-1] <= most


@virtual_time
async def test_under_fcfs_it_spoils_all_of_it() -> None:
    """Control: the same load in the order of arrival."""
    alone, beside = await seen_by_victim(0), await seen_by_victim(TIMES_AS_OFTEN, "fcfs")
    assert beside.tokens < 0.95 * alone.tokens
    assert beside.first_tokens[-1] > alone.first_tokens[-1] + await release_seconds() + MARGIN_SECONDS
