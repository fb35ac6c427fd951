"""Which headers say who the client is, which may pass, and the head of the request to the worker.

Only the allow-lists pass, in either direction: the client's credential, `X-*` and hop-by-hop headers never
reach a worker (vLLM obeys `X-Vllm-Priority`, `X-data-parallel-rank` and `X-Session-ID`), the worker's own
never reach the client. A credential given twice is refused: two readers of one request must not see two
different tenants.
"""

from collections.abc import Sequence
from typing import Final, Protocol

from gateway.outcomes import Outcome
from gateway.wire.errors import RequestFault

REQUEST_HEADERS = frozenset({b"accept", b"content-type", b"anthropic-version", b"anthropic-beta", b"user-agent"})
RESPONSE_HEADERS = frozenset({b"content-type", b"cache-control", b"metadata"})
"""`metadata` is vLLM's description of an embedding answer in raw bytes."""

MAX_CREDENTIAL_BYTES = 512

_CR: Final = ord("\r")
_LF: Final = ord("\n")
_NUL: Final = 0


class MultiHeaders(Protocol):
    """Case-insensitive headers that may occur several times."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Every value of `key`, in order."""
        ...


def credential(headers: MultiHeaders) -> str | None:
    """The client's key from `Authorization: Bearer` or `x-api-key`; None where neither is present.

    Raises `RequestFault` on two credentials, on a scheme other than Bearer and on an empty or oversized key.
    """
    authorizations = headers.getall("Authorization", ())
    keys = headers.getall("x-api-key", ())
    if len(authorizations) + len(keys) > 1:
        raise RequestFault(
            Outcome.BAD_REQUEST, "Send one credential: either one Authorization or one x-api-key header."
        )
    if keys:
        return _checked(keys[0].strip())
    if not authorizations:
        return None
    scheme, _, key = authorizations[0].strip().partition(" ")
    if scheme != "Bearer" and scheme.lower() != "bearer":
        raise RequestFault(Outcome.UNAUTHENTICATED, "The Authorization header must be 'Bearer <key>'.")
    return _checked(key.strip())


def _checked(key: str) -> str:
    if not key or len(key) > MAX_CREDENTIAL_BYTES:
        raise RequestFault(Outcome.UNAUTHENTICATED, "The API key is empty or too long.")
    return key


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
