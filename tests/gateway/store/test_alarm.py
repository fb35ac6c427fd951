"""A sleeper is woken at the earliest time that anybody named, and never by what was named before it slept."""

import asyncio

from virtual_time import virtual_loop, virtual_time

from gateway.store.alarm import Alarm


async def slept(alarm: Alarm, until: float) -> float:
    """When a sleeper until `until` wakes."""
    await alarm.wait(until)
    return virtual_loop().time()


@virtual_time
async def test_a_sleeper_wakes_at_its_time() -> None:
    """Nobody rings."""
    assert await slept(Alarm(virtual_loop()), 3.0) == 3.0


@virtual_time
async def test_the_earliest_ring_counts() -> None:
    """Later ones change nothing."""
    alarm = Alarm(virtual_loop())
    sleeper = asyncio.create_task(slept(alarm, 9.0))
    await asyncio.sleep(1.0)
    for at in (5.0, 4.0, 6.0):
        alarm.ring(at)
    assert await sleeper == 4.0


@virtual_time
async def test_a_ring_in_the_past_wakes_at_once() -> None:
    """The sleeper wakes in the next turn of the loop."""
    alarm = Alarm(virtual_loop())
    sleeper = asyncio.create_task(slept(alarm, 9.0))
    await asyncio.sleep(1.0)
    alarm.ring(0.5)
    assert await sleeper == 1.0


@virtual_time
async def test_a_ring_without_a_sleeper_is_forgotten() -> None:
    """The next sleeper sleeps as long as it wants, also after one that was cancelled."""
    alarm = Alarm(virtual_loop())
    alarm.ring(0.5)
    sleeper = asyncio.create_task(slept(alarm, 9.0))
    await asyncio.sleep(1.0)
    sleeper.cancel()
    await asyncio.wait([sleeper])
    alarm.ring(1.5)
    assert await slept(alarm, 2.0) == 2.0
