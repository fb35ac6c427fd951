"""Reads the client's keys from headers, decides which headers may pass, and writes the head of a request to a worker.

In both directions only the headers of an allow-list pass. The client's credential, `X-*` and hop-by-hop headers never
reach a worker, because vLLM obeys `X-Vllm-Priority`, `X-data-parallel-rank` and `X-Session-ID`. The worker's own
headers never reach the client. Left to `proxy.directory`: whose keys they are, and whether they contradict each other.
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault

REQUEST_HEADERS: Final = frozenset({b"accept", b"content-type", b"anthropic-version", b"anthropic-beta", b"user-agent"})
# Passed on where they have the form that W3C Trace Context gives them: an engine with tracing on continues the trace.
_TRACE_HEADERS: Final = {
    b"traceparent": re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"),
    b"tracestate": re.compile(rb"[\x21-\x7e][\x20-\x7e]{0,511}"),
}
RESPONSE_HEADERS: Final = frozenset({b"content-type", b"cache-control", b"metadata"})
"""`metadata` is vLLM's description of an embedding answer in raw bytes."""

MAX_CREDENTIALS: Final = 4  # headers that hold a key

_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")

_CR: Final = ord("\r")
_LF: Final = ord("\n")
_NUL: Final = 0


class MultiHeaders(Protocol):
    """Headers whose names are case-insensitive and may occur several times."""

    def get(self, key: str, /) -> str | None:
        """The first value of `key`."""
        ...

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Every value of `key`, in order."""
        ...


def presented_keys(headers: MultiHeaders) -> tuple[str, ...]:
    """The different texts that `Authorization` and `x-api-key` present as keys, in order, without empty ones.

    `Authorization` may leave out `Bearer`. If it has another scheme, its whole value is returned, which is nobody's
    key. Raises `RequestFault` if more than `MAX_CREDENTIALS` headers hold a key.
    """
    authorizations = headers.getall("authorization", ())
    keys = headers.getall("x-api-key", ())
    if len(authorizations) == 1 and not keys:
        key = _bearer(authorizations[0])
        return (key,) if key else ()
    if len(authorizations) + len(keys) > MAX_CREDENTIALS:
        raise RequestFault(
            Outcome.BAD_REQUEST, f"Send one API key, and at most {MAX_CREDENTIALS} headers that hold it."
        )
    texts = [*map(_bearer, authorizations), *(key.strip() for key in keys)]
    return tuple(dict.fromkeys(filter(None, texts)))


def _bearer(authorization: str) -> str:
    """The key in the value of an `Authorization` header."""
    value = authorization.strip()
    return value[6:].strip() if value[:7].strip().lower() == "bearer" else value


def client_request_id(headers: MultiHeaders) -> str:
    """The client's own name for its request, for the log; "" if it gives none in the form of an id."""
    for name in ("x-request-id", "x-client-request-id"):
        value = headers.get(name)
        if value is not None and _CLIENT_ID.fullmatch(value):
            return value
    return ""


class RequestHeadTemplate:
    """The parts of a request's head that are the same in every request to one worker."""

    __slots__ = ("_credential", "_host", "host")

    def __init__(self, host: str, api_key: str | None = None) -> None:
        self.host = host
        self._host = host.encode("ascii")
        self._credential = b"" if api_key is None else b"authorization: Bearer %b\r\n" % api_key.encode("ascii")

    def lines(self, path: str, request_id: str, body_bytes: int) -> bytes:
        """The head of a POST of JSON without the client's headers and the final empty line."""
        return (
            b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"accept-encoding: identity\r\nx-request-id: %b\r\n%b"
        ) % (path.encode("ascii"), self._host, body_bytes, request_id.encode("ascii"), self._credential)

    def page_lines(self, path: str) -> bytes:
        """The head of a GET of one of the worker's own pages; it carries the worker's key."""
        head = b"GET %b HTTP/1.1\r\nhost: %b\r\n%b\r\n"
        return head % (path.encode("ascii"), self._host, self._credential)


def request_head(
    upstream: RequestHeadTemplate,
    path: str,
    request_id: str,
    body_bytes: int,
    client_headers: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """The HTTP/1.1 head of a POST of JSON to a worker, with those of `client_headers` that our lists allow."""
    lines = [upstream.lines(path, request_id, body_bytes)]
    seen = {b"content-type"}
    for name, value in client_headers:
        lowered = name.lower()
        if lowered not in seen and _may_pass(lowered, value):
            seen.add(lowered)
            lines.append(b"%b: %b\r\n" % (lowered, value))
    lines.append(b"\r\n")
    return b"".join(lines)


def _may_pass(name: bytes, value: bytes) -> bool:
    if name in REQUEST_HEADERS:
        return _is_clean(value)
    form = _TRACE_HEADERS.get(name)
    return form is not None and form.fullmatch(value) is not None


def forwarded_response_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The headers of a worker's response (with names in lower case) that the client may see."""
    return [
        (name.decode("ascii"), value.decode("latin-1"))
        for name, value in headers
        if name in RESPONSE_HEADERS and _is_clean(value)
    ]


def _is_clean(value: bytes) -> bool:
    return not (_CR in value or _LF in value or _NUL in value)
