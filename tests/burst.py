"""A burst of requests that is far beyond a tenant's rate, at every endpoint, and how it must be held."""

import asyncio
from collections.abc import Sequence

from whole_gateway import CHAT, COMPLETIONS, MODEL, Plan, Stage, exactly, question, tenant

from gateway.config import Limits, Window
from gateway.outcomes import Outcome

RATE = 1000
ALICE = tenant("alice", limits=Limits(tokens_per_minute=RATE))
PLAN = Plan(tenants=(ALICE, tenant("bob")), window=Window(sequences=64, slack=0))
MESSAGES = "/v1/messages"
BODIES = {
    "chat": (CHAT, question("ten", **exactly(500))),
    "completion": (COMPLETIONS, {"model": MODEL, "prompt": list(range(10)), **exactly(500)}),
    "two choices": (CHAT, question("ten", n=2, **exactly(250))),
    "messages": (MESSAGES, question("ten", max_tokens=500)),
    "responses": ("/v1/responses", {"model": MODEL, "input": "ten", "max_output_tokens": 500}),
}
STREAMED = {f"{name} stream": (path, body | {"stream": True}) for name, (path, body) in BODIES.items()}
POOLED = {"embeddings": ("/v1/embeddings", {"model": MODEL, "input": [1] * 510})}
ALL = BODIES | STREAMED | POOLED


async def burst(scenes: Sequence[Stage], name: str) -> None:
    """Of twenty at once three run at most; who then waits as told gets an answer, at the latest after a minute.

    With several gateways this may take one more attempt, which lets the others give back what they hold.
    """
    path, body = ALL[name]
    loop = asyncio.get_running_loop()
    answers = await asyncio.gather(*(scenes[n % len(scenes)].ask(body, "alice", path) for n in range(20)))
    assert 1 <= [answer.status for answer in answers].count(200) <= 3
    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) >= 17
    assert all(1 <= int(answer.header("retry-after") or 0) <= 60 for answer in refused)
    ended = loop.time()
    while (again := await scenes[0].ask(body, "alice", path)).status == 429:
        wait = int(again.header("retry-after") or 0)
        assert 1 <= wait <= 60
        await asyncio.sleep(wait)
    last = scenes[0].last
    assert last.outcome is Outcome.COMPLETED
    assert loop.time() - last.duration_seconds <= ended + (60 if len(scenes) == 1 else 62)
