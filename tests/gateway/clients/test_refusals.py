"""A refused client gets a status, a body in its own dialect, the time to come again, and the id of its request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from raw_client import Answer, request_bytes
from whole_gateway import Stage, key_of, post, question, tenant, with_gateway
from workers_on_stage import CPU_TINY, fault, faults

from backend.engine.faults import FaultKind
from gateway.config import Limits, Timeouts, Window, Worker
from gateway.outcomes import Outcome

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
both_dialects = pytest.mark.parametrize("dialect", PATHS)
SLOW: dict[str, Any] = {"engine": CPU_TINY, "window": Window(sequences=1, slack=0)}


def _check(answer: Answer, dialect: str, outcome: Outcome) -> dict[str, Any]:
    """The error of `answer`, which is what `outcome` looks like in `dialect`."""
    wire_form = outcome.wire_form
    assert answer.status == wire_form.status, answer
    assert answer.header("content-type") == "application/json"
    assert answer.header("server") == "vtc-gateway"
    request_id = answer.header("x-request-id")
    assert request_id and answer.header("request-id") == request_id
    document = answer.json
    error: dict[str, Any] = document["error"]
    if dialect == "openai":
        assert set(document) == {"error"} and set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["code"]) == (wire_form.openai_type, wire_form.openai_code)
    else:
        assert set(document) == {"type", "error", "request_id"} and set(error) == {"type", "message"}
        assert (document["type"], document["request_id"]) == ("error", request_id)
        assert error["type"] == wire_form.anthropic_type
    assert error["message"].endswith(".") and len(error["message"]) > 20
    if wire_form.status in (429, 503):
        assert int(answer.header("retry-after") or "0") >= 1
    return error


async def _ask(scene: Stage, dialect: str, key: str | None = None, **fields: Any) -> Answer:
    body = question(**({"max_tokens": 5} | fields))
    return await scene.post(PATHS[dialect], body, key_of("alice") if key is None else key)


@pytest.mark.parametrize(
    "header",
    [
        "X-Nothing: 1",
        "Authorization: Bearer vtc-unknown",
        "Authorization: Bearer ",
        "Authorization: Bearer",
        "Authorization: Basic dXNlcjpwYXNz",
        "Authorization:",
        f"Authorization: Bearer {'a' * 5000}",
        "Authorization: Bearer \xff\xfe\xed\xa0\x80",
        "x-api-key: \xe4\xf6\xfc",
        "x-api-key:",
        "Authorization: Bearer \u00e9",
    ],
)
@both_dialects
@with_gateway()
async def test_a_key_that_is_none_of_ours_is_401(scene: Stage, dialect: str, header: str) -> None:
    """A missing, empty, unknown, foreign, long or unreadable key gets an answer that says what to send."""
    raw = post(PATHS[dialect], question(max_tokens=2), "KEY").replace(
        b"Authorization: Bearer KEY", header.encode("latin-1")
    )
    answer = await scene.exchange(raw)
    error = _check(answer, dialect, Outcome.UNAUTHENTICATED)
    assert answer.header("www-authenticate") == "Bearer"
    assert "'Authorization: Bearer <key>' or 'x-api-key: <key>'" in error["message"]


OURS, OTHERS = key_of("alice"), key_of("bob")


@pytest.mark.parametrize(
    ("headers", "tenant"),
    [
        ([f"Authorization: Bearer {OURS}", f"x-api-key: {OURS}"], "alice"),
        ([f"Authorization: Bearer {OURS}", "x-api-key: sk-ant-foreign"], "alice"),
        ([f"Authorization: Bearer {OURS}", "x-api-key:"], "alice"),
        (["Authorization: Bearer EMPTY", f"x-api-key: {OURS}"], "alice"),
        (["Authorization: Basic dXNlcjpwYXNz", f"x-api-key: {OURS}"], "alice"),
        ([f"Authorization: Bearer {OURS}", f"Authorization: Bearer {OURS}"], "alice"),
        (["Authorization: Bearer EMPTY"], "bob"),
        (["Authorization: Bearer"], "bob"),
        (["x-api-key:"], "bob"),
        (["X-Nothing: 1"], "bob"),
    ],
)
@both_dialects
@with_gateway(anonymous="bob")
async def test_what_clients_send_beside_or_instead_of_a_key_is_no_fault(
    scene: Stage, dialect: str, headers: list[str], tenant: str
) -> None:
    """SDKs and proxies add credentials of their own: the one of ours pays, and without one the anonymous tenant."""
    answer = await scene.exchange(request_bytes(PATHS[dialect], question(max_tokens=2), headers))
    assert answer.status == 200
    assert scene.last.tenant == tenant


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ([f"Authorization: Bearer {OURS}", f"x-api-key: {OTHERS}"], Outcome.BAD_REQUEST),
        (["Authorization: Bearer vtc-wrong"], Outcome.UNAUTHENTICATED),
        (["Authorization: Bearer EMPTY", "x-api-key: vtc-wrong"], Outcome.UNAUTHENTICATED),
    ],
)
@both_dialects
@with_gateway(anonymous="bob")
async def test_two_payers_and_a_wrong_key_of_ours_are_refused(
    scene: Stage, dialect: str, headers: list[str], outcome: Outcome
) -> None:
    """Nobody is charged if two tenants could be meant, and a mistyped key does not become anonymous."""
    answer = await scene.exchange(request_bytes(PATHS[dialect], question(max_tokens=2), headers))
    _check(answer, dialect, outcome)
    assert scene.witness.started == 0


@with_gateway(tenants=(tenant("alice"), tenant("off").model_copy(update={"keys": ()})))
async def test_unknown_and_disabled_keys_are_answered_alike(scene: Stage) -> None:
    """No answer separates a key that was turned off from one that never was."""
    config = scene.gateway.config
    disabled = tenant("off").keys[0].model_copy(update={"disabled": True})
    tenants = (config.tenants[0], config.tenants[1].model_copy(update={"keys": (disabled,)}))
    scene.reload(config.model_copy(update={"tenants": tenants}))
    answers = [await scene.post(PATHS["openai"], question(), key) for key in (key_of("off"), "vtc-never")]
    assert answers[0].status == 401
    assert answers[0].body == answers[1].body


@both_dialects
@with_gateway()
async def test_a_field_without_the_right_is_403(scene: Stage, dialect: str) -> None:
    """The message names the field and the right."""
    error = _check(await _ask(scene, dialect, ignore_eos=True), dialect, Outcome.FORBIDDEN)
    assert "ignore_eos" in error["message"]


@both_dialects
@with_gateway(tenants=(tenant("alice"), tenant("bob", models=("other",))))
async def test_a_model_that_is_not_there_and_one_not_allowed_are_404(scene: Stage, dialect: str) -> None:
    """The message lists what the key may use, and nothing else."""
    error = _check(await _ask(scene, dialect, model="gpt-9"), dialect, Outcome.UNKNOWN_MODEL)
    assert "tiny" in error["message"]
    error = _check(await _ask(scene, dialect, key=key_of("bob")), dialect, Outcome.UNKNOWN_MODEL)
    assert "Models of this key: none" in error["message"]


@both_dialects
@with_gateway()
async def test_a_wrong_field_is_400_and_named(scene: Stage, dialect: str) -> None:
    """The message says which field and what is wrong with it."""
    error = _check(await _ask(scene, dialect, max_tokens=-1), dialect, Outcome.BAD_REQUEST)
    assert "'max_tokens'" in error["message"]


@both_dialects
@with_gateway()
async def test_a_wrong_method_is_405_with_the_right_one(scene: Stage, dialect: str) -> None:
    """`Allow` and the message say how the path is called."""
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        answer = await scene.exchange(f"{method} {PATHS[dialect]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        error = _check(answer, dialect, Outcome.WRONG_METHOD)
        assert answer.header("allow") == "POST" and "POST" in error["message"]


@pytest.mark.parametrize(
    ("path", "version", "dialect"),
    [
        ("/v1/messages/batches", "x-a: b", "anthropic"),
        ("/v1/v1/messages", "x-a: b", "anthropic"),
        ("/v1/complete", "anthropic-version: 2023-06-01", "anthropic"),
        ("/v1/audio/speech", "x-a: b", "openai"),
        ("//v1/chat/completions", "x-a: b", "openai"),
    ],
)
@with_gateway()
async def test_an_unknown_path_answers_in_the_dialect_that_was_meant(
    scene: Stage, path: str, version: str, dialect: str
) -> None:
    """The path or Anthropic's version header decides; the log has the path, the answer the remedy."""
    answer = await scene.post(f"{path}?secret", {}, headers=[version])
    error = _check(answer, dialect, Outcome.UNKNOWN_PATH)
    assert "base_url" in error["message"]
    assert (scene.last.endpoint, scene.last.detail) == ("unknown", f"path {path}")


