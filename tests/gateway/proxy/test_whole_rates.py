"""A tenant's rate over tokens holds in the whole gateway."""

import asyncio

import pytest
from virtual_time import virtual_time
from whole_gateway import CHAT, COMPLETIONS, MODEL, Plan, exactly, question, stage, tenant
from workers_on_stage import CPU_TINY, INSTANT, EngineWorker

from gateway.config import Limits, Window
from gateway.outcomes import Outcome

PLAN = Plan(tenants=(tenant("alice", limits=Limits(tokens_per_minute=1000)),), window=Window(sequences=64, slack=0))
BODIES = {
    "chat": (CHAT, question("ten", **exactly(500))),
    "chat stream": (CHAT, question("ten", stream=True, **exactly(500))),
    "completion": (COMPLETIONS, {"model": MODEL, "prompt": list(range(10)), **exactly(500)}),
    "two choices": (CHAT, question("ten", n=2, **exactly(250))),
    "messages": ("/v1/messages", {"model": MODEL, "messages": [{"role": "user", "content": "ten"}], "max_tokens": 500}),
    "responses": ("/v1/responses", {"model": MODEL, "input": "ten", "max_output_tokens": 500}),
}


@pytest.mark.parametrize("engine", [INSTANT, CPU_TINY], ids=["instant", "slow"])
@pytest.mark.parametrize("name", BODIES)
@virtual_time
async def test_a_burst_is_held_to_the_rate(name: str, engine: object) -> None:
    """Of twenty at once three run at most; the others get up to 60 s of Retry-After, and then the next runs."""
    path, body = BODIES[name]
    async with stage(EngineWorker(engine), plan=PLAN) as scene:  # type: ignore[arg-type]
        answers = await asyncio.gather(*(scene.ask(body, "alice", path) for _ in range(20)))
        assert 1 <= [answer.status for answer in answers].count(200) <= 3
        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) >= 17
        assert all(1 <= int(answer.header("retry-after") or 0) <= 60 for answer in refused)
        ended = asyncio.get_running_loop().time()
        while (again := await scene.ask(body, "alice", path)).status == 429:
            wait = int(again.header("retry-after") or 0)
            assert 1 <= wait <= 60
            await asyncio.sleep(wait)
        assert scene.last.outcome is Outcome.COMPLETED
        assert scene.last.duration_seconds + 60 >= asyncio.get_running_loop().time() - ended


@virtual_time
async def test_no_refusal_asks_for_more_than_a_minute() -> None:
    """This holds even if a request beyond the allowance must be paid off for ten minutes."""
    async with stage(EngineWorker(INSTANT), plan=PLAN) as scene:
        large = {"model": MODEL, "prompt": [1] * 2000, "max_tokens": 1}
        assert (await scene.ask(large, "alice", COMPLETIONS)).status == 200
        refused = await scene.ask(large, "alice", COMPLETIONS)
        assert (refused.status, refused.header("retry-after")) == (429, "60")
        assert "Retry after 60 s" in refused.json["error"]["message"]
        tokenized = await scene.ask({"model": MODEL, "prompt": "hi"}, "alice", "/tokenize")
        assert (tokenized.status, tokenized.header("retry-after")) == (429, "60")
