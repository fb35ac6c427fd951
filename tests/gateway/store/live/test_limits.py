"""Every limit of a tenant holds over three gateways that are flooded, with their store and without it.

It is never passed, and the whole of it is used: before the fault, without the store, and after it has come back.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from real_stores import Store, a_store

from .flood import FLOODS, RATES, Flooded, a_flood

pytestmark = pytest.mark.live

MOST, LEAST = 1.02, 0.9
GONE_SECONDS = 6.0  # longer than the two seconds after which the rates refill without the store
BACK_SECONDS = 3.0  # longer than a store that lost everything waits for the gateways
LEAST_PLACES = 0.8  # in use without the store: places that were on their way back to it stay unused
LEAST_REFILL = 0.4  # of a rate, used without the store: for the first two seconds it does not refill at the gateways
FAULTS: dict[str, tuple[str, Callable[[Store], None], Callable[[Store], None]]] = {
    "stopped": ("redis", Store.freeze, Store.thaw),
    "killed": ("valkey", Store.kill, Store.start),
}


async def without_store(flooded: Flooded) -> None:
    """Let the fault last. Places stay in use, and the rates let through what refills at the gateways."""
    looks = await flooded.watch(GONE_SECONDS)
    minutes = (looks[-1].seconds - looks[0].seconds) / 60
    used = {tenant: looks[-1].used[tenant] - looks[0].used[tenant] for tenant in RATES}
    refilled = {tenant: used[tenant] / (FLOODS[tenant].limit * minutes) for tenant in RATES}
    print("without the store", {"refilled": refilled, "in flight": [look.used["flight"] for look in looks]})
    assert min(refilled.values()) >= LEAST_REFILL, refilled
    await flooded.until(LEAST_PLACES, ("flight", "queue"))


async def judge(flooded: Flooded) -> None:
    """At no time was more used than is allowed, only that was refused, and what waits for places is never refused."""
    most = {tenant: max(look.part(tenant) for look in flooded.looks) for tenant in FLOODS}
    most["flight"] = await flooded.most_in_flight() / FLOODS["flight"].limit
    ends = {tenant: flooded.ends(tenant) for tenant in FLOODS}
    print("most of each limit", most, "at the end", flooded.looks[-1], ends)
    assert all(part <= MOST for part in most.values()), most
    assert ends.pop("flight") == {(200, True)}
    assert all(each == {(200, True), (429, False)} for each in ends.values()), ends


@pytest.mark.parametrize("fault", FAULTS)
def test_limits_hold_over_gateways(fault: str, tmp_path: Path) -> None:
    """The store is lost in the midst of the flood, and comes back: what was killed comes back empty."""
    kind, lose, find = FAULTS[fault]

    async def story() -> None:
        with a_store(kind, tmp_path, has_port=True) as store:
            async with a_flood(tmp_path, store.url) as flooded:
                await flooded.until(LEAST)
                lose(store)
                await without_store(flooded)
                find(store)
                await flooded.watch(BACK_SECONDS)
                await flooded.until(LEAST)
                await judge(flooded)

    asyncio.run(story())


def test_gateways_that_share_nothing_pass_every_limit(tmp_path: Path) -> None:
    """Control: each gateway has an account of its own."""

    async def story() -> None:
        with a_store("redis", tmp_path, has_port=True) as store:
            async with a_flood(tmp_path, store.url, fleets=["a", "b", "c"]) as flooded:
                await flooded.until(MOST + 0.01)

    asyncio.run(story())
