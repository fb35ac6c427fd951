"""The engine's time: steps take what the profile says, on a clock that jumps."""

import asyncio

import pytest
from virtual_time import virtual_time

from backend.engine.config import EngineConfig
from backend.engine.loop import Engine
from backend.engine.work import Generation, Work


async def token_times(generation: Generation) -> list[float]:
    """When each delta arrived."""
    clock = asyncio.get_running_loop().time
    return [clock() async for _ in generation.deltas()]


@virtual_time
async def test_a_full_batch_gains_a_token_every_ten_milliseconds() -> None:
    """Sixteen streams advance together, the seventeenth waits for a slot; the gauges say so meanwhile."""
    loop = asyncio.get_running_loop()
    engine = Engine(EngineConfig.of_profile("cpu-tiny"), lambda: None)
    running = asyncio.create_task(engine.run(), name="engine")
    generations = [
        engine.submit(
            Work(request_id=str(number), prompts=(b"0123456789",), max_tokens=51, ignore_eos=True, stream=True),
            loop.time(),
        )
        for number in range(17)
    ]
    times = await asyncio.gather(*(token_times(generation) for generation in generations))
    prefill_seconds = 0.006 + 160 * 0.00008
    assert times[0] == pytest.approx([prefill_seconds + step * 0.010 for step in range(51)])
    assert all(stream == times[0] for stream in times[:16])
    assert times[16][0] == pytest.approx(times[0][-1] + 0.006 + 10 * 0.00008)
    assert (engine.witness.max_running, engine.witness.max_waiting) == (16, 1)
    assert engine.scheduler.is_idle
    running.cancel()


@virtual_time
async def test_an_idle_engine_does_not_wake_up() -> None:
    """Between two requests an hour apart no step runs, and the second starts at once."""
    loop = asyncio.get_running_loop()
    engine = Engine(EngineConfig.of_profile("cpu-tiny"), lambda: None)
    running = asyncio.create_task(engine.run(), name="engine")
    for number in range(2):
        work = Work(request_id=str(number), prompts=(b"x",), max_tokens=1, ignore_eos=True)
        (arrived,) = await token_times(engine.submit(work, loop.time()))
        assert arrived == pytest.approx(number * 3600.00608 + 0.00608)
        await asyncio.sleep(3600)
    assert engine.scheduler.tally.steps == 2
    running.cancel()
