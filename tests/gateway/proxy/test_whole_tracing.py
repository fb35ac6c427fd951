"""A trace can be followed: the client's trace goes on at the worker, the log has the client's id, and ours rules."""

import pytest
from whole_gateway import CHAT, Stage, chat, key_of, with_gateway

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
HEADERS = [f"traceparent: {TRACE}", "tracestate: congo=t61", "X-Request-Id: job-7", "baggage: a=b"]


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/tokenize"])
@with_gateway()
async def test_the_trace_and_the_clients_id_of_a_request(scene: Stage, path: str) -> None:
    """The worker gets the trace and our id; the answer has ours too, the event both."""
    body = {"model": "tiny", "prompt": "x"} if path == "/tokenize" else chat(3)
    answer = await scene.post(path, body, key_of("alice"), HEADERS)
    assert answer.status == 200
    sent = next(each for each in scene.sent if each.path == path)
    assert (sent.headers["traceparent"], sent.headers["tracestate"]) == (TRACE, "congo=t61")
    assert sent.headers["x-request-id"] == answer.header("x-request-id") == scene.last.request_id != "job-7"
    assert "baggage" not in sent.headers
    assert scene.last.client_request_id == "job-7"


@with_gateway()
async def test_the_log_has_the_clients_id(scene: Stage) -> None:
    """The trace also reaches the log of a refused request; without the client's there is none."""
    await scene.post(CHAT, chat(3), "vtc-wrong", HEADERS)
    await scene.post(CHAT, chat(3), "vtc-wrong")
    assert scene.end_log().count('"client_request_id":"job-7"') == 1


@pytest.mark.parametrize("path", ["/rerank", "/v2/rerank", "/v1/rerank", "/score", "/v1/score"])
@with_gateway()
async def test_every_spelling_of_a_path_is_one_endpoint(scene: Stage, path: str) -> None:
    """The worker, the log and the metrics know one name, so that clients cannot make more."""
    body = {"model": "tiny", "query": "a", "queries": "a", "documents": ["b"]}
    await scene.post(path, body, key_of("alice"))
    assert scene.last.endpoint in ("/v1/rerank", "/v1/score")
    assert {each.path for each in scene.sent} <= {scene.last.endpoint, "/health", "/metrics", "/v1/models"}
