"""Keys of clients and of the operator: what tells a wrong one from another, rotation, and pages without a key."""

import asyncio
from typing import Any

import pytest
from raw_client import Answer
from virtual_time import virtual_time
from whole_gateway import ADMIN_KEY, CHAT, Plan, Stage, chat, key_of, stage, tenant, with_gateway
from workers_on_stage import EngineWorker

from gateway.config import Admin, KeyFormat, Tenant, digest
from gateway.wire.surface import ENDPOINTS

PUBLIC = {"host": "0.0.0.0"}  # as in a container
TWO_KEYS = tenant("alice", keys=2)


def with_disabled(rotated: Tenant, place: int) -> Tenant:
    """The same tenant, one of its keys turned off."""
    keys = list(rotated.keys)
    keys[place] = keys[place].model_copy(update={"disabled": True})
    return rotated.model_copy(update={"keys": tuple(keys)})


def reload(scene: Stage, alice: Tenant | None = None, **sections: Any) -> None:
    """Let the gateway take over other sections, and another alice."""
    tenants = (alice or TWO_KEYS, tenant("bob"))
    config = scene.gateway.config.model_copy(update={"tenants": tenants, **sections})
    scene.reload(config)


def nameless(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """All of an answer but its id and its time."""
    request_id = answer.headers["request-id"]
    headers = {name: value for name, value in answer.headers.items() if name != "date" and value != request_id}
    return answer.status, headers, answer.body.replace(request_id.encode(), b"ID")


@pytest.mark.parametrize("path", [*sorted(ENDPOINTS), "/v1/models", "/debug/state"])
@virtual_time
async def test_no_byte_tells_an_unknown_key_from_one_that_was_turned_off_or_removed(path: str) -> None:
    """Of every API and page: status, headers and body are the same."""
    removed = TWO_KEYS.model_copy(update={"keys": TWO_KEYS.keys[:1]})
    async with stage(plan=Plan(tenants=(TWO_KEYS, tenant("bob")))) as scene:
        answers = []
        for key, alice in (
            (KeyFormat.create(), TWO_KEYS),
            ("no key of ours", TWO_KEYS),
            (key_of("alice", 1), with_disabled(TWO_KEYS, 0)),
            (key_of("alice", 2), removed),
        ):
            reload(scene, alice)
            is_page = path not in ENDPOINTS
            answers.append(nameless(await (scene.get(path, key) if is_page else scene.post(path, chat(3), key))))
        assert answers[0][0] == 401
        assert all(answer == answers[0] for answer in answers)


@virtual_time
async def test_a_key_is_rotated_without_a_refusal() -> None:
    """Both are the same tenant while they overlap; what the old one began goes on when it is turned off."""
    old, new = key_of("alice", 1), key_of("alice", 2)
    async with stage(EngineWorker(), plan=Plan(tenants=(TWO_KEYS, tenant("bob")))) as scene:
        for key in (old, new):
            assert (await scene.post(CHAT, chat(3), key)).status == 200
        begun = asyncio.create_task(scene.post(CHAT, chat(50), old))
        await scene.until(lambda: scene.in_flight)
        reload(scene, with_disabled(TWO_KEYS, 0))
        assert (await scene.post(CHAT, chat(3), old)).status == 401
        assert (await scene.post(CHAT, chat(3), new)).status == 200
        assert (await begun).is_done
        served = [event for event in scene.finished if event.output_tokens]
        assert {event.tenant for event in served} == {"alice"}
        assert [event.key_id for event in served] == ["key1", "key2", "key2", "key1"]


@with_gateway(listen=PUBLIC)
async def test_no_page_on_a_public_address_tells_a_key_a_digest_or_a_prompt(scene: Stage) -> None:
    """What is open to everybody, and what the operator alone may see."""
    prompt = "a prompt that is nobody's business"
    await scene.post(CHAT, chat(3, prompt=prompt))
    shown = [(await scene.get(path)).body for path in ("/health", "/ready", "/metrics")]
    shown.append((await scene.get("/debug/state", ADMIN_KEY)).body)
    shown.append(scene.end_log().encode())
    secrets = [key for name in ("alice", "bob") for key in (key_of(name), digest(key_of(name)).hex())]
    for text in shown:
        assert not [secret for secret in (*secrets, ADMIN_KEY, prompt) if secret.encode() in text]


@with_gateway(listen=PUBLIC, anonymous="bob")
async def test_without_an_admin_key_nobody_sees_the_state(scene: Stage) -> None:
    """No key opens it, an empty one neither: a public address needs no refusal to start."""
    assert (await scene.get("/debug/state", ADMIN_KEY)).status == 200
    reload(scene, admin=Admin())
    for key in (None, "", ADMIN_KEY, key_of("alice"), digest("").hex()):
        assert (await scene.get("/debug/state", key)).status == 401
