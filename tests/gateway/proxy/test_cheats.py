"""Ways to take more than one's share, played against the whole gateway: each gains nothing.

Each test is named after the trick. What the engine itself counted is the witness; costs are the default ones, 1 for a
prompt token and 2 for an output token.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from raw_client import Client
from whole_gateway import Stage, exactly, key_of, post, question, tenant, with_gateway
from workers_on_stage import CPU_TINY

from gateway.config import Limits, Right, ShareBy, Tenant, Window
from gateway.outcomes import Outcome

CHAT = "/v1/chat/completions"
ONE_PLACE: dict[str, Any] = {"engine": CPU_TINY, "window": Window(sequences=1, slack=0)}


def _witnessed_cost(scene: Stage) -> int:
    return scene.witness.prompt_tokens + 2 * scene.witness.output_tokens


async def _submit(scene: Stage, key: str, requests: Sequence[dict[str, object]]) -> list[Client]:
    """Send each of `requests` on a connection of its own, in order, and wait until all are known to the gateway."""
    wires = []
    known = len(scene.submitted)
    for body in requests:
        wire = await scene.connect()
        wire.send_raw(post(CHAT, body, key))
        wires.append(wire)
        known += 1
        await scene.when(lambda: len(scene.submitted) == known)  # noqa: B023 - awaited at once
    return wires


async def _answers(scene: Stage, wires: Sequence[Client], count: int) -> list[str]:
    """The tenants of the first `count` requests that end, in the order of their ends."""
    before = len(scene.finished)
    await scene.when(lambda: len(scene.finished) >= before + count)
    order = [event.tenant for event in scene.finished[before : before + count]]
    for wire in wires:
        wire.leave()
    return order


# -- what is charged


@with_gateway(engine=CPU_TINY)
async def test_disconnecting_before_the_last_chunk(scene: Stage) -> None:
    """What was generated is charged: all but the last tokens of an answer are not free."""
    wire = await scene.connect()
    wire.send_raw(post(CHAT, question(stream=True, **exactly(200)), key_of("alice")))
    await wire.read_head()
    for _ in range(100):
        await wire.read_piece()
    wire.leave()
    await scene.when(lambda: bool(scene.finished))
    await asyncio.sleep(0.1)
    assert scene.finished[0].outcome is Outcome.CLIENT_GONE_STREAMING
    assert scene.witness.output_tokens >= 99
    assert _witnessed_cost(scene) - 4 <= scene.service("alice") <= _witnessed_cost(scene)


@with_gateway(engine=CPU_TINY)
async def test_disconnecting_before_an_answer_that_is_not_streamed(scene: Stage) -> None:
    """Two seconds of decoding are charged by estimate although no byte of them was ever seen."""
    for _ in range(3):  # the gateway learns this engine's pace
        await scene.generate(**exactly(100))
    before, seen = scene.service("alice"), scene.witness.output_tokens
    wire = await scene.connect()
    wire.send_raw(post(CHAT, question(**exactly(1000)), key_of("alice")))
    await asyncio.sleep(2)
    wire.leave()
    await asyncio.sleep(0.1)
    generated = scene.witness.output_tokens - seen
    assert generated > 200
    assert (scene.service("alice") - before) / 2 == pytest.approx(generated, rel=0.2)


@with_gateway()
async def test_a_huge_stream_interval(scene: Stage) -> None:
    """The engine never gets the order to batch tokens into one chunk, which would hide them from the meter."""
    await scene.generate(stream=True, stream_interval=10_000, **exactly(30))
    assert "stream_interval" not in scene.sent[-1].body


@pytest.mark.parametrize("options", [None, {"include_usage": False}, {"continuous_usage_stats": False}, {}])
@with_gateway()
async def test_hiding_usage(scene: Stage, options: object) -> None:
    """Usage is asked of the engine whatever the client says, and the client that did not ask sees none."""
    answer = await scene.generate(stream=True, stream_options=options, **exactly(30))
    assert b'"usage"' not in answer.body
    assert scene.sent[-1].body["stream_options"]["include_usage"] is True
    assert scene.sent[-1].body["stream_options"]["continuous_usage_stats"] is True
    assert scene.service("alice") == _witnessed_cost(scene)


@with_gateway(engine=CPU_TINY)
async def test_many_choices(scene: Stage) -> None:
    """`n` choices take n places and cost n answers; more than the limit is refused."""
    wire = await scene.connect()
    wire.send_raw(post(CHAT, question(stream=True, n=4, **exactly(20)), key_of("alice")))
    await wire.read_head()
    assert scene.in_flight == 4
    await wire.close()
    await scene.when(lambda: bool(scene.finished))
    before = scene.service("alice"), _witnessed_cost(scene)
    await scene.generate(n=4, **exactly(20))
    assert scene.service("alice") - before[0] == _witnessed_cost(scene) - before[1] >= 160
    assert (await scene.generate(n=5)).status == 400


@with_gateway(engine=CPU_TINY)
async def test_a_list_of_prompts(scene: Stage) -> None:
    """Three prompts in one request take three places and cost three answers."""
    body = {"model": "tiny", "prompt": ["one", "two", "three"], "stream": True, **exactly(20)}
    wire = await scene.connect()
    wire.send_raw(post("/v1/completions", body, key_of("alice")))
    await wire.read_head()
    assert scene.in_flight == 3
    while await wire.read_piece():
        pass
    assert scene.service("alice") == _witnessed_cost(scene) >= 120
    await wire.close()


@pytest.mark.parametrize(
    "trick",
    [{"best_of": 4}, {"use_beam_search": True, "n": 4}, {"ignore_eos": True}, {"prompt_logprobs": 1}, {"echo": True}],
)
@with_gateway()
async def test_best_of_and_beam_width_and_ignore_eos(scene: Stage, trick: dict[str, object]) -> None:
    """What multiplies work out of sight needs a right that tenants do not have."""
    answer = await scene.post("/v1/completions", {"model": "tiny", "prompt": "x", **trick})
    assert answer.status == 403
    assert scene.witness.started == 0


@with_gateway(tenants=(tenant("alice", limits=Limits(max_output_tokens=40)),))
async def test_min_tokens_and_no_max_tokens(scene: Stage) -> None:
    """An answer without a bound gets the tenant's; neither `min_tokens` nor `max_tokens` can pass it."""
    asked: tuple[dict[str, int], ...] = (
        {"min_tokens": 40},
        {"min_tokens": 40, "max_tokens": 41},
        {"min_tokens": 40, "max_tokens": 9999},
    )
    for answers, fields in enumerate(asked, 1):
        assert (await scene.generate(**fields)).status == 200
        assert scene.witness.output_tokens == 40 * answers
        assert scene.service("alice") == _witnessed_cost(scene)
    assert (await scene.generate(min_tokens=41)).status == 400


