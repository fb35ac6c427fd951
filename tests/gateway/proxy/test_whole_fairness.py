"""Fairness of the whole gateway: what each tenant gets, with first come, first served as the control that must fail."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from virtual_time import virtual_time
from whole_gateway import Plan, Stage, chat, stage, tenant

WARM_UP_SECONDS = 2.0
MEASURED_SECONDS = 10.0
FLOOD, STREAM = 64, 16
EQUAL_WITHIN = 0.05


async def keep_asking(scene: Stage, tenant: str, body: dict[str, Any]) -> None:
    """One request after another, for ever."""
    while True:
        answer = await scene.ask(body, tenant)
        assert answer.status == 200


async def services(plan: Plan, outstanding: Mapping[str, int], bodies: Mapping[str, Any]) -> dict[str, float]:
    """The service that each tenant got while all kept so many requests outstanding."""
    async with stage(plan=plan) as scene:
        crowd = [
            asyncio.create_task(keep_asking(scene, tenant, bodies.get(tenant, chat(20))))
            for tenant, number in outstanding.items()
            for _ in range(number)
        ]
        await asyncio.sleep(WARM_UP_SECONDS)
        before = {tenant: scene.service(tenant) for tenant in outstanding}
        await asyncio.sleep(MEASURED_SECONDS)
        after = {tenant: scene.service(tenant) for tenant in outstanding}
        await dismiss(crowd)
        await scene.settled()
    return {tenant: after[tenant] - before[tenant] for tenant in outstanding}


async def dismiss(crowd: list["asyncio.Task[None]"]) -> None:
    """Everybody leaves."""
    for client in crowd:
        client.cancel()
    await asyncio.gather(*crowd, return_exceptions=True)


@pytest.mark.parametrize("policy", ["vtc", "drr:64"])
@virtual_time
async def test_a_tenant_with_more_requests_gets_no_more(policy: str) -> None:
    """64 requests always outstanding against 16: the same service within 5 %."""
    got = await services(Plan(scheduler={"policy": policy}), {"alice": FLOOD, "bob": STREAM}, {})
    assert got["alice"] == pytest.approx(got["bob"], rel=EQUAL_WITHIN)


@virtual_time
async def test_first_come_first_served_is_judged_unfair() -> None:
    """The same load under fcfs: more than twice as much for the tenant with more requests."""
    got = await services(Plan(scheduler={"policy": "fcfs"}), {"alice": FLOOD, "bob": STREAM}, {})
    assert got["alice"] > 2 * got["bob"]


@virtual_time
async def test_service_follows_the_weights() -> None:
    """Weights 1 and 3 at equal demand: service 1 to 3 within 7 %."""
    got = await services(
        Plan(tenants=(tenant("alice"), tenant("bob", weight=3.0))), {"alice": STREAM, "bob": STREAM}, {}
    )
    assert got["bob"] / got["alice"] == pytest.approx(3, rel=0.07)


@pytest.mark.parametrize(
    "bob",
    [chat(20, stream=False), chat(60), chat(10, n=2), chat(20, stream=False, n=2)],
    ids=["not streamed", "longer", "two choices", "two choices not streamed"],
)
@virtual_time
async def test_the_shape_of_requests_gains_nothing(bob: dict[str, Any]) -> None:
    """Whole answers, longer ones, several choices: the same service as a tenant of short streams, within 7 %."""
    got = await services(Plan(), {"alice": STREAM, "bob": STREAM}, {"bob": bob})
    assert got["alice"] == pytest.approx(got["bob"], rel=0.07)


async def waits_of_a_modest_tenant(policy: str) -> list[float]:
    """Queue waits of a tenant that asks now and then, beside a flood."""
    async with stage(plan=Plan(scheduler={"policy": policy})) as scene:
        crowd = [asyncio.create_task(keep_asking(scene, "alice", chat(20))) for _ in range(FLOOD)]
        await asyncio.sleep(WARM_UP_SECONDS)
        for _ in range(6):
            assert (await scene.ask(chat(5), "bob")).is_done
            await asyncio.sleep(0.3)
        await dismiss(crowd)
        waits = [grant.queue_wait_seconds for grant in scene.dispatched if grant.tenant == "bob"]
        releases = [event for event in scene.dispatched if event.tenant == "alice"]
        assert len(releases) > 50
        await scene.settled()
    return waits


@virtual_time
async def test_a_modest_tenant_waits_for_one_release_of_room() -> None:
    """Beside a flood of 64 a modest tenant is next whenever room appears; under fcfs it waits behind the flood."""
    waits = await waits_of_a_modest_tenant("vtc")
    one_answer_seconds = 20 * 0.0075  # the longest time to the next release: a whole answer of the flood
    assert max(waits) <= one_answer_seconds
    assert min(await waits_of_a_modest_tenant("fcfs")) > 5 * one_answer_seconds
