"""What passes between clients and workers besides bodies: listed headers only, and no way round the configured address.

Of every API, streamed and not: no redirect is followed, no proxy of the environment used, no cookie kept, nothing
unpacked, and no head of any length read.
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from raw_client import Answer
from virtual_time import virtual_time
from whole_gateway import CHAT, COMPLETIONS, Plan, Stage, key_of, stage
from workers_on_stage import MODEL, Respond, ScriptedWorker

from gateway.endpoints.connection import MAX_HEAD_BYTES
from gateway.outcomes import Outcome

WORKER_KEY = "key-of-the-worker"
USAGE = b'"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1}'
WHOLE = b'{"choices":[{"index":0}],%b}' % USAGE
STREAM = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],%b}\n\ndata: [DONE]\n\n' % USAGE
ASKED: dict[str, dict[str, Any]] = {
    CHAT: {"messages": [{"role": "user", "content": "x"}], "max_tokens": 4},
    COMPLETIONS: {"prompt": "x", "max_tokens": 4},
    "/v1/responses": {"input": "x", "max_output_tokens": 4},
    "/v1/messages": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 4},
    "/v1/embeddings": {"input": "x"},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/v1/score": {"queries": "a", "documents": ["b"]},
    "/tokenize": {"prompt": "x"},
    "/detokenize": {"tokens": [1]},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "x"}]},
}


class Request(NamedTuple):
    """One way to ask: a path, its body, and what a worker answers."""

    path: str
    body: dict[str, Any]
    content_type: bytes = b"application/json"
    answer: bytes = WHOLE


EVERY_API = {path: Request(path, {"model": MODEL, **fields}) for path, fields in ASKED.items()} | {
    f"{path} streamed": Request(path, {"model": MODEL, "stream": True, **ASKED[path]}, b"text/event-stream", STREAM)
    for path in (CHAT, COMPLETIONS)
}
every_api = pytest.mark.parametrize("request_", EVERY_API.values(), ids=EVERY_API)

# Credentials, what vLLM obeys, what belongs to one connection, and what is named as such.
CLIENT_LINES = [
    f"x-api-key: {key_of('alice')}",
    f"Cookie: session={key_of('alice')}",
    f"Proxy-Authorization: Bearer {key_of('alice')}",
    "X-Request-Id: chosen-by-the-client",
    "X-Vllm-Priority: -9",
    "X-data-parallel-rank: 1",
    "X-Session-ID: s",
    "X-Forwarded-For: 10.0.0.1",
    "Forwarded: for=10.0.0.1",
    "Via: 1.1 elsewhere",
    "Connection: keep-alive, secret-of-this-hop",
    "secret-of-this-hop: 1",
    "Keep-Alive: timeout=5",
    "Proxy-Connection: keep-alive",
    "TE: trailers",
    "Trailer: x-checksum",
    "Accept-Encoding: gzip, br",
    "Origin: https://evil.example",
    "Range: bytes=0-1",
    "If-None-Match: a",
    "endpoint-load-metrics-format: JSON",
]
PASSING_LINES = [
    "Accept: text/event-stream",
    "User-Agent: client/1",
    "anthropic-version: 2023-06-01",
    "anthropic-beta: b",
]
OURS = {"host", "content-type", "content-length", "accept-encoding", "x-request-id", "authorization"}
THEIRS = {"accept", "user-agent", "anthropic-version", "anthropic-beta"}

WORKER_LINES = [
    b"set-cookie: session=of-the-worker",
    b"server: uvicorn",
    b"x-request-id: chosen-by-the-worker",
    b"x-vllm-secret: 1",
    b"authorization: Bearer of-the-worker",
    b"www-authenticate: Basic",
    b"location: http://127.0.0.1:9/",
    b"access-control-allow-origin: *",
    b"keep-alive: timeout=5",
    b"via: 1.1 elsewhere",
    b"alt-svc: h3",
    b"retry-after: 7",
    b"cache-control: no-store",
]
SEEN_BY_CLIENTS = {"date", "server", "content-type", "cache-control", "x-request-id", "request-id"}
FRAMING = {"content-length", "transfer-encoding", "connection"}


def says(status: int, content_type: bytes, body: bytes, *lines: bytes) -> Respond:
    """A worker's answer with `lines` as headers besides its own."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = [b"HTTP/1.1 %d Said" % status, b"content-type: " + content_type, b"content-length: %d" % len(body)]
        writer.write(b"\r\n".join([*head, *lines]) + b"\r\n\r\n" + body)

    return respond


