"""Request bodies from strangers may be too slow, too large, of another kind or malformed: each gets 4xx in words."""

import asyncio
import gzip

import pytest
from whole_gateway import Stage, key_of, post, question, with_gateway

from gateway.clients.body import MIN_BYTES_PER_SECOND
from gateway.outcomes import Outcome
from gateway.wire.surface import ENDPOINTS

CHAT = "/v1/chat/completions"
MIB = 2**20
HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key_of('alice')}\r\n"
CHUNKED = f"{HEAD}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


def _now() -> float:
    return asyncio.get_running_loop().time()


@with_gateway(listen={"body_timeout_seconds": 10.0})
async def test_a_body_that_does_not_come_is_given_up(scene: Stage) -> None:
    """After the deadline the client gets 408, and the gateway closes the connection."""
    wire = await scene.connect()
    began = _now()
    wire.send_raw(f"{HEAD}Content-Length: 100\r\n\r\n".encode())
    answer = await wire.read()
    assert (answer.status, answer.json["error"]["code"]) == (408, "request_timeout")
    assert _now() - began == pytest.approx(10.0, abs=0.1)
    assert await wire.is_closed()
    assert _now() - began < 13
    await wire.close()


@with_gateway(listen={"body_timeout_seconds": 10.0})
async def test_a_sender_below_the_least_rate_is_given_up(scene: Stage) -> None:
    """Half of 16 KiB/s buys half a second for each second: after 20 s the body is refused."""
    wire = await scene.connect()
    began = _now()
    wire.send_raw(f"{HEAD}Content-Length: {MIB}\r\n\r\n".encode())
    answering = asyncio.create_task(wire.read())
    while not answering.done():
        wire.send_raw(b" " * (MIN_BYTES_PER_SECOND // 20))
        await asyncio.wait([answering], timeout=0.1)
    assert answering.result().status == 408
    assert _now() - began == pytest.approx(20.0, abs=0.5)
    wire.leave()


@with_gateway(listen={"body_timeout_seconds": 10.0})
async def test_a_steady_sender_above_the_least_rate_is_read_to_the_end(scene: Stage) -> None:
    """A large body over a slow line takes longer than the deadline and is served."""
    body = post(CHAT, question("x" * 2000, max_tokens=2), key_of("alice"))
    head, _, content = body.partition(b"\r\n\r\n")
    padding = b" " * (MIN_BYTES_PER_SECOND * 40)
    total = len(content) + len(padding)
    wire = await scene.connect()
    began = _now()
    wire.send_raw(head.replace(b"Content-Length: %d" % len(content), b"Content-Length: %d" % total) + b"\r\n\r\n")
    for at in range(0, len(padding), MIN_BYTES_PER_SECOND):
        wire.send_raw(padding[at : at + MIN_BYTES_PER_SECOND])
        await asyncio.sleep(0.9)
    wire.send_raw(content)
    assert (await wire.read()).status == 200
    assert _now() - began > 20
    await wire.close()


@with_gateway()
async def test_a_client_that_leaves_in_mid_body_leaves_nothing(scene: Stage) -> None:
    """The request has one event; nothing is queued and nothing is sent."""
    wire = await scene.connect()
    wire.send_raw(f"{HEAD}Content-Length: 100\r\n\r\n{{".encode())
    await asyncio.sleep(0.1)
    wire.leave()
    await scene.when(lambda: bool(scene.finished))
    assert [event.outcome for event in scene.finished] == [Outcome.CLIENT_GONE_QUEUED]
    assert scene.witness.started == 0


@with_gateway(listen={"max_body_mib": 1})
async def test_a_body_declared_too_large_is_refused_unread(scene: Stage) -> None:
    """The headers alone lead to 413; the message states the limit."""
    answer = await scene.exchange(f"{HEAD}Content-Length: {MIB + 1}\r\n\r\n".encode())
    assert answer.status == 413
    assert "1 MiB" in answer.json["error"]["message"]
    assert "`listen.max_body_mib`" in answer.json["error"]["message"]
    assert answer.header("connection") == "close"


@with_gateway(listen={"max_body_mib": 1})
async def test_a_body_streamed_too_large_is_refused_on_the_way(scene: Stage) -> None:
    """Chunks without a stated length are counted: 413 as soon as they pass the limit."""
    wire = await scene.connect()
    wire.send_raw(CHUNKED)
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    answering = asyncio.create_task(wire.read())
    sent = 0
    while not answering.done():
        wire.send_raw(chunk)
        sent += 0x8000
        await asyncio.wait([answering], timeout=0.01)
    assert answering.result().status == 413
    assert sent < 2 * MIB
    wire.leave()


@with_gateway(listen={"max_body_mib": 1})
async def test_a_body_of_just_the_limit_is_read(scene: Stage) -> None:
    """The limit itself is allowed, one byte more is not, however it is framed."""
    request = question(max_tokens=2)
    for extra, status in ((0, 200), (1, 413)):
        body = post(CHAT, request, "").partition(b"\r\n\r\n")[2]
        padded = body + b" " * (MIB + extra - len(body))
        assert (await scene.post(CHAT, padded)).status == status
        assert (await scene.exchange(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(padded), padded))).status == status


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity", "nonsense"])
@with_gateway()
async def test_an_encoded_body_is_refused(scene: Stage, encoding: str) -> None:
    """The client gets 415, whether the body holds a right gzip, a wrong one or none."""
    for body in (gzip.compress(b"{}"), b"no gzip at all", b"{}"):
        answer = await scene.post(CHAT, body, headers=[f"Content-Encoding: {encoding}"])
        assert (answer.status, answer.json["error"]["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("text/\xff\xfe", 415),
    ],
)
@with_gateway()
async def test_only_json_is_read(scene: Stage, media: str, status: int) -> None:
    """Another content type gets 415, and the message says what to send."""
    raw = post(CHAT, question(max_tokens=2), key_of("alice")).replace(b"application/json", media.encode("latin-1"), 1)
    answer = await scene.exchange(raw)
    assert answer.status == status
    if status == 415:
        assert "Content-Type: application/json" in answer.json["error"]["message"]


@with_gateway()
async def test_a_client_is_invited_only_after_its_key_and_its_length(scene: Stage) -> None:
    """`Expect: 100-continue` is answered with the refusal if there is one, else with 100."""
    expect = "Expect: 100-continue\r\n"
    for head, status in (
        (f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n{expect}\r\n", 401),
        (f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer no\r\nContent-Length: 10\r\n{expect}\r\n", 401),
        (f"{HEAD}Content-Length: {64 * MIB}\r\n{expect}\r\n", 413),
        (f"{HEAD}Content-Type: text/plain\r\nContent-Length: 10\r\n{expect}\r\n", 415),
        (f"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n{expect}\r\n", 404),
    ):
        answer = await scene.exchange(head.encode())
        assert answer.status == status
    request = post(CHAT, question(max_tokens=2), key_of("alice"), ["Expect: 100-Continue"])
    head, _, content = request.partition(b"\r\n\r\n")
    wire = await scene.connect()
    wire.send_raw(head + b"\r\n\r\n")
    assert (await wire.read()).status == 100
    wire.send_raw(content)
    assert (await wire.read()).status == 200
    await wire.close()


@with_gateway()
async def test_http_1_0_is_never_invited(scene: Stage) -> None:
    """HTTP/1.0 knows no interim answer."""
    request = post(CHAT, question(max_tokens=2), key_of("alice"), ["Expect: 100-continue"]).replace(b"/1.1", b"/1.0", 1)
    head, _, content = request.partition(b"\r\n\r\n")
    wire = await scene.connect()
    wire.send_raw(head + b"\r\n\r\n")
    await asyncio.sleep(0.1)
    wire.send_raw(content)
    assert (await wire.read()).status == 200
    await wire.close()


BROKEN_CHUNKS = [b"zz\r\n{}\r\n0\r\n\r\n", b"2\r\n{}XX0\r\n\r\n", b"-2\r\n{}\r\n0\r\n\r\n", b"fffffffffffffffff\r\n{}"]


@pytest.mark.parametrize("chunks", BROKEN_CHUNKS)
@with_gateway()
async def test_broken_chunks_are_a_bad_request(scene: Stage, chunks: bytes) -> None:
    """The client gets 400 and the connection ends, whether the chunks come with the head or later."""
    together = await scene.exchange(CHUNKED + chunks)
    assert together.status == 400
    wire = await scene.connect()
    wire.send_raw(CHUNKED)
    await asyncio.sleep(0.1)
    wire.send_raw(chunks)
    assert (await wire.read()).status == 400
    assert await wire.is_closed()
    await wire.close()


HOSTILE = {
    "nothing": b"",
    "blank": b"   ",
    "no JSON": b"hello",
    "half": b'{"model": "tiny", "messages": [',
    "a list": b"[]",
    "null": b"null",
    "a number": b"1e400",
    "deep lists": b'{"model":"tiny","messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "deep objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "deeper than can be written": b'{"model":"tiny","messages":' + b"[" * 500 + b"]" * 500 + b"}",
    "NaN": b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":NaN}',
    "Infinity": b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"temperature":Infinity}',
    "a number beyond 64 bits": b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"max_tokens":1'
    + b"0" * 40
    + b"}",
    "a lone surrogate": rb'{"model":"tiny","messages":[{"role":"user","content":"\ud800"}]}',
    "a lone surrogate as model": rb'{"model":"\udfff","messages":[]}',
    "a lone surrogate as name of a field": rb'{"model":"tiny","\ud800":1,"messages":[]}',
    "a surrogate in UTF-8": b'{"model":"tiny","messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "no UTF-8": b'{"model":"tiny","messages":[{"role":"user","content":"\xff\xfe"}]}',
    "UTF-16": '{"model":"tiny"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + b'{"model":"tiny"}',
    "a NUL": b'{"model":"tiny\0"}',
    "the model as a list": b'{"model":["tiny"],"messages":[]}',
    "the messages as text": b'{"model":"tiny","messages":"x"}',
    "the input as an object": b'{"model":"tiny","prompt":{},"input":{},"messages":{}}',
    "n as text": b'{"model":"tiny","messages":[],"prompt":"x","n":"1"}',
    "n as true": b'{"model":"tiny","messages":[],"prompt":"x","n":true}',
    "max_tokens as a fraction": b'{"model":"tiny","messages":[],"prompt":"x","max_tokens":1.5}',
    "a field twice, the second wrong": b'{"model":"tiny","model":7,"messages":[]}',
}

# Right where the path has no such field, or where the engine reads it leniently.
PERHAPS_RIGHT = {"a number beyond 64 bits", "the model as a list", "n as text", "n as true", "max_tokens as a fraction"}


@pytest.mark.parametrize("path", sorted(ENDPOINTS))
@with_gateway()
async def test_no_body_makes_the_gateway_fail(scene: Stage, path: str) -> None:
    """Each hostile body is answered with 4xx and a message, on one and the same connection."""
    wire = await scene.connect()
    for name, body in HOSTILE.items():
        wire.send_raw(post(path, body, key_of("alice")))
        answer = await wire.read()
        assert answer.status in (400, 404) or (answer.status == 200 and name in PERHAPS_RIGHT), (
            f"{name}: {answer.status}"
        )
        assert answer.status == 200 or answer.json["error"]["message"], name
    await wire.close()


@with_gateway(listen={"max_body_mib": 16})
async def test_sixteen_mebibytes_are_read_and_refused_by_what_they_hold(scene: Stage) -> None:
    """The largest body gets 4xx with a message, whatever it holds."""
    size = 16 * MIB - 200
    for content in (b"x" * size, b"[" * size, b'{"a":' * (size // 5), b'{"messages":"' + b"x" * (size - 20) + b'"}'):
        answer = await scene.post(CHAT, content)
        assert 400 <= answer.status < 500
        assert answer.json["error"]["message"]