@with_gateway(tenants=(tenant("alice", allow=frozenset({Right.ECHO})),))
async def test_usage_like_text_in_a_prompt(scene: Stage) -> None:
    """A prompt that looks like the engine's usage, echoed into the stream, is text."""
    text = 'data: {"choices":[],"usage":{"prompt_tokens":0,"total_tokens":0,"completion_tokens":0}}\n\ndata: [DONE]\n\n'
    body = {"model": "tiny", "prompt": f'{text}","usage":{{"prompt_tokens":0}}', "stream": True, "echo": True}
    answer = await scene.post("/v1/completions", body | exactly(30))
    assert answer.data[-1] == b"[DONE]" and len(answer.data) > 20
    assert scene.service("alice") == _witnessed_cost(scene) >= 60 + len(text)


# -- what the engine is told


@with_gateway()
async def test_priority_and_cache_salt_and_request_id(scene: Stage) -> None:
    """The engine's queue order, cache and ids are not the client's to choose."""
    wishes = {"priority": -1000, "cache_salt": "of bob", "request_id": "mine", "session_id": "mine"}
    headers = [
        "X-Request-Id: mine",
        "X-Vllm-Priority: -1000",
        "X-data-parallel-rank: 0",
        "X-Session-ID: mine",
        "endpoint-load-metrics-format: TEXT",
        "X-Forwarded-For: 10.0.0.1",
        "Cookie: a=b",
    ]
    answer = await scene.post(CHAT, question(max_tokens=2, **wishes), headers=headers)
    sent = scene.sent[-1]
    assert sent.body.keys().isdisjoint({"priority", "request_id", "session_id"})
    assert len(sent.body["cache_salt"]) == 64
    assert sent.headers["x-request-id"] == answer.header("x-request-id") != "mine"
    names = {header.partition(":")[0].lower() for header in headers} - {"x-request-id"}
    assert sent.headers.keys().isdisjoint(names | {"authorization", "x-api-key"})
    await scene.post(CHAT, question(max_tokens=2, cache_salt=sent.body["cache_salt"]), key_of("bob"))
    assert scene.sent[-1].body["cache_salt"] != sent.body["cache_salt"], "another tenant's cached prompts would answer"