def headers_of(head: bytes) -> list[tuple[str, str]]:
    """The headers of a request as the worker read them."""
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return [(name.lower(), value) for name, _, value in (line.partition(": ") for line in lines)]


@asynccontextmanager
async def witness() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address to which nobody may come, and what came there."""
    came: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(1000))
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", came
    finally:
        server.close()


async def ask(scene: Stage, request: Request, *lines: str) -> Answer:
    """The answer to `request` with `lines` as headers besides the usual ones."""
    return await scene.post(request.path, request.body, headers=lines)


@every_api
@pytest.mark.parametrize("key", [WORKER_KEY, None])
@virtual_time
async def test_of_a_clients_headers_a_worker_gets_the_listed_ones(request_: Request, key: str | None) -> None:
    """The worker gets each once; the credential, by whatever header it came, reaches no worker."""
    worker = ScriptedWorker(says(200, request_.content_type, request_.answer, *WORKER_LINES))
    async with stage(worker, plan=Plan(worker={"api_key": key} if key else {})) as scene:
        for _ in range(2):  # the second behind the first answer's cookie
            assert (await ask(scene, request_, *CLIENT_LINES, *PASSING_LINES)).is_whole
        assert len(worker.requests) == 2
        for head, body in worker.requests:
            names = [name for name, _ in headers_of(head)]
            assert sorted(names) == sorted((OURS if key else OURS - {"authorization"}) | THEIRS)
            found = dict(headers_of(head))
            assert found.get("authorization") == (f"Bearer {key}" if key else None)
            assert found["accept-encoding"] == "identity"
            assert found["x-request-id"] in [event.request_id for event in scene.finished]
            assert key_of("alice").encode() not in head
            assert key_of("alice") not in json.dumps(body)
        assert not [page for page in worker.pages if key_of("alice").encode() in page]


@every_api
@pytest.mark.parametrize("status", [200, 400])
@virtual_time
async def test_of_a_workers_headers_a_client_gets_the_listed_ones(request_: Request, status: int) -> None:
    """The client gets type and caching, also with a refusal; cookies, names and credentials stay behind."""
    error = b'{"error":{"message":"no","type":"BadRequestError","param":null,"code":400}}'
    kind, body = (request_.content_type, request_.answer) if status == 200 else (b"application/json", error)
    async with stage(ScriptedWorker(says(status, kind, body, *WORKER_LINES))) as scene:
        answer = await ask(scene, request_)
        assert answer.status == status
        assert set(answer.headers) - FRAMING <= SEEN_BY_CLIENTS
        assert answer.header("server") == "vtc-gateway"
        assert answer.header("x-request-id") == scene.last.request_id
        assert "of-the-worker" not in repr(answer.headers)


@every_api
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@virtual_time
async def test_no_redirect_is_followed(request_: Request, status: int) -> None:
    """A redirect is a failure of the worker; neither the gateway nor the client goes there."""
    async with witness() as (address, came):
        worker = ScriptedWorker(says(status, b"text/plain", b"", b"location: http://%b/" % address.encode()))
        async with stage(worker) as scene:
            answer = await ask(scene, request_)
            assert answer.status == 502
            assert scene.last.outcome is Outcome.WORKER_FAILED
            assert answer.header("location") is None
            assert address not in answer.body.decode()
        assert came == []


@virtual_time
async def test_no_probe_or_reading_follows_a_redirect() -> None:
    """Health, models and metrics that are elsewhere count as absent."""
    async with witness() as (address, came):
        worker = ScriptedWorker(says(200, b"application/json", WHOLE))
        worker.probe_status = 302
        worker.probe_lines = (b"location: http://%b/" % address.encode(),)
        async with stage(worker) as scene:
            await asyncio.sleep(60)
            assert (await scene.get("/ready")).status == 503
            assert {page.split(b" ")[1] for page in worker.pages} == {b"/health"}
        assert came == []


@every_api
@virtual_time
async def test_no_proxy_of_the_environment_is_used(request_: Request) -> None:
    """Requests, probes and readings go to the worker's own address, whatever the process inherited."""
    async with witness() as (address, came):
        with pytest.MonkeyPatch.context() as patch:
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                patch.setenv(name, f"http://{address}")
                patch.setenv(name.upper(), f"http://{address}")
            patch.delenv("no_proxy", raising=False)
            patch.delenv("NO_PROXY", raising=False)
            worker = ScriptedWorker(says(200, request_.content_type, request_.answer))
            async with stage(worker) as scene:
                assert (await ask(scene, request_)).status == 200
                await asyncio.sleep(10)
                assert worker.pages
            assert came == []


