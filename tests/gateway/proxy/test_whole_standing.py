"""A reload beside a request: it is judged by what holds when its body is there, and when it is sent."""

from collections.abc import Mapping
from typing import Any

import pytest
from raw_client import Client
from virtual_time import virtual_time
from whole_gateway import CHAT, Plan, Stage, chat, key_of, post, question, stage, tenant

from gateway.config import Limits, Pool, Right, Tenant, Window

ONE_SLOT = Window(sequences=1, slack=0, prefill_tokens=2048)
RICH = tenant("alice", allow=frozenset({Right("echo"), Right("ignore_eos")}), limits=Limits(max_output_tokens=1000))
POOR: dict[str, tuple[Tenant | None, int]] = {
    "key": (None, 401),
    "disabled": (RICH.model_copy(update={"keys": (RICH.keys[0].model_copy(update={"disabled": True}),)}), 401),
    "model": (RICH.model_copy(update={"models": ("other",)}), 404),
    "right": (RICH.model_copy(update={"allow": frozenset()}), 403),
}
ANOTHER_OWNER: dict[str, tuple[Tenant | None, int]] = {
    "owner": (RICH.model_copy(update={"name": "eve"}), 401),
}
PATHS: Mapping[str, dict[str, Any]] = {
    CHAT: question(max_tokens=4, ignore_eos=True),
    "/v1/completions": {"model": "tiny", "prompt": "x", "max_tokens": 4, "echo": True},
    "/v1/responses": {"model": "tiny", "input": "x", "max_output_tokens": 4, "ignore_eos": True},
    "/v1/messages": question(max_tokens=4, ignore_eos=True),
}


def reload(scene: Stage, alice: Tenant | None, **pool: Any) -> None:
    """Let the gateway take over another alice (None: none at all) beside the bob that it has."""
    config = scene.gateway.config
    others = [each for each in config.tenants if each.name not in ("alice", "eve")]
    pools = tuple(each.model_copy(update=pool) for each in config.pools)
    tenants = tuple([*others, alice] if alice else others)
    found = config.model_copy(update={"tenants": tenants, "pools": pools})
    scene.reload(found)


async def half_sent(scene: Stage, path: str, body: dict[str, Any]) -> tuple[Client, bytes]:
    """Send the head and half of the body of a request; returns the connection and the rest."""
    request = post(path, body, key_of("alice"))
    client = await scene.connect()
    client.send_raw(request[:-9])
    await scene.turn(50)
    return client, request[-9:]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("taken", POOR)
@virtual_time
async def test_what_a_reload_takes_during_an_upload_counts_no_more(path: str, taken: str) -> None:
    """The request and all later ones are refused in the API's form, and nothing reaches a worker."""
    poorer, status = POOR[taken]
    async with stage(plan=Plan(tenants=(RICH, tenant("bob")))) as scene:
        client, rest = await half_sent(scene, path, PATHS[path])
        reload(scene, poorer)
        client.send_raw(rest)
        slow = await client.read()
        later = [await scene.post(path, PATHS[path]) for _ in range(2)]
        assert [answer.status for answer in (slow, *later)] == [status] * 3
        assert all("error" in answer.json for answer in (slow, *later))
        assert scene.sent == []
        assert (await scene.ask(chat(3), "bob")).status == 200
        await client.close()


@virtual_time
async def test_a_slow_upload_keeps_no_old_limit_alive() -> None:
    """A limit that fell during an upload binds it and every later request of the tenant."""
    async with stage(plan=Plan(tenants=(RICH, tenant("bob")))) as scene:
        body = question(max_tokens=900)
        client, rest = await half_sent(scene, CHAT, body)
        reload(scene, RICH.model_copy(update={"limits": Limits(max_output_tokens=5)}))
        client.send_raw(rest)
        slow, later = await client.read(), await scene.post(CHAT, body)
        for answer in (slow, later):
            assert answer.status == 400 or answer.json["usage"]["completion_tokens"] <= 5
        await client.close()


@virtual_time
async def test_a_slow_upload_profits_from_what_a_reload_gives() -> None:
    """A right given during the upload counts too: the judgement is of one moment."""
    poorer, _ = POOR["right"]
    assert poorer is not None
    async with stage(plan=Plan(tenants=(poorer, tenant("bob")))) as scene:
        client, rest = await half_sent(scene, CHAT, PATHS[CHAT])
        reload(scene, RICH)
        client.send_raw(rest)
        assert (await client.read()).status == 200
        await client.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("taken", (POOR | ANOTHER_OWNER))
@virtual_time
async def test_what_a_reload_takes_from_a_waiting_request_is_refused_before_it_is_sent(path: str, taken: str) -> None:
    """If its key, model or right is gone at its turn, it is refused uncharged; what runs goes on."""
    poorer, status = (POOR | ANOTHER_OWNER)[taken]
    async with stage(plan=Plan(tenants=(RICH, tenant("bob")), window=ONE_SLOT)) as scene:
        running = scene.asking(chat(200), "alice")
        await scene.until(lambda: scene.in_flight)
        waiting = scene.asking(PATHS[path], "alice", path)
        await scene.until(lambda: scene.queued)
        reload(scene, poorer)
        assert (await running).is_done
        answer = await waiting
        assert answer.status == status
        assert "error" in answer.json
        assert len(scene.sent) == 1
        refused = next(event for event in scene.finished if event.status == status)
        assert (refused.service, refused.worker, refused.outcome.is_refusal) == (0, "", True)
        assert (await scene.ask(chat(3), "bob")).status == 200


@virtual_time
async def test_a_waiting_request_that_keeps_what_it_needs_is_served() -> None:
    """A reload that takes another right, another model or changes a weight takes nothing from it."""
    async with stage(plan=Plan(tenants=(RICH, tenant("bob")), window=ONE_SLOT)) as scene:
        running = scene.asking(chat(50), "bob")
        await scene.until(lambda: scene.in_flight)
        waiting = scene.asking(PATHS[CHAT])
        await scene.until(lambda: scene.queued)
        allow = frozenset({Right("ignore_eos")})
        reload(scene, RICH.model_copy(update={"allow": allow, "models": ("org/alias",), "weight": 3.0}))
        assert (await running).is_done
        assert (await waiting).status == 200


@virtual_time
async def test_a_name_that_leads_elsewhere_is_not_served_by_the_old_workers() -> None:
    """Its alias went to another pool while it waited, so it gets 404 with the reason; nothing was sent."""
    spare = Pool(model="spare", engine_model="spare")
    async with stage(plan=Plan(window=ONE_SLOT)) as scene:
        running = scene.asking(chat(50), "bob")
        await scene.until(lambda: scene.in_flight)
        waiting = scene.asking(question(model="org/alias", max_tokens=3))
        await scene.until(lambda: scene.queued)
        config = scene.gateway.config
        moved = (
            config.pools[0].model_copy(update={"aliases": ()}),
            spare.model_copy(update={"aliases": ("org/alias",)}),
        )
        scene.reload(config.model_copy(update={"pools": moved}))
        assert (await running).is_done
        answer = await waiting
        assert answer.status == 404 and "other workers" in answer.json["error"]["message"]
