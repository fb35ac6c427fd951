"""Ten times as many requests as the engine can take: the queue keeps its bound, and the engine works on as before."""

import asyncio
from itertools import cycle

from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage, tenant

from gateway.outcomes import Outcome

SECONDS = 12.0
OVERLOAD = 10
CALLERS = 16  # three times what the window holds
LEAST_OF_PEAK = 0.95
REFUSED_WITHIN_SECONDS = 0.01
QUEUED_OF_A_TENANT = 12
BODY = chat(20)
PLAN = Plan(
    tenants=[tenant(name, limits={"max_queued": QUEUED_OF_A_TENANT}) for name in ("alice", "bob")],
    scheduler={"max_queued": 2 * QUEUED_OF_A_TENANT, "queue_timeout_seconds": 5},
)


def completed(scene: Stage) -> int:
    """Return the requests that were answered in full."""
    return scene.outcomes.count(Outcome.COMPLETED)


async def peak_per_second() -> float:
    """Return the answers a second if everybody asks again as soon as there is an answer."""
    async with stage(plan=PLAN) as scene:
        until = asyncio.get_running_loop().time() + SECONDS

        async def ask_on(name: str) -> None:
            while asyncio.get_running_loop().time() < until:
                assert (await scene.ask(BODY, name)).is_done

        await asyncio.gather(*(ask_on(name) for _, name in zip(range(CALLERS), cycle(("alice", "bob")), strict=False)))
        return completed(scene) / SECONDS


@virtual_time
async def test_ten_times_the_load_is_refused_at_once_and_served_as_much_as_before() -> None:
    """The gateway serves 95 % of the peak, refuses within 10 virtual ms, and never holds more than may wait."""
    peak = await peak_per_second()
    async with stage(plan=PLAN) as scene:
        asking = []
        for number in range(round(SECONDS * OVERLOAD * peak)):
            asking.append(scene.asking(BODY, ("alice", "bob")[number % 2]))
            await asyncio.sleep(1 / (OVERLOAD * peak))
            assert scene.queued <= 2 * QUEUED_OF_A_TENANT
        served = completed(scene)
        answers = await asyncio.gather(*asking)
        assert {answer.status for answer in answers} == {200, 429}
        assert served >= LEAST_OF_PEAK * peak * SECONDS
        refused = [event for event in scene.finished if event.outcome is not Outcome.COMPLETED]
        assert {event.outcome for event in refused} == {Outcome.TENANT_QUEUE_FULL}
        assert len(refused) > 0.8 * len(answers)
        assert max(event.duration_seconds for event in refused) <= REFUSED_WITHIN_SECONDS
        await scene.settled()
