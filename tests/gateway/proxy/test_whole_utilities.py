"""Requests that run no model have bounds in bytes per tenant and take turns, never at another tenant's cost."""

import asyncio

from raw_client import Answer
from virtual_time import virtual_loop, virtual_time
from whole_gateway import Plan, Stage, stage
from workers_on_stage import ScriptedWorker

from gateway.outcomes import Outcome
from gateway.proxy.utility import MAX_AT_ONCE_PER_TENANT, MAX_BYTES_AT_WORKERS

SECONDS = 1.0  # that the worker takes for each
MAX_TURNS = 200


class Slow:
    """A worker that takes a second for anything, and counts what it has at once."""

    def __init__(self) -> None:
        self.requests = self.bytes = self.most_bytes = self.most_requests = 0
        self.order: list[int] = []
        self.worker = ScriptedWorker(self.respond)

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        size = len(self.worker.requests[-1][1]["prompt"])
        self.order.append(size)
        self.requests += 1
        self.bytes += size
        self.most_requests, self.most_bytes = max(self.most_requests, self.requests), max(self.most_bytes, self.bytes)
        await asyncio.sleep(SECONDS)
        self.requests -= 1
        self.bytes -= size
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")


def tokenize(size: int) -> dict[str, str]:
    """Return a body of about `size` bytes."""
    return {"model": "tiny", "prompt": "x" * size}


def asking(scene: Stage, size: int, tenant: str = "alice") -> "asyncio.Task[Answer]":
    """Send one request."""
    return scene.asking(tokenize(size), tenant, "/tokenize")


@virtual_time
async def test_large_ones_go_one_behind_the_other_in_their_order() -> None:
    """Of a flood of large bodies the workers have one at a time; all are answered, and none overtakes."""
    slow = Slow()
    async with stage(slow.worker) as scene:
        began = asyncio.get_running_loop().time()
        flood = []
        for number in range(5):
            flood.append(asking(scene, 900_000 + number))
            await scene.turn(20)
        assert [answer.status for answer in await asyncio.gather(*flood)] == 5 * [200]
        assert asyncio.get_running_loop().time() - began >= 5 * SECONDS
        assert slow.most_requests == 1
        assert slow.order == sorted(slow.order)


@virtual_time
async def test_small_ones_go_side_by_side() -> None:
    """As many run at once as a tenant may have."""
    slow = Slow()
    async with stage(slow.worker) as scene:
        asked = [asking(scene, 1000) for _ in range(MAX_AT_ONCE_PER_TENANT)]
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
        assert slow.most_requests == MAX_AT_ONCE_PER_TENANT


@virtual_time
async def test_another_tenant_does_not_wait_for_a_flood() -> None:
    """The bound is each tenant's own."""
    slow = Slow()
    async with stage(slow.worker) as scene:
        flood = [asking(scene, 900_000) for _ in range(8)]
        await scene.turn(50)
        began = asyncio.get_running_loop().time()
        assert (await asking(scene, 900_000, "bob")).status == 200
        assert asyncio.get_running_loop().time() - began < 1.5 * SECONDS
        assert slow.most_bytes <= 2 * MAX_BYTES_AT_WORKERS
        await asyncio.gather(*flood)


@virtual_time
async def test_one_larger_than_the_bound_goes_alone() -> None:
    """It is late but not refused, and what came after it waits."""
    slow = Slow()
    async with stage(slow.worker) as scene:
        small = asking(scene, 1000)
        await scene.turn(20)
        large = asking(scene, 2 * MAX_BYTES_AT_WORKERS)
        await scene.turn(20)
        late = asking(scene, 1000)
        answers = await asyncio.gather(small, large, late)
        assert [answer.status for answer in answers] == [200, 200, 200]
        assert slow.most_requests == 1


@virtual_time
async def test_a_client_that_leaves_at_any_turn_gives_its_turn_on() -> None:
    """Whether it waited or ran, a cancelled request gives everything back, and others are served."""
    slow = Slow()
    async with stage(slow.worker, plan=Plan()) as scene:
        for turns in range(MAX_TURNS):
            first, second = asking(scene, 900_000), asking(scene, 900_000)
            await scene.until(lambda: scene.held_bytes)
            struck: list[int] = []
            virtual_loop().after_turns(turns, lambda struck=struck: struck.append(scene.cancel_handlers()))
            await asyncio.gather(first, second, return_exceptions=True)
            assert (await asking(scene, 900_000)).status == 200
            assert not scene.gateway._router._utility._queues
            if not struck or not struck[0]:
                break
        await scene.settled()
        assert turns > 10
        assert set(scene.outcomes) <= {
            Outcome.COMPLETED,
            Outcome.CLIENT_GONE_QUEUED,
            Outcome.CLIENT_GONE_STREAMING,
        }
