"""Credentials and headers: one credential, and only what is on a list passes."""

import pytest
from multidict import CIMultiDict

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault
from gateway.wire.headers import Upstream, credential, forwarded_response_headers, request_head


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([], None),
        ([("Authorization", "Bearer vtc-abc")], "vtc-abc"),
        ([("authorization", "bearer  vtc-abc ")], "vtc-abc"),
        ([("X-API-Key", "vtc-abc")], "vtc-abc"),
    ],
)
def test_a_credential_is_read(headers: list[tuple[str, str]], key: str | None) -> None:
    """Bearer and x-api-key, in any case; none is no fault."""
    assert credential(CIMultiDict(headers)) == key


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer b")], Outcome.BAD_REQUEST),
        ([("Authorization", "Bearer a"), ("Authorization", "Bearer a")], Outcome.BAD_REQUEST),
        ([("x-api-key", "a"), ("x-api-key", "a")], Outcome.BAD_REQUEST),
        ([("Authorization", "Bearer a"), ("x-api-key", "a")], Outcome.BAD_REQUEST),
        ([("Authorization", "Basic YTpi")], Outcome.UNAUTHENTICATED),
        ([("Authorization", "Bearer")], Outcome.UNAUTHENTICATED),
        ([("Authorization", "")], Outcome.UNAUTHENTICATED),
        ([("x-api-key", " ")], Outcome.UNAUTHENTICATED),
        ([("x-api-key", "k" * 513)], Outcome.UNAUTHENTICATED),
    ],
)
def test_a_doubtful_credential_is_refused(headers: list[tuple[str, str]], outcome: Outcome) -> None:
    """Two credentials, another scheme, an empty or an oversized key; the key is never repeated."""
    with pytest.raises(RequestFault) as fault:
        credential(CIMultiDict(headers))
    assert fault.value.outcome is outcome
    assert "kkk" not in fault.value.message


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
    head = request_head(Upstream("worker:8101", "worker-key"), "/v1/completions", "req-1", 17, CLIENT_HEADERS)
    assert head == (
        b"POST /v1/completions HTTP/1.1\r\nhost: worker:8101\r\ncontent-type: application/json\r\n"
        b"content-length: 17\r\naccept-encoding: identity\r\nx-request-id: req-1\r\n"
        b"authorization: Bearer worker-key\r\naccept: text/event-stream\r\nanthropic-version: 2023-06-01\r\n\r\n"
    )


def test_a_worker_without_a_key_gets_no_credential() -> None:
    """Never the client's."""
    head = request_head(Upstream("w"), "/tokenize", "r", 2, CLIENT_HEADERS)
    assert b"authorization" not in head.lower()


def test_response_headers_that_pass() -> None:
    """Content type and caching of the worker; its framing, identity and cookies stay behind."""
    raw = [
        (b"Content-Type", b"text/event-stream; charset=utf-8"),
        (b"Server", b"uvicorn"),
        (b"Date", b"now"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Content-Length", b"3"),
        (b"Connection", b"close"),
        (b"Set-Cookie", b"a=b"),
        (b"X-Request-Id", b"theirs"),
        (b"Cache-Control", b"no\0"),
    ]
    assert forwarded_response_headers(raw) == [("content-type", "text/event-stream; charset=utf-8")]


@pytest.mark.parametrize("byte", [b"\r", b"\n", b"\0"])
def test_a_value_that_could_end_its_line_does_not_pass(byte: bytes) -> None:
    """In either direction: what follows such a byte would be read as a header of the gateway's own."""
    value = b"a%bx-vllm-priority: 0" % byte
    assert b"priority" not in request_head(Upstream("w"), "/tokenize", "r", 2, [(b"Accept", value)])
    assert forwarded_response_headers([(b"Content-Type", value)]) == []