@both_dialects
@with_gateway(listen={"max_body_mib": 1})
async def test_the_body_itself_is_refused_in_the_dialect(scene: Stage, dialect: str) -> None:
    """Refusals of the body (413, 415 and 408) have the form of the client's API."""
    head = f"POST {PATHS[dialect]} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('alice')}\r\n"
    large = await scene.exchange(f"{head}Content-Length: 9999999\r\n\r\n".encode())
    _check(large, dialect, Outcome.BODY_TOO_LARGE)
    other = await scene.exchange(f"{head}Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    _check(other, dialect, Outcome.UNSUPPORTED_MEDIA)
    slow = await scene.exchange(f"{head}Content-Length: 2\r\n\r\n".encode())
    _check(slow, dialect, Outcome.BODY_TIMEOUT)


@both_dialects
@with_gateway(tenants=(tenant("alice", limits=Limits(requests_per_minute=2)),))
async def test_a_rate_limit_is_429_until_its_bucket_refills(scene: Stage, dialect: str) -> None:
    """With two a minute, the third request gets a Retry-After of 30 s and is served then."""
    for _ in range(2):
        assert (await _ask(scene, dialect)).status == 200
    answer = await _ask(scene, dialect)
    error = _check(answer, dialect, Outcome.RATE_LIMITED)
    assert answer.header("retry-after") == "30" and "Retry after 30 s" in error["message"]
    await asyncio.sleep(30)
    assert (await _ask(scene, dialect)).status == 200


@both_dialects
@with_gateway(tenants=(tenant("alice", limits=Limits(tokens_per_minute=60)),))
async def test_a_token_limit_is_429_by_what_the_engine_counted(scene: Stage, dialect: str) -> None:
    """A prompt and an answer that used the allowance up are paid back by waiting."""
    assert (await _ask(scene, dialect, max_tokens=50)).status == 200
    answer = await _ask(scene, dialect, max_tokens=50)
    _check(answer, dialect, Outcome.RATE_LIMITED)
    await asyncio.sleep(int(answer.header("retry-after") or "0"))
    assert (await _ask(scene, dialect, max_tokens=1)).status == 200


async def _while_busy(scene: Stage, steps: Callable[[], Awaitable[None]]) -> None:
    """Run `steps` while one long answer fills the only place at the worker."""
    wire = await scene.connect()
    wire.send_raw(post(PATHS["openai"], question(stream=True, max_tokens=1900, min_tokens=1900), key_of("alice")))
    await wire.read_head()
    try:
        await steps()
    finally:
        wire.leave()


@both_dialects
@with_gateway(**SLOW, scheduler={"queue_timeout_seconds": 2.0})
async def test_contention_that_outlasts_the_queue_is_429(scene: Stage, dialect: str) -> None:
    """The refusal comes with the queue's time-out and names a useful time for another attempt."""

    async def steps() -> None:
        began = asyncio.get_running_loop().time()
        _check(await _ask(scene, dialect), dialect, Outcome.QUEUE_TIMEOUT)
        assert asyncio.get_running_loop().time() - began == pytest.approx(2.0, abs=0.1)

    await _while_busy(scene, steps)


@both_dialects
@with_gateway(**SLOW, tenants=(tenant("alice", limits=Limits(max_queued=1)),))
async def test_a_tenant_with_a_full_queue_is_429(scene: Stage, dialect: str) -> None:
    """The gateway refuses at once one request more than the tenant may have waiting."""

    async def steps() -> None:
        waiting = await scene.connect()
        waiting.send_raw(post(PATHS[dialect], question(max_tokens=5), key_of("alice")))
        await scene.when(lambda: scene.queued == 1)
        _check(await _ask(scene, dialect), dialect, Outcome.TENANT_QUEUE_FULL)
        waiting.leave()

    await _while_busy(scene, steps)


@both_dialects
@with_gateway(**SLOW, scheduler={"max_queued": 1})
async def test_the_longest_queue_gives_way_with_429(scene: Stage, dialect: str) -> None:
    """The second waiting request of a tenant is pushed out of a full queue; another tenant's first is not."""

    async def steps() -> None:
        first, second = await scene.connect(), await scene.connect()
        first.send_raw(post(PATHS[dialect], question(max_tokens=5), key_of("alice")))
        await scene.when(lambda: scene.queued == 1)
        _check(await _ask(scene, dialect), dialect, Outcome.PUSHED_OUT)
        first.leave()
        second.leave()

    await _while_busy(scene, steps)


DEAD = Worker(name="w0", url="http://127.0.0.1:1", window=Window())


@both_dialects
@with_gateway(pool={"workers": (DEAD,), "timeouts": Timeouts(outage_seconds=0)})
async def test_no_worker_is_503(scene: Stage, dialect: str) -> None:
    """The gateway refuses at once and says when to come again; `/ready` says so too."""
    _check(await _ask(scene, dialect), dialect, Outcome.NO_WORKER)
    answer = await scene.post("/tokenize", {"model": "tiny", "prompt": "x"})
    _check(answer, "openai", Outcome.NO_WORKER)
    ready = await scene.get("/ready")
    assert (ready.status, ready.json) == (503, {"status": "no worker", "pools": {"tiny": "no worker"}})


@both_dialects
@with_gateway(engine=faults(fault(FaultKind.REFUSE, every=1, status=500)))
async def test_a_worker_that_fails_twice_is_502(scene: Stage, dialect: str) -> None:
    """The engine's own 500 is not passed on: the words are the gateway's, in the client's dialect."""
    _check(await _ask(scene, dialect), dialect, Outcome.WORKER_FAILED)


@both_dialects
@with_gateway(
    engine=faults(fault(FaultKind.STALL_FIRST_BYTE, every=1)), pool={"timeouts": Timeouts(first_byte_seconds=5)}
)
async def test_a_worker_that_does_not_begin_is_504(scene: Stage, dialect: str) -> None:
    """Each attempt gets the time for a first byte; after the last one the client gets an error."""
    _check(await _ask(scene, dialect, stream=True), dialect, Outcome.FIRST_BYTE_TIMEOUT)


@both_dialects
@with_gateway(**SLOW, listen={"drain_seconds": 1.0})
async def test_a_draining_gateway_refuses_with_503_and_closes(scene: Stage, dialect: str) -> None:
    """New requests on open connections are refused, so that clients go elsewhere; `/ready` is 503 at once."""
    idle, probing = await scene.connect(), await scene.connect()
    for wire in (idle, probing):
        wire.send_raw(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await wire.read()).status == 200

    async def steps() -> None:
        stopping = asyncio.create_task(scene.gateway.stop())
        await asyncio.sleep(0.05)
        probing.send_raw(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
        ready = await probing.read()
        assert (ready.status, ready.json) == (503, {"status": "draining", "pools": {"tiny": "ready"}})
        idle.send_raw(post(PATHS[dialect], question(max_tokens=5), key_of("bob")))
        answer = await idle.read()
        _check(answer, dialect, Outcome.DRAINING)
        assert answer.header("retry-after") == "5" and answer.header("connection") == "close"
        await stopping

    await _while_busy(scene, steps)
    await idle.close()
    await probing.close()


@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("/v1/chat/completions", b'data: {"error":{"message":'),
        ("/v1/completions", b'data: {"error":{"message":'),
        ("/v1/responses", b'event: error\ndata: {"type":"error","code":"worker_lost"'),
        ("/v1/messages", b'event: error\ndata: {"type":"error","error":{"type":"api_error"'),
    ],
)
@with_gateway(engine=faults(fault(FaultKind.CUT, every=1, after_tokens=3)))
async def test_a_stream_that_breaks_ends_in_one_well_formed_event(scene: Stage, path: str, event: bytes) -> None:
    """The last event is one error event of the API; no end marker follows that a client could believe."""
    body = question("Hello", stream=True, max_tokens=50) | {"prompt": "Hello"}
    if path == "/v1/responses":
        body = {"model": "tiny", "input": "Hello", "stream": True, "max_output_tokens": 50}
    elif path == "/v1/completions":
        del body["messages"]
    answer = await scene.post(path, body)
    assert answer.status == 200
    assert answer.body.count(event) == 1
    assert answer.body.rstrip().rpartition(b"\n\n")[2].startswith(event)
    assert b"[DONE]" not in answer.body and b"message_stop" not in answer.body
    assert b"response.completed" not in answer.body
