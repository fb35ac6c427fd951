"""The HTTP front against strangers: what it refuses, how, and that it trusts the connection no further."""

import asyncio

import pytest
from uncompiled import needs_sources
from whole_gateway import Stage, key_of, post, question, with_gateway
from workers_on_stage import CPU_TINY

from gateway.config import Window
from gateway.outcomes import Outcome
from gateway.proxy.directory import Directory

CHAT = "/v1/chat/completions"
KEY = f"Authorization: Bearer {key_of('alice')}\r\n"

MALFORMED = {
    "two of our keys": f"GET /v1/models HTTP/1.1\r\nHost: x\r\n{KEY}x-api-key: {key_of('bob')}\r\n\r\n",
    "a path in Host": "GET /health HTTP/1.1\r\nHost: a/../v1?x#\r\n\r\n",
    "credentials in Host": "GET /health HTTP/1.1\r\nHost: user@x\r\n\r\n",
    "two Host headers": "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no Host": "GET /health HTTP/1.1\r\n\r\n",
    "an authority as target": "CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n",
    "an asterisk as target": "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/0.9": "GET /health\r\n\r\n",
    "HTTP/0.9 by name": "GET /health HTTP/0.9\r\nHost: x\r\n\r\n",
    "HTTP/2.0": "GET /health HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/2's preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "identity before chunked": (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunked twice": f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "gzip as transfer coding": (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    ),
    "Content-Length beside Transfer-Encoding": (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "chunked in HTTP/1.0": f"POST {CHAT} HTTP/1.0\r\nHost: x\r\n{KEY}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a signed length": f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Content-Length: +2\r\n\r\nab",
    "a negative length": f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Content-Length: -2\r\n\r\nab",
    "space before the colon": "GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded header": "GET /health HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\n\r\n",
    "a NUL in a header": "GET /health HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\n\r\n",
    "a TLS greeting": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
@with_gateway()
async def test_what_can_be_read_in_two_ways_is_refused_and_closed(scene: Stage, case: str) -> None:
    """The client gets 400 in JSON with an id; the connection ends, and the worker hears nothing."""
    wire = await scene.connect()
    began = asyncio.get_running_loop().time()
    wire.send_raw(MALFORMED[case].encode("latin-1"))
    answer = await wire.read()
    assert answer.status == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.header("x-request-id") == answer.header("request-id") != ""
    assert answer.header("server") == "vtc-gateway"
    assert await wire.is_closed()
    assert asyncio.get_running_loop().time() - began < 5, "closed by the idle time only"
    await wire.close()
    assert scene.witness.started == 0
    (event,) = scene.finished
    assert (event.outcome, event.status, event.tenant) == (Outcome.BAD_REQUEST, 400, "")
    assert event.request_id == answer.header("x-request-id")
    assert event.client_address == "127.0.0.1"


OVERLONG = {
    "a target": (414, "8190 bytes", f"GET /{'a' * 20_000} HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a query": (414, "8190 bytes", f"GET /health?q={'a' * 8_190} HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a header": (431, "8190 bytes", f"GET /health HTTP/1.1\r\nHost: x\r\nX-A: {'a' * 20_000}\r\n\r\n"),
    "a header's name": (431, "8190 bytes", f"GET /health HTTP/1.1\r\nHost: x\r\n{'a' * 20_000}: b\r\n\r\n"),
    "a header with a path": (431, "8190 bytes", f"GET /health HTTP/1.1\r\nHost: x\r\nX-A: /{'a' * 20_000}\r\n\r\n"),
    "all headers": (431, "128 headers", "GET /health HTTP/1.1\r\nHost: x\r\n" + "X-A: b\r\n" * 500 + "\r\n"),
}


@pytest.mark.parametrize("case", OVERLONG)
@with_gateway()
async def test_a_head_that_is_too_long_is_told_the_limit(scene: Stage, case: str) -> None:
    """A long target gets 414, long or many headers get 431; then the connection ends."""
    status, limit, raw = OVERLONG[case]
    wire = await scene.connect()
    wire.send_raw(raw.encode())
    answer = await wire.read()
    assert answer.status == status
    assert limit in answer.json["error"]["message"]
    assert "aaa" not in answer.json["error"]["message"]
    assert await wire.is_closed()
    await wire.close()


@with_gateway()
async def test_a_whole_url_as_target_is_its_path(scene: Stage) -> None:
    """A client that takes the gateway for a proxy sends such a target; path and key decide its rights."""
    ask = "GET http://other{} HTTP/1.1\r\nHost: x\r\n{}\r\n"
    assert (await scene.exchange(ask.format("/v1/models", KEY).encode())).status == 200
    assert (await scene.exchange(ask.format("/v1/models", "").encode())).status == 401
    assert (await scene.exchange(ask.format("/debug/state", KEY).encode())).status == 401
    assert (await scene.exchange(ask.format("/v1/nothing", KEY).encode())).status == 404
    raw = post(f"http://other{CHAT}", question(max_tokens=2), key_of("alice"))
    assert (await scene.exchange(raw)).status == 200
    assert scene.last.endpoint == CHAT


@with_gateway()
async def test_neither_answer_nor_log_repeats_what_could_not_be_parsed(scene: Stage) -> None:
    """A marker in every part of a broken request is found nowhere afterwards."""
    mark = "sEcReTmArK"
    broken = [
        f"{mark} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET /{mark} HTTP/7.{mark}\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\n{mark} {mark}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {mark}/{mark}\r\n\r\n",
        f"GET /health?{mark} HTTP/7.1\r\nHost: x\r\n\r\n",
        f"{mark} {CHAT} HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Content-Type: {mark}/x\r\nContent-Length: 2\r\n\r\n{{}}",
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: {mark} {mark}\r\nContent-Length: 2\r\n\r\n{{}}",
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {mark}\r\nContent-Length: 2\r\n\r\n{{}}",
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Content-Length: 12\r\n\r\n{{{mark}",
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{KEY}Transfer-Encoding: chunked\r\n\r\n{mark}\r\n",
    ]
    for raw in broken:
        answer = await scene.exchange(raw.encode())
        assert 400 <= answer.status < 500, raw
        assert mark.encode() not in answer.body + repr(answer.headers).encode(), raw
    assert mark not in scene.end_log()
    assert mark not in repr(scene.events)


@with_gateway(listen={"header_timeout_seconds": 20.0})
async def test_headers_are_due_within_their_deadline(scene: Stage) -> None:
    """A byte now and then buys no time: after 20 s the connection is closed without an answer."""
    began = asyncio.get_running_loop().time()
    wire = await scene.connect()
    for byte in b"GET /health HT":
        wire.send_raw(bytes([byte]))
        await asyncio.sleep(1.3)
    assert await wire.is_closed()
    assert asyncio.get_running_loop().time() - began == pytest.approx(20.0, abs=0.1)
    await wire.close()


@with_gateway(listen={"header_timeout_seconds": 20.0, "keepalive_timeout_seconds": 75.0})
async def test_the_next_headers_on_a_kept_connection_are_due_too(scene: Stage) -> None:
    """The deadline starts with the first byte of a request, not with the idle time before it."""
    wire = await scene.connect()
    wire.send_raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.read()).status == 200
    await asyncio.sleep(40)
    wire.send_raw(b"GET /health")
    began = asyncio.get_running_loop().time()
    assert await wire.is_closed()
    assert asyncio.get_running_loop().time() - began == pytest.approx(20.0, abs=0.1)
    await wire.close()


@with_gateway(listen={"keepalive_timeout_seconds": 75.0})
async def test_an_idle_connection_is_kept_for_a_bounded_time(scene: Stage) -> None:
    """Silence after an answer ends when the keep-alive time is over, not before."""
    wire = await scene.connect()
    wire.send_raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    await wire.read()
    began = asyncio.get_running_loop().time()
    assert await wire.is_closed()
    assert asyncio.get_running_loop().time() - began == pytest.approx(75.0, abs=0.1)
    await wire.close()


@with_gateway(listen={"header_timeout_seconds": 20.0})
async def test_a_connection_that_says_nothing_is_closed(scene: Stage) -> None:
    """Silence from the start ends with the header deadline."""
    wire = await scene.connect()
    began = asyncio.get_running_loop().time()
    assert await wire.is_closed()
    assert asyncio.get_running_loop().time() - began == pytest.approx(20.0, abs=0.1)
    await wire.close()


@with_gateway(listen={"max_connections": 3})
async def test_connections_are_bounded_and_come_free_again(scene: Stage) -> None:
    """One connection too many gets 503 and `Retry-After`; when one leaves, the next is served."""
    held = [await scene.connect() for _ in range(3)]
    for wire in held:
        wire.send_raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await wire.read()).status == 200
    refused = await scene.connect()
    answer = await refused.read()
    assert answer.status == 503
    assert answer.header("retry-after") == "1"
    assert answer.header("x-request-id") == answer.header("request-id")
    assert answer.header("server") == "vtc-gateway"
    assert "too many connections" in answer.json["error"]["message"]
    assert await refused.is_closed()
    await refused.close()
    await held.pop().close()
    await asyncio.sleep(0.1)
    assert (await scene.get("/health")).status == 200
    for wire in held:
        await wire.close()


@with_gateway()
async def test_pipelined_requests_are_answered_in_order(scene: Stage) -> None:
    """Requests sent in one piece get their answers one after the other."""
    wire = await scene.connect()
    first = post(CHAT, question(max_tokens=3), key_of("alice"))
    second = post(CHAT, question(model="unknown"), key_of("alice"))
    wire.send_raw(first + second + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [(await wire.read()).status for _ in range(3)] == [200, 404, 200]
    await wire.close()


@with_gateway()
async def test_a_refusal_of_a_read_request_keeps_the_connection(scene: Stage) -> None:
    """Wrong key, wrong model, wrong field: the next request on the same connection is served."""
    wire = await scene.connect()
    for request, status in (
        (post(CHAT, question(), "wrong"), 401),
        (post(CHAT, question(model="none"), key_of("alice")), 404),
        (post(CHAT, question(n=0), key_of("alice")), 400),
        (post(CHAT, b"{", key_of("alice")), 400),
        (post("/nowhere", {}, key_of("alice")), 404),
        (b"DELETE /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (post(CHAT, question(max_tokens=2), key_of("alice")), 200),
    ):
        wire.send_raw(request)
        assert (await wire.read()).status == status
    await wire.close()


@with_gateway()
async def test_bytes_behind_a_refused_body_are_not_read_as_a_request(scene: Stage) -> None:
    """A request hidden in the body of one whose framing was refused is never answered."""
    wire = await scene.connect()
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key_of("alice").encode() + b"\r\n\r\n"
    wire.send_raw(b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity, chunked\r\n\r\n" + hidden)
    assert (await wire.read()).status == 400
    assert await wire.is_closed()
    await wire.close()


@with_gateway()
async def test_http_1_0_is_answered_and_closed(scene: Stage) -> None:
    """Without keep-alive the connection ends after the answer; a stream has no chunk frames."""
    plain = await scene.connect()
    plain.send_raw(b"GET /health HTTP/1.0\r\n\r\n")
    assert (await plain.read()).status == 200
    assert await plain.is_closed()
    await plain.close()
    streamed = await scene.connect()
    streamed.send_raw(
        post(CHAT, question(stream=True, max_tokens=3), key_of("alice")).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    )
    answer = await streamed.read()
    assert answer.status == 200
    assert answer.data[-1] == b"[DONE]"
    assert "transfer-encoding" not in answer.headers
    await streamed.close()


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@with_gateway()
async def test_an_upgrade_that_is_not_offered_is_ignored(scene: Stage, protocol: str) -> None:
    """The request is answered in HTTP/1.1, as RFC 9110 says, and the connection goes on."""
    wire = await scene.connect()
    upgrade = f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n"
    wire.send_raw(f"GET /health HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n".encode())
    assert (await wire.read()).status == 200
    wire.send_raw(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await wire.read()).status == 200
    await wire.close()


@with_gateway()
async def test_the_body_of_a_request_that_offers_an_upgrade_is_its_body(scene: Stage) -> None:
    """Java's HttpClient offers h2c with every POST: the body is served, and one that looks like a request is not."""
    hidden = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + key_of("alice").encode() + b"\r\n\r\n"
    upgrade = ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB"]
    wire = await scene.connect()
    wire.send_raw(post(CHAT, question(max_tokens=2), key_of("alice"), upgrade))
    assert (await wire.read()).status == 200
    wire.send_raw(post(CHAT, hidden, key_of("alice"), upgrade) + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [(await wire.read()).status for _ in range(2)] == [400, 200]
    await wire.close()
    assert scene.witness.started == 1


@with_gateway()
async def test_a_connect_is_refused_and_closed(scene: Stage) -> None:
    """Also one with a path as its target: nobody knows what would follow."""
    wire = await scene.connect()
    wire.send_raw(b"CONNECT /health HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await wire.read()
    assert (answer.status, answer.header("connection")) == (405, "close")
    began = asyncio.get_running_loop().time()
    assert await wire.is_closed()
    assert asyncio.get_running_loop().time() - began < 5, "closed by the idle time only"
    await wire.close()


@with_gateway(window=Window(sequences=1, slack=0), engine=CPU_TINY)
async def test_a_client_that_leaves_while_it_waits_is_noticed(scene: Stage) -> None:
    """After FIN and after RST the request leaves the queue, undispatched and uncharged."""
    running = await scene.connect()
    running.send_raw(post(CHAT, question(stream=True, max_tokens=500), key_of("alice")))
    await running.read_head()
    for leave in ("fin", "rst"):
        waiting = await scene.connect()
        waiting.send_raw(post(CHAT, question(stream=True, max_tokens=500), key_of("bob")))
        await scene.when(lambda: scene.queued == 1)
        if leave == "rst":
            waiting.leave()
        else:
            await waiting.close()
        left_at = asyncio.get_running_loop().time()
        await scene.when(lambda: bool(scene.finished))
        assert asyncio.get_running_loop().time() - left_at < 0.2
        assert scene.finished.pop().outcome is Outcome.CLIENT_GONE_QUEUED
        scene.events.clear()
        assert scene.queued == 0
    assert scene.service("bob") == 0
    assert scene.witness.started == 1
    await running.close()


@needs_sources
@with_gateway(is_real_time=True)
async def test_an_own_failure_is_reported_in_the_callers_dialect_and_found_by_its_id(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets 500 with an id; the log has the id and the place, and no word of the request."""

    def fail(*_: object) -> None:
        raise LookupError("the secret words")

    monkeypatch.setattr(Directory, "_identity", fail)
    ids = []
    for path, kind in ((CHAT, "server_error"), ("/v1/messages", "api_error")):
        answer = await scene.post(path, question())
        assert answer.status == 500
        assert answer.json["error"]["type"] == kind
        ids.append(answer.header("x-request-id"))
        assert scene.finished[-1].request_id == ids[-1]
        assert scene.finished[-1].outcome is Outcome.INTERNAL
    log = scene.end_log()
    for request_id in ids:
        assert [line for line in log.splitlines() if f"{request_id} failed" in line and "LookupError" in line]
    assert "secret words" not in log
