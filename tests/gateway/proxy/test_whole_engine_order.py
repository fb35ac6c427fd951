"""Workers that order their own queue get the tenant of each request; all others do not."""

from typing import Any

import pytest
from whole_gateway import CHAT, Stage, key_of, question, tenant, with_gateway

from gateway.config import EngineOrder

TENANTS = (tenant("alice", weight=2.5), tenant("bob"))
MESSAGES = {"model": "tiny", "max_tokens": 2, "messages": [{"role": "user", "content": "hi"}]}
ASKING = {
    CHAT: question(max_tokens=2),
    "/v1/completions": {"model": "tiny", "prompt": "hi", "max_tokens": 2},
    "/v1/responses": {"model": "tiny", "input": "hi", "max_output_tokens": 2},
    "/v1/messages": MESSAGES,
}


@pytest.mark.parametrize("path", ASKING)
@with_gateway(tenants=TENANTS, worker={"engine_order": EngineOrder.VTC})
async def test_an_engine_that_orders_its_queue_learns_tenant_and_weight(scene: Stage, path: str) -> None:
    """Every endpoint that generates says whose the request is, without saying the tenant's name."""
    received = [await arguments_for(scene, path, name) for name in ("alice", "alice", "bob")]
    assert [each["vtc_weight"] for each in received] == [2.5, 2.5, 1.0]
    names = [each["vtc_tenant"] for each in received]
    assert names[0] == names[1] != names[2]
    assert not {"alice", "bob"} & set(names)


@with_gateway(tenants=TENANTS)
async def test_an_ordinary_engine_is_told_nothing(scene: Stage) -> None:
    """By default the gateway orders, and the engine's queue is its own."""
    await scene.post(CHAT, ASKING[CHAT], key_of("alice"))
    assert "vllm_xargs" not in scene.sent[-1].body


async def arguments_for(scene: Stage, path: str, name: str) -> dict[str, Any]:
    """The arguments that the engine gets with a request of tenant `name`."""
    answer = await scene.post(path, ASKING[path], key_of(name))
    assert answer.status == 200
    received: dict[str, Any] = scene.sent[-1].body["vllm_xargs"]
    return received
