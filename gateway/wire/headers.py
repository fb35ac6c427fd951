"""Which headers say who the client is, which may pass, and the head of the request to the worker.

Only the allow-lists pass, in either direction: the client's credential, `X-*` and hop-by-hop headers never
reach a worker (vLLM obeys `X-Vllm-Priority`, `X-data-parallel-rank` and `X-Session-ID`), the worker's own
never reach the client. Whose keys the presented ones are, and whether they contradict each other, the directory says.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault

REQUEST_HEADERS = frozenset({b"accept", b"content-type", b"anthropic-version", b"anthropic-beta", b"user-agent"})
RESPONSE_HEADERS = frozenset({b"content-type", b"cache-control", b"metadata"})
"""`metadata` is vLLM's description of an embedding answer in raw bytes."""

MAX_CREDENTIALS = 4  # headers that hold a key

_CR: Final = ord("\r")
_LF: Final = ord("\n")
_NUL: Final = 0


class MultiHeaders(Protocol):
    """Case-insensitive headers that may occur several times."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Every value of `key`, in order."""
        ...


def presented_keys(headers: MultiHeaders) -> tuple[str, ...]:
    """Every different text that `Authorization` and `x-api-key` present as a key, in order; empty ones are none.

    `Authorization` may leave out `Bearer`; with another scheme the whole value is a text that is nobody's key. Raises
    `RequestFault` on more than `MAX_CREDENTIALS`.
    """
    authorizations = headers.getall("Authorization", ())
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


class Upstream:
    """What the head of a request to one worker needs besides the request itself, as it stands there."""

    __slots__ = ("_credential", "_host", "host")

    def __init__(self, host: str, api_key: str | None = None) -> None:
        self.host = host
        self._host = host.encode("ascii")
        self._credential = b"" if api_key is None else b"authorization: Bearer %b\r\n" % api_key.encode("ascii")

    def lines(self, path: str, request_id: str, body_bytes: int) -> bytes:
        """The lines of a POST of JSON that are not the client's."""
        return (
            b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"accept-encoding: identity\r\nx-request-id: %b\r\n%b"
        ) % (path.encode("ascii"), self._host, body_bytes, request_id.encode("ascii"), self._credential)


def request_head(
    upstream: Upstream,
    path: str,
    request_id: str,
    body_bytes: int,
    client_headers: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """The HTTP/1.1 head of a POST of JSON to a worker; of `client_headers` only `REQUEST_HEADERS` pass."""
    lines = [upstream.lines(path, request_id, body_bytes)]
    seen = {b"content-type"}
    for name, value in client_headers:
        lowered = name.lower()
        if lowered in REQUEST_HEADERS and lowered not in seen and _is_clean(value):
            seen.add(lowered)
            lines.append(b"%b: %b\r\n" % (lowered, value))
    lines.append(b"\r\n")
    return b"".join(lines)


def forwarded_response_headers(raw: Sequence[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The worker's response headers that the client may see, names in lower case."""
    return [
        (lowered.decode("ascii"), value.decode("latin-1"))
        for name, value in raw
        if (lowered := name.lower()) in RESPONSE_HEADERS and _is_clean(value)
    ]


def _is_clean(value: bytes) -> bool:
    return not (_CR in value or _LF in value or _NUL in value)
