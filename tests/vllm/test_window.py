"""Waiting happens at the gateway, where the order is fair, not in the engine, where it is not."""

import asyncio
from typing import Any

from conftest import ALICE, BOB, SEQUENCES, SLACK, Gateway
from contract_cases import MODEL
from crowd import crowd

REQUEST: dict[str, Any] = {"model": MODEL, "prompt": "Tell", "max_tokens": 100, "ignore_eos": True, "stream": True}
REQUESTS_PER_TENANT = 30
ENOUGH_SAMPLES = 50


def test_the_engines_queue_stays_within_the_slack(gateway: Gateway, vllm_url: str) -> None:
    """While the gateway holds waiting requests, vLLM's own queue is within the slack in 99 % of samples."""

    async def scenario() -> list[tuple[int, int]]:
        samples: list[tuple[int, int]] = []
        async with crowd(gateway, vllm_url) as clients:
            tenants = (ALICE, BOB) * REQUESTS_PER_TENANT
            requests = [clients.send(tenant, "/v1/completions", REQUEST) for tenant in tenants]

            async def is_served() -> bool:
                pool, engine = await asyncio.gather(clients.probe.gateway(), clients.probe.gauges())
                if pool.queued:
                    samples.append((engine.running, engine.waiting))
                return pool.queued + pool.in_flight == 0

            await clients.until(is_served)
            for request in requests:
                assert (await request.stay()).endswith(b"data: [DONE]\n\n")
        return samples

    samples = asyncio.run(scenario())
    assert len(samples) >= ENOUGH_SAMPLES
    within = sum(waiting <= SLACK for _, waiting in samples)
    assert within >= 0.99 * len(samples), samples
    # The other half: holding back must not leave the engine idle.
    assert sum(running for running, _ in samples) >= 0.9 * SEQUENCES * len(samples), samples
