"""A client that leaves gives everything back: its place in the gateway's queue, its room, the engine's slot."""

import asyncio
from typing import Any

import pytest
from conftest import ALICE, BOB, SEQUENCES, SLACK, Gateway
from contract_cases import MODEL
from crowd import Crowd, crowd, in_time

WINDOW = SEQUENCES + SLACK
PATH = "/v1/completions"
WHOLE: dict[str, Any] = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 2000, "ignore_eos": True}
STREAM = WHOLE | {"stream": True}
MESSAGES = [{"role": "user", "content": "Count."}]
STREAMS: dict[str, Any] = {
    PATH: STREAM,
    "/v1/chat/completions": {
        "model": MODEL,
        "messages": MESSAGES,
        "max_tokens": 2000,
        "ignore_eos": True,
        "stream": True,
    },
    "/v1/responses": {"model": MODEL, "input": "Count.", "max_output_tokens": 2000, "ignore_eos": True, "stream": True},
    "/v1/messages": {"model": MODEL, "messages": MESSAGES, "max_tokens": 2000, "stream": True},
}


async def fill(clients: Crowd) -> None:
    """Alice takes all room there is: the engine's slots and the slack."""
    streams = [clients.send(ALICE, PATH, STREAM) for _ in range(WINDOW)]

    async def is_full() -> bool:
        pool, (engine,) = await clients.probe.gateway(), await clients.probe.gauges()
        return pool.in_flight == WINDOW and (engine.running, engine.waiting) == (SEQUENCES, SLACK)

    await clients.catch(is_full)
    assert all(stream.status in (None, 200) for stream in streams)


def test_leaving_the_queue(gateway: Gateway, vllm_url: str) -> None:
    """Who leaves while queued is gone from the queue, was never sent to the engine and is charged nothing."""

    async def scenario() -> None:
        async with crowd(gateway, vllm_url) as clients:
            await fill(clients)
            before = (await clients.probe.gateway()).tenants.get(BOB.name)
            bob = clients.send(BOB, PATH, STREAM)

            async def is_queued() -> bool:
                return (await clients.probe.gateway()).queued == 1

            async def is_gone() -> bool:
                pool, (engine,) = await clients.probe.gateway(), await clients.probe.gauges()
                return (pool.queued, pool.in_flight, engine.running + engine.waiting) == (0, WINDOW, WINDOW)

            await clients.catch(is_queued)
            await bob.leave()
            await clients.catch(is_gone)
            after = (await clients.probe.gateway()).tenants[BOB.name]
            assert after.in_flight == 0
            assert after.service == (before.service if before else 0.0)

    in_time(scenario)


def test_leaving_before_the_first_byte(gateway: Gateway, vllm_url: str) -> None:
    """Who leaves before any byte came back frees the engine's slot."""

    async def scenario() -> None:
        async with crowd(gateway, vllm_url) as clients:
            bob = clients.send(BOB, PATH, WHOLE)

            async def is_running() -> bool:
                return (await clients.probe.gauges())[0].running == 1

            await clients.catch(is_running)
            assert not bob.first_byte.is_set()
            await bob.leave()
            await clients.until(clients.is_empty)

    in_time(scenario)


def test_leaving_the_engines_queue(gateway: Gateway, vllm_url: str) -> None:
    """Who leaves while waiting in the engine frees the slack, and nobody else notices."""

    async def scenario() -> None:
        async with crowd(gateway, vllm_url) as clients:
            streams = [clients.send(ALICE, PATH, STREAM) for _ in range(SEQUENCES)]
            await asyncio.gather(*(stream.begun() for stream in streams))
            bob = clients.send(BOB, PATH, STREAM)

            async def is_waiting() -> bool:
                return (await clients.probe.gauges())[0].waiting == 1

            async def is_gone() -> bool:
                pool, (engine,) = await clients.probe.gateway(), await clients.probe.gauges()
                return (pool.in_flight, engine.running, engine.waiting) == (SEQUENCES, SEQUENCES, 0)

            await clients.catch(is_waiting)
            assert not bob.first_byte.is_set()
            await bob.leave()
            await clients.catch(is_gone)

    in_time(scenario)


@pytest.mark.parametrize("path", STREAMS)
def test_leaving_in_mid_stream(path: str, gateway: Gateway, vllm_url: str) -> None:
    """Who leaves while the answer streams frees the engine's slot, in every dialect."""

    async def scenario() -> None:
        async with crowd(gateway, vllm_url) as clients:
            bob = clients.send(BOB, path, STREAMS[path])
            await bob.begun()
            await bob.leave()
            await clients.until(clients.is_empty)
            assert bob.status == 200

    in_time(scenario)


def test_everybody_leaves(gateway: Gateway, vllm_url: str) -> None:
    """Whoever leaves at whatever stage, nothing is left anywhere, and the gateway serves on."""

    async def scenario() -> None:
        async with crowd(gateway, vllm_url) as clients:
            for number in range(4 * WINDOW):
                clients.send((ALICE, BOB)[number % 2], PATH, (STREAM, WHOLE)[number % 3 == 0])

            async def is_crowded() -> bool:
                return (await clients.probe.gateway()).queued > WINDOW

            await clients.catch(is_crowded)
            await clients.leave()
            await clients.until(clients.is_empty)
            last = clients.send(BOB, PATH, STREAM | {"max_tokens": 3})
            assert (await last.stay()).endswith(b"data: [DONE]\n\n")

    in_time(scenario)
