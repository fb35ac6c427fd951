"""A worker that comes and goes five times a second under full load, beside one that stays."""

import asyncio
from collections import Counter

from virtual_time import virtual_time
from whole_gateway import Stage, chat, stage
from workers_on_stage import EngineWorker

from gateway.outcomes import Outcome

SECONDS = 60
FLAPS_PER_SECOND = 5
CLIENTS = 24  # three times what both windows hold: the queue is never empty
TOKENS = 20
MAX_ATTEMPTS_PER_REQUEST = 1.1


async def flap(worker: EngineWorker) -> None:
    """Kill `worker` and start it again, for half of each period."""
    half = 1 / FLAPS_PER_SECOND / 2
    while True:
        await asyncio.sleep(half)
        worker.kill()
        await asyncio.sleep(half)
        await worker.start()


async def ask_on(scene: Stage, until: float) -> None:
    """One client that always has a request outstanding; each of its answers must be whole in itself."""
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        answer = await scene.ask(chat(TOKENS))
        if answer.status != 200:
            continue
        assert answer.is_whole
        assert answer.is_done != (answer.error is not None)
        chunks = [document for document in answer.documents if "choices" in document]
        assert len({chunk["id"] for chunk in chunks}) == 1, "two attempts in one stream"
        roles = sum("role" in choice["delta"] for chunk in chunks for choice in chunk["choices"])
        assert roles == 1, "an answer that began twice"


@virtual_time
async def test_a_flapping_worker_costs_few_attempts_and_no_answer_begins_twice() -> None:
    """At most 1.1 attempts for each request that ran; a request whose client has a byte is never sent again."""
    steady, flapping = EngineWorker(), EngineWorker()
    async with stage(steady, flapping) as scene:
        until = asyncio.get_running_loop().time() + SECONDS
        flaps = asyncio.create_task(flap(flapping), name="flaps")
        await asyncio.gather(*(ask_on(scene, until) for _ in range(CLIENTS)))
        flaps.cancel()
        await asyncio.wait([flaps])
        accepted = [event for event in scene.finished if event.attempts]
        attempts = sum(event.attempts for event in accepted)
        assert attempts == len(scene.dispatched)
        assert attempts <= MAX_ATTEMPTS_PER_REQUEST * len(accepted)
        assert len(flapping.lives) > SECONDS * FLAPS_PER_SECOND * 0.9
        by_worker = Counter(event.worker for event in scene.dispatched)
        assert by_worker["tiny/w1"] > 0, "the flapping worker was never tried again"
        assert Outcome.QUARANTINED not in scene.outcomes, "a body that everybody sends was taken for a poison"
        for event in accepted:
            if event.outcome is Outcome.COMPLETED:
                whole = [count for count in scene.engine_count(event.request_id) if count.output_tokens == TOKENS]
                assert len(whole) == 1, "generated twice"
            if event.outcome is Outcome.WORKER_LOST_STREAMING:
                last = [each for each in scene.dispatched if each.request_id == event.request_id][-1]
                assert last.worker == "tiny/w1", "sent again after its first byte"
