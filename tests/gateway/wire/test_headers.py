"""Credentials and headers: which keys a request presents, and that only what is on a list passes."""

import pytest
from multidict import CIMultiDict

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault
from gateway.wire.headers import (
    MAX_CREDENTIALS,
    RequestHeadTemplate,
    client_request_id,
    forwarded_response_headers,
    presented_keys,
    request_head,
)


@pytest.mark.parametrize(
    ("headers", "keys"),
    [
        ([], ()),
        ([("Authorization", "Bearer vtc-abc")], ("vtc-abc",)),
        ([("authorization", "bearer  vtc-abc ")], ("vtc-abc",)),
        ([("Authorization", "Bearer\tvtc-abc")], ("vtc-abc",)),
        ([("Authorization", "vtc-abc")], ("vtc-abc",)),
        ([("X-API-Key", "vtc-abc")], ("vtc-abc",)),
        ([("Authorization", "Bearer")], ()),
        ([("Authorization", "Bearer ")], ()),
        ([("Authorization", "")], ()),
        ([("x-api-key", " ")], ()),
        ([("Authorization", "Basic YTpi")], ("Basic YTpi",)),
        ([("Authorization", "Bearer a"), ("x-api-key", "a")], ("a",)),
        ([("Authorization", "Bearer a"), ("Authorization", "bearer a")], ("a",)),
        ([("x-api-key", "a"), ("x-api-key", "a")], ("a",)),
        ([("Authorization", "Bearer a"), ("x-api-key", "")], ("a",)),
        ([("Authorization", "Bearer"), ("x-api-key", "a")], ("a",)),
        ([("Authorization", "Basic YTpi"), ("x-api-key", "a")], ("Basic YTpi", "a")),
        ([("Authorization", "Bearer a"), ("x-api-key", "b"), ("x-api-key", "c")], ("a", "b", "c")),
    ],
)
def test_the_keys_that_a_request_presents(headers: list[tuple[str, str]], keys: tuple[str, ...]) -> None:
    """Every different text once, in order, whichever header and spelling holds it; an empty one is none."""
    assert presented_keys(CIMultiDict(headers)) == keys


def test_the_headers_that_hold_keys_are_bounded() -> None:
    """Each key is digested; a request does not choose how often."""
    headers = CIMultiDict([("x-api-key", "secret")] * MAX_CREDENTIALS)
    assert presented_keys(headers) == ("secret",)
    headers.add("Authorization", "Bearer other")
    with pytest.raises(RequestFault) as fault:
        presented_keys(headers)
    assert fault.value.outcome is Outcome.BAD_REQUEST
    assert "secret" not in fault.value.message


CLIENT_HEADERS = [
    (b"Accept", b"text/event-stream"),
    (b"Accept", b"second"),
    (b"Authorization", b"Bearer client"),
    (b"X-API-Key", b"client"),
    (b"X-Request-Id", b"client"),
    (b"X-Vllm-Priority", b"-9"),
    (b"X-data-parallel-rank", b"1"),
    (b"X-Session-ID", b"s"),
    (b"endpoint-load-metrics-format", b"JSON"),
    (b"Content-Type", b"text/plain"),
    (b"Content-Encoding", b"gzip"),
    (b"Accept-Encoding", b"br"),
    (b"Transfer-Encoding", b"chunked"),
    (b"Connection", b"close"),
    (b"Cookie", b"c=1"),
    (b"traceparent", b"00-1-2-01"),
    (b"anthropic-version", b"2023-06-01"),
    (b"User-Agent", b"evil\r\nX-Vllm-Priority: 1"),
]


def test_the_head_of_a_request_to_a_worker() -> None:
    """The worker's key and our id go in; of the client's headers only the listed ones, once each and clean."""
    head = request_head(
        RequestHeadTemplate("worker:8101", "worker-key"), "/v1/completions", "req-1", 17, CLIENT_HEADERS
    )
    assert head == (
        b"POST /v1/completions HTTP/1.1\r\nhost: worker:8101\r\ncontent-type: application/json\r\n"
        b"content-length: 17\r\naccept-encoding: identity\r\nx-request-id: req-1\r\n"
        b"authorization: Bearer worker-key\r\naccept: text/event-stream\r\nanthropic-version: 2023-06-01\r\n\r\n"
    )


def test_a_worker_without_a_key_gets_no_credential() -> None:
    """Never the client's."""
    head = request_head(RequestHeadTemplate("w"), "/tokenize", "r", 2, CLIENT_HEADERS)
    assert b"authorization" not in head.lower()


def test_response_headers_that_pass() -> None:
    """Content type and caching of the worker; its framing, identity and cookies stay behind."""
    raw = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"server", b"uvicorn"),
        (b"date", b"now"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"3"),
        (b"connection", b"close"),
        (b"set-cookie", b"a=b"),
        (b"x-request-id", b"theirs"),
        (b"cache-control", b"no\0"),
    ]
    assert forwarded_response_headers(raw) == [("content-type", "text/event-stream; charset=utf-8")]


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        (b"traceparent", TRACE, True),
        (b"Traceparent", TRACE, True),
        (b"tracestate", b"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", True),
        (b"traceparent", TRACE.upper(), False),
        (b"traceparent", b"ff" + TRACE[2:], False),
        (b"traceparent", TRACE.replace(b"0af7651916cd43dd8448eb211c80319c", b"0" * 32), False),
        (b"traceparent", TRACE.replace(b"b7ad6b7169203331", b"0" * 16), False),
        (b"traceparent", TRACE + b"\r\nx-vllm-priority: 0", False),
        (b"traceparent", TRACE[:-1], False),
        (b"traceparent", b"", False),
        (b"tracestate", b"a=b\nx: y", False),
        (b"tracestate", b"a" * 513, False),
        (b"baggage", b"a=b", False),
    ],
)
def test_a_trace_goes_on_at_the_worker_where_it_is_one(name: bytes, value: bytes, passes: bool) -> None:
    """W3C Trace Context passes in its own form; anything else under its names stays behind."""
    head = request_head(RequestHeadTemplate("w"), "/tokenize", "r", 2, [(name, value)])
    assert (name.lower() + b": " + value + b"\r\n" in head) == passes
    assert head.count(b"\r\n") == request_head(RequestHeadTemplate("w"), "/tokenize", "r", 2).count(b"\r\n") + passes


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], ""),
        ([("X-Request-Id", "job-7/3")], "job-7/3"),
        ([("x-client-request-id", "a" * 128)], "a" * 128),
        ([("X-Request-Id", "a"), ("X-Client-Request-Id", "b")], "a"),
        ([("X-Request-Id", "not an id"), ("X-Client-Request-Id", "b")], "b"),
        ([("X-Request-Id", "a" * 129)], ""),
        ([("X-Request-Id", "a\x1b[31m")], ""),
        ([("X-Request-Id", "\udcff")], ""),
    ],
)
def test_what_the_client_calls_its_request(headers: list[tuple[str, str]], found: str) -> None:
    """An id in either header, bounded and of plain signs; anything else is none."""
    assert client_request_id(CIMultiDict(headers)) == found


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0"])
def test_a_value_that_could_end_its_line_does_not_pass(byte: bytes) -> None:
    """In either direction: what follows such a byte would be read as a header of the gateway's own."""
    value = b"a%bx-vllm-priority: 0" % byte
    assert b"priority" not in request_head(RequestHeadTemplate("w"), "/tokenize", "r", 2, [(b"Accept", value)])
    assert forwarded_response_headers([(b"content-type", value)]) == []