@every_api
@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd"])
@virtual_time
async def test_nothing_is_unpacked(request_: Request, coding: bytes) -> None:
    """An answer in a coding that nobody asked for is a failure of the worker, whatever it contains."""
    packed = gzip.compress(request_.answer)
    worker = ScriptedWorker(says(200, request_.content_type, packed, b"content-encoding: " + coding))
    async with stage(worker) as scene:
        answer = await ask(scene, request_)
        assert (answer.status, scene.last.outcome) == (502, Outcome.WORKER_FAILED)
        assert "content-encoding" in scene.last.detail
        assert answer.header("content-encoding") is None


def long_value(size: int) -> bytes:
    """One header of `size` bytes."""
    return b"HTTP/1.1 200 OK\r\nx: %b\r\n\r\n" % (b"a" * size)


def many_lines(size: int) -> bytes:
    """Headers of `size` bytes together."""
    return b"HTTP/1.1 200 OK\r\n%b\r\n" % (b"a: b\r\n" * (size // 6))


def many_announcements(size: int) -> bytes:
    """Interim answers of `size` bytes together."""
    return b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" * (size // 37)


def long_trailer(size: int) -> bytes:
    """A header of `size` bytes behind the last chunk."""
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: %b" % (b"a" * size)


def long_extension(size: int) -> bytes:
    """A chunk's length with `size` bytes behind it."""
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n2;%b" % (b"a" * size)


@every_api
@pytest.mark.parametrize("head", [long_value, many_lines, many_announcements, long_trailer, long_extension])
@virtual_time
async def test_no_head_is_read_without_end(request_: Request, head: Callable[[int], bytes]) -> None:
    """The gateway breaks off an endless head within a few times the bound."""
    whole, most = head(64 * MAX_HEAD_BYTES), 0

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        for begin in range(0, len(whole), MAX_HEAD_BYTES):
            writer.write(whole[begin : begin + MAX_HEAD_BYTES])
            await asyncio.sleep(0.01)
            if writer.is_closing():
                return
            most = max(most, begin)

    async with stage(ScriptedWorker(respond)) as scene:
        answer = await ask(scene, request_)
        assert scene.last.outcome in (Outcome.WORKER_FAILED, Outcome.WORKER_LOST_STREAMING)
        assert "longer than" in scene.last.detail
        assert answer.status == 502 or not answer.is_whole or answer.error
        assert most <= 4 * MAX_HEAD_BYTES


@pytest.mark.parametrize("over_bytes", [-1000, 1000])
@virtual_time
async def test_a_head_may_be_as_long_as_the_bound(over_bytes: int) -> None:
    """A longer head fails, also if it comes at once with its body."""
    line = b"x: " + b"a" * (MAX_HEAD_BYTES + over_bytes)
    async with stage(ScriptedWorker(says(200, b"application/json", WHOLE, line))) as scene:
        answer = await scene.post(CHAT, {"model": MODEL, **ASKED[CHAT]})
        assert answer.status == (200 if over_bytes < 0 else 502)
