"""The gateway's own pages and the shape of paths: exact, read-only, identified, and open to whom they should be."""

import pytest
from whole_gateway import ADMIN_KEY, Stage, key_of, question, tenant, with_gateway

from gateway.config import Metrics, Pool, Worker
from gateway.outcomes import Outcome
from gateway.workers import Signal, WindowSize, WorkerSpec

PAGES = ("/health", "/ready", "/metrics")


@pytest.mark.parametrize("path", PAGES)
@with_gateway()
async def test_pages_need_no_key_and_tell_no_event(scene: Stage, path: str) -> None:
    """GET and HEAD answer alike, with the headers that every answer has; probes fill neither log nor metrics."""
    answer = await scene.get(path)
    assert answer.status == 200
    assert answer.header("server") == "vtc-gateway"
    assert answer.header("x-request-id") == answer.header("request-id") != ""
    assert (await scene.get(f"{path}?verbose=1")).status == 200
    wire = await scene.connect()
    wire.send_raw(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await wire.read(has_body=False)
    assert head.status == 200 and int(head.header("content-length") or "0") > 0
    wire.send_raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.read()).json == {"status": "ok"}
    await wire.close()
    assert scene.finished == []


@pytest.mark.parametrize("path", [*PAGES, "/v1/models", "/v1/models/tiny", "/debug/state"])
@with_gateway()
async def test_pages_are_read_only(scene: Stage, path: str) -> None:
    """Another method is 405 and says which ones there are."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = await scene.exchange(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")


LARGE = Pool(model="org/large", engine_model="large", workers=(Worker(name="gone", url="http://127.0.0.1:9"),))


def add_pool(scene: Stage) -> None:
    """A second pool, whose only worker is not there."""
    fleet = scene.fleet
    fleet.configure(WorkerSpec("org/large/gone", "org/large", "http://127.0.0.1:9", WindowSize(1)))
    fleet.signal("org/large/gone", Signal.GONE)
    config = scene.gateway.config
    scene.gateway.config = config.model_copy(update={"pools": (*config.pools, LARGE)})


@with_gateway()
async def test_ready_while_some_pool_serves(scene: Stage) -> None:
    """One pool without a worker takes no other from a load balancer; the body says which pool lacks what."""
    add_pool(scene)
    answer = await scene.get("/ready")
    pools = {"tiny": "ready", "org/large": "no worker"}
    assert (answer.status, answer.json) == (200, {"status": "ready", "pools": pools})
    scene.fleet.signal("tiny/w0", Signal.GONE)
    answer = await scene.get("/ready")
    assert (answer.status, answer.json["status"]) == (503, "no worker")
    assert set(answer.json["pools"].values()) == {"no worker"}


@with_gateway()
async def test_ready_of_one_pool_by_query(scene: Stage) -> None:
    """A probe for one pool gets 503 if the pool lacks a worker, and 404 if there is no such pool."""
    add_pool(scene)
    for query, status in (
        ("pool=tiny", 200),
        ("pool=org/large", 503),
        ("pool=org%2Flarge", 503),
        ("pool=tiny&pool=org/large", 503),
        ("x=1", 200),
        ("pool=none", 404),
        ("pool=", 404),
    ):
        assert (await scene.get(f"/ready?{query}")).status == status, query
    answer = await scene.get("/ready?pool=none")
    assert "pool" in answer.json["error"]["message"]
    scene.begin_draining()
    for path in ("/ready", "/ready?pool=tiny"):
        answer = await scene.get(path)
        assert (answer.status, answer.json["status"]) == (503, "draining")


@with_gateway()
async def test_the_state_is_for_the_admin_only(scene: Stage) -> None:
    """A request without a key, with a tenant's key or with a guess is refused in the same words and logged."""
    answers = [await scene.get("/debug/state", key) for key in (None, key_of("alice"), "vtc-guess")]
    assert [answer.status for answer in answers] == [401] * 3
    assert len({answer.body for answer in answers}) == 1
    assert [event.outcome for event in scene.finished] == [Outcome.UNAUTHENTICATED] * 3
    await scene.generate(max_tokens=2)
    state = await scene.get("/debug/state", ADMIN_KEY)
    assert state.status == 200 and state.json
    assert key_of("alice").encode() not in state.body and ADMIN_KEY.encode() not in state.body


@with_gateway()
async def test_metrics_can_be_turned_off(scene: Stage) -> None:
    """`/metrics` is then 404, and the message says why."""
    scene.gateway.config = scene.gateway.config.model_copy(update={"metrics": Metrics(enabled=False)})
    answer = await scene.get("/metrics")
    assert answer.status == 404 and "metrics.enabled" in answer.json["error"]["message"]


@with_gateway(tenants=(tenant("alice"), tenant("bob", models=("other",))))
async def test_models_are_those_of_the_key(scene: Stage) -> None:
    """The key sees its names and aliases, also percent-encoded; of others it learns only that they are not there."""
    listed = (await scene.get("/v1/models", key_of("alice"))).json["data"]
    assert [card["id"] for card in listed] == ["tiny", "org/alias"]
    assert (await scene.get("/v1/models", key_of("bob"))).json["data"] == []
    for path in ("/v1/models/org/alias", "/v1/models/org%2Falias", "/v1/models/org%2falias?x=1"):
        card = await scene.get(path, key_of("alice"))
        assert (card.status, card.json["id"], card.json["root"]) == (200, "org/alias", "tiny")
    for path in ("/v1/models/none", "/v1/models/%ff", "/v1/models/%00", "/v1/models//tiny"):
        assert (await scene.get(path, key_of("alice"))).status == 404
    assert (await scene.get("/v1/models/tiny", key_of("bob"))).status == 404
    assert (await scene.get("/v1/models")).status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health/",
        "/v1/models/",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/v1/../v1/chat/completions",
        "/v1/chat%2Fcompletions",
        "/v1/%63hat/completions",
        "/V1/CHAT/COMPLETIONS",
        "/v1/chat/completions;x=1",
        "/v1/responses/resp_1",
        "/invocations",
        "/pause",
        "/abort_requests",
        "/v1/load_lora_adapter",
        "/collective_rpc",
        "/sleep",
        "/witness",
    ],
)
@with_gateway()
async def test_only_exact_paths_are_served(scene: Stage, path: str) -> None:
    """No spelling of a path, and no other path of the engine, comes through."""
    answer = await scene.post(path, question(max_tokens=2))
    assert answer.status == 404
    assert answer.json["error"]["code"] == "unknown_url"
    assert path not in answer.json["error"]["message"] or path == "/"
    assert scene.sent == []


@with_gateway()
async def test_a_query_does_not_change_the_path(scene: Stage) -> None:
    """SDKs add queries (Anthropic's beta, Azure's version); they are not sent on."""
    answer = await scene.post("/v1/chat/completions?api-version=1&beta=true", question(max_tokens=2))
    assert answer.status == 200
    assert scene.sent[-1].path == "/v1/chat/completions"


@with_gateway(anonymous="bob")
async def test_a_request_without_a_key_runs_as_the_anonymous_tenant(scene: Stage) -> None:
    """A request without a key is served if that is allowed; a wrong key is refused and does not become anonymous."""
    body = b'{"model":"tiny","prompt":"x","max_tokens":2}'
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert (await scene.exchange(head + body)).status == 200
    assert (scene.finished[-1].tenant, scene.finished[-1].key_id) == ("bob", "anonymous")
    assert (await scene.post("/v1/completions", body, "vtc-wrong")).status == 401