@with_gateway()
async def test_tenant_headers_and_user(scene: Stage) -> None:
    """The key pays, whoever the client says that it is."""
    headers = ["X-Tenant: bob", "X-Vtc-Tenant: bob", "OpenAI-Organization: bob", "OpenAI-Project: bob", "X-User: bob"]
    body = question(max_tokens=5, user="bob", safety_identifier="bob", metadata={"user_id": "bob", "tenant": "bob"})
    await scene.post(CHAT, body, headers=headers)
    assert scene.finished[-1].tenant == "alice"
    assert (scene.service("alice"), scene.service("bob")) == (_witnessed_cost(scene), 0)
    assert "user" not in scene.sent[-1].body


# -- who goes next


def _crowd(trick: str) -> list[tuple[str, dict[str, object]]]:
    """Forty requests of alice under as many disguises as the trick allows: key and body."""
    body = question(**exactly(20))
    match trick:
        case "a random identity per request":
            return [(key_of("alice"), body | {"user": f"user {n}"}) for n in range(40)]
        case "many keys of one tenant":
            return [(key_of("alice", 1 + n % 10), body) for n in range(40)]
        case _:
            return [(key_of("alice"), body) for _ in range(40)]


CROWDED: tuple[Tenant, ...] = (tenant("alice", keys=10, share_by=ShareBy.END_USER), tenant("bob"))
KEYED: tuple[Tenant, ...] = (tenant("alice", keys=10), tenant("bob"))


async def _bobs_among_first_twenty(scene: Stage, trick: str) -> int:
    """Alice sends forty requests, then bob ten: how many of bob's are among the first twenty answers."""
    wires: list[Client] = []
    for key, body in _crowd(trick):
        wires += await _submit(scene, key, [body])
    wires += await _submit(scene, key_of("bob"), [question(**exactly(20))] * 10)
    return (await _answers(scene, wires, 20)).count("bob")


@with_gateway(**ONE_PLACE, tenants=CROWDED)
async def test_a_random_identity_per_request(scene: Stage) -> None:
    """Forty made-up users of one tenant get the tenant's half together."""
    assert await _bobs_among_first_twenty(scene, "a random identity per request") >= 8


@with_gateway(**ONE_PLACE, tenants=KEYED)
async def test_many_keys_of_one_tenant(scene: Stage) -> None:
    """Ten keys of one tenant get the tenant's half together."""
    assert await _bobs_among_first_twenty(scene, "many keys of one tenant") >= 8


@with_gateway(**ONE_PLACE)
async def test_many_connections(scene: Stage) -> None:
    """Forty connections of one tenant get the tenant's half together."""
    assert await _bobs_among_first_twenty(scene, "many connections") >= 8


@with_gateway(**ONE_PLACE, scheduler={"policy": "fcfs"})
async def test_control_first_come_first_served_lets_the_crowd_win(scene: Stage) -> None:
    """Without fair queuing the same forty requests leave bob nothing: the tests above can fail."""
    assert await _bobs_among_first_twenty(scene, "many connections") == 0


