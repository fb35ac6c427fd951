"""VTC inside vLLM's own queue, with the gateway's window wide open: what waits is ordered by the engine alone."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    ALICE,
    BOB,
    CAROL,
    OUR_SERVER_SECONDS,
    SEQUENCES,
    VLLM_SECONDS,
    Gateway,
    Tenant,
    write_gateway_config,
)
from contract_cases import MODEL
from crowd import Client, Crowd, crowd
from vllm_servers import python, running

# vLLM would let all of it wait in its queue.
WINDOW = {"sequences": SEQUENCES, "slack": 200, "prefill_tokens": 1_000_000}
# Four requests that grow beyond 1,024 tokens do not fit into 128 blocks of 32 (one more is vLLM's own).
SMALL_CACHE = ["--block-size", "32", "--num-gpu-blocks-override", "129"]
BLOCKING_TOKENS, GROWING_TOKENS = 900, 1200
TOKENS = 40
FLOOD, MODEST = 40, 10
TRIALS = 4
PATH = "/v1/completions"
MESSAGES = [{"role": "user", "content": "Tell"}]
# The same work, whichever way it comes.
ASKING: dict[str, dict[str, Any]] = {
    PATH: {"prompt": "user: Tell\nassistant: ", "max_tokens": TOKENS, "ignore_eos": True},
    "/v1/chat/completions": {"messages": MESSAGES, "max_tokens": TOKENS, "ignore_eos": True},
    "/v1/responses": {"input": "Tell", "max_output_tokens": TOKENS, "ignore_eos": True},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": TOKENS},
}


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway with a wide window, and the engine behind it."""

    gateway: Gateway
    engine_url: str


@pytest.fixture(scope="module")
def fair(logs: Path) -> Iterator[Place]:
    """An engine with a small KV cache that the gateway has started with VTC in its queue."""
    launch = {"engine": "vllm", "engine_order": "vtc", "arguments": SMALL_CACHE}
    pool = {"engine_order": "vtc", "workers": [{"launch": launch}]}
    with _serving(logs / "fair_order.yaml", pool, VLLM_SECONDS) as gateway:
        (worker,) = gateway.state()["workers"]
        yield Place(gateway, worker["url"])


@pytest.fixture(scope="module")
def plain(vllm_url: str, logs: Path) -> Iterator[Place]:
    """The control: vLLM with the order that it comes with."""
    with _serving(logs / "plain_order.yaml", {"engine_order": "vtc"}, OUR_SERVER_SECONDS, vllm_url) as gateway:
        yield Place(gateway, vllm_url)


@contextmanager
def _serving(
    config: Path, pool: Mapping[str, object], ready_seconds: float, engine_url: str = "http://127.0.0.1:1"
) -> Iterator[Gateway]:
    write_gateway_config(config, engine_url, pool_keys={"window": WINDOW, **pool})
    command = python("gateway", "serve", str(config), "--announce")
    with running(command, config.with_suffix(".log"), ready_seconds) as url:
        yield Gateway(url)


def test_a_flood_and_a_modest_tenant_are_served_alike(fair: Place) -> None:
    """While both wait in the engine about as many requests of each end, by whichever endpoint they came."""
    assert 0.6 <= asyncio.run(flood_for_each_modest(fair)) <= 1.6


def test_without_it_the_flood_goes_first(plain: Place) -> None:
    """The control: an engine that is told the same tenants and keeps its own order serves whoever came first."""
    assert asyncio.run(flood_for_each_modest(plain)) >= 2.5


async def flood_for_each_modest(place: Place) -> float:
    """Requests of the flood that end while all of the modest tenant's do, for each of those.

    Both come while a third tenant has every slot, the flood first; a trial in which they came too late is repeated.
    """
    async with crowd(place.gateway, place.engine_url) as clients:
        for _ in range(TRIALS):
            order = await compete(clients)
            if order:
                together = order[: len(order) - order[::-1].index(BOB)]
                return together.count(ALICE) / together.count(BOB)
    raise AssertionError("the requests never came while all slots were taken")