@with_gateway(**ONE_PLACE, tenants=(tenant("alice"), *(tenant(f"idle{n}") for n in range(10))))
async def test_many_idle_tenants_to_inherit_a_lift(scene: Stage) -> None:
    """Tenants that never ran start level with those that wait: their credit of zero is worth nothing."""
    wires = await _submit(scene, key_of("alice"), [question(**exactly(20))] * 30)
    await scene.when(lambda: len(scene.finished) >= 10)
    level = scene.counter("alice")
    assert level > 300
    for number in range(10):
        wires += await _submit(scene, key_of(f"idle{number}"), [question(**exactly(20))] * 2)
        assert scene.counter(f"idle{number}") >= level
    order = await _answers(scene, wires, 11)
    assert "alice" in order


@with_gateway(**ONE_PLACE)
async def test_stopping_at_the_last_moment_to_keep_credit(scene: Stage) -> None:
    """Bob pauses while alice works and comes back: what he did not use then is not owed to him now."""
    await scene.generate("bob", **exactly(20))
    wires = await _submit(scene, key_of("alice"), [question(**exactly(20))] * 40)
    await scene.when(lambda: len(scene.finished) >= 15)
    wires += await _submit(scene, key_of("bob"), [question(**exactly(20))] * 20)
    order = await _answers(scene, wires, 12)
    assert 4 <= order.count("alice") <= 8


@with_gateway(**ONE_PLACE)
async def test_cancelling_while_queued(scene: Stage) -> None:
    """A hundred requests sent and withdrawn cost nothing, gain nothing and leave nothing in the queue."""
    wires = await _submit(scene, key_of("alice"), [question(**exactly(30))] * 3)
    for _ in range(10):
        withdrawn = await _submit(scene, key_of("bob"), [question(**exactly(30))] * 10)
        for wire in withdrawn:
            wire.leave()
        await scene.when(lambda: scene.queued <= 2)
    gone = [event for event in scene.finished if event.outcome is Outcome.CLIENT_GONE_QUEUED]
    assert len(gone) >= 99  # one may have been granted the place in time
    before = scene.counter("bob")
    assert before <= 200
    wires += await _submit(scene, key_of("bob"), [question(**exactly(30))])
    assert "alice" in await _answers(scene, wires, 3)


@with_gateway(**ONE_PLACE, tenants=(tenant("alice", limits=Limits(max_queued=3)), tenant("bob")))
async def test_retry_storms(scene: Stage) -> None:
    """Refused requests reach no worker and cost others nothing: bob is served in his turn, never refused."""
    wires = await _submit(scene, key_of("alice"), [question(**exactly(20))] * 4)
    for _ in range(50):
        assert (await scene.generate("alice")).status == 429
    assert scene.witness.started <= 2
    answer = await scene.generate("bob", **exactly(5))
    assert answer.status == 200
    waits = [event.queue_wait_seconds for event in scene.finished if event.tenant == "bob"]
    assert waits[0] is not None and waits[0] < 1.0
    for wire in wires:
        wire.leave()


@with_gateway(tenants=(tenant("alice", limits=Limits(requests_per_minute=5)), tenant("bob")))
async def test_free_requests_as_a_way_round_the_rate(scene: Stage) -> None:
    """Tokenizing counts as a request: it cannot be had without end."""
    body = {"model": "tiny", "prompt": "x"}
    statuses = [(await scene.post("/tokenize", body)).status for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2
    assert (await scene.post("/tokenize", body, key_of("bob"))).status == 200


@with_gateway()
async def test_poison_requests_that_make_workers_look_unhealthy(scene: Stage) -> None:
    """Requests that the engine refuses (4xx) say nothing of its health, however many."""
    poison = question("x" * 9000, max_tokens=5)
    changes = scene.changes
    for _ in range(30):
        answer = await scene.post(CHAT, poison)
        assert answer.status == 400
    assert {event.outcome for event in scene.finished} == {Outcome.REJECTED_BY_ENGINE}
    assert scene.service("alice") == 0
    assert scene.changes == changes
    assert (await scene.get("/ready")).status == 200
    assert (await scene.generate("bob", max_tokens=5)).status == 200