async def compete(clients: Crowd) -> list[Tenant]:
    """The tenants of a flood and of a modest crowd in the order of their ends; nothing where they did not all wait."""
    order: list[Tenant] = []
    body = {"model": MODEL, "prompt": "Tell", "max_tokens": BLOCKING_TOKENS, "ignore_eos": True}
    blocking = [clients.send(CAROL, PATH, body) for _ in range(SEQUENCES)]
    await clients.until(lambda: are_inside(clients, blocking))
    flood = send(clients, ALICE, FLOOD)
    await clients.until(lambda: are_inside(clients, [*blocking, *flood]))
    modest = send(clients, BOB, MODEST)
    await clients.until(lambda: are_inside(clients, [*blocking, *flood, *modest]))
    did_wait = not over([*blocking, *flood, *modest])
    for tenant, sent in ((ALICE, flood), (BOB, modest)):
        for client in sent:
            client.when_over(partial(order.append, tenant))
    for client in (*flood, *modest):
        await client.stay()
    await asyncio.sleep(0)  # the last ones' callbacks
    return order if did_wait else []


def send(clients: Crowd, tenant: Tenant, requests: int) -> list[Client]:
    """So many requests at once, over all endpoints in turn."""
    return [
        clients.send(tenant, path, {"model": MODEL, **body}) for path, body in islice(cycle(ASKING.items()), requests)
    ]


async def are_inside(clients: Crowd, sent: list[Client]) -> bool:
    """Whether every request is in the engine or over: none is on its way."""
    (engine,) = await clients.probe.gauges()
    return engine.running + engine.waiting + over(sent) >= len(sent)


def over(sent: list[Client]) -> int:
    """How many have their whole answer."""
    assert all(client.status in (None, 200) for client in sent)
    return sum(client.is_over for client in sent)


def test_requests_that_lose_their_place_in_the_cache_come_to_their_end(fair: Place) -> None:
    """Preempted for want of memory they wait before all others, resume, and have every token in the end."""
    body = {"model": MODEL, "prompt": "Tell", "max_tokens": GROWING_TOKENS, "ignore_eos": True}

    async def scenario() -> tuple[int, list[bytes]]:
        async with crowd(fair.gateway, fair.engine_url) as clients:
            (before,) = await clients.probe.gauges()
            sent = [clients.send(tenant, PATH, body) for tenant in (ALICE, BOB) * 4]
            answers = [await client.stay() for client in sent]
            (after,) = await clients.probe.gauges()
        return after.preemptions - before.preemptions, answers

    preemptions, answers = asyncio.run(scenario())
    assert preemptions > 0
    assert {json.loads(answer)["usage"]["completion_tokens"] for answer in answers} == {GROWING_TOKENS}


def test_who_leaves_the_engines_queue_is_gone_from_it(fair: Place) -> None:
    """Of many that wait most leave: the engine serves the rest, and then holds nothing."""

    async def scenario() -> None:
        async with crowd(fair.gateway, fair.engine_url) as clients:
            sent = send(clients, ALICE, FLOOD)
            await clients.until(lambda: are_inside(clients, sent))
            await asyncio.gather(*(client.leave() for client in sent[SEQUENCES:-1]))
            (bob,) = send(clients, BOB, 1)
            await bob.stay()
            await sent[-1].stay()
            assert (bob.status, sent[-1].status) == (200, 200)

    asyncio.run(scenario())


def test_several_choices_are_several_requests_in_the_engine(fair: Place) -> None:
    """Each of them belongs to the tenant."""
    answer = fair.gateway.ask("POST", PATH, {"model": MODEL, **ASKING[PATH], "n": 2})
    assert answer.status == 200, answer
    assert len(answer.document["choices"]) == 2
    assert answer.document["usage"]["completion_tokens"] == 2 * TOKENS
